"""How long a run will take, by the records of runs that are alike but for their size.

Training takes time for each token that it sees, scoring for each text or label and cut. So a record
of 15 steps says something of a run of 800, one of another task of the same objective something of
this one, and one of another model nothing.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from dylora_exp.config import SIZE_PERCENTILES, TypicalSizes, option_files
from dylora_exp.core import RequestError, parse
from dylora_exp.records import Record
from dylora_exp.reporting import PlannedRun

# Of examples, where neither record nor config says how many there are.
_SOME = 10_000


@dataclass(frozen=True)
class _Size:
    """What a run does: tokens that it trains, and what it reads or writes in scoring a cut."""

    trained: float
    scored: float


def expected_seconds(run: PlannedRun, records: Iterable[Record]) -> float | None:
    """Return the mean of what records let expect of a run; None where none is comparable.

    Comparable are completed runs of the same model; if there are any, those of the same task alone
    count, of these those of the same method, and of these those of the same profile.
    """
    setup = run.setup
    found = [
        (record, seconds)
        for record in records
        if record.status == "completed"
        and record.model == setup.config.model.name
        and (seconds := _scaled_seconds(run, record)) is not None
    ]
    for is_closer in (
        lambda record: record.task == setup.task,
        lambda record: record.method == setup.method,
        lambda record: record.profile == setup.config.profile,
    ):
        found = [pair for pair in found if is_closer(pair[0])] or found
    return statistics.fmean(seconds for _, seconds in found) if found else None


def _scaled_seconds(run: PlannedRun, record: Record) -> float | None:
    """Return what a run would take at the speed of a record; None where it does not say."""
    train, sweep = (record.timing.get(f"{part}_seconds") for part in ("train", "sweep"))
    config, theirs = run.setup.config, record.config
    if not train or not sweep or not _are_of_one_kind(config.task.objective, theirs):
        return None
    rows = [source.get("rows") for source in record.data]
    known = (rows[0] if rows else None, rows[1] if len(rows) > 1 else None)
    own = known if record.task == run.task else (None, None)
    typical = config.task.typical, _typical(record.task)
    if record.task != run.task and None in typical:
        return None
    ours = _size(config.model_dump(), typical[0], *own)
    there = _size(theirs, typical[1], *known)
    cuts = len(record.ranks) + sum(len(epoch.ranks) for epoch in record.epochs)
    if ours is None or there is None or not cuts:
        return None
    sweeps = math.ceil(config.trainer.epochs) if config.trainer.score_every == "epoch" else 1
    planned_cuts = len(run.setup.ranks()) * max(1, len(config.method.cuts)) * sweeps
    scored = sweep * ours.scored / there.scored * planned_cuts / cuts
    return float(train * ours.trained / there.trained + scored)


def _are_of_one_kind(objective: str, tree: Mapping[str, Any]) -> bool:
    """Return whether a record's config is of an objective; one that does not say it may be."""
    task = tree.get("task")
    return not isinstance(task, Mapping) or task.get("objective", objective) == objective


def _size(
    tree: Mapping[str, Any], typical: TypicalSizes | None, train_rows: Any, eval_rows: Any
) -> _Size | None:
    """Return what a run does, by its config and the rows of its files; None where it is not known.

    Without the lengths of its task's texts each has one token.
    """
    examples = _examples_seen(tree, train_rows or (typical and typical.train))
    if examples is None:
        return None
    scored = _limited(tree, "max_eval_samples", eval_rows or (typical and typical.eval))
    if typical is None:
        return _Size(examples, scored)
    task = tree.get("task")
    most = _number(task.get("max_length")) if isinstance(task, Mapping) else None
    read = typical.new_tokens or typical.eval_tokens
    return _Size(
        examples * _mean(typical.train_tokens, most or math.inf), scored * _mean(read, math.inf)
    )


def _mean(percentiles: Iterable[int], most: float) -> float:
    """Return the mean length of examples that are cut at a number of tokens."""
    lengths = [min(most, each) for each in percentiles]
    points = itertools.pairwise(zip(SIZE_PERCENTILES, lengths, strict=True))
    return sum((b - a) / 100 * (low + high) / 2 for (a, low), (b, high) in points)


@functools.cache
def _typical(task: str) -> TypicalSizes | None:
    """Return the typical sizes of a task by its name; None where its file has none."""
    file = option_files("task").get(task)
    if file is None:
        return None
    tree = OmegaConf.to_container(OmegaConf.load(file))
    found = tree.get("typical") if isinstance(tree, dict) else None
    try:
        return None if found is None else parse(TypicalSizes, found)
    except RequestError:
        return None


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


def _limited(tree: Mapping[str, Any], limit: str, rows: Any) -> float:
    """Return how many examples are used, by a config and the rows of its file."""
    task = tree.get("task")
    most = _number(task.get(limit)) if isinstance(task, Mapping) else None
    known = _number(rows)
    return min(each for each in (most, known, _SOME if known is None else None) if each is not None)


def _number(value: Any) -> float | None:
    """Return a number above 0; None for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 < value < math.inf else None
