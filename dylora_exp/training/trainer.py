"""Training with the Hugging Face Trainer: schedule of ranks, resume, several processes, progress.

Several processes do what one would: at every step they share the examples of its batch, draw the
same ranks, and take the mean of their gradients by ``DistributedDataParallel``, weighed so that it
is the gradient of the whole batch. Each draws dropout for its own examples; without dropout nothing
but rounding is different.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import prepare_data_loader
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.data import DataLoader, Sampler
from transformers import (
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler

from dylora_exp.adapters import move_mask_to_model
from dylora_exp.config import Config
from dylora_exp.core import (
    LOG,
    broadcast_from_main,
    is_main_process,
    process_count,
    progress_bar,
    wait_for_all,
)
from dylora_exp.methods import Batch, Method, TrainedModel
from dylora_exp.models import compile_where_asked, eager_for_one
from dylora_exp.objectives import Objective, SharedBatches, batch_part
from dylora_exp.training import checkpoints

_EPOCH = "epoch_rng.safetensors"
_LOG_STEPS = 10
_ADVICE = "try a lower trainer.learning_rate."


class TrainingDiverged(Exception):
    """The loss stopped being a finite number."""


@dataclass(frozen=True)
class Trained:
    """How training went: optimizer steps and seconds, over all interruptions, and warnings."""

    steps: int
    seconds: float
    warnings: list[str] = field(default_factory=list)


class UntimedCallback(TrainerCallback):
    """Work in the course of training that is none; ``seconds``: its time in this process."""

    seconds = 0.0


def train(
    model: TrainedModel,
    objective: Objective,
    method: Method,
    folder: Path,
    untimed: UntimedCallback | None = None,
) -> Trained:
    """Train a model in place, from the last whole checkpoint in ``folder`` where there is one.

    Args:
        model: What the method attached to the backbone.
        objective: Brings the examples and the loss.
        method: Brings its callbacks and its parameter groups.
        folder: Where checkpoints go.
        aside: What else is done on the way; its time does not count.

    Raises:
        TrainingDiverged: When the loss is no longer finite.
    """
    config = method.config
    found = broadcast_from_main(lambda: checkpoints.find_resume_point(folder))
    for warning in found.warnings:
        LOG.warning(warning)
    checkpoint, marker = found.checkpoint, found.marker
    method.drawn.update({int(rank): count for rank, count in marker.drawn.items()})
    if checkpoint is not None and marker.finished:
        checkpoints.restore(model, checkpoint)
        LOG.info("training was over before: %s", checkpoint.name)
        return Trained(checkpoints.step_of(checkpoint), marker.seconds, found.warnings)
    untimed = untimed or UntimedCallback()
    clock = Clock(marker.seconds, method, untimed)
    compile_where_asked(model, config)
    order = EpochOrder(checkpoint)
    trainer = MethodTrainer(
        method,
        objective,
        order,
        model=model,
        args=_arguments(config, folder, method.steps_share),
        callbacks=[*method.callbacks(model), order, untimed, clock, Progress(method)],
    )
    trainer.remove_callback(PrinterCallback)
    move_mask_to_model(model)
    trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and not parameter.isfinite().all():
            raise TrainingDiverged(f"'{name}' is no longer finite; {_ADVICE}")
    return Trained(trainer.state.global_step, clock.seconds(), found.warnings)


class MethodTrainer(Trainer):
    """A Trainer that leaves passes, loss and parameter groups to method and objective.

    Args:
        method: Makes the passes and the parameter groups.
        objective: Brings the examples and the loss.
        order: Keeps the random numbers that decide the order of the examples.
        arguments: The Trainer's.
    """

    def __init__(
        self, method: Method, objective: Objective, order: EpochOrder, **arguments: Any
    ) -> None:
        super().__init__(
            train_dataset=objective.train_set, data_collator=objective.collate, **arguments
        )
        # The heads take the mean over a micro-batch whatever else their signature lets through;
        # the Trainer has to divide it by the number of micro-batches.
        self.model_accepts_loss_kwargs = False
        self.method = method
        self.objective = objective
        self.order = order
        self.batch_size = self.args.per_device_train_batch_size * self.args.world_size
        self.batch = Batch(-1, 0, 0, 0)
        self.share: torch.Tensor | None = None
        self.optimizer: torch.optim.Optimizer | None

    def get_train_dataloader(self) -> DataLoader:
        """Share every batch of the order that one process would see."""
        if self.args.world_size == 1:
            return super().get_train_dataloader()
        place = self.args.process_index, self.args.world_size
        loader = DataLoader(
            self.train_dataset,
            batch_sampler=SharedBatches(self._get_train_sampler(), self.batch_size, *place),
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
        )
        # For one process: these are its parts already.
        return prepare_data_loader(
            loader, self.args.device, num_processes=1, process_index=0, put_on_device=True
        )

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler:
        together = self.batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(together, lengths=list(self.train_dataset["length"]))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        super()._load_rng_state(checkpoint)
        if (self.state.epoch or 0.0).is_integer():  # its order is not drawn yet
            self.order.note()

    def training_step(self, model: nn.Module, inputs: dict[str, Any], *rest: Any) -> torch.Tensor:
        """Add up the gradients of the passes that the method makes over a micro-batch."""
        self.batch = self._next_batch()
        self.share = self._share(inputs["labels"])
        losses = []
        for each in self.method.forward_passes(self.batch):
            # Several processes exchange their gradients once, in the last pass.
            with contextlib.nullcontext() if each.is_last else self.accelerator.no_sync(model):
                losses.append(super().training_step(model, inputs, *rest))
        return torch.stack(losses).sum()

    def compute_loss(self, model: nn.Module, inputs: dict[str, Any], *_: Any, **__: Any) -> Any:
        """Leave the loss to the method."""
        with eager_for_one(self.model, len(inputs["labels"])):
            loss = self.method.loss(model, inputs, self.objective.loss)
        return loss if self.share is None else loss * self.share

    def _next_batch(self) -> Batch:
        step = self.state.global_step
        index = self.batch.index + 1 if step == self.batch.step else 0
        size = self._size(step, index)
        rows = batch_part(size, self.args.process_index, self.args.world_size).rows
        return Batch(step, index, index * self.batch_size, size, rows)

    def _size(self, step: int, index: int) -> int:
        """Return the number of examples of a micro-batch, over all processes."""
        examples, micro_batches = (
            len(self.objective.train_set),
            self.args.gradient_accumulation_steps,
        )
        batches = math.ceil(examples / self.batch_size)
        steps = math.ceil(batches / micro_batches)
        before = (step % steps * micro_batches + index) * self.batch_size
        return min(self.batch_size, examples - before)

    def _share(self, labels: torch.Tensor) -> torch.Tensor | None:
        """Return the factor that turns a mean over processes into one over their examples."""
        world = self.args.world_size
        if world == 1:
            return None
        counts = batch_part(self.batch.size, self.args.process_index, world).counts
        own = self.objective.terms(labels) * counts
        total = self.accelerator.reduce(own.clone(), "sum")
        share: torch.Tensor = world * own / total.clamp(min=1)
        return share

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Build AdamW: weight decay on everything trainable but biases and LayerNorm."""
        if self.optimizer is None:
            target = self.model if model is None else model
            decayed = set(self.get_decay_parameter_names(target))
            trained = [(n, p) for n, p in target.named_parameters() if p.requires_grad]
            groups = [
                {
                    "params": [p for n, p in trained if n in decayed],
                    "weight_decay": self.args.weight_decay,
                },
                {"params": [p for n, p in trained if n not in decayed], "weight_decay": 0.0},
            ]
            self.optimizer = torch.optim.AdamW(
                self.method.optimizer_groups(groups),
                lr=self.args.learning_rate,
                betas=(self.args.adam_beta1, self.args.adam_beta2),
                eps=self.args.adam_epsilon,
            )
        return self.optimizer


