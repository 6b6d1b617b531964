"""The order of the training examples: equal in all processes, and restored by a resume.

``random`` gives every example of an epoch the same chance of every batch, as the released code's
DataLoader and LoRA's for GPT-2 do. ``length_grouped`` puts examples of similar length together,
which pads less. But the loss of a batch of texts is a mean over its tokens: where all are long,
each token weighs less than one among short texts. And labels that go with a length come in batches
of like labels. ``scripts/compare_orders.py`` measures both.

Either way every example comes once in an epoch: the last batch has what is left, if it is fewer.
The released code keeps it too; LoRA's code for GPT-2 drops it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_pt_utils import LengthGroupedSampler

from dylora_exp.config import Config
from dylora_exp.core import broadcast_from_main, draw_permutation, is_main_process
from dylora_exp.training.checkpoint_contents import EPOCH_RANDOM_STATE
from dylora_exp.training.checkpoints import checkpoint_folder


class RandomOrderSampler(Sampler[int]):
    """Samples examples by a permutation that (seed, epoch) and their number alone decide.

    So it is the same in every process, on every machine and after a resume, whatever the batch
    size, the lengths, and the random numbers drawn in training.

    Args:
        count: How many examples there are.
        seed: The run's seed.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed, self.epoch = count, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the 0-based epoch of the next order; called by the Trainer."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(draw_permutation(self.count, self.seed, "order", self.epoch))


class LengthGroupedOrderSampler(LengthGroupedSampler):
    """Samples examples of similar length together, in the same order in every process."""

    def __iter__(self) -> Iterator[int]:
        """Return the order of an epoch, drawn from the random state of the main process."""
        torch.set_rng_state(broadcast_from_main(torch.get_rng_state))
        order: Iterator[int] = super().__iter__()
        return order


def order_sampler(config: Config, lengths: Sequence[int]) -> Sampler[int]:
    """Return the sampler of ``trainer.order``, which gives each epoch's order of the examples.

    Args:
        config: The run's config.
        lengths: Of the examples, in tokens.
    """
    trainer = config.trainer
    if trainer.order == "random":
        return RandomOrderSampler(len(lengths), config.seed)
    step = trainer.batch_size * trainer.accumulation_steps
    return LengthGroupedOrderSampler(step, lengths=list(lengths))


class EpochRandomState(TrainerCallback):
    """Saves the random state that an epoch began with, and restores it when the epoch is resumed.

    The state decides a length-grouped order of the epoch's examples. The Trainer restores that of
    the checkpoint only after it has drawn the order, so that a resume within an epoch would see
    other examples.
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
