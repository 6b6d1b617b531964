"""Tests of a model with adapters before anything is trained: whether they do what is expected.

Some models read a layer's weight past the layer, or call it on something else than examples.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from dylora_exp.adapters.layers import factors, lora_layers, restored
from dylora_exp.adapters.mask import RankMask
from dylora_exp.adapters.merging import merged
from dylora_exp.core import RequestError
from dylora_exp.models import differs, equal_texts, is_probed, probing

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
            with merged(model):
                together = model(**inputs).logits
    if torch.equal(apart, before):
        raise RequestError(
            "model.targets: no layer among them has any effect on what the model computes; name "
            "others."
        )
    if differs(apart, together, model):
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
        wrong = len(together) != len(ranks) or any(
            differs(alone[rank], found, model) for rank, found in zip(ranks, together, strict=True)
        )
    if wrong:
        raise RequestError(
            "model.targets: a layer among them does not compute example by example, so that its "
            "adapter cannot have a rank for each (ranks.sample_every=example, or a method that "
            "trains several ranks in one pass); leave it out, such as one of positions."
        )


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
