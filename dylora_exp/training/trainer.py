"""Training by the Hugging Face Trainer: resumable, and by several processes as by one.

At every step the processes share the examples of its batch, draw the same ranks, and take the mean
of their gradients by ``DistributedDataParallel``, weighted so that it is the gradient of the whole
batch. Each process draws dropout for its own examples; without dropout only rounding differs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from datasets import Dataset
from torch import nn
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback

from dylora_exp.adapters import move_mask_to_model
from dylora_exp.core import LOG, TrainingDiverged, broadcast_from_main
from dylora_exp.methods import Batch, Method, TrainedModel
from dylora_exp.models import compile_where_asked, eager_for_one
from dylora_exp.objectives import Objective, SharedBatches, batch_part
from dylora_exp.training.arguments import training_arguments
from dylora_exp.training.callbacks import (
    CheckpointCompleter,
    DivergenceCheck,
    ProgressBar,
    TrainingTimer,
    UntimedCallback,
)
from dylora_exp.training.checkpoint_names import step_of
from dylora_exp.training.checkpoints import find_resume_point, load_weights
from dylora_exp.training.example_order import EpochRandomState, order_sampler


@dataclass(frozen=True)
class TrainingResult:
    """How training went.

    Attributes:
        steps: Optimizer steps, over all interruptions.
        seconds: Seconds, over all interruptions.
        warnings: Sentences about damaged checkpoints.
    """

    steps: int = 0
    seconds: float = 0.0
    warnings: list[str] = field(default_factory=list)

    def timing(self) -> dict[str, float]:
        """Return the record's part of it."""
        return {"train_seconds": self.seconds, "steps": self.steps}


def train(
    model: TrainedModel,
    objective: Objective,
    method: Method,
    folder: Path,
    untimed: UntimedCallback | None = None,
    callbacks: Sequence[TrainerCallback] = (),
) -> TrainingResult:
    """Train a model in place, from the last complete checkpoint in ``folder`` if there is one.

    Args:
        model: The model that the method attached to the backbone.
        objective: Has the examples and computes the loss.
        method: Has callbacks and parameter groups of its own.
        folder: Where checkpoints go.
        untimed: A callback whose time does not count as training time.
        callbacks: Further callbacks, called before all others.

    Raises:
        TrainingDiverged: When the loss or a weight is no longer finite.
    """
    resume = broadcast_from_main(lambda: find_resume_point(folder, model))
    for warning in resume.warnings:
        LOG.warning(warning)
    checkpoint, marker = resume.checkpoint, resume.marker
    method.drawn.update({int(rank): count for rank, count in marker.drawn.items()})
    if checkpoint is not None and marker.finished:
        load_weights(model, checkpoint)
        _check_finite(model)
        LOG.info("training was finished before: %s", checkpoint.name)
        return TrainingResult(step_of(checkpoint), marker.seconds, resume.warnings)
    untimed = untimed or UntimedCallback()
    timer = TrainingTimer(marker.seconds, untimed)
    own: list[TrainerCallback] = [
        EpochRandomState(checkpoint),
        untimed,
        timer,
        CheckpointCompleter(timer, method),
    ]
    own += [ProgressBar(method), DivergenceCheck()]
    trainer = make_trainer(model, objective, method, folder, callbacks, own)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    _check_finite(model)
    return TrainingResult(trainer.state.global_step, timer.seconds(), resume.warnings)


def make_trainer(
    model: TrainedModel,
    objective: Objective,
    method: Method,
    folder: Path,
    before: Sequence[TrainerCallback],
    after: Sequence[TrainerCallback] = (),
) -> MethodTrainer:
    """Return a Trainer of a method, its model ready to be trained.

    Args:
        model: As for ``train``.
        objective: As for ``train``.
        method: As for ``train``.
        folder: As for ``train``.
        before: Callbacks that are called before those of the method.
        after: Callbacks that are called after them.
    """
    compile_where_asked(model, method.config)
    trainer = MethodTrainer(
        method,
        objective,
        model=model,
        args=training_arguments(method, folder),
        callbacks=[*before, *method.callbacks(model), *after],
    )
    trainer.remove_callback(PrinterCallback)
    move_mask_to_model(model)
    return trainer


