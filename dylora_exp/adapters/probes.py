"""Tests of a model with adapters before anything is trained: whether they do what is expected.

Some models read a layer's weight past the layer, or call it on something else than examples. In
single precision both show in the outputs. In lower precision a deep model with random adapters
enlarges its own rounding until the outputs cannot be compared; there the uses of the weights
and the sizes of the inputs are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import torch
from peft import PeftModel
from torch.overrides import TorchFunctionMode
from transformers import PreTrainedModel

from dylora_exp.adapters.layers import factors, lora_layers, restored
from dylora_exp.adapters.mask import RankMask
from dylora_exp.adapters.merging import merged, own_weights
from dylora_exp.core import RequestError
from dylora_exp.models import computes_exactly, differs, equal_texts, is_probed, probing

# Of random factors: adapters that change a model without taking it over.
_SMALL = 0.5


def check_adapters(model: PeftModel) -> None:
    """Refuse targets whose adapters do nothing, or something else than a change of their weights.

    Args:
        model: A model with adapters, not masked yet.

    Raises:
        RequestError: When random adapters change nothing, or something else once they are merged.
    """
    if not is_probed(model):
        return
    inputs = equal_texts(model)
    with probing(model):
        before = model(**inputs).logits
        with _random_adapters(model, _SMALL):
            apart = model(**inputs).logits
            if computes_exactly(model):
                with merged(model):
                    together = model(**inputs).logits
                is_read_elsewhere = differs(apart, together, model)
            else:
                is_read_elsewhere = _reads_weights_elsewhere(model, inputs)
    if torch.equal(apart, before):
        raise RequestError(
            "model.targets: no layer among them has any effect on what the model computes; name "
            "others."
        )
    if is_read_elsewhere:
        raise RequestError(
            "model.targets: the model reads the weight of a layer among them past the layer, so "
            "that its adapter would have another effect once it is merged; leave it out."
        )


def check_example_ranks(model: PreTrainedModel | PeftModel, mask: RankMask) -> None:
    """Refuse a model in which an example's outputs follow another rank than its own.

    Layers that see something else than examples first (positions, windows of attention) would be
    masked by the rank of whatever stands there.

    Args:
        model: A model with masked adapters.
        mask: Theirs; it selects r_max afterwards.

    Raises:
        RequestError: When equal texts at several ranks do not come out as at each rank alone.
    """
    if not is_probed(model):
        return
    ranks = sorted({1, (mask.r_max + 1) // 2, mask.r_max})
    ranks = [*ranks, *ranks[::-1]]  # no number of examples that a layer has by itself
    inputs = equal_texts(model, len(ranks))
    with ExitStack() as stack:
        stack.enter_context(probing(model))
        stack.enter_context(_random_adapters(model))
        alone = {}
        for rank in set(ranks):
            mask.select(rank)
            alone[rank] = model(**inputs).logits[0]
        mask.select_each(ranks)
        try:
            together = list(model(**inputs).logits)
        except RuntimeError:  # the sizes do not fit
            together = []
        mask.select(mask.r_max)
        wrong = len(together) != len(ranks)
        if not wrong and computes_exactly(model):
            pairs = zip(ranks, together, strict=True)
            wrong = any(differs(alone[rank], found, model) for rank, found in pairs)
    if wrong:
        raise RequestError(
            "model.targets: a layer among them does not compute example by example, so that its "
            "adapter cannot have a rank for each (ranks.sample_every=example, or a method that "
            "trains several ranks in one pass); leave it out, such as one of positions."
        )


class _Uses(TorchFunctionMode):
    """Records whether one of some weights is computed with while its layer is not being called."""

    def __init__(self, layers: dict[int, torch.nn.Module]) -> None:
        """Watch weights.

        Args:
            layers: The layer of each weight, by the identity of the weight.
        """
        super().__init__()
        self.layers = layers
        self.called: list[torch.nn.Module] = []
        self.found = False

    def enter(self, layer: torch.nn.Module, _: Any) -> None:
        """Note that a layer is being called: its hook before."""
        self.called.append(layer)

    def leave(self, *_: Any) -> None:
        """Note that the call has ended: its hook after."""
        self.called.pop()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):  # and not its type, its shape or its device
            layers = [self.layers.get(id(each)) for each in (*args, *(kwargs or {}).values())]
            self.found |= any(layer is not None and layer not in self.called for layer in layers)
        return result


def _reads_weights_elsewhere(model: PeftModel, inputs: dict[str, torch.Tensor]) -> bool:
    """Return whether a call computes with a layer's weight outside of the layer."""
    uses = _Uses({id(weight): cast(torch.nn.Module, layer) for layer, weight in own_weights(model)})
    with ExitStack() as stack:
        for layer in uses.layers.values():
            stack.callback(layer.register_forward_pre_hook(uses.enter).remove)
            stack.callback(layer.register_forward_hook(uses.leave).remove)
        stack.enter_context(uses)
        model(**inputs)
    return uses.found


@contextmanager
def _random_adapters(model: torch.nn.Module, size: float = 1.0) -> Iterator[None]:
    """Give all adapters a product that is not zero, and theirs back; no global draw is used up.

    Args:
        model: A model with adapters.
        size: Of both factors; 1 keeps the size of what goes through them.
    """
    generator = torch.Generator().manual_seed(0)
    with restored(model):
        for layer in lora_layers(model):
            for factor in factors(layer):
                values = torch.randn(factor.shape, generator=generator)
                factor.data.copy_(size * values / factor.shape[1] ** 0.5)
        yield
