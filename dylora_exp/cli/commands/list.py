"""``dylora list``: what can be chosen, and the runs there are."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_config_dir, add_results

HELP = "show what can be chosen, and the runs there are"
# The config group behind each list; runs are read from the results folder.
GROUPS = {
    "models": "model",
    "tasks": "task",
    "methods": "method",
    "ranks": "ranks",
    "profiles": "profile",
    "experiments": "experiment",
    "debug": "debug",
    "tables": "table",
}
LISTS = [*GROUPS, "runs"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the name of a list."""
    parser.add_argument("what", nargs="?", help=f"{', '.join(LISTS)} (default: all but runs)")
    add_results(parser)
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print one list, or all but that of the runs."""
    # Choices are listed without what reads records: it takes longer than the list itself.
    from dylora_exp.core import RequestError, unknown_name

    if arguments.what == "runs":
        from dylora_exp.cli.listing import print_runs
        from dylora_exp.records import check_results

        results = Path(arguments.results)
        check_results(results)
        print_runs(results)
        return 0
    if arguments.what not in (None, *GROUPS):
        raise RequestError(unknown_name("list", arguments.what, LISTS))
    from dylora_exp.cli.choices import print_choices

    for what in [arguments.what] if arguments.what else GROUPS:
        print_choices(what, GROUPS[what])
    return 0
