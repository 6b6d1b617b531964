"""``dylora search``: search settings on the development set."""

from __future__ import annotations

import argparse

from dylora_exp.cli.options import add_config_dir, add_launcher, add_overrides, add_verbosity

HELP = "search settings on the development set"
DESCRIPTION = (
    "Search settings on the development set, by trials that Optuna proposes. Overrides with "
    "several values are searched: trainer.learning_rate=tag(log, interval(1e-4, 1e-2)), which is "
    "the default, ranks.r_max=choice(4,8), ... The best trial has the best mean over all ranks of "
    "the task's headline metric. The same command resumes, and more trials continue it."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``search``."""
    add_overrides(parser, "for example task=mrpc 'method.alpha=choice(8,16,32)'")
    add_verbosity(parser)
    parser.add_argument(
        "--trials", type=int, default=20, metavar="N", help="earlier ones included; default: 20"
    )
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="trials at a time")
    add_launcher(parser)
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the trials that are missing and print all of them."""
    from dylora_exp.cli.search_output import print_search
    from dylora_exp.multirun import SearchRequest, run_search

    request = SearchRequest(
        arguments.overrides, arguments.trials, arguments.jobs, arguments.launcher
    )
    result = run_search(request)
    print_search(result)
    return 0 if result.is_complete else 1
