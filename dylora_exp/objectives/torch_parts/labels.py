"""The loss and the predictions of a classifier, or of a regression."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from dylora_exp.core import TrainingDiverged, gather, process_count, process_index
from dylora_exp.models import eager_for_one
from dylora_exp.objectives.torch_parts.batches import ScoringBatch


def mean_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the mean loss of a batch: cross entropy, or the squared error of a number.

    Args:
        logits: (examples, labels), or (examples, 1) for a number.
        labels: (examples,); ids, or numbers.
    """
    if labels.is_floating_point():
        return functional.mse_loss(logits.squeeze(-1), labels)
    return functional.cross_entropy(logits, labels)


def mean_divergence(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean over rows of KL(target || logits), or of the squared difference of numbers.

    ``KL(p || q) = sum over i of p_i (log p_i - log q_i)`` with p and q the softmax of both.

    Args:
        logits: (rows, labels), or (rows, 1) of numbers.
        target: The same.

    Returns:
        A scalar in single precision at least, 0 where there are no rows.
    """
    precise = torch.promote_types(logits.dtype, torch.float32)
    logits, target = logits.to(precise), target.to(precise)
    if logits.shape[-1] == 1:
        total = functional.mse_loss(logits, target, reduction="sum")
    else:
        total = functional.kl_div(
            logits.log_softmax(-1), target.log_softmax(-1), reduction="sum", log_target=True
        )
    return total / max(1, len(logits))


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
            finite = False  # raised below, since the other processes wait in ``gather``
            break
        best = logits[:, 0].float() if logits.shape[-1] == 1 else logits.argmax(dim=-1)
        found |= dict(zip(batch.indices, best.tolist(), strict=True))
    predictions: dict[int, float] = {}
    for each_finite, part in gather((finite, found)):
        if not each_finite:
            raise TrainingDiverged("the model's outputs are not finite")
        predictions |= part
    return [predictions[index] for index in range(len(predictions))]
