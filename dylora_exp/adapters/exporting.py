"""One rank of a saved adapter as a plain PEFT adapter of the stock model.

An ordinary LoRA of rank b computes ``(lora_alpha / b) B A``. A DyLoRA trained at scale alpha/b
exports with ``lora_alpha = alpha``; a product scaled by alpha/r keeps its scale with
``lora_alpha = alpha * b / r``, one scaled by alpha/sqrt(b) with ``lora_alpha = alpha * sqrt(b)``:
not every server knows rsLoRA's setting. The adapters of n parts of a fused layer become one of rank
n b on the stock model's layer, with ``lora_alpha`` n times as large.

Where layers differ in rank or scale, or a cut gives each a rank of its own, the scale is multiplied
into B, and each alpha is the rank of its layer: servers that ignore PEFT's patterns then still
scale by 1. A layer of rank 0 is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias, cast

from torch import Tensor

from dylora_exp.adapters.peft_folder import PREFIX
from dylora_exp.adapters.rank_patterns import settings_of_ranks
from dylora_exp.adapters.saved import Factors, SavedAdapter
from dylora_exp.adapters.truncation import truncate
from dylora_exp.config import UNWEIGHTED, Scale, plain_alpha
from dylora_exp.models import Layout, Part, fused_part, name_matches
from dylora_exp.records import RankScore

# A part of a layer with its A and B, and which rows of all parts' outputs it has.
_Member: TypeAlias = tuple[Part, Tensor, Tensor, Layout]
# Of PEFT's settings: every layer has the same rank and alpha, and the scale is alpha / r.
_UNIFORM: dict[str, Any] = {"rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False}


def export_rank(
    saved: SavedAdapter,
    score: RankScore,
    alpha: float,
    fused: Mapping[str, Sequence[str]] | None = None,
    row_scale: Tensor | None = None,
    layouts: Mapping[str, Layout] | None = None,
) -> SavedAdapter:
    """Return the adapter of one rank, for the layers of the stock model.

    Args:
        saved: The adapter at r_max.
        score: Names the rank and how it is cut.
        alpha: That of training.
        fused: The names of the parts of each fused layer.
        row_scale: Fixed factors of A's rows, shape (r_max,), where the method has them.
        layouts: Those of the fused layers whose parts are not equal blocks of their outputs.
    """
    assert score.rank is not None
    truncation, scale = score.truncation or "leading", cast(Scale, score.scale)
    basis, rslora = saved.bases.get(truncation), bool(saved.settings.get("use_rslora"))
    if truncation == UNWEIGHTED:
        truncation, row_scale = "leading", None
    factors, alphas = {}, {}
    for layer, (a, b) in saved.factors.items():
        rank = min(score.rank, len(a))
        if score.layer_ranks is not None:
            rank = score.layer_ranks[layer.removeprefix(PREFIX)]
        numerator = saved.alphas.get(layer, alpha * math.sqrt(len(a)) if rslora else alpha)
        alphas[layer] = plain_alpha(numerator, scale, rank, len(a), rslora)
        if basis is not None:
            factors[layer] = truncate(*basis[layer], rank, "leading")
        else:
            scaled = a if row_scale is None else (row_scale[:, None] * a).to(a.dtype)
            factors[layer] = truncate(scaled, b, rank, truncation)
    settings = {**saved.settings, **_UNIFORM}
    if not isinstance(targets := settings["target_modules"], str):  # a pattern
        parts = {name: fused_part(name, fused) for name in targets}
        layers = {part.layer if part else name for name, part in parts.items()}
        settings["target_modules"] = sorted(layers)
    if len({(len(factors[layer][0]), alphas[layer]) for layer in factors}) > 1:
        adapter = SavedAdapter(settings, factors, saved.head)
        return _of_several_ranks(adapter, alphas, fused, layouts)
    joined, width = join_fused_parts(factors, fused, layouts)
    rank, alpha = len(next(iter(factors.values()))[0]), next(iter(alphas.values()))
    settings |= {"r": width * rank, "lora_alpha": width * alpha}
    return SavedAdapter(settings, joined, saved.head)


def _of_several_ranks(
    adapter: SavedAdapter,
    alphas: Mapping[str, float],
    fused: Mapping[str, Sequence[str]] | None,
    layouts: Mapping[str, Layout] | None,
) -> SavedAdapter:
    """Return an adapter whose layers differ in rank or scale, for the layers of the stock model.

    Args:
        adapter: The factors of each layer or part of a layer, at its rank.
        alphas: What their products are multiplied by, times their ranks.
        fused: The names of the parts of each fused layer.
        layouts: As for ``export_rank``.
    """
    scaled = {
        name: (a, (b.double() * (alphas[name] / max(1, len(a)))).to(b.dtype))
        for name, (a, b) in adapter.factors.items()
    }
    joined = {layer: _join(parts) for layer, parts in _members(scaled, fused, layouts).items()}
    ranks = {layer.removeprefix(PREFIX): len(a) for layer, (a, _) in joined.items()}
    kept = {layer: rank for layer, rank in ranks.items() if rank}
    settings = settings_of_ranks(adapter.settings, ranks, kept)
    left = {layer: each for layer, each in joined.items() if len(each[0])}
    return SavedAdapter(settings, left, adapter.head)


def join_fused_parts(
    factors: Factors,
    fused: Mapping[str, Sequence[str]] | None,
    layouts: Mapping[str, Layout] | None = None,
) -> tuple[Factors, int]:
    """Return factors for the layers of the stock model, where parts of a layer were adapted.

    Adapters of rank b of the parts q and v of one layer become ``A = [A_q; A_v]``, shape
    (2 b, d_in), and B, shape (3 d_out, 2 b), with B_q and B_v as blocks and zero rows for k. Where
    a layer's outputs are laid out otherwise, the rows of B are those of the parts there.

    Args:
        factors: Of rank b, by layer or part of a layer.
        fused: The names of the parts of each fused layer.
        layouts: As for ``export_rank``.

    Returns:
        The factors, all of rank n b, and n, the largest number of adapted parts of a layer. Those
        of other layers are filled up with zeros: a plain LoRA has one rank.
    """
    members = _members(factors, fused, layouts)
    width = max(len(parts) for parts in members.values())
    rank = len(next(iter(factors.values()))[0])
    return {layer: _join(parts, width * rank) for layer, parts in members.items()}, width


def _members(
    factors: Factors,
    fused: Mapping[str, Sequence[str]] | None,
    layouts: Mapping[str, Layout] | None,
) -> dict[str, list[_Member]]:
    """Return the adapted parts of each layer of the stock model."""
    members: dict[str, list[_Member]] = {}
    for name, (a, b) in factors.items():
        part = fused_part(name, fused) or Part(name, 0, 1)
        known = (each for layer, each in (layouts or {}).items() if name_matches(part.layer, layer))
        layout = next(known, Layout(1, (len(b),) * part.count))
        members.setdefault(part.layer, []).append((part, a, b, layout))
    return members


def _join(parts: list[_Member], r: int | None = None) -> tuple[Tensor, Tensor]:
    """Return A with the parts' rows one after the other, and B with the parts at their rows.

    Args:
        parts: Of one layer, each with factors of its rank.
        r: The rank of the joined factors, filled up with zeros; by default that of all parts.
    """
    _, a, b, layout = parts[0]
    rank = r or sum(len(each) for _, each, _, _ in parts)
    joined_a, joined_b = a.new_zeros(rank, a.shape[1]), b.new_zeros(layout.size, rank)
    start = 0
    for part, a, b, layout in parts:
        joined_a[start : start + len(a)] = a
        joined_b[layout.rows(part.index), start : start + len(a)] = b
        start += len(a)
    return joined_a, joined_b
