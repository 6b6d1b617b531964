"""Tests of a model itself, before anything is trained.

They call it: padding must not change its outputs, and the parts of a fused layer must be what its
attention takes for them.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from dylora_exp.core import RequestError
from dylora_exp.models.fused import is_plain, layout_in
from dylora_exp.models.layer_names import name_matches
from dylora_exp.models.quantised import SINGLE_ROUNDING, rounding

# Of different lengths, so that one is padded beside the other.
_TEXTS = ("a", "It was a longer text, with a number of words: 12, 13 and 14.")


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


def differs(one: torch.Tensor, other: torch.Tensor, model: torch.nn.Module) -> bool:
    """Return whether two results of the same differ by more than the rounding of a model."""
    if not (one.isfinite().all() and other.isfinite().all()):
        return True
    return bool((one - other).abs().max() > rounding(model) * one.abs().max() + 1e-7)


def computes_exactly(model: torch.nn.Module) -> bool:
    """Return whether a model computes in single precision or better, in all of its layers."""
    return rounding(model) <= SINGLE_ROUNDING


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
    device = next(backbone.parameters()).device
    short, long = (torch.tensor([[*each, end]], device=device) for each in (ids[:3], ids))
    width = long.shape[1] - short.shape[1]
    with probing(backbone):
        alone = backbone(input_ids=short, attention_mask=torch.ones_like(short)).logits[0]
        rows = torch.cat([_padded(short, 0, width, end), long])
        mask = torch.cat([_padded(torch.ones_like(short), 0, width, 0), torch.ones_like(long)])
        together = backbone(input_ids=rows, attention_mask=mask).logits[0, : short.shape[1]]
        if differs(alone, together, backbone):
            raise _refused(backbone, "a text's loss")
        rows = torch.cat([_padded(short, width, 0, end), long])
        mask = torch.cat([_padded(torch.ones_like(short), width, 0, 0), torch.ones_like(long)])
        ours = _first_scores(backbone, short, torch.ones_like(short), end)
        if differs(ours, _first_scores(backbone, rows, mask, end), backbone):
            raise _refused(backbone, "a text")


def check_training_pass(backbone: PreTrainedModel) -> None:
    """Call a model as training does, so that one that cannot be trained says so at once.

    Raises:
        Exception: Whatever the model raises, such as about lengths that it is not made for.
    """
    with torch.random.fork_rng(), torch.no_grad():
        was_training = backbone.training
        backbone.train()
        try:
            backbone(**equal_texts(backbone))
        finally:
            backbone.train(was_training)


def check_fused_parts(backbone: PreTrainedModel, fused: Mapping[str, Sequence[str]]) -> None:
    """Refuse fused layers whose parts, by their layout and in the order named, are others.

    Queries that are zero have the effect of keys that are zero, and gates that of what they gate;
    no two sets of rows that mix parts have the same effect. Queries and keys are
    told apart in the last layer, where the queries of a token change its own outputs alone.

    Args:
        backbone: The model, its layers not split yet.
        fused: The names of the parts of each layer of which a part is a target.

    Raises:
        RequestError: When two of the parts do not have the same effect where they are zero, the
            others than values have not, or what is named queries acts on other tokens.
    """
    for known, parts in fused.items():
        layers = [pair for pair in backbone.named_modules() if name_matches(pair[0], known)]
        if not layers or not is_plain(layers[0][1]):
            continue  # refused where it is split
        (name, first), (_, last) = layers[0], layers[-1]
        layout = layout_in(backbone, name, first, len(parts))
        rows = [layout.rows(index) for index in range(len(parts))]
        queries = [index for index, part in enumerate(parts) if part.lower().startswith("q")]
        with probing(backbone):
            whole = _without_rows(backbone, first, [])
            effects = [_without_rows(backbone, first, each) - whole for each in rows]
            elsewhere = [
                index for index in queries if not _acts_on_own_token(backbone, last, rows[index])
            ]
        share = max(1e-2, rounding(backbone))
        equal = {
            (i, j)
            for i, j in itertools.combinations(range(len(parts)), 2)
            if (effects[i] - effects[j]).abs().max() <= share * effects[i].abs().max()
        }
        values = {index for index, part in enumerate(parts) if part.lower().startswith("v")}
        blocks = "equal blocks" if layout.is_of_equal_blocks else "the parts"
        if len(equal) != 1 or any(values & set(pair) for pair in equal) or elsewhere:
            raise RequestError(
                f"model.fused.{known}: the parts {', '.join(parts)} are not {blocks}, in this "
                f"order, of the outputs of '{known}' in a model of type "
                f"{backbone.config.model_type}; name the whole layer as target."
            )


def _without_rows(
    backbone: PreTrainedModel, layer: torch.nn.Module, rows: Sequence[int]
) -> torch.Tensor:
    """Return the outputs of a model where some rows of a layer's outputs are zero.

    The layer's outputs are of size 2: those of random weights are so small that attention would
    hardly depend on them.
    """

    def zero(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
        changed = 2 * output / output.std()
        changed[..., list(rows)] = 0
        return changed

    handle = layer.register_forward_hook(zero)
    try:
        logits: torch.Tensor = backbone(**equal_texts(backbone)).logits
        return logits
    finally:
        handle.remove()


def _acts_on_own_token(
    backbone: PreTrainedModel, layer: torch.nn.Module, rows: Sequence[int]
) -> bool:
    """Return whether some rows of a layer's outputs at the second token change no other token."""

    def outputs(step: float) -> torch.Tensor:
        def shift(_: torch.nn.Module, __: Any, output: torch.Tensor) -> torch.Tensor:
            changed = 2 * output / output.std()
            changed.view(-1, changed.shape[-1])[1, list(rows)] += step
            return changed

        handle = layer.register_forward_hook(shift)
        try:
            found = backbone(**equal_texts(backbone), output_hidden_states=True).hidden_states[-1]
        finally:
            handle.remove()
        others = [token for token in range(found.shape[-2]) if token != 1]
        return found[..., others, :]

    return not differs(outputs(0.0), outputs(3.0), backbone)


def equal_texts(backbone: Any, rows: int = 1) -> dict[str, torch.Tensor]:
    """Return equal texts of tokens that are not special, with an end token where there is one."""
    config, device = backbone.config, next(backbone.parameters()).device
    named = [getattr(config, f"{kind}_token_id", None) for kind in ("bos", "pad", "eos")]
    # Some models have several end tokens.
    special = [number for each in named for number in (each if isinstance(each, list) else [each])]
    ids = [number for number in range(3, 20) if number not in special][:9]
    known = len(backbone.get_input_embeddings().weight)
    ids += [end for end in special[2:3] if isinstance(end, int) and end < known]
    return {
        "input_ids": torch.tensor([ids] * rows, device=device),
        "attention_mask": torch.ones(rows, len(ids), dtype=torch.long, device=device),
    }


def _depends_on_batch(backbone: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> bool:
    encoded = [dict(tokenizer(text)) for text in _TEXTS]
    device = next(backbone.parameters()).device

    def logits(texts: list[Any]) -> torch.Tensor:
        found: torch.Tensor = backbone(
            **tokenizer.pad(texts, return_tensors="pt").to(device)
        ).logits
        return found

    pairs = zip(encoded, logits(encoded), strict=True)
    return any(differs(logits([each])[0], other, backbone) for each, other in pairs)


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
