"""Lower ranks cut from trained factors: the leading rows and columns, or the singular ones."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dylora_exp.core import TrainingDiverged


def truncate(a: Tensor, b: Tensor, rank: int, truncation: str) -> tuple[Tensor, Tensor]:
    """Return the factors of a rank: A (rank, d_in) and B (d_out, rank), as in the rank sweep.

    Args:
        a: (r_max, d_in).
        b: (d_out, r_max).
        rank: 0..r_max.
        truncation: ``leading``; any other takes them in the singular basis.
    """
    if truncation != "leading":
        a, b = singular_factors(a, b)
    return a[:rank].contiguous(), b[:, :rank].contiguous()


@torch.no_grad()
def singular_factors(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Rotate factors into the singular basis of their product, which does not change.

    With ``B A = U S V^T`` the new factors are ``A = sqrt(S) V^T`` and ``B = U sqrt(S)``, so that
    their first b rows and columns are the best rank-b approximation of the product
    (Eckart-Young). Where r is above the product's number of singular values, a narrow layer's, the
    rest is zero.

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
    u, s, vh = decompose(a, b)
    root = s.sqrt()
    missing = len(a) - len(s)
    new_a = functional.pad(root[:, None] * vh, (0, 0, 0, missing))
    new_b = functional.pad(u * root, (0, missing))
    return new_a.to(a.dtype), new_b.to(b.dtype)


@torch.no_grad()
def decompose(a: Tensor, b: Tensor, vectors: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Return the thin singular value decomposition of B A, without forming the product.

    Worked out in float64 on the r x r core of two QR decompositions: ``B = Q_b R_b`` and
    ``A^T = Q_a R_a`` give ``B A = Q_b (R_b R_a^T) Q_a^T``.

    Args:
        a: (r, d_in).
        b: (d_out, r).
        vectors: How many singular vectors of each side to return; all by default.

    Returns:
        U (d_out, vectors), S (k,) descending and V^T (vectors, d_in) in float64, where k is the
        number of singular values that the product may have: the least of d_out, r and d_in.
    """
    q_b, core_b = torch.linalg.qr(b.double())
    q_a, core_a = torch.linalg.qr(a.double().T)
    u, s, vh = torch.linalg.svd(core_b @ core_a.T, full_matrices=False)
    return q_b @ u[:, :vectors], s, vh[:vectors] @ q_a.T
