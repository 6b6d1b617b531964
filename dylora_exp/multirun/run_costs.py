"""What a planned run takes: seconds, memory and disk, from a measurement of its shape."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dylora_exp.config import Config
from dylora_exp.multirun.run_sizes import Batches, RunSizes

if TYPE_CHECKING:
    from dylora_exp.runner import Measurement

# Single precision, in which all that is trained is kept; AdamW has two moments of each.
_BYTES, _BYTES_IN_CHECKPOINT, _CHECKPOINTS = 4, 12, 2
# Of a record with its few hundred numbers, and of a generated token with its part of a line.
_RECORD_BYTES, _TOKEN_BYTES = 30_000, 6


@dataclass(frozen=True)
class RunCost:
    """What a run takes.

    Attributes:
        seconds: From its start to its record.
        training: Those of them in which it trains.
        scoring: Those in which it scores.
        memory: Peak bytes.
        disk: Bytes that it leaves: adapter, record, texts.
        checkpoints: Bytes that it has beside them while it trains.
    """

    seconds: float
    training: float
    scoring: float
    memory: float
    disk: float
    checkpoints: float


def cost_of(config: Config, sizes: RunSizes, batches: Batches, measured: Measurement) -> RunCost:
    """Return what a run takes.

    Args:
        config: The run's.
        sizes: What it trains and scores.
        batches: In which it does.
        measured: Of a run of its shape.
    """
    from dylora_exp.methods import make_method
    from dylora_exp.training import optimizer_steps

    method, trainer = make_method(config), config.trainer
    cuts = method.cuts()
    steps = 0 if method.is_trained_elsewhere else optimizer_steps(method, sizes.train)
    further = 0
    for cut in cuts if steps else ():
        if continued := method.continuation(cut, steps):
            further += continued.config.trainer.max_steps or 0
    each = measured.training.at(statistics.fmean(batches.trained)) * trainer.accumulation_steps
    training = (steps + further) * each
    sweeps = math.ceil(trainer.epochs) if trainer.score_every == "epoch" else 1
    scoring = len(cuts) * sweeps * _cut_seconds(config, sizes, batches, measured)
    trained = measured.trained_parameters(config.ranks.r_max)
    texts = _TOKEN_BYTES * sizes.new_lengths.at(0.5) if sizes.new_lengths else 0.0
    return RunCost(
        seconds=measured.start + training + scoring,
        training=training,
        scoring=scoring,
        memory=measured.memory.at(max(batches.trained)),
        disk=_BYTES * trained + _RECORD_BYTES + sizes.scored * len(cuts) * texts,
        checkpoints=_CHECKPOINTS * _BYTES_IN_CHECKPOINT * trained if steps else 0.0,
    )


def _cut_seconds(config: Config, sizes: RunSizes, batches: Batches, measured: Measurement) -> float:
    """Return the seconds of scoring one cut."""
    seconds = measured.per_cut + sum(map(measured.scoring.at, batches.scored))
    if sizes.new_lengths is not None:
        # A batch is done with the last of its texts.
        size = min(config.trainer.eval_batch_size, sizes.scored)
        longest = sizes.new_lengths.longest_of(size)
        seconds += measured.new_token * sizes.scored * longest
    return seconds
