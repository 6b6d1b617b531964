"""The log-likelihoods of an item's options, its shared prompt computed once.

The options of an item make one sequence: the tokens that all of them begin with, then the rest of
each. A mask keeps the rests from each other, and positions count on from the prompt for each, so
that every option sees what it would see in a row of its own. Models that take no such mask score
each option in its own row.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from dylora_exp.core import (
    LOG,
    TrainingDiverged,
    gather,
    is_main_process,
    process_count,
    process_index,
    progress_bar,
)
from dylora_exp.models import eager_for_one

# What two ways of computing the same may differ by, as a share; more with less precise weights.
_TOLERANCE = 1e-5
_LOW_PRECISION = 3e-2
# The segment of the tokens that all options see, and that of padding.
_SHARED, _PADDING = 0, -1


class OptionSet:
    """The token sequences of an item's options.

    Args:
        pairs: Of each option, the ids of the prompt, at least one, and of what follows it.
        where: Where the item was found.

    Attributes:
        sequences: The different ones among them, as their ids and how many of these the prompt has.
        of_option: The index of each option's sequence. Options of the same tokens share one, so
            that their scores are equal.
        shared: How many tokens all sequences begin with, their last ones left out.
    """

    def __init__(self, pairs: Sequence[tuple[list[int], list[int]]], where: str) -> None:
        found: dict[tuple[tuple[int, ...], int], int] = {}
        keys = [(tuple(prompt + rest), len(prompt)) for prompt, rest in pairs]
        self.of_option = [found.setdefault(key, len(found)) for key in keys]
        self.sequences = list(found)
        self.shared = _common([ids[:-1] for ids, _ in self.sequences])
        self.where = where

    @property
    def longest(self) -> int:
        """The number of tokens of the longest sequence that a model reads."""
        return max(len(ids) for ids, _ in self.sequences) - 1

    def packed(self) -> _Row:
        """Return all sequences in one row."""
        ids = list(self.sequences[0][0][: self.shared])
        row = _Row(ids, list(range(self.shared)), [_SHARED] * self.shared, [])
        for index, (tokens, start) in enumerate(self.sequences):
            offset = len(row.ids) - self.shared
            row.targets.extend(
                (index, source + (offset if source >= self.shared else 0), tokens[source + 1])
                for source in range(start - 1, len(tokens) - 1)
            )
            row.ids.extend(tokens[self.shared : -1])
            row.positions.extend(range(self.shared, len(tokens) - 1))
            row.segments.extend([index + 1] * (len(tokens) - 1 - self.shared))
        return row

    def apart(self) -> Iterator[_Row]:
        """Yield a row for each sequence."""
        for index, (tokens, start) in enumerate(self.sequences):
            size = len(tokens) - 1
            targets = [(index, source, tokens[source + 1]) for source in range(start - 1, size)]
            yield _Row(list(tokens[:-1]), list(range(size)), [_SHARED] * size, targets)


def _common(sequences: Sequence[Sequence[int]]) -> int:
    """Return how many items sequences begin with that are the same in all."""
    columns = enumerate(zip(*sequences, strict=False))
    differs = (index for index, column in columns if len(set(column)) > 1)
    return next(differs, min(map(len, sequences)))


@dataclass(frozen=True)
class _Row:
    """A row of a batch.

    Attributes:
        ids: The tokens.
        positions: The position of each.
        segments: 0 where all options see the token, another number where only one does.
        targets: Of each token that counts: the index of its sequence, the index in the row of the
            token that it is predicted after, and its id.
    """

    ids: list[int]
    positions: list[int]
    segments: list[int]
    targets: list[tuple[int, int, int]]


def option_log_likelihoods(
    model: nn.Module,
    items: Sequence[OptionSet],
    batch_size: int,
    packed: bool,
    bf16: bool = False,
    title: str = "scoring",
) -> list[list[float]]:
    """Return the log-likelihood of each option of each item.

    Each process has some of the batches, and all return all.

    Args:
        model: A causal language model at the cut to score.
        items: What is scored.
        batch_size: How many rows a batch has.
        packed: Whether the options of an item make one row; see ``packing_keeps_scores``.
        bf16: Whether to compute in bfloat16.
        title: Of the progress bar.

    Raises:
        TrainingDiverged: When an output of the model is not finite.
    """
    model.eval()
    rows = [
        (number, row)
        for number, item in enumerate(items)
        for row in ([item.packed()] if packed else item.apart())
    ]
    rows.sort(key=lambda pair: -len(pair[1].ids))  # stable
    batches = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    device = next(model.parameters()).device
    own = batches[process_index() :: process_count()]
    found: list[tuple[int, int, float]] = []
    error = None
    bar = progress_bar(
        total=sum(map(len, own)) if is_main_process() else 0,
        desc=title,
        unit="item" if packed else "option",
    )
    for batch in own:
        autocast = torch.autocast(device.type, dtype=torch.bfloat16, enabled=bf16)
        try:
            with autocast, eager_for_one(model, len(batch)):
                values = _log_likelihoods(model, model, [row for _, row in batch], packed)
        except TrainingDiverged as diverged:
            error = diverged  # raised below, since the other processes wait in ``gather``
            break
        for (number, _), each in zip(batch, values, strict=True):
            found += [(number, sequence, value) for sequence, value in each.items()]
        if is_main_process():
            bar.update(len(batch))
    bar.close()
    together: dict[tuple[int, int], float] = {}
    for failed, part in gather((error, found)):
        if failed is not None:
            raise failed
        together |= {(number, sequence): value for number, sequence, value in part}
    return [
        [together[number, sequence] for sequence in item.of_option]
        for number, item in enumerate(items)
    ]


def packing_keeps_scores(model: nn.Module, items: Sequence[OptionSet]) -> bool:
    """Return whether a model gives packed options the scores that they have in rows of their own.

    It is tried on the items that are longest, packed and apart: a window of attention that is
    shorter than those would show.
    """
    model.eval()
    longest = max(items, key=lambda item: len(item.packed().ids))
    probed = dict.fromkeys([longest, max(items, key=lambda item: item.longest), items[0]])
    device = next(model.parameters()).device
    # Of the class: the Trainer leaves some models with a call of their own, in bfloat16.
    forward = functools.partial(type(model).forward, model)
    tolerance = _TOLERANCE if _dtype(model) == torch.float32 else _LOW_PRECISION
    with torch.autocast(device.type, enabled=False):
        for item in probed:
            apart: dict[int, float] = {}
            for row in item.apart():
                apart |= _log_likelihoods(model, forward, [row], packed=False)[0]
            try:
                (packed,) = _log_likelihoods(model, forward, [item.packed()], packed=True)
            except TrainingDiverged:
                raise
            except Exception as error:  # a model that does not take the mask may raise anything
                LOG.info("options are not packed: %s: %s", type(error).__name__, error)
                return False
            for sequence, value in apart.items():
                if abs(packed[sequence] - value) > tolerance * max(1.0, abs(value)):
                    LOG.info("options are not packed: %s, not %s", packed[sequence], value)
                    return False
    return True


@torch.inference_mode()
def _log_likelihoods(
    model: nn.Module, forward: Callable[..., Any], rows: Sequence[_Row], packed: bool
) -> list[dict[int, float]]:
    """Return, for each row, the log-likelihood of each sequence in it, by the sequence's index."""
    device = next(model.parameters()).device
    width = max(len(row.ids) for row in rows)

    def padded(parts: list[list[int]], filler: int) -> torch.Tensor:
        filled = [part + [filler] * (width - len(part)) for part in parts]
        return torch.tensor(filled, device=device)

    segments = padded([row.segments for row in rows], _PADDING)
    inputs = {"input_ids": padded([row.ids for row in rows], 0), "use_cache": False}
    if packed:
        inputs["position_ids"] = padded([row.positions for row in rows], 0)
        inputs["attention_mask"] = _packed_mask(segments, _dtype(model))
    else:
        inputs["attention_mask"] = (segments != _PADDING).long()
    # The vocabulary is large: logits where none is needed would be most of the memory.
    kept = sorted({source for row in rows for _, source, _ in row.targets})
    if "logits_to_keep" in inspect.signature(type(model).forward).parameters:
        logits = forward(**inputs, logits_to_keep=torch.tensor(kept, device=device)).logits
    else:
        logits = forward(**inputs).logits[:, kept]
    place = {source: index for index, source in enumerate(kept)}
    index, source, token = zip(
        *(
            (index, place[source], token)
            for index, row in enumerate(rows)
            for _, source, token in row.targets
        ),
        strict=True,
    )
    scores = logits[list(index), list(source)].float()
    if not scores.isfinite().all():
        raise TrainingDiverged("the model's outputs are not finite")
    chosen = scores.log_softmax(dim=-1)[range(len(token)), list(token)].tolist()
    found: list[dict[int, float]] = [{} for _ in rows]
    names = ((number, sequence) for number, row in enumerate(rows) for sequence, *_ in row.targets)
    for (number, sequence), value in zip(names, chosen, strict=True):
        found[number][sequence] = found[number].get(sequence, 0.0) + value
    return found


def _packed_mask(segments: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Return what is added to attention scores, (rows, 1, tokens, tokens).

    Args:
        segments: (rows, tokens). A token sees those before it of its own segment, and the shared.
        dtype: Of the mask.
    """
    same = segments[:, :, None] == segments[:, None, :]
    seen = (same | (segments == _SHARED)[:, None, :]).tril()
    mask = torch.zeros(seen.shape, dtype=dtype, device=segments.device)
    return mask.masked_fill(~seen, torch.finfo(dtype).min)[:, None]


def _dtype(model: nn.Module) -> torch.dtype:
    found = getattr(model, "dtype", torch.float32)
    return found if isinstance(found, torch.dtype) else torch.float32
