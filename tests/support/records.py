"""The builder of records for all tests."""

from __future__ import annotations

from typing import Any

from dylora_exp.config.run_identity import identity, run_id
from dylora_exp.config.schema import Config
from dylora_exp.records.record import RankScore, Record


def make_record(config: Config | None = None, /, **changes: Any) -> Record:
    """Return a completed record.

    Args:
        config: The run's config; None for a run that no config stands behind.
        changes: Fields of the record that differ from the defaults.
    """
    fields: dict[str, Any] = {
        "run_id": "0123456789ab",
        "status": "completed",
        "config": {"seed": 1},
        "model": "m",
        "task": "t",
        "method": "dylora",
        "profile": "demo",
        "seed": 1,
        "created_at": "2026-01-01T00:00:00+00:00",
        "ranks": [RankScore(1, "leading", "alpha/b", {"f1": 0.5, "pearson": None}, 0.1)],
    }
    if config is not None:
        fields |= {
            "run_id": run_id(config),
            "config": identity(config),
            "model": config.model.name,
            "task": config.task.name,
            "method": config.method.name,
            "profile": config.profile,
            "seed": config.seed,
        }
    return Record(**fields | changes)
