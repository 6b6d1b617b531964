"""A multiple-choice task of one's own: its file, its config folder, and a small model for it."""

import json
import random
from pathlib import Path

from tests.support.tiny_llama import save_tiny_llama

WORDS = ["name", "The Punter", "pub", "is", "a", "Type", "größer", "naïve", "éé", "B", "😀", "x"]
YAML = """\
name: own
objective: choice
metrics: [accuracy, accuracy_norm, accuracy_bytes]
headline: accuracy
prompt: "Question: {{ question }}\\nAnswer:"
choices: options
label: right
"""


def make_items(count: int, seed: int = 0) -> list[dict]:
    """Return rows of two to five options each, some of them alike, some longer than others."""
    draw = random.Random(seed)

    def text(longest: int) -> str:
        return " ".join(draw.choices(WORDS, k=draw.randint(1, longest)))

    rows = []
    for number in range(count):
        options = [text(6) for _ in range(draw.randint(2, 5))]
        if number % 5 == 0:
            options[-1] = options[0]
        right = draw.randrange(len(options))
        rows.append({"question": text(12), "options": options, "right": right})
    return rows


def write_items(file: Path, rows: list[dict]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_choice_task(folder: Path, count: int = 40) -> list[str]:
    """Write a model, a task and its files; return the words of a run that chooses them."""
    save_tiny_llama(folder / "model")
    (folder / "conf" / "task").mkdir(parents=True)
    (folder / "conf" / "task" / "own.yaml").write_text(YAML)
    files = {"train": folder / "train.jsonl", "eval": folder / "test.jsonl"}
    for seed, file in enumerate(files.values()):
        write_items(file, make_items(count, seed))
    return [
        f"hydra.searchpath=[{folder / 'conf'}]",
        *("model=gpt2", f"model.name_or_path={folder / 'model'}", "model.fused=null"),
        *("model.targets=[q_proj,v_proj]", "model.overrides=null"),
        *("task=own", f"task.data_files={{train: {files['train']}, eval: {files['eval']}}}"),
    ]
