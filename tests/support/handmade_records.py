"""Records made by hand, laid into a results folder under the ids of the runs they stand for."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dylora_exp.config.composition import compose
from dylora_exp.config.run_identity import identity, run_id
from dylora_exp.config.schema import Config
from dylora_exp.records.record import RankScore, Record
from dylora_exp.records.store import RecordStore

LEADING = ("leading", "alpha/b")
LEADING_R = ("leading", "alpha/r")
SVD = ("svd", "alpha/r")
ENVIRONMENT = {"project": "0.1.0", "git_commit": "abcdef0123456789", "dirty": False}

Metrics = Mapping[str, float | None]


@functools.cache
def composed(words: tuple[str, ...]) -> Config:
    return compose(words)


class Results:
    """A results folder and the making of its records."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = RecordStore(folder)

    def add(
        self,
        words: str,
        seed: int,
        scores: Mapping[tuple[int | None, str | None, str | None], Metrics],
        **changes: Any,
    ) -> Record:
        """Write the record of the run that these override words compose, and return it."""
        config = composed(tuple(words.split())).model_copy(
            update={"seed": seed, **{k: v for k, v in changes.items() if k == "profile"}}
        )
        ranks = [RankScore(*cut, dict(metrics), 0.1) for cut, metrics in scores.items()]
        fields: dict[str, Any] = {
            "run_id": run_id(config),
            "status": "completed",
            "config": identity(config),
            "model": config.model.name,
            "task": config.task.name,
            "method": config.method.name,
            "profile": config.profile,
            "seed": seed,
            "created_at": "2026-01-01T00:00:00+00:00",
            "ranks": ranks,
            "environment": ENVIRONMENT,
        }
        record = Record(**{**fields, **changes})
        self.store.write(record)
        return record

    def demo(self, method: str, seed: int, accuracy: float | None, **changes: Any) -> Record:
        """Write a demo run with one accuracy at every rank, however it is made."""
        cuts = [LEADING, LEADING_R, SVD] if method == "lora" else [LEADING]
        scores = {(rank, *cut): {"accuracy": accuracy} for rank in range(1, 9) for cut in cuts}
        return self.add(f"profile=demo task=demo method={method}", seed, scores, **changes)
