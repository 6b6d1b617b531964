"""``dylora show``: one run on a screen."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_config_dir, add_outputs, add_results

HELP = "show a run: its scores, the rank to deploy, its settings, data and files"
DESCRIPTION = (
    "Show a run from its record: the score at each rank, which rank to deploy, the settings that "
    "differ from its profile, its data, and where its files are. Runs that failed, or are not "
    "done, say why."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the run and the folders."""
    parser.add_argument("run", metavar="RUN", help="a run id or the beginning of one")
    add_results(parser)
    add_outputs(parser)
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print what is known of the run."""
    from dylora_exp.cli.show_output import run_lines
    from dylora_exp.records import RecordStore, check_results

    check_results(Path(arguments.results))
    store = RecordStore(arguments.results)
    record = store.find(arguments.run)
    print("\n".join(run_lines(record, store, Path(arguments.outputs))))
    return 0
