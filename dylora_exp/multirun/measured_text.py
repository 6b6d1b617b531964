"""A measured plan as text: a line for each table, then what was measured, on what, and what not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from dylora_exp.core import aligned_lines, counted
from dylora_exp.multirun.measured_plan import MeasuredPlan, MeasuredShape
from dylora_exp.multirun.reproduction_plan import Plan
from dylora_exp.multirun.run_costs import RunCost

_COLUMNS = [
    *[("table", False), ("runs", True), ("to do", True), ("hours", True)],
    *[("of them scoring", True), ("peak memory", True), ("disk", True)],
]


def measured_plan_text(plan: Plan, measured: MeasuredPlan, jobs: int | None = None) -> str:
    """Return what the runs of each table take, and of all together, each run counted once.

    Args:
        plan: The plan.
        measured: What its runs take.
        jobs: How many runs at a time.
    """
    everything = [item.run.run_id for item in plan.items]
    rows = [_row(name, runs, plan, measured) for name, runs in plan.runs.items()]
    rows.append(_row("total", everything, plan, measured))
    lines = [*aligned_lines(_COLUMNS, rows), "", *_about_hours(plan, measured, jobs or 1)]
    lines += ["", *_about_measuring(measured), *plan.skipped_lines()]
    return "\n".join(lines)


def _row(name: str, runs: Collection[str], plan: Plan, measured: MeasuredPlan) -> list[str]:
    """Return the cells of a table; of its runs, what is done takes nothing."""
    missing = {item.run.run_id for item in plan.missing()} & set(runs)
    costs = [measured.costs[run] for run in sorted(missing) if run in measured.costs]
    cells = [name, f"{len(runs):,}", f"{len(missing):,}"]
    if not costs:
        return [*cells, *(["unknown"] * 4 if missing else ["0", "0", "", ""])]
    unknown = " + ?" if len(costs) < len(missing) else ""
    hours = sum(cost.seconds for cost in costs)
    scoring = sum(cost.scoring for cost in costs)
    return [
        *cells,
        _hours(hours) + unknown,
        f"{100 * scoring / hours:.0f} %",
        _bytes(max(cost.memory for cost in costs)),
        _bytes(sum(cost.disk for cost in costs)) + unknown,
    ]


def _about_hours(plan: Plan, measured: MeasuredPlan, jobs: int) -> Iterator[str]:
    """Yield what the hours are of, and what is needed besides."""
    costs: Sequence[RunCost] = list(measured.costs.values())
    if measured.gpu is not None:
        gpu = measured.gpu
        yield (
            f"Hours are scaled, not measured: to {gpu.name} by its published throughput "
            f"({gpu.source}: {gpu.float32:g} TFLOP/s in float32, {gpu.bfloat16:g} in bfloat16)."
        )
        for name, scaling in measured.scaling.items():
            yield (
                f"  {name}: {scaling.factor:,.0f} times as fast in {scaling.precision}, "
                f"against {scaling.against}"
            )
        yield (
            "A GPU reaches less of its peak in small batches of short texts: real hours are likely "
            f"to be several times these. Memory is that of {measured.device}; {gpu.name} has "
            f"{gpu.memory:g} GB."
        )
    if costs and jobs > 1:
        total = sum(cost.seconds for cost in costs) / jobs
        memory = sum(sorted((cost.memory for cost in costs), reverse=True)[:jobs])
        yield (
            f"{jobs} at a time: {_hours(total)} hours if they do not slow each other, up to "
            f"{_bytes(memory)} of memory."
        )
    if costs:
        most = jobs * max(cost.checkpoints for cost in costs)
        yield f"While runs are done, checkpoints take up to {_bytes(most)} more disk."
    found = [item.seconds for item in plan.missing() if item.seconds is not None]
    if found:
        yield (
            f"By records of runs that are alike, {counted(len(found), 'run')} would take "
            f"{_hours(sum(found))} hours."
        )


def _about_measuring(measured: MeasuredPlan) -> Iterator[str]:
    """Yield what was measured and how, and what is not known."""
    real, own = measured.seconds
    yield (
        f"Measured on {measured.device}, in {real:.0f} s, {own:.0f} s of it by this process; other "
        "work on the machine accounts for the rest."
    )
    for each in measured.shapes:
        runs = counted(len(each.shape.runs), "run")
        if each.found is None:
            yield f"  {each.shape.name}: {runs}, unknown: {each.problem}"
        else:
            yield f"  {each.shape.name}: {runs}; {_about_shape(each)}"
    by_source: dict[str, list[str]] = {}
    for task, source in measured.sources.items():
        by_source.setdefault(source, []).append(task)
    for source, tasks in by_source.items():
        yield f"Lengths of texts are from {source}: {', '.join(sorted(tasks))}."


def _about_shape(each: MeasuredShape) -> str:
    """Return what was measured of a shape."""
    found = each.found
    assert found is not None
    layers = " and ".join(map(str, found.layers))
    whole = "all" if found.layers == (found.depth,) else f"{layers} of"
    parts = [f"{whole} {found.depth} layers"]
    if found.tokens:
        tokens = found.tokens[-1]
        sizes = " and ".join(f"{each:,}" for each in found.tokens)
        parts.append(f"steps of {sizes} tokens")
        parts.append(f"{1000 * found.training.at(tokens) / tokens:.3g} ms a token in training")
    parts.append(f"{1000 * found.scoring.each:.3g} ms in scoring")
    if found.new_token:
        parts.append(f"{1000 * found.new_token:.3g} ms a generated token")
    return ", ".join(parts)


def _hours(seconds: float) -> str:
    hours = seconds / 3600
    return f"{hours:,.0f}" if hours >= 100 else f"{hours:.1f}" if hours >= 1 else f"{hours:.2f}"


def _bytes(count: float) -> str:
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count / 1e3:.0f} kB"
