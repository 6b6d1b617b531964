"""A trained model, scored at every rank."""

from __future__ import annotations

from pathlib import Path

from dylora_exp.core.logs import LOG
from dylora_exp.core.progress import progress_bar
from dylora_exp.methods.base import BaseMethod, TrainedModel, Way
from dylora_exp.models.compiling import compile_where_asked
from dylora_exp.objectives.base import Objective
from dylora_exp.records.record import RankScore


def sweep(
    model: TrainedModel, objective: Objective, method: BaseMethod, folder: Path
) -> list[RankScore]:
    """Score a trained model in every way that its method knows, the same in every process.

    Args:
        model: The trained model.
        objective: Scores the model as it is shown.
        method: Shows the model at a rank.
        folder: The run's folder.

    Returns:
        One entry for each way, in the method's order.
    """
    compile_where_asked(model, method.config)
    scores = []
    headline = method.config.task.headline
    for way in progress_bar(method.ways(), desc="scoring", unit="rank"):
        scored = objective.score(model, method, way, folder)
        LOG.info("scored %s: %s %s", _name(way), headline, scored.metrics.get(headline))
        scores.append(
            RankScore(way.rank, way.truncation, way.scale, scored.metrics, scored.seconds)
        )
    return scores


def _name(way: Way) -> str:
    parts = [f"rank {way.rank}" if way.rank else "the whole", way.truncation, way.scale]
    return " ".join(part for part in parts if part)
