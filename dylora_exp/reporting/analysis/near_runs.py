"""Records that differ in some settings from the runs that a table lacks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from dylora_exp.config import distinguishing_settings, identity
from dylora_exp.records import Record
from dylora_exp.reporting.analysis.groups import SAME_SETUP, is_on_held_out, settings_of
from dylora_exp.reporting.analysis.plan import MissingRun, Setup

# Of each kind, so many are named.
_MOST = 3


def near_runs(
    missing: Iterable[MissingRun], used: Collection[str], records: Mapping[str, Record]
) -> list[str]:
    """Return a phrase for each set of settings in which records differ from runs that are missing.

    A record is compared with the missing runs of its profile, task and method, and counts for the
    one it differs least from: ``9 records differ in trainer.max_steps``.

    Args:
        missing: The runs without a record.
        used: The run ids of the records that the table has; they do not count.
        records: All records by run id.
    """
    setups: dict[tuple[str, str, str], dict[Setup, Mapping[str, Any]]] = {}
    for setup in dict.fromkeys(item.run.setup for item in missing):
        config = setup.config
        names = (config.profile, config.task.name, config.method.name)
        planned = distinguishing_settings(identity(config), SAME_SETUP)
        setups.setdefault(names, {})[setup] = planned
    counts: Counter[tuple[str, ...]] = Counter()
    for run_id, record in records.items():
        candidates = setups.get((record.profile, record.task, record.method), {})
        if record.status != "completed" or run_id in used or not candidates:
            continue
        if is_on_held_out(record):
            continue
        own = settings_of(record)
        found = [_differences(own, planned) for planned in candidates.values()]
        counts[min(found, key=lambda keys: (len(keys), keys))] += 1
    phrases = [_phrase(keys, count) for keys, count in counts.most_common() if keys]
    rest = len(phrases) - _MOST
    return phrases if rest <= 0 else [*phrases[:_MOST], f"{rest} more kinds of difference"]


def _differences(own: Mapping[str, Any], planned: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys in which two settings differ; of another model, ``model`` alone."""
    keys = sorted(key for key in {*own, *planned} if own.get(key) != planned.get(key))
    if own.get("model.name") != planned.get("model.name"):
        keys = ["model", *(key for key in keys if not key.startswith("model."))]
    return tuple(keys)


def _phrase(keys: Sequence[str], count: int) -> str:
    shown = ", ".join(keys[:_MOST])
    if len(keys) > _MOST:
        shown += f" and {len(keys) - _MOST} more"
    return f"1 record differs in {shown}" if count == 1 else f"{count} records differ in {shown}"
