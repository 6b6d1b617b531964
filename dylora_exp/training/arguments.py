"""The arguments of the Hugging Face Trainer, from a run's config."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from dylora_exp.core import process_count
from dylora_exp.methods import Method

_LOG_STEPS = 10
_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}


class OneGPUArguments(TrainingArguments):
    """Training arguments of a process that uses one GPU at most.

    With several GPUs in one process the Trainer would multiply the batch by their number.
    """

    @property
    def n_gpu(self) -> int:
        """Return the number of GPUs that this process uses."""
        return min(super().n_gpu, 1)


def optimizer_steps(method: Method, examples: int) -> int:
    """Return the number of optimizer steps that the Trainer takes.

    Args:
        method: Of the run; some take a fraction of the configured steps alone.
        examples: The number of training examples.
    """
    trainer, steps_share = method.config.trainer, method.steps_share
    if trainer.max_steps:
        return math.ceil(trainer.max_steps * steps_share)
    batches = math.ceil(examples / trainer.batch_size)
    each_epoch = math.ceil(batches / trainer.accumulation_steps)
    return math.ceil(trainer.epochs * steps_share * each_epoch)


def training_arguments(method: Method, folder: Path) -> TrainingArguments:
    """Return the Trainer's arguments for a method's run; checkpoints go to ``folder``."""
    config, steps_share = method.config, method.steps_share
    trainer = config.trainer
    return OneGPUArguments(
        output_dir=str(folder),
        seed=config.seed,
        learning_rate=trainer.learning_rate,
        per_device_train_batch_size=trainer.batch_size // process_count(),
        gradient_accumulation_steps=trainer.accumulation_steps,
        num_train_epochs=trainer.epochs * steps_share,
        max_steps=optimizer_steps(method, 0) if trainer.max_steps else -1,
        weight_decay=trainer.weight_decay,
        adam_beta1=trainer.adam_beta1,
        adam_beta2=trainer.adam_beta2,
        adam_epsilon=trainer.adam_epsilon,
        lr_scheduler_type=_SCHEDULES[trainer.schedule],
        warmup_steps=trainer.warmup_ratio if trainer.warmup_steps is None else trainer.warmup_steps,
        max_grad_norm=method.max_grad_norm,
        bf16=trainer.bf16,
        fp16=config.model.dtype == "float16",  # losses are scaled, so that no gradient vanishes
        remove_unused_columns=False,
        save_strategy="steps",
        save_steps=trainer.save_steps,
        save_total_limit=2,
        logging_strategy="steps",
        logging_steps=_LOG_STEPS,
        logging_nan_inf_filter=False,
        use_cpu=not torch.accelerator.is_available(),
        dataloader_pin_memory=torch.accelerator.is_available(),
        ddp_find_unused_parameters=False,
        disable_tqdm=True,
        report_to=[],
        **(_checkpointing() if trainer.gradient_checkpointing else {}),
    )


def _checkpointing() -> dict[str, Any]:
    """Return the arguments of gradient checkpointing, by the names of this transformers."""
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    kind = "activation" if "activation_checkpointing" in known else "gradient"
    # Reentrant checkpoints would have no gradient below frozen layers.
    return {
        f"{kind}_checkpointing": True,
        f"{kind}_checkpointing_kwargs": {"use_reentrant": False},
    }
