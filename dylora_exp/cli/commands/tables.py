"""``dylora tables``: tables from records, without training."""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

from dylora_exp.cli.options import add_config_dir, add_results, add_select

HELP = "render tables from records, without training"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``tables``."""
    parser.add_argument("names", nargs="*", metavar="TABLE", help="default: all")
    parser.add_argument("--profile", default="demo", help="demo, mini or paper (default: demo)")
    add_results(parser)
    add_select(parser)
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Render the named tables, or all that have a block for the profile."""
    from dylora_exp.cli.reporting_output import render_tables
    from dylora_exp.core import print_warning, without_garbage_collection
    from dylora_exp.records import check_results
    from dylora_exp.reporting import profiles_of, table_names, untuned

    results, profile = Path(arguments.results), arguments.profile
    with without_garbage_collection():
        check_results(results)
        names = arguments.names or [n for n in table_names() if profile in profiles_of(n)]
        if not arguments.names:
            left_out = {name: found for name in names if (found := untuned(name, profile))}
            names = [name for name in names if name not in left_out]
            for sentence in itertools.chain.from_iterable(left_out.values()):
                print_warning(sentence)
        render_tables(names or table_names(), profile, results, arguments.select)
    return 0
