"""What training and the sweep ask of an objective, and the choice of the objective."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from dylora_exp.config import Config, generates
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.tasks import TaskData


@dataclass(frozen=True)
class CutScore:
    """The metrics of one way, as the record keeps them, and the seconds that it took."""

    metrics: dict[str, float | None]
    seconds: float


@dataclass(frozen=True)
class ObjectiveContext:
    """What an objective works with.

    Attributes:
        config: The checked config of the run.
        tokenizer: The backbone's.
        window: How many tokens the backbone's positions allow.
        data: The task's examples.
    """

    config: Config
    tokenizer: PreTrainedTokenizerBase
    window: int
    data: TaskData


class Objective:
    """Turns a task's examples into batches, a model's outputs into a loss and into scores.

    Args:
        setting: What it works with.

    Raises:
        RequestError: When an example does not fit the model.
    """

    def __init__(self, setting: ObjectiveContext) -> None:
        self.config = setting.config
        self.tokenizer = setting.tokenizer
        self.max_length = min(setting.config.task.max_length, setting.window)
        self.train_set = self.encode(setting.data.train)

    def encode(self, data: Dataset) -> Dataset:
        """Return the training examples as token ids, with their ``length``."""
        raise NotImplementedError

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return padded tensors of some examples, ``labels`` among them."""
        raise NotImplementedError

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch."""
        raise NotImplementedError

    def terms(self, labels: torch.Tensor) -> torch.Tensor:
        """Return how many terms the mean loss of a batch has, a scalar."""
        raise NotImplementedError

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> CutScore:
        """Score a model in one way. Several processes share the work and return the same.

        Args:
            model: The trained model.
            method: Shows the model at a rank.
            way: How the rank is made.
            folder: The run's folder, for what a killed run must not do twice.
        """
        raise NotImplementedError

    def close(self) -> None:
        """End what was started for scoring."""
        return

    def scoring(self) -> dict[str, Any]:
        """Return how the scores were made, as plain data for the record.

        ``precision`` is there when models were scored in another than that of their weights.
        """
        return {"precision": "bfloat16"} if self.config.trainer.bf16 else {}


def make_objective(setting: ObjectiveContext) -> Objective:
    """Return the objective of a task, named by the module that holds it."""
    kind = "generation" if generates(setting.config.task) else "classification"
    module = importlib.import_module(f"dylora_exp.objectives.{kind}")
    objective: Objective = getattr(module, f"{kind.capitalize()}Objective")(setting)
    return objective
