"""The record of a run at any point of its life, from its config."""

from __future__ import annotations

import datetime
from typing import Any, Literal

from dylora_exp.config import Config, identity, run_id
from dylora_exp.records import Record


def new_record(
    config: Config, status: Literal["running", "completed", "failed"], **fields: Any
) -> Record:
    """Return a record of a run.

    Args:
        config: The config of the run.
        status: How far the run is.
        fields: The record's other fields.
    """
    return Record(
        run_id=run_id(config),
        status=status,
        config=identity(config),
        model=config.model.name,
        task=config.task.name,
        method=config.method.name,
        profile=config.profile,
        seed=config.seed,
        created_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **fields,
    )
