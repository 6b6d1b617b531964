"""The rank sweep: one trained model, scored at every rank."""

from __future__ import annotations

import functools
from pathlib import Path

from dylora_exp.core import LOG, progress_bar
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.models import compile_where_asked
from dylora_exp.objectives import Objective
from dylora_exp.records import RankScore
from dylora_exp.training.calibration import calibration_batches
from dylora_exp.training.continuation import train_cut_on


def score_all_ranks(
    model: TrainedModel, objective: Objective, method: Method, folder: Path
) -> list[RankScore]:
    """Score a trained model at every cut of its method; the result is the same in every process.

    Args:
        model: The trained model.
        objective: Scores the model.
        method: Lists the cuts and applies them.
        folder: Where predictions go.

    Returns:
        One score for each cut, in the method's order.
    """
    compile_where_asked(model, method.config)
    method.prepare_cuts(model, functools.partial(calibration_batches, objective, method.config))
    scores = []
    headline = method.config.task.headline
    for cut in progress_bar(method.cuts(), desc="scoring", unit="rank"):
        train_cut_on(model, objective, method, cut, folder)
        scored = objective.score(model, method, cut, folder)
        LOG.info("scored %s: %s %s", _describe(cut), headline, scored.metrics.get(headline))
        found = (scored.metrics, scored.seconds, method.layer_ranks(cut))
        scores.append(RankScore(cut.rank, cut.truncation, cut.scale, *found))
    return scores


def _describe(cut: Cut) -> str:
    parts = [f"rank {cut.rank}" if cut.rank else "the whole model", cut.truncation, cut.scale]
    return " ".join(part for part in parts if part)