def _check_finite(model: nn.Module) -> None:
    """Raise ``TrainingDiverged`` for the first trained weight that is not finite."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not parameter.isfinite().all():
            raise TrainingDiverged(f"'{name}' holds other values than finite numbers")


class MethodTrainer(Trainer):
    """A Trainer that leaves passes, loss and parameter groups to method and objective."""

    model: TrainedModel
    train_dataset: Dataset
    objective: Objective
    optimizer: torch.optim.Optimizer | None

    def __init__(self, method: Method, objective: Objective, **arguments: Any) -> None:
        super().__init__(
            train_dataset=objective.train_set, data_collator=objective.collate, **arguments
        )
        # The heads take the mean over a micro-batch whatever else their signature lets through;
        # the Trainer has to divide it by the number of micro-batches.
        self.model_accepts_loss_kwargs = False
        self.method = method
        self.objective = objective
        self.batch_size = self.args.per_device_train_batch_size * self.args.world_size
        self.batch = Batch(-1, 0, 0, 0)
        self.loss_weight: torch.Tensor | None = None
        self.is_last_pass = True
        method.divergence = objective.divergence

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return a loader of this process's part of every batch that one process would see."""
        sampler = order_sampler(self.method.config, self.train_dataset["length"])
        batches = SharedBatches(
            sampler, self.batch_size, self.args.process_index, self.args.world_size
        )
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        # As for one process: the batches are shared already.
        return prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        """Run the method's passes over a micro-batch and return the sum of their losses."""
        self.batch = self._next_batch()
        self.loss_weight = self._compute_loss_weight(inputs["labels"])
        losses = []
        for each in self.method.forward_passes(self.batch):
            self.is_last_pass = each.is_last
            # Processes exchange their gradients once, in the last pass.
            with contextlib.nullcontext() if each.is_last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, inputs, *rest))
        return torch.stack(losses).sum()

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Return the method's loss, weighted by this process's share of the batch.

        What the method adds whatever the examples comes once a micro-batch, with its last pass.
        """
        with eager_for_one(self.model, len(inputs["labels"])):
            loss = self.method.loss(model, inputs, self.objective.loss)
        if self.loss_weight is not None:
            loss = loss * self.loss_weight
        penalty = self.method.penalty(self.model) if self.is_last_pass else None
        return loss if penalty is None else loss + penalty

    def _next_batch(self) -> Batch:
        step = self.state.global_step
        index = self.batch.index + 1 if step == self.batch.step else 0
        size = self._size(step, index)
        rows = batch_part(size, self.args.process_index, self.args.world_size).rows
        return Batch(step, index, index * self.batch_size, size, rows)

    def _size(self, step: int, index: int) -> int:
        """Return the number of examples of a micro-batch, over all processes."""
        examples = len(self.objective.train_set)
        micro_batches = self.args.gradient_accumulation_steps
        batches = math.ceil(examples / self.batch_size)
        steps = math.ceil(batches / micro_batches)
        before = (step % steps * micro_batches + index) * self.batch_size
        return min(self.batch_size, examples - before)

    def _compute_loss_weight(self, labels: torch.Tensor) -> torch.Tensor | None:
        """Return the factor by which a mean over processes becomes one over their examples."""
        world = self.args.world_size
        if world == 1:
            return None
        counts = batch_part(self.batch.size, self.args.process_index, world).counts
        own = self.objective.terms(labels) * counts
        total = self.accelerator.reduce(own.clone(), "sum")
        weight: torch.Tensor = world * own / total.clamp(min=1)
        return weight

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return AdamW, with weight decay on everything trainable but biases and LayerNorm."""
        if self.optimizer is None:
            target = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(target))
            trained = [(n, p) for n, p in target.named_parameters() if p.requires_grad]
            with_decay = [p for n, p in trained if n in decayed]
            without = [p for n, p in trained if n not in decayed]
            groups = [
                {"params": with_decay, "weight_decay": self.args.weight_decay},
                {"params": without, "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(
                self.method.optimizer_groups(groups),
                lr=self.args.learning_rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
            )
        return self.optimizer
