"""A reader, data and installed packages of a user's own."""

from pathlib import Path

READER = '''
from dylora_exp.tasks import Reader, TaskData


class Lines(Reader):
    """A line is an example, its first character the label."""

    def read(self, task, hub_cache=None):
        from datasets import Dataset

        lines = (__import__("pathlib").Path(task.data_dir) / "all.txt").read_text().splitlines()
        rows = {"text": [[line[2:]] for line in lines], "label": [int(line[0]) for line in lines]}
        data = Dataset.from_dict(rows)
        return TaskData(data, data, [{"file": "all.txt", "rows": len(lines)}] * 2, [])
'''


def as_installed(plugin, name, groups):
    """Let a folder look as pip leaves a package: with the metadata of its entry points."""
    info = Path(plugin) / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir(parents=True)
    text = "".join(f"[{group}]\n{point}\n" for group, point in groups.items())
    (info / "entry_points.txt").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n")


def write_data(folder):
    Path(folder).mkdir()
    lines = [f"{number % 2}\tsentence {number}" for number in range(16)]
    text = "".join(f"{line[2:]}\t{line[0]}\n" for line in lines)
    for name in ("train.tsv", "dev.tsv"):
        (Path(folder) / name).write_text(f"sentence\tlabel\n{text}")
    (Path(folder) / "all.txt").write_text("\n".join(lines))
