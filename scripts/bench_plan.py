"""Holds what a plan expects of runs, measured now, against the times of their records.

The records must be of this machine or of one like it, and by as many threads; what else it had to
do when they were made is in their times, and not in what is measured by one thread.

python scripts/bench_plan.py --profile mini --data DIR [DIR ...]
"""

from __future__ import annotations

import dataclasses
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import benchmarking

from dylora_exp.multirun import ReproduceRequest, make_plan, measure_plan
from dylora_exp.records import Record, RecordStore


def expectations(
    profile: str, folder: str, threads: int, records: Mapping[str, Record]
) -> list[dict[str, Any]]:
    """Return what is expected of each run that has a record, where it is known, and what it took.

    Args:
        profile: The runs'.
        folder: Of the data.
        threads: Of each run.
        records: By run id.
    """
    with tempfile.TemporaryDirectory() as nothing:
        overrides = (f"trainer.threads={threads}", f"task.data_dir={folder}")
        nowhere = Path(nothing)
        request = ReproduceRequest("all", profile, nowhere, nowhere, overrides=overrides)
        plan = make_plan(request)
        items = [item for item in plan.items if item.run.run_id in records]
        measured = measure_plan(dataclasses.replace(plan, items=items), request)
    rows = []
    for item in items:
        record, cost = records[item.run.run_id], measured.costs.get(item.run.run_id)
        if cost is not None and measured.sources[item.run.task] == "the data":
            timing = record.timing
            rows.append(
                {
                    "name": item.name,
                    "training": {"expected": cost.training, "real": timing["train_seconds"]},
                    "scoring": {"expected": cost.scoring, "real": timing["sweep_seconds"]},
                    "memory": {"expected": cost.memory, "real": record.memory["peak_bytes"]},
                }
            )
    return rows


def text_of(result: Mapping[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = [[row["name"], *_cells(row)] for row in result["rows"]]
    ratios = [_ratio(row) for row in result["rows"]]
    header = ["run", "expected, s", "real, s", "expected / real", "memory, GB", "real, GB"]
    median = f"Median of the ratios: {statistics.median(ratios):.2f}.\n" if ratios else ""
    facts, table = benchmarking.facts_text(result), benchmarking.markdown_table(header, rows)
    return f"# A plan that measures, against records\n\n{facts}\n\n{table}\n{median}"


def _cells(row: Mapping[str, Any]) -> Sequence[str]:
    expected, real = (_seconds(row, kind) for kind in ("expected", "real"))
    memory = [f"{row['memory'][kind] / 1e9:.1f}" for kind in ("expected", "real")]
    return [f"{expected:,.0f}", f"{real:,.0f}", f"{expected / real:.2f}", *memory]


def _ratio(row: Mapping[str, Any]) -> float:
    return _seconds(row, "expected") / _seconds(row, "real")


def _seconds(row: Mapping[str, Any], kind: str) -> float:
    return float(row["training"][kind] + row["scoring"][kind])


def main() -> None:
    """Measure, and save what was found."""
    parser = benchmarking.parser_of(__doc__)
    parser.add_argument("--profile", default="mini")
    parser.add_argument("--results", default="results", type=Path, help="folder of the records")
    parser.add_argument("--data", nargs="+", required=True, help="folders of the tasks' data")
    options = parser.parse_args()
    records = {each.run_id: each for each in RecordStore(options.results).read_all()[0]}
    rows = [
        row
        for folder in options.data
        for row in expectations(options.profile, folder, options.threads, records)
    ]
    result = benchmarking.facts(options.device, profile=options.profile, rows=rows)
    benchmarking.save(options.to, "plan", result, text_of(result))


if __name__ == "__main__":
    main()
