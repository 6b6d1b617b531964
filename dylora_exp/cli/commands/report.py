"""``dylora report``: what all records say together."""

from __future__ import annotations

import argparse
from pathlib import Path

from dylora_exp.cli.options import add_results

HELP = "averages over seeds, differences, recommended ranks, cost, claims"
DESCRIPTION = (
    "What the records say, on one screen: rank by method, the rank to deploy, cost, differences "
    "that matter, and how the claims of the paper stand. All averages, differences and claims by "
    "--all, or as files in the results folder."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``report``."""
    parser.add_argument(
        "--all", action="store_true", help="print everything, not only what fits one screen"
    )
    parser.add_argument("--html", action="store_true", help="write report.html, one file")
    parser.add_argument(
        "--csv", action="store_true", help="write averages, differences and claims as CSV"
    )
    parser.add_argument(
        "--figures", action="store_true", help="write each figure as PNG and SVG into figures/"
    )
    parser.add_argument(
        "--where",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="for example task=mrpc,method=lora,dylora,ranks.r_max=8: task, method, model, "
        "profile, status, seed, rank, metric or a config key",
    )
    parser.add_argument(
        "--tolerance",
        type=float,
        metavar="T",
        help="what a recommended rank may lose, part of the best (default: one standard error)",
    )
    add_results(parser)


def run(arguments: argparse.Namespace) -> int:
    """Print the report, or write the files that are asked for and print their paths."""
    from dylora_exp.cli.reporting_output import print_warnings
    from dylora_exp.core import without_garbage_collection
    from dylora_exp.records import check_results
    from dylora_exp.reporting import show_report, write_report

    results, where = Path(arguments.results), ",".join(arguments.where)
    formats = {name: getattr(arguments, name) for name in ("html", "csv", "figures")}
    with without_garbage_collection():
        check_results(results)
        if any(formats.values()):
            report = write_report(results, where, arguments.tolerance, **formats)
            print("\n".join(map(str, report.paths)))
        else:
            report = show_report(results, where, arguments.tolerance, whole=arguments.all)
    print_warnings(report.warnings)
    return 0
