"""A trained model, scored at every rank."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from datasets import Dataset
from torch import nn

from dylora_exp.batches import Collator, ScoringBatch, scoring_batches
from dylora_exp.methods.base import BaseMethod, TrainedModel, Way
from dylora_exp.metrics.classification import score
from dylora_exp.progress import progress_bar
from dylora_exp.records import RankScore


def sweep(
    model: TrainedModel, data: Dataset, collator: Collator, method: BaseMethod
) -> list[RankScore]:
    """Score a trained model in every way that its method knows.

    Args:
        model: The trained model.
        data: Tokenized examples (see ``batches.tokenize``).
        collator: Pads the batches.
        method: Shows the model at a rank.

    Returns:
        One entry for each way, in the method's order.
    """
    config = method.config
    batches = scoring_batches(data, collator, config.trainer.eval_batch_size)
    labels = data["labels"][:]
    bar = progress_bar(method.ways(), desc="scoring", unit="rank")
    scores = []
    for way in bar:
        start = time.monotonic()
        with method.at(model, way):
            predictions = predict(model, batches, config.trainer.bf16)
        values = score(config.task.metrics, predictions, labels)
        scores.append(_entry(way, values, time.monotonic() - start))
    return scores


@torch.inference_mode()
def predict(model: nn.Module, batches: Sequence[ScoringBatch], bf16: bool = False) -> list[float]:
    """Return one prediction for each example: a label id, or the number of a regression."""
    model.eval()
    device = next(model.parameters()).device
    predictions = [0.0] * sum(len(batch.indices) for batch in batches)
    for batch in batches:
        inputs = {name: tensor.to(device) for name, tensor in batch.inputs.items()}
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16):
            logits = model(**inputs).logits
        if not logits.isfinite().all():
            raise ArithmeticError("the model's outputs are not finite; was training stable?")
        best = logits[:, 0].float() if logits.shape[-1] == 1 else logits.argmax(dim=-1)
        for index, value in zip(batch.indices, best.tolist(), strict=True):
            predictions[index] = value
    return predictions


def _entry(way: Way, values: dict[str, float], seconds: float) -> RankScore:
    # JSON has no NaN; an undefined correlation is null.
    metrics = {name: value if math.isfinite(value) else None for name, value in values.items()}
    return RankScore(way.rank, way.truncation, way.scale, metrics, seconds)