class Clock(TrainerCallback):
    """Counts the seconds of training across interruptions and seals each checkpoint.

    The seal is written last: a checkpoint without it was cut short and is not resumed from.
    """

    def __init__(self, before: float, method: Method, untimed: UntimedCallback) -> None:
        self.before = before
        self.method = method
        self.untimed = untimed
        self.start = time.monotonic()

    def seconds(self) -> float:
        """Return the seconds of training so far."""
        return self.before + time.monotonic() - self.start - self.untimed.seconds

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Start counting when the model and the data are in place."""
        self.start = time.monotonic()

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Seal the checkpoint just written."""
        wait_for_all()  # each adds its random numbers
        if is_main_process():
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            drawn = {str(rank): count for rank, count in self.method.drawn.items()}
            finished = state.global_step >= state.max_steps
            checkpoints.write_marker(folder, self.seconds(), finished, drawn)


class EpochOrder(TrainerCallback):
    """Keeps the state of the random numbers that each epoch began with.

    They decide the order of its examples. The Trainer restores those of the checkpoint only after
    it has drawn that order, so that a resume in any but the first epoch would see other data.
    Several processes begin each epoch with those of the main one, and so see the same order.

    Args:
        resumed: The checkpoint that training goes on from.
    """

    def __init__(self, resumed: Path | None) -> None:
        file = resumed / _EPOCH if resumed else None
        self.resumed = load_file(file)["state"] if file and file.is_file() else None
        self.state = torch.get_rng_state()

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Go back to where the resumed epoch began, or note where a new one does."""
        if self.resumed is not None:
            torch.set_rng_state(self.resumed)
            self.resumed = None
        self.note()

    def note(self) -> None:
        """Keep the state as it is, in every process that of the main one."""
        self.state = broadcast_from_main(torch.get_rng_state)
        torch.set_rng_state(self.state)

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Put the state into the checkpoint; at the end of an epoch, that of the next."""
        if is_main_process():
            folder = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
            at_end = (state.epoch or 0.0).is_integer()
            save_file({"state": torch.get_rng_state() if at_end else self.state}, folder / _EPOCH)


