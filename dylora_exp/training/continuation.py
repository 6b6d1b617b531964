"""Training a cut on, before it is scored, from the trained state of the whole model."""

from __future__ import annotations

from pathlib import Path

from dylora_exp.adapters import find_mask, trained_digest, trained_restored
from dylora_exp.core import LOG
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives import Objective
from dylora_exp.training.arguments import optimizer_steps
from dylora_exp.training.trainer import train


def train_cut_on(
    model: TrainedModel, objective: Objective, method: Method, cut: Cut, folder: Path
) -> None:
    """Train a cut on if its method says so, keep what it becomes, and restore the model.

    A killed run resumes it like any training: its checkpoints lie in a folder named by the cut and
    by the weights that it starts from.

    Args:
        model: The trained model.
        objective: Has the examples and computes the loss.
        method: Says how a cut is trained on, and keeps the result.
        cut: The cut.
        folder: The run's folder.
    """
    further = method.continuation(cut, optimizer_steps(method, len(objective.train_set)))
    if further is None:
        return
    with trained_restored(model), method.at_cut(model, cut):
        further.mask = find_mask(model)
        own = folder / "continued" / f"{cut.file_name}-{trained_digest(model)[:8]}"
        LOG.info("training on at %s", cut.file_name)
        result = train(model, objective, further, own)
        method.keep_continued(model, cut)
    seconds = method.timing.get("continue_seconds", 0.0) + result.seconds
    method.timing |= {"continue_seconds": seconds, "continue_steps_per_cut": result.steps}
