"""What a trained model does on some examples: its layers' inputs, and what each rank is worth.

The model computes at full rank and in evaluation mode. Processes share the batches, and what they
find is added up in the order of the batches, so that it does not depend on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from dylora_exp.adapters.layers import ADAPTER, factors
from dylora_exp.core import gather, process_count, process_index
from dylora_exp.models import eager

Inputs: TypeAlias = dict[str, Tensor]
# A tensor for each layer by its name.
Found: TypeAlias = dict[str, Tensor]


@dataclass(frozen=True)
class Calibration:
    """Batches of training examples to measure a model on.

    Attributes:
        batches: The examples of each batch.
        collate: Returns the padded inputs of some examples, ``labels`` among them.
        loss: Returns the mean loss of a batch, of logits and labels.
        bf16: Whether the model computes in bfloat16.
    """

    batches: Sequence[Sequence[dict[str, Any]]]
    collate: Callable[[list[dict[str, Any]]], Inputs]
    loss: Callable[[Tensor, Tensor], Tensor]
    bf16: bool = False

    @property
    def examples(self) -> int:
        """The number of examples."""
        return sum(map(len, self.batches))


@torch.no_grad()
def input_moments(
    model: nn.Module, layers: Mapping[str, LoraLayer], calibration: Calibration
) -> Found:
    """Return the sum of ``y y^T`` over all tokens, for ``y = A x`` of each layer's inputs x.

    Every example is a batch of its own: nothing is padded, and nothing depends on the others.

    Args:
        model: The model.
        layers: Its adapted layers.
        calibration: The examples.

    Returns:
        Matrices of (r, r) in float64, on the CPU.
    """

    def of_batch(rows: Sequence[dict[str, Any]]) -> Found:
        sums = {name: _zeros(layer, 2) for name, layer in layers.items()}
        for row in rows:
            inputs = _inputs(model, calibration, [row])
            del inputs["labels"]
            mask = inputs.get("attention_mask")
            real = None if mask is None else mask.flatten().bool()
            with ExitStack() as stack:
                for name, layer in layers.items():
                    hook = _adder(sums, name, real)
                    stack.callback(layer.lora_A[ADAPTER].register_forward_hook(hook).remove)
                model(**inputs)
        return sums

    return _sum_over_batches(model, calibration, of_batch)


def row_importance(
    model: nn.Module, layers: Mapping[str, LoraLayer], calibration: Calibration
) -> Found:
    """Return ``|A_i . dL/dA_i|`` of each row of A, the mean over batches.

    In the singular basis that is ``|sigma_i dL/dsigma_i|``, by how much the loss would change to
    first order if the row was left out (the Taylor importance of Molchanov et al. 2017, 2019).

    Args:
        model: The model, its factors in their singular basis.
        layers: Its adapted layers.
        calibration: The examples.

    Returns:
        Vectors of (r,) in float64, on the CPU.
    """
    rows_of = {name: factors(layer)[0] for name, layer in layers.items()}

    def of_batch(rows: Sequence[dict[str, Any]]) -> Found:
        inputs = _inputs(model, calibration, list(rows))
        labels = inputs.pop("labels")
        with torch.enable_grad():
            loss = calibration.loss(model(**inputs).logits, labels)
            gradients = torch.autograd.grad(loss, list(rows_of.values()), allow_unused=True)
        found = {}
        for (name, a), gradient in zip(rows_of.items(), gradients, strict=True):
            if gradient is None:  # the layer takes no part in the loss
                found[name] = torch.zeros(len(a), dtype=torch.float64)
            else:
                found[name] = (a.double() * gradient.double()).sum(1).abs().detach().cpu()
        return found

    with _differentiable(list(rows_of.values())):
        total = _sum_over_batches(model, calibration, of_batch)
    return {name: each / len(calibration.batches) for name, each in total.items()}


def _inputs(model: nn.Module, calibration: Calibration, rows: list[dict[str, Any]]) -> Inputs:
    device = next(model.parameters()).device
    return {name: tensor.to(device) for name, tensor in calibration.collate(rows).items()}


def _adder(sums: Found, name: str, real: Tensor | None) -> Callable[..., None]:
    """Return a hook that adds ``y y^T`` of the outputs y of A, of tokens that are no padding."""

    def add(_: nn.Module, __: Any, output: Tensor) -> None:
        y = output.reshape(-1, output.shape[-1]).double()
        # Whatever the order of their dimensions, there is one example. Layers that see no tokens,
        # such as a pooler, have other rows; those with windows pad their ends.
        if real is not None and len(y) >= len(real):
            y = y[: len(real)][real]
        sums[name] += y.T @ y

    return add


def _zeros(layer: LoraLayer, dimensions: int) -> Tensor:
    a, _ = factors(layer)
    return torch.zeros([len(a)] * dimensions, dtype=torch.float64, device=a.device)


def _sum_over_batches(
    model: nn.Module,
    calibration: Calibration,
    measure: Callable[[Sequence[dict[str, Any]]], Found],
) -> Found:
    """Return the sums of what all processes have measured on their batches."""
    own: dict[int, Found] = {}
    device = next(model.parameters()).device
    autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=calibration.bf16)
    with _evaluating(model), eager(model), autocast:
        for index in range(process_index(), len(calibration.batches), process_count()):
            found = measure(calibration.batches[index])
            own[index] = {name: each.cpu() for name, each in found.items()}
    parts: dict[int, Found] = {}
    for part in gather(own):
        parts |= part
    total = parts[0]
    for index in range(1, len(parts)):
        total = {name: each + parts[index][name] for name, each in total.items()}
    if not all(bool(each.isfinite().all()) for each in total.values()):
        raise ArithmeticError("the model's outputs are not finite; was training stable?")
    return total


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _differentiable(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    kept = [each.requires_grad for each in parameters]
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter, requires_grad in zip(parameters, kept, strict=True):
            parameter.requires_grad_(requires_grad)
