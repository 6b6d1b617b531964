"""``dylora reproduce``: the missing runs of a plan are run, those that fail once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from dylora_exp.core import check_writable, counted, echo, is_quiet, print_warning
from dylora_exp.multirun import summary
from dylora_exp.multirun.executors.base import Executor
from dylora_exp.multirun.jobs import Job, JobResult
from dylora_exp.multirun.reproduction_plan import Plan, PlanItem, ReproduceRequest, run_states
from dylora_exp.multirun.scheduling import run_jobs, thread_overrides
from dylora_exp.records import RecordStore

_NO_RECORD = "no record of it was left."


def run_missing(request: ReproduceRequest, plan: Plan) -> list[JobResult]:
    """Run what a plan lacks, and what fails once more.

    Returns:
        How the runs ended that still have no record.

    Raises:
        RequestError: When the request is wrong; nothing was started then.
    """
    for line in plan.skipped_lines():
        echo(line)
    items = plan.missing()
    if not items:
        done = "the run is" if len(plan.items) == 1 else f"all {len(plan.items)} runs are"
        print(f"{done} done, nothing to train")
        return []
    for folder in (RecordStore(request.results).folder, request.outputs):
        check_writable(folder)
    with request.load_executor() as executor:
        if executor.package == "submitit":
            echo(
                f"what the jobs print is in {request.outputs}/multirun; --plan shows how far they "
                "are"
            )
        left = _run(request, items, executor)
        again = [item for item, result in left if _is_retried(result)]
        if again:
            echo(f"once more: {len(again)} of {len(items)}")
            left = [pair for pair in left if not _is_retried(pair[1])]
            left += _run(request, again, executor)
    return [result for _, result in left]


def exit_code(plan: Plan, left: Sequence[JobResult]) -> int:
    """Return 0 when no run failed, 2 when all that were to do were wrong requests, else 1.

    Args:
        plan: What was to do.
        left: How the runs ended that still have no record.
    """
    code = summary.exit_code(left)
    return 1 if code == 2 and len(left) < len(plan.missing()) else code


def print_summary(plan: Plan, left: Sequence[JobResult]) -> None:
    """Print why runs are not done, those of one reason together, and how many are."""
    summary.print_failures(left, len(plan.items))
    failed = sum(bool(result.problems) for result in left)
    parts = [f"{counted(len(plan.items), 'run')}: {len(plan.items) - len(left)} done"]
    parts += [f"{failed} not completed"] if failed else []
    skipped = len(left) - failed
    parts += [f"{skipped} skipped, another process is doing them"] if skipped else []
    print(", ".join(parts))


def _is_retried(result: JobResult) -> bool:
    """Return whether a second attempt at a run may end better."""
    return not (result.wrong_request or result.worker_lost or result.skipped_owner)


def _run(
    request: ReproduceRequest, items: Sequence[PlanItem], executor: Executor
) -> list[tuple[PlanItem, JobResult]]:
    """Run some runs; return those that have no completed record afterwards, and why."""
    further = [*thread_overrides(executor), *request.run_overrides()]
    jobs = [
        Job((*item.run.overrides(), *further), f"{number}/{len(items)} {item.name}")
        for number, item in enumerate(items, start=1)
    ]
    results = run_jobs(jobs, executor, report=_report)
    records = RecordStore(request.results).read_all()[0]
    states = run_states([item.run for item in items], records, request)
    return [
        (item, _with_reason(result, item.name))
        for item, result in zip(items, results, strict=True)
        if states[item.run.run_id] != "done"
    ]


def _with_reason(result: JobResult, name: str) -> JobResult:
    """Return the result of a run without a record, by the run's name, which says why."""
    problems = result.problems or (() if result.skipped_owner else (_NO_RECORD,))
    return replace(result, name=name, problems=problems)


def _report(result: JobResult) -> None:
    """Print how a job ended, in a line."""
    for warning in result.outcome.warnings if result.outcome and not is_quiet() else []:
        print_warning(warning)
    if not result.skipped_owner:
        echo(f"{result.name}: {' '.join(result.problems) or f'done in {result.seconds:.0f} s'}")
