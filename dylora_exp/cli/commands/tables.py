"""``dylora tables``: tables from records, without training."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_results, add_select

HELP = "render tables from records, without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tables``."""
    parser.add_argument("names", nargs="*", metavar="TABLE", help="default: all")
    parser.add_argument("--profile", default="demo", help="demo, mini or paper (default: demo)")
    add_results(parser)
    add_select(parser)


def run(arguments: argparse.Namespace) -> int:
    """Render the named tables, or all that have a block for the profile."""
    from dylora_exp.cli.reporting_output import render_tables
    from dylora_exp.core import without_garbage_collection
    from dylora_exp.records import check_results
    from dylora_exp.reporting import profiles_of, table_names

    results, profile = Path(arguments.results), arguments.profile
    with without_garbage_collection():
        check_results(results)
        names = arguments.names or [n for n in table_names() if profile in profiles_of(n)]
        render_tables(names or table_names(), profile, results, arguments.select)
    return 0
