"""The training examples on which cuts are measured: ``method.calibration_batches``."""

from __future__ import annotations

from dylora_exp.adapters import Calibration
from dylora_exp.config import Config
from dylora_exp.core import LOG, draw_permutation
from dylora_exp.objectives import Objective


def calibration_batches(objective: Objective, config: Config, count: int) -> Calibration:
    """Return batches of training examples that the seed and their number alone decide.

    Args:
        objective: Has the examples and computes their loss.
        config: The run's; ``trainer.batch_size`` is the size of a batch.
        count: How many batches; all examples are taken where there are fewer.
    """
    examples, size = objective.train_set, config.trainer.batch_size
    order = draw_permutation(len(examples), config.seed, "calibration")
    chosen = order[: size * count]
    LOG.info("measuring cuts on %d training examples", len(chosen))
    batches = [
        [examples[index] for index in chosen[start : start + size]]
        for start in range(0, len(chosen), size)
    ]
    return Calibration(batches, objective.collate, objective.loss, config.trainer.bf16)
