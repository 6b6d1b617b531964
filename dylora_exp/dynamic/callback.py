"""The Trainer's callback that draws the rank of each step."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from dylora_exp.core import RequestError
from dylora_exp.dynamic.adapter import find_adapter
from dylora_exp.dynamic.handle import DynamicLoRA


class DynamicRanks(TrainerCallback):
    """Draws the rank of each optimizer step of a Trainer; of TRL's trainers as well.

    The rank depends on the handle's seed and the Trainer's ``global_step`` alone: all processes
    draw the same, and a training that resumes from a checkpoint continues with the ranks it would
    have had. All micro-batches of an accumulated step have one rank. Evaluation, logging and saving
    between the steps see the model at full rank::

        handle = make_dynamic(model)
        SFTTrainer(model, args=..., callbacks=[DynamicRanks(handle)]).train()

    Args:
        handle: What ``make_dynamic`` returned for the Trainer's model.
    """

    def __init__(self, handle: DynamicLoRA) -> None:
        if not isinstance(handle, DynamicLoRA):
            raise RequestError(
                f"handle: found {type(handle).__name__}, expected what make_dynamic returns."
            )
        self.handle = handle

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """Refuse another model than the handle's."""
        if model is not None and find_adapter(model).model is not self.handle.model:
            raise RequestError(
                "model: the Trainer trains another model than the handle's; call make_dynamic with "
                "the model that the Trainer is given."
            )

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Draw the rank of the step."""
        self.handle.step(state.global_step)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Return to full rank, also where an optimizer has skipped its step."""
        self.handle.select_full_rank()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Leave the model at full rank."""
        self.handle.finish()
