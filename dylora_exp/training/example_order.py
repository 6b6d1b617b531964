"""The order of the training examples: equal in all processes, and restored by a resume."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from dylora_exp.core import broadcast_from_main, is_main_process
from dylora_exp.training.checkpoint_contents import EPOCH_RANDOM_STATE
from dylora_exp.training.checkpoints import checkpoint_folder


class SharedOrderSampler(LengthGroupedSampler):
    """Samples examples of similar length together, in the same order in every process."""

    def __iter__(self) -> Iterator[int]:
        """Return the order of an epoch, drawn from the random state of the main process."""
        torch.set_rng_state(broadcast_from_main(torch.get_rng_state))
        order: Iterator[int] = super().__iter__()
        return order


class EpochRandomState(TrainerCallback):
    """Saves the random state that an epoch began with, and restores it when the epoch is resumed.

    The state decides the order of the epoch's examples. The Trainer restores that of the checkpoint
    only after it has drawn the order, so that a resume within an epoch would see other examples.
    ``resumed`` is the checkpoint that training resumes from, if any.
    """

    def __init__(self, resumed: Path | None) -> None:
        file = resumed / EPOCH_RANDOM_STATE if resumed else None
        self.resumed = load_file(file)["state"] if file and file.is_file() else None
        self.state = torch.get_rng_state()

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Restore the state that the resumed epoch began with, or keep that of a new one."""
        if self.resumed is not None:
            torch.set_rng_state(self.resumed)
            self.resumed = None
        self.state = torch.get_rng_state()

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Save the state in the checkpoint; at the end of an epoch, that of the next."""
        if is_main_process():
            at_end = (state.epoch or 0.0).is_integer()
            rng_state = torch.get_rng_state() if at_end else self.state
            save_file({"state": rng_state}, checkpoint_folder(args, state) / EPOCH_RANDOM_STATE)
