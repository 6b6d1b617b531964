"""What every method offers to training and to the sweep, and the choice of the method."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, TrainerCallback

from dylora_exp.config import Config, Scale, Truncation
from dylora_exp.methods.adapters import RankMask
from dylora_exp.ranks import Ranks

TrainedModel: TypeAlias = PreTrainedModel | PeftModel


@dataclass(frozen=True)
class Way:
    """One way to make a rank; all None for a method without ranks."""

    rank: int | None = None
    truncation: Truncation | None = None
    scale: Scale | None = None


class BaseMethod:
    """A method trains a backbone and can show the trained model at any rank.

    Args:
        config: The checked config of the run.
    """

    # Where training goes from rank to rank: the mask that says at which it is.
    mask: RankMask | None = None

    def __init__(self, config: Config) -> None:
        self.config = config
        self.ranks = Ranks.from_config(config.ranks)

    def attach(self, backbone: PreTrainedModel) -> TrainedModel:
        """Return the model to train, with ``requires_grad`` set where the method trains."""
        raise NotImplementedError

    def callbacks(self, model: TrainedModel) -> list[TrainerCallback]:
        """Return what the method does in the course of training."""
        return []

    def optimizer_groups(self, groups: list[dict]) -> list[dict]:
        """Return the optimizer's parameter groups, given those of stock AdamW."""
        return groups

    def save(self, model: TrainedModel, folder: Path) -> None:
        """Save what was trained."""
        model.save_pretrained(folder)

    def ways(self) -> Sequence[Way]:
        """Return every way in which the sweep makes and scores the model."""
        return [Way()]

    def at(self, model: TrainedModel, way: Way) -> AbstractContextManager[None]:
        """Show the model as made in one way, as long as the context lasts."""
        return nullcontext()


def make_method(config: Config) -> BaseMethod:
    """Return the method that the config names by the module that holds it."""
    module = importlib.import_module(f"dylora_exp.methods.{config.method.kind}")
    method: BaseMethod = module.Method(config)
    return method


def count_parameters(model: nn.Module) -> dict[str, int]:
    """Return the numbers of trainable and of all parameters.

    PEFT keeps the untrained original of a trained head beside it; that copy is not counted.
    """
    counted = {n: p for n, p in model.named_parameters() if ".original_module." not in n}
    return {
        "trainable": sum(p.numel() for p in counted.values() if p.requires_grad),
        "total": sum(p.numel() for p in counted.values()),
    }
