"""How likely texts are to a model: the negative log-likelihood of the tokens that count."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from dylora_exp.core import TrainingDiverged, gather, process_count, process_index
from dylora_exp.models import eager_for_one
from dylora_exp.objectives.language_modelling import IGNORED


@torch.inference_mode()
def text_losses(
    model: nn.Module,
    rows: Sequence[Mapping[str, Any]],
    collate: Callable[[list[Any]], dict[str, torch.Tensor]],
    batch_size: int,
    bf16: bool = False,
) -> list[float]:
    """Return the negative log-likelihood of each text in nats, the sum over its tokens that count.

    Each process has some of the batches, and all return all values. A text's value does not depend
    on what else is in its batch, but for rounding.

    Args:
        model: A causal language model.
        rows: ``input_ids``, ``labels`` (-100 where a token does not count) and ``length``.
        collate: Returns padded tensors of some of them.
        batch_size: How many are scored at once.
        bf16: Whether the model computes in bfloat16.

    Raises:
        TrainingDiverged: When the model's outputs are not finite.
    """
    model.eval()
    device = next(model.parameters()).device
    order = sorted(range(len(rows)), key=lambda index: (-rows[index]["length"], index))
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    finite, found = True, dict[int, float]()
    for batch in batches[process_index() :: process_count()]:
        inputs = {
            name: tensor.to(device) for name, tensor in collate([rows[i] for i in batch]).items()
        }
        targets = inputs.pop("labels")[:, 1:]
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
        with autocast, eager_for_one(model, len(batch)):
            logits = model(**inputs).logits[:, :-1]
        for index, own, counted in zip(batch, logits, targets, strict=True):
            scored = counted != IGNORED
            loss = functional.cross_entropy(own[scored].float(), counted[scored], reduction="sum")
            found[index] = loss.item()
        if not all(map(_is_finite, (found[index] for index in batch))):
            finite = False  # raised below, since the other processes wait in ``gather``
            break
    losses: dict[int, float] = {}
    for each_finite, part in gather((finite, found)):
        if not each_finite:
            raise TrainingDiverged("the model's outputs are not finite")
        losses |= part
    return [losses[index] for index in range(len(rows))]


def _is_finite(value: float) -> bool:
    return abs(value) < float("inf")
