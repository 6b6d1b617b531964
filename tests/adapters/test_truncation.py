"""The singular basis of a product whose layer is narrower than r_max."""

import pytest
import torch

from dylora_exp.adapters.truncation import singular_factors, truncate
from dylora_exp.core.errors import TrainingDiverged


@pytest.mark.parametrize(("d_in", "d_out", "r"), [(8, 3, 6), (3, 8, 6), (4, 3, 6), (5, 5, 5)])
def test_ranks_above_the_narrow_side_are_zeros(d_in, d_out, r):
    torch.manual_seed(0)
    a, b = torch.randn(r, d_in), torch.randn(d_out, r)
    new_a, new_b = singular_factors(a, b)
    assert (new_a.shape, new_b.shape) == (a.shape, b.shape)
    torch.testing.assert_close(new_b @ new_a, b @ a, rtol=0, atol=1e-5)
    narrow = min(d_in, d_out, r)
    assert not new_a[narrow:].any()
    assert not new_b[:, narrow:].any()
    values = torch.linalg.svdvals(b @ a)
    for rank in range(1, r + 1):
        cut_a, cut_b = truncate(a, b, rank, "svd")
        assert (cut_a.shape, cut_b.shape) == ((rank, d_in), (d_out, rank))
        rest = torch.linalg.matrix_norm(b @ a - cut_b @ cut_a)
        assert rest == pytest.approx(values[rank:].square().sum().sqrt().item(), abs=1e-4)


@pytest.mark.parametrize("value", [float("nan"), float("-inf")])
def test_factors_that_are_not_finite_have_no_basis(value):
    a, b = torch.randn(3, 8), torch.randn(8, 3)
    b[2, 1] = value
    with pytest.raises(TrainingDiverged, match=r"was training stable\? Try a lower trainer"):
        singular_factors(a, b)
