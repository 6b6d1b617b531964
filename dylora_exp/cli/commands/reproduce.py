"""``dylora reproduce``: run what a table lacks, then render it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dylora_exp.cli.options import (
    add_config_dir,
    add_launcher,
    add_outputs,
    add_overrides,
    add_results,
    add_select,
    add_verbosity,
)

if TYPE_CHECKING:
    from dylora_exp.multirun import GPU

HELP = "run what a table lacks, then render it"
DESCRIPTION = (
    "Run what a table lacks, the runs that fail once more, then render it. Further overrides hold "
    "for all runs: paths, logging and hardware, for example task.data_dir=DIR, which may be the "
    "folder above those of all tasks. Jobs that run at a time on this machine share its cores "
    "(trainer.threads=cores/N; the last bits of a result depend on it)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``reproduce``."""
    parser.add_argument("table", metavar="TABLE", help="for example 2 or A; all: every one")
    add_overrides(parser, "for example trainer.threads=1")
    add_results(parser)
    add_outputs(parser)
    add_select(parser)
    add_verbosity(parser)
    parser.add_argument("--profile", default="demo", help="default: demo")
    parser.add_argument("--plan", action="store_true", help="list the runs and do none")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="with --plan: measure on this machine what the runs will take, in minutes",
    )
    parser.add_argument(
        "--gpu", metavar="NAME", help="with --measure: scale the hours to a GPU, for example a100"
    )
    parser.add_argument(
        "--tune",
        action="store_true",
        help="run the trials that choose values, such as learning rates, for a table that asks for "
        "tuning, and write the choices to conf/tuned of the first --config-dir or of the checkout",
    )
    parser.add_argument(
        "--optional",
        action="store_true",
        help="do the runs too that the table is complete without",
    )
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time")
    add_launcher(parser)
    add_config_dir(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run what is missing, render tables and report or write what was chosen, say what failed."""
    from dylora_exp.cli.reporting_output import print_warnings, render_tables
    from dylora_exp.config import named_search_path
    from dylora_exp.core import RequestError, config_folders, echo, use_config_folders
    from dylora_exp.multirun import (
        ReproduceRequest,
        exit_code,
        find_gpu,
        make_plan,
        measure_plan,
        measured_plan_text,
        plan_text,
        print_summary,
        run_missing,
        write_choices,
    )
    from dylora_exp.reporting import write_report

    # Tables, profiles and all that they name are looked for there too.
    use_config_folders([*config_folders(), *named_search_path(arguments.overrides)])
    request = ReproduceRequest(
        arguments.table,
        arguments.profile,
        Path(arguments.results),
        Path(arguments.outputs),
        arguments.jobs,
        arguments.launcher,
        arguments.overrides,
        arguments.select,
        arguments.optional,
        arguments.tune,
    )
    gpu = _gpu(arguments, find_gpu)
    if arguments.measure:
        echo(f"looking up the runs of profile {arguments.profile} ...")
    plan = make_plan(request)
    print_warnings(plan.warnings)
    if arguments.measure:
        print(measured_plan_text(plan, measure_plan(plan, request, gpu), request.jobs))
        return 0
    if arguments.plan:
        print(plan_text(plan, request.jobs))
        return 0
    if plan.untuned and request.table != "all":
        raise RequestError(plan.untuned)
    left = run_missing(request, plan)
    code = exit_code(plan, left)
    if request.tune:
        print_summary(plan, left)
        write_choices(request, plan)
        return code
    if code != 2:
        render_tables(plan.tables, request.profile, request.results, request.select)
        report = write_report(request.results, figures=True, select=request.select)
        print("\n".join(map(str, report.paths)))
    print_summary(plan, left)
    return code


def _gpu(arguments: argparse.Namespace, find: Callable[[str], GPU]) -> GPU | None:
    """Return the GPU that hours are scaled to.

    Raises:
        RequestError: For an option without the one that it is about, or an unknown GPU.
    """
    from dylora_exp.core import RequestError

    problems = []
    if arguments.measure and not arguments.plan:
        problems.append("--measure: found without --plan, which it is about.")
    if arguments.gpu is None:
        gpu = None
    else:
        if not arguments.measure:
            problems.append("--gpu: found without --measure, whose hours it scales.")
        try:
            gpu = find(arguments.gpu)
        except RequestError as error:
            problems += error.problems
    if problems:
        raise RequestError(problems)
    return gpu
