"""Whether each example of a batch can have a rank of its own: not in every layer of every model."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from dylora_exp.adapters.layers import factors, lora_layers
from dylora_exp.adapters.mask import RankMask
from dylora_exp.core import RequestError
from dylora_exp.models import differs, equal_texts, is_probed, probing


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
            differs(alone[rank], found) for rank, found in zip(ranks, together, strict=True)
        )
    if wrong:
        raise RequestError(
            "model.targets: a layer among them does not compute example by example, so that its "
            "adapter cannot have a rank for each (ranks.sample_every=example, or a method that "
            "trains several ranks in one pass); leave it out, such as one of positions."
        )


@contextmanager
def _random_adapters(model: torch.nn.Module) -> Iterator[None]:
    """Give all adapters a product that is not zero, and theirs back; no global draw is used up."""
    generator = torch.Generator().manual_seed(0)
    kept = [
        (factor, factor.detach().clone()) for each in lora_layers(model) for factor in factors(each)
    ]
    try:
        for factor, _ in kept:
            values = torch.randn(factor.shape, generator=generator)
            factor.data.copy_(values / factor.shape[1] ** 0.5)
        yield
    finally:
        for factor, values in kept:
            factor.data.copy_(values)
