"""What training and the rank sweep ask of an objective, and the choice of the objective.

An objective is a class with a ``settings_class`` in a module of this folder, which must import
neither torch nor transformers nor datasets: configs are checked without them. Import them inside
functions, and put what cannot do so into ``torch_parts``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from dylora_exp.config import Config, TaskConfig, objective_class
from dylora_exp.core import RequestError
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives.encoded_data import encode_once

if TYPE_CHECKING:
    import torch
    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase

    from dylora_exp.tasks import TaskData


@dataclass(frozen=True)
class CutScore:
    """The metrics at one cut, as the record keeps them, and the seconds that scoring took."""

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


def finite(values: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return metrics as JSON can hold them: None for an undefined or an infinite one."""
    return {
        name: value if value is not None and math.isfinite(value) else None
        for name, value in values.items()
    }


class Objective:
    """Turns a task's examples into batches, a model's outputs into a loss and into scores.

    Args:
        setting: What it works with.

    Raises:
        RequestError: When an example does not fit the model.
    """

    settings_class: ClassVar[type[TaskConfig]]

    def __init__(self, setting: ObjectiveContext) -> None:
        self.config = setting.config
        self.tokenizer = setting.tokenizer
        self.max_length = min(setting.config.task.max_length, setting.window)
        self.train_set = self.encode_once(setting.data.train)

    def encode_once(self, data: Dataset) -> Dataset:
        """Return what ``encode`` does, from an earlier run of this process where it is the same."""
        kind = type(self)
        settings = [kind.__module__, kind.__qualname__, self.config.task.model_dump()]
        return encode_once(self.encode, data, self.tokenizer, [*settings, self.max_length])

    def encode(self, data: Dataset) -> Dataset:
        """Return examples as token ids, with their ``length``.

        They must follow from the examples, the tokenizer, the settings of the task and
        ``max_length`` alone.
        """
        raise NotImplementedError

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return padded tensors of some examples, ``labels`` among them."""
        raise NotImplementedError

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch."""
        raise NotImplementedError

    def divergence(
        self, logits: torch.Tensor, target: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return how far a model's outputs are from others, the mean over the terms of the loss.

        Args:
            logits: The outputs, in which it is differentiable.
            target: The outputs to come close to, of the same shape.
            labels: They say which terms count.
        """
        raise RequestError(
            f"method.name: '{self.config.method.name}' compares outputs of two ranks, which "
            f"objective '{self.config.task.objective}' cannot."
        )

    def terms(self, labels: torch.Tensor) -> torch.Tensor:
        """Return how many terms the mean loss of a batch has, a scalar."""
        raise NotImplementedError

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> CutScore:
        """Return the scores of a model at one cut; several processes share the work.

        Args:
            model: The trained model.
            method: Sets the model to a cut.
            cut: The rank and how it is made.
            folder: The run's folder, for what a killed run must not do twice.
        """
        raise NotImplementedError

    @classmethod
    def sized_row(cls, task: TaskConfig, tokens: int, answer: int) -> dict[str, Any]:
        """Return a row of a given size, with the columns that ``TaskData`` has for the objective.

        It is what a plan measures the time of an example with. A letter stands for a token, which
        it is for the byte-level tokenizer but for one or two.

        Args:
            task: The task.
            tokens: Of the whole example.
            answer: How many of them are the answer's, where it is a text.
        """
        raise RequestError(
            f"task.objective: the time of '{task.objective}' cannot be measured beforehand."
        )

    def scored_lengths(self) -> list[int]:
        """Return how many tokens are read of each example that is scored."""
        raise RequestError(
            f"task.objective: '{self.config.task.objective}' does not say how long examples are."
        )

    def close(self) -> None:
        """End what was started for scoring."""
        return

    def scoring(self) -> dict[str, Any]:
        """Return how the scores were made, as plain data for the record.

        ``precision`` is there when models were scored in another than that of their weights.
        """
        return {"precision": "bfloat16"} if self.config.trainer.bf16 else {}


def make_objective(setting: ObjectiveContext) -> Objective:
    """Return the objective that the task names."""
    objective: Objective = objective_class(setting.config.task)(setting)
    return objective
