"""What ``dylora run`` prints about a run: its scores, which rank to deploy, where its record is."""

from __future__ import annotations

from rich.table import Table

from dylora_exp import metrics
from dylora_exp.core import is_quiet, make_console, make_grid, print_warning
from dylora_exp.records import Record, rank_verdict
from dylora_exp.runner import Outcome


def show(outcome: Outcome) -> None:
    """Print a run's table of rank and metric, which rank to deploy, and where its record is."""
    for warning in [] if is_quiet() else outcome.warnings:
        print_warning(warning)
    record = outcome.record
    lines = [] if outcome.fresh else [f"run {record.run_id} is complete, nothing to do"]
    lines += score_lines(record)
    last = f"record: {outcome.path}"
    # In one go: several processes may print at the same time.
    print("\n".join([last] if is_quiet() else [*lines, last]), flush=True)


def score_lines(record: Record) -> list[str]:
    """Return a record's table of rank and metric, a line for each cut, and the rank to deploy."""
    console = make_console()
    with console.capture() as table:
        console.print(rank_table(record))
    verdict = rank_verdict([record])
    return [
        table.get().rstrip("\n"),
        *rank_choice(record),
        *([verdict.sentence] if verdict else []),
    ]


def rank_choice(record: Record) -> list[str]:
    """Return a line for each cut: the area under its curve, its best and its recommended rank."""
    lines = []
    for cut in record.summary:
        if cut["aurac"] is None:
            lines.append(
                f"{cut['truncation']} {cut['scale']}: {cut['metric']} is undefined at some ranks, "
                "and so are AURAC, the best and the recommended rank"
            )
            continue
        factor = metrics.output_factor(cut["metric"])
        lines.append(
            f"{cut['truncation']} {cut['scale']}: {cut['metric']} best at rank {cut['best_rank']}, "
            f"recommended rank {cut['recommended_rank']} (within {100 * cut['tolerance']:g} %), "
            f"AURAC {factor * cut['aurac']:.2f} (log2 {factor * cut['aurac_log2']:.2f})"
        )
    return lines


def rank_table(record: Record) -> Table:
    """Return a record's scores: a row for each cut and rank, a column for each metric.

    Those of single files, such as ``accuracy_piqa``, are left to the record.
    """
    found = dict.fromkeys(name for entry in record.ranks for name in entry.metrics)
    known = [name for name in found if metrics.base_name(name) in metrics.METRICS]
    names = [
        name
        for name in found
        if name in known or not any(name.startswith(f"{each}_") for each in known)
    ]
    in_percent = all(metrics.output_factor(name) == 100 for name in names)
    title = f"{record.method} · {record.model} · {record.task} · seed {record.seed}"
    columns = [("ranks made by", False), *((name, True) for name in ("rank", *names))]
    table = make_grid(columns, f"{title} · in %" if in_percent else title)
    previous = None
    for entry in record.ranks:
        cut = " ".join(filter(None, (entry.truncation, entry.scale)))
        if previous not in (None, cut):
            table.add_section()
        rank = "-" if entry.rank is None else str(entry.rank)
        values = (metrics.format_value(name, entry.metrics.get(name)) for name in names)
        table.add_row(cut if cut != previous else "", rank, *values)
        previous = cut
    return table
