"""Times what is not training: each command's start, a run up to its first step, reports of records.

python scripts/bench_overheads.py --records 100 1000 10000
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import benchmarking

COMMANDS = {
    "--help": ["--help"],
    "list": ["list"],
    "list runs": ["list", "runs"],
    "validate": ["validate", "profile=demo"],
    "tables 2": ["tables", "2", "--profile", "demo"],
}
OF_RECORDS = {
    "tables all": ["tables", "--profile", "mini"],
    "list runs": ["list", "runs"],
    "report": ["report"],
    "report --html": ["report", "--html"],
}
PARTS = """
import json, sys, time
last = time.perf_counter()
seconds = {}
def passed(name):
    global last
    now = time.perf_counter()
    seconds[name], last = now - last, now
from dylora_exp.config import compose
config = compose(sys.argv[1:])
passed("config")
import torch, transformers, peft, datasets, accelerate
passed("imports of the libraries")
from dylora_exp.runner import pipeline
from dylora_exp.runner.folder import prepare_folder, run_folder
from dylora_exp.tasks import read
passed("imports of the project")
data = read(config.task)
passed("data")
from dylora_exp.models import load, longest_input
backbone, tokenizer = load(config.model, config.task.number_of_outputs)
passed("model and tokenizer")
from dylora_exp.objectives import ObjectiveContext, make_objective
objective = make_objective(ObjectiveContext(config, tokenizer, longest_input(backbone), data))
passed("tokenisation")
from dylora_exp.methods import make_method
method = make_method(config)
model = method.attach(backbone)
passed("adapters")
from dylora_exp.training import train
folder = run_folder(config)
prepare_folder(folder, config, data.sources)
train(model, objective, method, folder)
passed("the first step and its checkpoint")
print(json.dumps(seconds))
"""


def run_command(words: list[str], folder: str) -> tuple[float, float, int]:
    """Return the seconds of a command by the clock and on the cores, and its peak memory in bytes.

    Raises:
        RuntimeError: When it fails.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    # Each by a process between, of which alone the peak is read.
    code = (
        "import json, resource, subprocess, sys;"
        "done = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE);"
        "sys.stderr.buffer.write(done.stderr[-2000:]);"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss);"
        "sys.exit(done.returncode)"
    )
    command = [sys.executable, "-S", "-c", code, sys.executable, "-m", "dylora_exp", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    spent = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)}: {done.stderr}")
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return spent, processor, 1024 * int(done.stdout)


def measured(words: list[str], folder: str, rounds: int) -> dict[str, Any]:
    """Return the medians of a command over some rounds."""
    found = sorted(run_command(words, folder) for _ in range(rounds))
    clock, processor, peak = found[len(found) // 2]
    return {"seconds": clock, "processor": processor, "peak_bytes": peak}


def write_records(source: Path, target: Path, count: int) -> None:
    """Write records of as many runs: those of a folder with other seeds, every tenth with another
    learning rate, so that there are many groups of settings.
    """
    from dylora_exp.config import recompute_run_id

    trees = [json.loads(file.read_text("utf-8")) for file in sorted(source.glob("*.json"))]
    target.mkdir(parents=True)
    for index in range(count):
        tree = trees[index % len(trees)]
        seed = 100_000 + index  # some differ in their seeds alone
        config = {**tree["config"], "seed": seed}
        if index % 10 == 0:
            rate = 1e-4 * (1 + index % 70)
            config["trainer"] = {**config["trainer"], "learning_rate": rate}
        run_id = recompute_run_id(config)
        text = json.dumps({**tree, "config": config, "seed": seed, "run_id": run_id})
        (target / f"{run_id}.json").write_text(text, encoding="utf-8")


def first_step(rounds: int) -> dict[str, float]:
    """Return the seconds of each part of a demo run up to the end of its first step."""
    found = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            words = [
                *("profile=demo", "trainer.max_steps=1", "trainer.threads=1"),
                *(f"results_dir={folder}/results", f"outputs_dir={folder}/outputs"),
            ]
            out = subprocess.check_output([sys.executable, "-c", PARTS, *words], text=True)
            found.append(json.loads(out.splitlines()[-1]))
    found.sort(key=lambda parts: sum(parts.values()))
    return dict(found[len(found) // 2])


def main() -> None:
    """Measure, print the tables, and write them with all numbers."""
    parser = benchmarking.parser_of(__doc__)
    parser.add_argument("--records", type=int, nargs="*", default=[100, 1000], metavar="N")
    parser.add_argument("--source", type=Path, default=Path("results/runs"), metavar="DIR")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    here = os.getcwd()
    os.environ["PYTHONPATH"] = here
    starts = {name: measured(words, here, options.rounds) for name, words in COMMANDS.items()}
    parts = first_step(options.rounds)
    reports: dict[str, dict[str, Any]] = {}
    for count in options.records:
        with tempfile.TemporaryDirectory() as folder:
            write_records(options.source, Path(folder, "results", "runs"), count)
            reports[str(count)] = {
                name: measured(words, folder, 1 if count > 1000 else options.rounds)
                for name, words in OF_RECORDS.items()
            }
    result = benchmarking.facts(
        options.device, rounds=options.rounds, starts=starts, first_step=parts, reports=reports
    )
    benchmarking.save(options.to, "overheads", result, as_markdown(result))


def as_markdown(result: dict[str, Any]) -> str:
    """Return the tables of a result."""
    rows = [(name, "", each) for name, each in result["starts"].items()]
    for count, found in result["reports"].items():
        rows += [(name, f"{int(count):,}", each) for name, each in found.items()]
    commands = benchmarking.markdown_table(
        ["command", "records", "seconds", "on the cores", "peak memory"],
        [
            [
                f"`dylora {name}`",
                records,
                f"{each['seconds']:.2f}",
                f"{each['processor']:.2f}",
                f"{each['peak_bytes'] / 1e6:.0f} MB",
            ]
            for name, records, each in rows
        ],
    )
    total = sum(result["first_step"].values())
    parts = benchmarking.markdown_table(
        ["part of a demo run", "seconds"],
        [
            *[[name, f"{seconds:.2f}"] for name, seconds in result["first_step"].items()],
            ["together", f"{total:.2f}"],
        ],
    )
    return (
        f"# What is not training\n\nMedians of {result['rounds']} rounds. "
        f"{benchmarking.facts_text(result)}\n\n{commands}\n{parts}"
    )


if __name__ == "__main__":
    main()
