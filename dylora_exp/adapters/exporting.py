"""One rank of a saved adapter as a plain PEFT adapter of the stock model.

An ordinary LoRA of rank b computes ``(lora_alpha / b) B A``. A DyLoRA trained at scale alpha/b
exports with ``lora_alpha = alpha``; a product scaled by alpha/r keeps its scale with
``lora_alpha = alpha * b / r``. The adapters of n parts of a fused layer become one of rank n b on
the stock model's layer, with ``lora_alpha`` n times as large. Where layers differ in rank or scale,
one of rank r_l keeps min(b, r_l), and its scale is multiplied into B, with ``alpha`` equal to the
rank in every layer: servers that ignore PEFT's patterns then still scale by 1.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from dylora_exp.adapters.peft_folder import PREFIX
from dylora_exp.adapters.saved import Factors, SavedAdapter
from dylora_exp.adapters.truncation import truncate
from dylora_exp.models import Part, fused_part
from dylora_exp.records import RankScore

# Of PEFT's settings: every layer has the same rank and alpha, and the scale is alpha / r.
_UNIFORM: dict[str, Any] = {"rank_pattern": {}, "alpha_pattern": {}, "use_rslora": False}


def export_rank(
    saved: SavedAdapter,
    score: RankScore,
    alpha: float,
    fused: Mapping[str, Sequence[str]] | None = None,
    row_scale: Tensor | None = None,
) -> SavedAdapter:
    """Return the adapter of one rank, for the layers of the stock model.

    Args:
        saved: The adapter at r_max.
        score: Names the rank and how it is cut.
        alpha: The numerator of the scale in training.
        fused: The names of the parts of each fused layer.
        row_scale: Fixed factors of A's rows, shape (r_max,), where the method has them.
    """
    assert score.rank is not None
    factors, alphas = {}, {}
    for layer, (a, b) in saved.factors.items():
        scaled = a if row_scale is None else (row_scale[:, None] * a).to(a.dtype)
        rank = min(score.rank, len(a))
        factors[layer] = truncate(scaled, b, rank, score.truncation or "leading")
        alphas[layer] = saved.alphas.get(layer, alpha)
        if score.scale == "alpha/r":
            alphas[layer] *= rank / len(a)
    if len({(len(factors[layer][0]), alphas[layer]) for layer in factors}) > 1:
        return _of_several_ranks(saved, factors, alphas)
    joined, width = join_fused_parts(factors, fused)
    settings = {
        **saved.settings,
        **_UNIFORM,
        "r": width * score.rank,
        "lora_alpha": width * next(iter(alphas.values())),
    }
    if not isinstance(targets := settings["target_modules"], str):  # a pattern
        parts = {name: fused_part(name, fused) for name in targets}
        layers = {part.layer if part else name for name, part in parts.items()}
        settings["target_modules"] = sorted(layers)
    return SavedAdapter(settings, joined, saved.head)


def _of_several_ranks(
    saved: SavedAdapter, factors: Factors, alphas: Mapping[str, float]
) -> SavedAdapter:
    """Return an adapter whose layers differ in rank or scale; every alpha is a rank."""
    baked = {
        layer: (a, (b.double() * (alphas[layer] / len(a))).to(b.dtype))
        for layer, (a, b) in factors.items()
    }
    r = max(len(a) for a, _ in factors.values())
    # PEFT takes a key for the end of a name, in which a point stands for any character.
    pattern = {
        f"^{re.escape(layer.removeprefix(PREFIX))}": len(a)
        for layer, (a, _) in factors.items()
        if len(a) != r
    }
    settings = {"r": r, "lora_alpha": r, "rank_pattern": pattern, "alpha_pattern": pattern}
    return SavedAdapter({**saved.settings, **_UNIFORM, **settings}, baked, saved.head)


def join_fused_parts(
    factors: Factors, fused: Mapping[str, Sequence[str]] | None
) -> tuple[Factors, int]:
    """Return factors for the layers of the stock model, where parts of a layer were adapted.

    Adapters of rank b of the parts q and v of one layer become ``A = [A_q; A_v]``, shape
    (2 b, d_in), and B, shape (3 d_out, 2 b), with B_q and B_v as blocks and zero rows for k.

    Args:
        factors: Of rank b, by layer or part of a layer.
        fused: The names of the parts of each fused layer.

    Returns:
        The factors, all of rank n b, and n, the largest number of adapted parts of a layer. Those
        of other layers are filled up with zeros: a plain LoRA has one rank.
    """
    members: dict[str, list[tuple[Part, Tensor, Tensor]]] = {}
    for name, (a, b) in factors.items():
        part = fused_part(name, fused) or Part(name, 0, 1)
        members.setdefault(part.layer, []).append((part, a, b))
    width = max(len(parts) for parts in members.values())
    return {layer: _join(parts, width) for layer, parts in members.items()}, width


def _join(parts: list[tuple[Part, Tensor, Tensor]], width: int) -> tuple[Tensor, Tensor]:
    """Return A with the parts' rows one after the other, and B with the parts as blocks."""
    first, a, b = parts[0]
    d_out, rank = b.shape
    joined_a = a.new_zeros(width * rank, a.shape[1])
    joined_b = b.new_zeros(first.count * d_out, width * rank)
    for number, (part, a, b) in enumerate(parts):
        inner = slice(number * rank, (number + 1) * rank)
        joined_a[inner] = a
        joined_b[part.index * d_out : (part.index + 1) * d_out, inner] = b
    return joined_a, joined_b
