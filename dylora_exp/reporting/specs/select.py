"""Which epoch's scores a table takes: those after the last, or each rank's best.

The paper takes the last (Section 5.1 names no other). Mixing the two silently is a common reason
for numbers that do not reproduce, so every table says which it shows.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

from dylora_exp.config import Config
from dylora_exp.metrics import metric_sign
from dylora_exp.records import RankScore, Record

Select = Literal["last", "best"]
SELECTS = {
    "last": "scores after the last epoch",
    "best": "each rank at the epoch with its best score",
}
# What a run needs to have the scores of a selection.
OVERRIDES = {"last": (), "best": ("trainer.score_every=epoch",)}


def selected(record: Record, config: Config) -> Record | None:
    """Return a record as a planned run's config wants it, None where it has no such scores.

    A run that is planned to be scored after every epoch wants each rank's best of them.

    Args:
        record: A completed record.
        config: The planned run's.
    """
    if config.trainer.score_every == "end":
        return record
    if record.config.get("trainer", {}).get("score_every") != "epoch":
        return None
    return dataclasses.replace(record, ranks=best_epochs(record, config.task.headline))


def best_epochs(record: Record, metric: str) -> list[RankScore]:
    """Return the scores of each rank and cut after the epoch in which its ``metric`` was best.

    The earlier epoch counts where two are equal.
    """
    sweeps = [*(epoch.ranks for epoch in record.epochs), record.ranks]
    best: dict[tuple[int | None, str | None, str | None], RankScore] = {}
    for sweep in sweeps:
        for score in sweep:
            key = (score.rank, score.truncation, score.scale)
            if key not in best or _height(score, metric) > _height(best[key], metric):
                best[key] = score
    return list(best.values())


def _height(score: RankScore, metric: str) -> float:
    value = score.metrics.get(metric)
    if value is None or not math.isfinite(value):
        return -math.inf
    return metric_sign(metric) * value
