"""Tests of a model itself, before anything is trained: that padding does not change its outputs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dylora_exp.core import RequestError

# Of different lengths, so that one is padded beside the other.
_TEXTS = ("a", "It was a longer text, with a number of words: 12, 13 and 14.")
# Single precision rounds batches of other shapes differently, by far less than this share.
_TOLERANCE = 1e-4


def is_probed(model: torch.nn.Module) -> bool:
    """Return whether a model has values to compute with, and not shapes alone."""
    return not any(parameter.is_meta for parameter in model.parameters())


@contextmanager
def probing(model: torch.nn.Module) -> Iterator[None]:
    """Call a model without dropout and gradients, and leave it as it was."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was_training)


def differs(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Return whether two results of the same differ by more than rounding."""
    if not (one.isfinite().all() and other.isfinite().all()):
        return True
    return bool((one - other).abs().max() > _TOLERANCE * one.abs().max() + 1e-7)


def pad_so_that_batches_do_not_matter(
    backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Choose the side on which a classifier's texts are padded: the tokenizer's, or the other one.

    Raises:
        RequestError: When a text's outputs depend on the texts beside it on both sides.
    """
    given = tokenizer.padding_side
    with probing(backbone):
        for side in (given, "left" if given == "right" else "right"):
            tokenizer.padding_side = side
            if not _depends_on_batch(backbone, tokenizer):
                return
    raise _refused(backbone, "an example's score")


def check_padding_of_prompts(backbone: PreTrainedModel, end: int) -> None:
    """Refuse a language model whose texts depend on the contexts beside theirs.

    Args:
        backbone: The language model.
        end: The end token, with which contexts are padded: for training on the right, for
            decoding on the left.
    """
    ids = [number for number in range(3, 16) if number != end]
    short, long = torch.tensor([[*ids[:3], end]]), torch.tensor([[*ids, end]])
    width = long.shape[1] - short.shape[1]
    with probing(backbone):
        alone = backbone(input_ids=short, attention_mask=torch.ones_like(short)).logits[0]
        rows = torch.cat([_padded(short, 0, width, end), long])
        mask = torch.cat([_padded(torch.ones_like(short), 0, width, 0), torch.ones_like(long)])
        together = backbone(input_ids=rows, attention_mask=mask).logits[0, : short.shape[1]]
        if differs(alone, together):
            raise _refused(backbone, "a text's loss")
        rows = torch.cat([_padded(short, width, 0, end), long])
        mask = torch.cat([_padded(torch.ones_like(short), width, 0, 0), torch.ones_like(long)])
        ours = _first_scores(backbone, short, torch.ones_like(short), end)
        if differs(ours, _first_scores(backbone, rows, mask, end)):
            raise _refused(backbone, "a text")


def _depends_on_batch(backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    encoded = [dict(tokenizer(text)) for text in _TEXTS]
    together = backbone(**tokenizer.pad(encoded, return_tensors="pt")).logits
    alone = [backbone(**tokenizer.pad([each], return_tensors="pt")).logits[0] for each in encoded]
    return any(differs(one, other) for one, other in zip(alone, together, strict=True))


def _padded(row: torch.Tensor, left: int, right: int, filler: int) -> torch.Tensor:
    return torch.nn.functional.pad(row, (left, right), value=filler)


def _first_scores(
    backbone: PreTrainedModel, ids: torch.Tensor, mask: torch.Tensor, end: int
) -> torch.Tensor:
    """Return the scores of the first two tokens that follow the first context."""
    options: dict[str, Any] = {"output_logits": True, "return_dict_in_generate": True}
    found = backbone.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=mask,
        do_sample=False,
        max_new_tokens=2,
        pad_token_id=end,
        eos_token_id=None,
        **options,
    )
    return torch.stack([scores[0] for scores in found.logits])


def _refused(backbone: PreTrainedModel, what: str) -> RequestError:
    return RequestError(
        f"model.name_or_path: {what} would depend on the other examples of its batch, since "
        f"padding changes what a model of type {backbone.config.model_type} computes; choose "
        "another model."
    )
