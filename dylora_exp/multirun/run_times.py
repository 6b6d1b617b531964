"""How long a run will take, by the records of runs that are alike but for their size.

Training takes time for each example that it sees, scoring for each text or label and cut. So a
record of 15 steps says something of a run of 800, and one of another model or task nothing.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from dylora_exp.records import Record
from dylora_exp.reporting import PlannedRun

# Of examples, where neither record nor config says how many there are.
_SOME = 10_000


def expected_seconds(run: PlannedRun, records: Iterable[Record]) -> float | None:
    """Return the mean of what records let expect of a run; None where none is comparable.

    Comparable are completed runs of the same model and task; if there are any, those of the same
    method alone count, and of these those of the same profile.
    """
    setup = run.setup
    found = [
        (record, seconds)
        for record in records
        if record.status == "completed"
        and (record.model, record.task) == (setup.config.model.name, setup.task)
        and (seconds := _scaled_seconds(run, record)) is not None
    ]
    for is_closer in (
        lambda record: record.method == setup.method,
        lambda record: record.profile == setup.config.profile,
    ):
        found = [pair for pair in found if is_closer(pair[0])] or found
    return statistics.fmean(seconds for _, seconds in found) if found else None


def _scaled_seconds(run: PlannedRun, record: Record) -> float | None:
    """Return what a run would take at the speed of a record; None where it does not say."""
    train, sweep = (record.timing.get(f"{part}_seconds") for part in ("train", "sweep"))
    if not train or not sweep:
        return None
    config = run.setup.config
    ours, theirs = config.model_dump(), record.config
    rows = [source.get("rows") for source in record.data]
    training = _ratio(*(_examples_seen(tree, rows[0] if rows else None) for tree in (ours, theirs)))
    items = _ratio(*(_items(tree, rows[1] if len(rows) > 1 else None) for tree in (ours, theirs)))
    cuts = len(record.ranks) + sum(len(epoch.ranks) for epoch in record.epochs)
    if training is None or items is None or not cuts:
        return None
    sweeps = math.ceil(config.trainer.epochs) if config.trainer.score_every == "epoch" else 1
    planned_cuts = len(run.setup.ranks()) * max(1, len(config.method.cuts)) * sweeps
    return float(train * training + sweep * items * planned_cuts / cuts)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours and theirs else None


def _examples_seen(tree: Mapping[str, Any], rows: Any) -> float | None:
    """Return how many examples a training sees, by its config and the rows of its file."""
    trainer = tree.get("trainer")
    if not isinstance(trainer, Mapping):
        return None
    epochs, steps = (_number(trainer.get(name)) for name in ("epochs", "max_steps"))
    batch = (_number(trainer.get("batch_size")) or 1) * (
        _number(trainer.get("accumulation_steps")) or 1
    )
    if steps is not None:
        return steps * batch
    there = _limited(tree, "max_train_samples", rows)
    return None if epochs is None else epochs * math.ceil(there / batch) * batch


def _items(tree: Mapping[str, Any], rows: Any) -> float:
    """Return how many examples are scored, by a config and the rows of its file."""
    return _limited(tree, "max_eval_samples", rows)


def _limited(tree: Mapping[str, Any], limit: str, rows: Any) -> float:
    task = tree.get("task")
    most = _number(task.get(limit)) if isinstance(task, Mapping) else None
    known = _number(rows)
    return min(each for each in (most, known, _SOME if known is None else None) if each is not None)


def _number(value: Any) -> float | None:
    """Return a number above 0; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < math.inf else None
