"""Lower ranks cut from trained factors: the leading rows and columns, or the singular ones."""

from __future__ import annotations

import torch
from peft.tuners.lora import LoraLayer
from torch import Tensor
from torch.nn import functional

from dylora_exp.adapters.layers import factors
from dylora_exp.core import TrainingDiverged


def truncate(a: Tensor, b: Tensor, rank: int, truncation: str) -> tuple[Tensor, Tensor]:
    """Return the factors of a rank: A (rank, d_in) and B (d_out, rank), as in the rank sweep.

    Args:
        a: (r_max, d_in).
        b: (d_out, r_max).
        rank: 1..r_max.
        truncation: ``leading`` or ``svd``.
    """
    if truncation == "svd":
        a, b = singular_factors(a, b)
    return a[:rank].contiguous(), b[:, :rank].contiguous()


@torch.no_grad()
def singular_factors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate factors into the singular basis of their product, which does not change.

    With ``B A = U S V^T`` the new factors are ``A = sqrt(S) V^T`` and ``B = U sqrt(S)``, so that
    their first b rows and columns are the best rank-b approximation of the product
    (Eckart-Young). Worked out in float64 on the r x r core of two QR decompositions. Where r is
    above the product's number of singular values, a narrow layer's, the rest is zero.

    Args:
        a: (r, d_in).
        b: (d_out, r).

    Returns:
        The new A and B, in the shapes and types of the old.

    Raises:
        TrainingDiverged: When the factors are not finite.
    """
    if not (a.isfinite().all() and b.isfinite().all()):
        raise TrainingDiverged("an adapter holds other values than finite numbers")
    q_b, core_b = torch.linalg.qr(b.double())
    q_a, core_a = torch.linalg.qr(a.double().T)
    u, s, vh = torch.linalg.svd(core_b @ core_a.T, full_matrices=False)
    root = s.sqrt()
    missing = len(a) - len(s)
    new_a = functional.pad(root[:, None] * (vh @ q_a.T), (0, 0, 0, missing))
    new_b = functional.pad((q_b @ u) * root, (0, missing))
    return new_a.to(a.dtype), new_b.to(b.dtype)


@torch.no_grad()
def rotate(layer: LoraLayer) -> None:
    """Rotate a layer's factors into their singular basis, in place."""
    a, b = factors(layer)
    new_a, new_b = singular_factors(a, b)
    a.data.copy_(new_a)
    b.data.copy_(new_b)
