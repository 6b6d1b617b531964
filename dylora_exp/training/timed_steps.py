"""A few steps of training, timed: what a run will do, for a plan of how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback, TrainerControl

from dylora_exp.methods import Method, TrainedModel
from dylora_exp.objectives import Objective
from dylora_exp.training.trainer import make_trainer


def wait_for_device() -> None:
    """Wait until a GPU has done what it was told, so that a clock sees the end of it."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class _StepClock(TrainerCallback):
    """Takes the time after each step, and ends training when there was enough of them.

    The first interval is one between two steps: it has all that a step does, callbacks and the next
    batch included, and nothing of what only the first step does.
    """

    def __init__(self, clock: Callable[[], float], enough: Callable[[list[float]], bool]) -> None:
        self.clock, self.enough = clock, enough
        self.last: float | None = None
        self.seconds: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: TrainerControl, **_: Any) -> None:
        """Note the seconds since the end of the step before."""
        wait_for_device()
        now = self.clock()
        if self.last is not None:
            self.seconds.append(now - self.last)
            control.should_training_stop = self.enough(self.seconds)
        self.last = now


def time_steps(
    model: TrainedModel,
    objective: Objective,
    method: Method,
    folder: Path,
    clock: Callable[[], float],
    enough: Callable[[list[float]], bool],
) -> list[float]:
    """Train for some steps by the Trainer of runs, after one that does not count.

    Nothing is saved as long as they are fewer than the run's steps.

    Args:
        model: The model, which is changed.
        objective: Has the examples and computes the loss.
        method: Of the run.
        folder: The Trainer's.
        clock: Returns the seconds since some moment.
        enough: Whether the seconds of the steps so far are enough.

    Returns:
        The seconds of each step but the first.
    """
    steps = _StepClock(clock, enough)
    make_trainer(model, objective, method, folder, [steps]).train()
    return steps.seconds
