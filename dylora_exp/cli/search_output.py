"""What ``dylora search`` prints: its trials, why trials failed, and the best overrides."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.table import Table

from dylora_exp.multirun import SearchResult


def print_search(result: SearchResult) -> None:
    """Print a table of the trials, why trials failed, and the best overrides."""
    table = Table()
    for name in ("trial", result.metric, "run", "overrides"):
        table.add_column(name, justify="right" if name in ("trial", result.metric) else "left")
    problems = []
    for number, trial in enumerate(result.trials, start=1):
        score = result.format_score(trial)
        table.add_row(str(number), score, trial.run_id or "-", " ".join(trial.overrides))
        if trial.problem:
            problems.append(f"trial {number}: {trial.problem}")
    if result.best is None:
        problems.append("no trial has a score.")
    Console().print(table)
    for problem in problems:
        print(f"dylora: {problem}", file=sys.stderr)
    print(f"trials: {result.path}")
    if result.best is not None:
        print(f"best: {' '.join(result.best.overrides)}")
