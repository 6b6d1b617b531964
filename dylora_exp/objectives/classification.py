"""Texts to labels, or to a number: GLUE and the demo."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from dylora_exp import metrics
from dylora_exp.config import Mark, TaskConfig
from dylora_exp.core import RequestError, TemplateFlaw, missing_column
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.objectives import base

if TYPE_CHECKING:
    import torch
    from datasets import Dataset


class ClassificationTask(TaskConfig):
    """A task whose answers are ``labels``, or a number where there are none.

    ``text`` and ``label`` are columns of the reader ``rows``: of one text or of two, and of the
    answer.
    """

    auto_model_class: ClassVar[str] = "AutoModelForSequenceClassification"
    peft_task_type: ClassVar[str] = "SEQ_CLS"
    trains_head: ClassVar[bool] = True
    pipeline_tag: ClassVar[str] = "text-classification"

    objective: str = "classification"
    text: list[str] = Field(default_factory=list)
    label: str = "label"
    eval_split: Annotated[Literal["dev", "test"] | None, Mark.UNUSED] = None

    @property
    def scored(self) -> str:
        """Labels, or numbers."""
        return "labels" if self.labels else "numbers"

    @property
    def number_of_outputs(self) -> int | None:
        """One for each label, or 1 for a number."""
        return len(self.labels) or 1

    @property
    def of_rows(self) -> tuple[str, ...]:
        """The columns."""
        return ("text", "label")

    @property
    def of_hub(self) -> dict[str, Any]:
        """The columns that the hub's dataset has."""
        return {name: getattr(self.hub, name) for name in self.of_rows} if self.hub else {}

    def problems(self) -> list[str]:
        """Return a sentence for each setting that does not go with the others."""
        found = super().problems()
        if self.reader == "rows":
            task, field = (self, "text") if self.reads_files else (self.on_hub, "hub.text")
            if len(task.text) not in (1, 2):
                found.append(
                    f"task.{field}: found {len(task.text)} columns, expected that of the "
                    "text, [text], or the two of a pair."
                )
        return found

    def example(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Return the ``text`` and the ``label`` of a row."""
        for name in (*self.text, self.label):
            if name not in row:
                raise missing_column(name, row)
        texts = [row[name] for name in self.text]
        for name, text in zip(self.text, texts, strict=True):
            if not isinstance(text, str):
                raise TemplateFlaw(f"column '{name}': found {text!r}, expected a text")
        return {"text": texts, "label": self.parse_label(row[self.label])}

    def parse_label(self, label: Any) -> int | float:
        """Return the id of a label, or the number.

        Args:
            label: As a file has it.

        Raises:
            TemplateFlaw: When it is none of the task's.
        """
        if str(label) in self.labels:
            return self.labels.index(str(label))
        if type(label) is int and 0 <= label < len(self.labels):  # an id, of a typed file
            return label
        low, high = self.label_range or (-math.inf, math.inf)
        try:
            value = math.nan if self.labels or isinstance(label, bool) else float(label)
        except (TypeError, ValueError):
            value = math.nan
        if low <= value <= high and math.isfinite(value):
            return value
        expected = f"a number from {low:g} to {high:g}" if self.label_range else "a number"
        if self.labels:
            expected = "one of " + ", ".join(self.labels)
        raise TemplateFlaw(f"found label '{label}', expected {expected}")


class ClassificationObjective(base.Objective):
    """Cross entropy over labels, or the squared error of a number."""

    settings_class = ClassificationTask

    def __init__(self, setting: base.ObjectiveContext) -> None:
        from dylora_exp.objectives.torch_parts import batches

        _check_length(setting)
        super().__init__(setting)
        self.collator = batches.Collator(
            setting.tokenizer, regression=not setting.config.task.labels
        )
        evaluation = self.encode_once(setting.data.eval)
        self.labels = evaluation["labels"][:]
        self.lengths = evaluation["length"][:]
        size = setting.config.trainer.eval_batch_size
        self.batches = batches.scoring_batches(evaluation, self.collator, size)

    def encode(self, data: Dataset) -> Dataset:
        """Return token ids, ``labels`` and ``length``."""
        from dylora_exp.objectives.torch_parts.batches import tokenize

        return tokenize(data, self.tokenizer, self.max_length)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return tensors of shape (examples, tokens), and labels of shape (examples,)."""
        return self.collator(rows)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch; see ``mean_loss``."""
        from dylora_exp.objectives.torch_parts.labels import mean_loss

        return mean_loss(logits, labels)

    def divergence(
        self, logits: torch.Tensor, target: torch.Tensor, labels: torch.Tensor
    ) -> torch.Tensor:
        """Return the mean divergence of the examples' outputs; see ``mean_divergence``."""
        from dylora_exp.objectives.torch_parts.labels import mean_divergence

        return mean_divergence(logits, target)

    def terms(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the number of examples."""
        import torch

        return torch.tensor(len(labels), device=labels.device)

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Return the metrics of the predictions for all examples."""
        from dylora_exp.objectives.torch_parts.labels import predict

        start = time.monotonic()
        with method.at_cut(model, cut):
            predictions = predict(model, self.batches, self.config.trainer.bf16)
        values = metrics.compute(self.config.task.metrics, predictions, self.labels)
        return base.CutScore(base.finite(values), time.monotonic() - start)

    @classmethod
    def sized_row(cls, task: TaskConfig, tokens: int, answer: int) -> dict[str, Any]:
        """Return a row of one text; the answer is no text."""
        return {"text": ["q" * max(1, tokens - 3)], "label": 0 if task.labels else 0.0}

    def scored_lengths(self) -> list[int]:
        """Return the tokens of each text, or pair of texts."""
        return list(self.lengths)

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature."""
        return super().scoring() | {"signature": metrics.signature(self.config.task.metrics)}


def _check_length(setting: base.ObjectiveContext) -> None:
    """Refuse a longest input that holds nothing but special tokens, so that all texts are alike."""
    is_pair = len(setting.data.train[0]["text"]) > 1
    special = setting.tokenizer.num_special_tokens_to_add(pair=is_pair)
    if min(setting.config.task.max_length, setting.window) <= special:
        raise RequestError(
            f"task.max_length: found {setting.config.task.max_length}, expected more than the "
            f"{special} special tokens that the tokenizer adds to each input, and a model with "
            "room for them."
        )
