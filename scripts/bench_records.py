"""Times commands that read all records, on many: ``python scripts/bench_records.py [NUMBER]``.

The records are the committed ones with other seeds, and some with another learning rate, each under
its own run id. Each command runs in a process of its own; what is printed is its CPU time, which
other processes on the machine change little, and the time it took.
"""

from __future__ import annotations

import copy
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dylora_exp.config import recompute_run_id

ROOT = Path(__file__).resolve().parent.parent
COMMANDS = (("list", "runs"), ("tables", "--profile", "mini"), ("report",))


def write_records(folder: Path, number: int) -> None:
    """Write records that differ in their seeds, and every tenth in its learning rate."""
    files = sorted((ROOT / "results/runs").glob("*.json"))
    trees = [json.loads(file.read_text()) for file in files]
    (folder / "runs").mkdir(parents=True)
    for index in range(number):
        tree = copy.deepcopy(trees[index % len(trees)])
        tree["seed"] = tree["config"]["seed"] = 1000 + index
        if index % 10 == 0:
            tree["config"]["trainer"]["learning_rate"] = 1e-4 * (1 + index % 70)
        tree["run_id"] = recompute_run_id(tree["config"])
        (folder / "runs" / f"{tree['run_id']}.json").write_text(json.dumps(tree, sort_keys=True))


def main() -> None:
    """Print the times of each command."""
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    with tempfile.TemporaryDirectory() as name:
        write_records(Path(name), number)
        for command in COMMANDS:
            before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            arguments = [sys.executable, "-m", "dylora_exp", *command, "--results", name]
            # As python finds the package where no distribution is installed.
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(arguments, capture_output=True, cwd=ROOT, env=environment)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            print(
                f"{number} records, dylora {' '.join(command)}: {cpu:.1f} s of CPU, "
                f"{time.monotonic() - start:.1f} s, exit code {done.returncode}, "
                f"{len(done.stdout.splitlines())} lines",
                flush=True,
            )


if __name__ == "__main__":
    main()
