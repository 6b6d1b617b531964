"""What ``dylora search`` prints: its trials, why trials failed, and the best overrides."""

from __future__ import annotations

from dylora_exp.core import make_console, make_grid, print_error
from dylora_exp.multirun import SearchResult


def print_search(result: SearchResult) -> None:
    """Print a table of the trials, why trials failed, and the best overrides."""
    right = ("trial", result.metric)
    table = make_grid([(name, name in right) for name in (*right, "run", "overrides")])
    problems = []
    for number, trial in enumerate(result.trials, start=1):
        score = result.format_score(trial)
        table.add_row(str(number), score, trial.run_id or "-", " ".join(trial.overrides))
        if trial.problem:
            problems.append(f"trial {number}: {trial.problem}")
    if result.best is None:
        problems.append("no trial has a score.")
    make_console().print(table)
    for problem in problems:
        print_error(problem)
    print(f"trials: {result.path}")
    if result.best is not None:
        print(f"best: {' '.join(result.best.overrides)}")