class Progress(TrainerCallback):
    """One line: step, rank and loss."""

    def __init__(self, method: Method) -> None:
        config = method.config
        self.title = f"{config.method.name} · {config.task.name} · seed {config.seed}"
        self.mask = method.mask
        self.loss = math.nan

    def on_train_begin(self, args: Any, state: TrainerState, *_: Any, **__: Any) -> None:
        """Open the bar where training starts or goes on."""
        LOG.info("training goes from step %d to %d", state.global_step, state.max_steps)
        self.bar = progress_bar(
            total=state.max_steps, initial=state.global_step, desc=self.title, unit="step"
        )

    def on_log(self, args: Any, state: TrainerState, control: Any, logs: Any, **_: Any) -> None:
        """Keep the loss for the bar, and stop when it is no number any more."""
        self.loss = logs.get("loss", self.loss)
        if "loss" in logs:
            LOG.info("step %d: loss %.6g", state.global_step, self.loss)
        if "loss" in logs and not math.isfinite(self.loss):
            raise TrainingDiverged(
                f"the training loss became {self.loss} by step {state.global_step}; {_ADVICE}"
            )

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Move the bar by one step."""
        parts = [_ranks_text(self.mask.ranks)] if self.mask else []
        parts += [f"loss {self.loss:.4f}"] if math.isfinite(self.loss) else []
        self.bar.set_postfix_str(", ".join(parts), refresh=False)
        self.bar.update()

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """Close the bar."""
        self.bar.close()


def _ranks_text(ranks: Sequence[int]) -> str:
    low, high = min(ranks), max(ranks)
    return f"rank {low}" if low == high else f"ranks {low}-{high}"


def _arguments(config: Config, folder: Path, steps_share: float = 1.0) -> TrainingArguments:
    trainer = config.trainer
    warmup = trainer.warmup_ratio if trainer.warmup_steps is None else trainer.warmup_steps
    arguments = TrainingArguments(
        output_dir=str(folder),
        seed=config.seed,
        learning_rate=trainer.learning_rate,
        per_device_train_batch_size=trainer.batch_size // process_count(),
        gradient_accumulation_steps=trainer.accumulation_steps,
        num_train_epochs=trainer.epochs * steps_share,
        max_steps=math.ceil(trainer.max_steps * steps_share) if trainer.max_steps else -1,
        weight_decay=trainer.weight_decay,
        adam_beta1=trainer.adam_beta1,
        adam_beta2=trainer.adam_beta2,
        adam_epsilon=trainer.adam_epsilon,
        lr_scheduler_type=_SCHEDULES[trainer.schedule],
        warmup_steps=warmup,
        max_grad_norm=trainer.max_grad_norm,
        bf16=trainer.bf16,
        train_sampling_strategy="group_by_length",
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
        report_to=["wandb"] if config.tracker.name == "wandb" else [],
    )
    # With several GPUs in one process the Trainer would multiply the batch by their number.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    return arguments


_SCHEDULES = {"linear": "linear", "cosine": "cosine", "constant": "constant_with_warmup"}
