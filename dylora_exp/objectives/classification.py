"""Texts to labels, or to a number: GLUE and the demo."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch import nn
from torch.nn import functional

from dylora_exp.core import gather, process_count, process_index
from dylora_exp.methods import Cut, Method, TrainedModel
from dylora_exp.metrics import compute, signature
from dylora_exp.models import eager_for_one
from dylora_exp.objectives import base
from dylora_exp.objectives.batches import Collator, ScoringBatch, scoring_batches, tokenize


class ClassificationObjective(base.Objective):
    """Cross entropy over labels, or the squared error of a number."""

    def __init__(self, setting: base.ObjectiveContext) -> None:
        super().__init__(setting)
        self.collator = Collator(setting.tokenizer, regression=not setting.config.task.labels)
        evaluation = self.encode(setting.data.eval)
        self.labels = evaluation["labels"][:]
        size = setting.config.trainer.eval_batch_size
        self.batches = scoring_batches(evaluation, self.collator, size)

    def encode(self, data: Dataset) -> Dataset:
        """Return token ids, ``labels`` and ``length``."""
        return tokenize(data, self.tokenizer, self.max_length)

    def collate(self, rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """Return tensors of shape (examples, tokens), and labels of shape (examples,)."""
        return self.collator(rows)

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the mean loss of a batch; see ``mean_loss``."""
        return mean_loss(logits, labels)

    def terms(self, labels: torch.Tensor) -> torch.Tensor:
        """Return the number of examples."""
        return torch.tensor(len(labels), device=labels.device)

    def score(self, model: TrainedModel, method: Method, cut: Cut, folder: Path) -> base.CutScore:
        """Score the predictions for all examples."""
        start = time.monotonic()
        with method.at_cut(model, cut):
            predictions = predict(model, self.batches, self.config.trainer.bf16)
        values = compute(self.config.task.metrics, predictions, self.labels)
        # JSON has no NaN; an undefined correlation is null.
        metrics = {
            name: value if value is not None and math.isfinite(value) else None
            for name, value in values.items()
        }
        return base.CutScore(metrics, time.monotonic() - start)

    def scoring(self) -> dict[str, Any]:
        """Return the metrics' signature."""
        return super().scoring() | {"signature": signature(self.config.task.metrics)}


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of a batch: cross entropy, or the squared error of a number.

    Args:
        logits: (examples, labels), or (examples, 1) for a number.
        labels: (examples,); ids, or numbers.
    """
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels)
    return functional.cross_entropy(logits, labels)


@torch.inference_mode()
def predict(model: nn.Module, batches: Sequence[ScoringBatch], bf16: bool = False) -> list[float]:
    """Return one prediction for each example: a label id, or the number of a regression.

    Each process has some of the batches, and all return all predictions.
    """
    model.eval()
    device = next(model.parameters()).device
    finite, found = True, dict[int, float]()
    for batch in batches[process_index() :: process_count()]:
        inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
        with autocast, eager_for_one(model, len(batch.indices)):
            logits = model(**inputs).logits
        if not logits.isfinite().all():
            finite = False  # the others wait for what is found: told there
            break
        best = logits[:, 0].float() if logits.shape[-1] == 1 else logits.argmax(dim=-1)
        found |= dict(zip(batch.indices, best.tolist(), strict=True))
    predictions: dict[int, float] = {}
    for each_finite, part in gather((finite, found)):
        if not each_finite:
            raise ArithmeticError("the model's outputs are not finite; was training stable?")
        predictions |= part
    return [predictions[index] for index in range(len(predictions))]
