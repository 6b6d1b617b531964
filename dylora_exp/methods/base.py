"""What every method offers to training and to the sweep, and the choice of the method."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, TrainerCallback

from dylora_exp.adapters import Cut as Cut
from dylora_exp.adapters import RankMask, factors, lora_layers
from dylora_exp.config import Config, Ranks

TrainedModel: TypeAlias = PreTrainedModel | PeftModel
MeanLoss: TypeAlias = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Batch:
    """Where a (micro-)batch stands in training.

    Attributes:
        step: The 0-based optimizer step.
        index: The 0-based place among the micro-batches of the step.
        first: The place of its first example among all examples of the step.
        size: The number of its examples, over all processes.
        rows: Which of them this process has; None for all.
    """

    step: int
    index: int
    first: int
    size: int
    rows: range | None = None

    @property
    def own(self) -> range:
        """The places of this process's examples in the batch."""
        return range(self.size) if self.rows is None else self.rows


@dataclass(frozen=True)
class ForwardPass:
    """One forward and backward pass over a batch."""

    is_last: bool


class Method:
    """A method trains a backbone and can show the trained model at any rank.

    Args:
        config: The checked config of the run.
    """

    # Where training goes from rank to rank: the mask that says at which it is.
    mask: RankMask | None = None
    # The part of the optimizer steps that are configured which the method takes.
    steps_share: float = 1.0

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ranks = Ranks.from_config(config.ranks)
        self.drawn: Counter[int] = Counter()

    @classmethod
    def problems(cls, config: Config) -> list[str]:
        """Return a sentence for each setting that this method cannot work with."""
        found, name = [], config.method.name
        if config.method.score:
            found.append(f"method.score: method '{name}' has no ranks to score.")
        if config.method.adapter is not None:
            found.append(f"method.adapter: method '{name}' has no adapters to put it into.")
        return found

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the model to train, with ``requires_grad`` set where the method trains."""
        raise NotImplementedError

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return what the method does in the course of training."""
        return []

    def optimizer_groups(self, groups: list[dict]) -> list[dict]:
        """Return the optimizer's parameter groups, given those of stock AdamW."""
        return groups

    def forward_passes(self, batch: Batch) -> Iterator[ForwardPass]:
        """Yield each forward and backward pass over a batch, once the model is ready for it.

        The gradients of the passes add up.
        """
        yield ForwardPass(is_last=True)

    def loss(self, model: nn.Module, inputs: dict[str, Any], mean_loss: MeanLoss) -> torch.Tensor:
        """Return the loss of one pass.

        Args:
            model: The model, which may be wrapped for several processes.
            inputs: A batch, ``labels`` among it.
            mean_loss: Of logits and labels.
        """
        texts = {name: value for name, value in inputs.items() if name != "labels"}
        return mean_loss(model(**texts).logits, inputs["labels"])

    def finish(self, model: TrainedModel) -> TrainedModel:
        """Return the model to score and save, once training is over."""
        return model

    def training_stats(self, model: TrainedModel) -> dict[str, Any]:
        """Return what the record tells of training: plain data, by name."""
        if not self.drawn:
            return {}
        return {"drawn_ranks": {str(rank): self.drawn[rank] for rank in sorted(self.drawn)}}

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save what was trained."""
        model.save_pretrained(folder)

    def cuts(self) -> Sequence[Cut]:
        """Return every way in which the sweep makes and scores the model."""
        return [Cut()]

    def row_scale(self) -> torch.Tensor | None:
        """Return fixed factors of A's rows, shape (r_max,), None where the method has none."""
        return None

    def at_cut(self, model: TrainedModel, cut: Cut) -> AbstractContextManager[None]:
        """Show the model as made in one way, as long as the context lasts."""
        return nullcontext()


def method_class(kind: str) -> type[Method]:
    """Return the class of a method by the module that holds it."""
    module = importlib.import_module(f"dylora_exp.methods.{kind}")
    (found,) = (
        each
        for each in vars(module).values()
        if isinstance(each, type)
        and issubclass(each, Method)
        and each.__module__ == module.__name__
    )
    return found


def make_method(config: Config) -> Method:
    """Return the method that the config names."""
    return method_class(config.method.kind)(config)


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the numbers of trainable and of all parameters.

    PEFT keeps the untrained original of a trained head beside it; that copy is not counted.
    ``adapter`` counts the factors A and B of all layers.
    """
    counted = {n: p for n, p in model.named_parameters() if ".original_module." not in n}
    return {
        "adapter": sum(f.numel() for layer in lora_layers(model) for f in factors(layer)),
        "trainable": sum(p.numel() for p in counted.values() if p.requires_grad),
        "total": sum(p.numel() for p in counted.values()),
    }
