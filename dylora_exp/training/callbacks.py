"""Callbacks of the Trainer: time, complete checkpoints, divergence, the progress bar."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback, TrainerState, TrainingArguments

from dylora_exp.core import LOG, TrainingDiverged, is_main_process, progress_bar, wait_for_all
from dylora_exp.methods import Method
from dylora_exp.training.checkpoints import checkpoint_folder, write_marker


class UntimedCallback(TrainerCallback):
    """Work during training whose ``seconds``, in this process, do not count as training time."""

    seconds = 0.0


class TrainingTimer(TrainerCallback):
    """Counts the seconds of training; ``before`` are those until it was interrupted."""

    def __init__(self, before: float, untimed: UntimedCallback) -> None:
        self.before = before
        self.untimed = untimed
        self.start = time.monotonic()

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start counting, now that the model and the data are loaded."""
        self.start = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds of training so far."""
        return self.before + time.monotonic() - self.start - self.untimed.seconds


class CheckpointCompleter(TrainerCallback):
    """Writes the marker of a complete checkpoint; it must be the last to write into one."""

    def __init__(self, timer: TrainingTimer, method: Method) -> None:
        self.timer = timer
        self.method = method

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Write the marker into the checkpoint just saved."""
        wait_for_all()  # each process saves its own random state
        if is_main_process():
            drawn = {str(rank): count for rank, count in self.method.drawn.items()}
            finished = state.global_step >= state.max_steps
            write_marker(checkpoint_folder(args, state), self.timer.seconds(), finished, drawn)


class DivergenceCheck(TrainerCallback):
    """Ends a training whose loss is no longer a finite number."""

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Any = None, **_: Any
    ) -> None:
        """Raise ``TrainingDiverged`` when the logged loss is not finite."""
        loss = logs.get("loss", 0.0)
        if not math.isfinite(loss):
            raise TrainingDiverged(f"the training loss became {loss} by step {state.global_step}")


class ProgressBar(TrainerCallback):
    """Shows step, rank and loss in one line, and logs the loss."""

    def __init__(self, method: Method) -> None:
        config = method.config
        self.title = f"{config.method.name} · {config.task.name} · seed {config.seed}"
        self.mask = method.mask
        self.loss = math.nan

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Open the bar at the step where training starts or resumes."""
        LOG.info("training from step %d to %d", state.global_step, state.max_steps)
        self.bar = progress_bar(
            total=state.max_steps, initial=state.global_step, desc=self.title, unit="step"
        )

    def on_log(
        self, args: Any, state: TrainerState, control: Any, logs: Any = None, **_: Any
    ) -> None:
        """Log the loss and keep it for the bar."""
        if "loss" in logs:
            self.loss = logs["loss"]
            LOG.info("step %d: loss %.6g", state.global_step, self.loss)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Advance the bar by one step."""
        parts = [_format_ranks(self.mask.ranks)] if self.mask else []
        parts += [f"loss {self.loss:.4f}"] if math.isfinite(self.loss) else []
        self.bar.set_postfix_str(", ".join(parts), refresh=False)
        self.bar.update()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Close the bar."""
        self.bar.close()


def _format_ranks(ranks: Sequence[int]) -> str:
    low, high = min(ranks), max(ranks)
    return f"rank {low}" if low == high else f"ranks {low}-{high}"
