"""The scales at which methods may be trained: alpha/r where they train lower ranks as well."""

import pytest

from dylora_exp.config.composition import compose
from dylora_exp.config.registry import method_class

LOWER_RANKS = [
    *("dylora", "dylora-frozen", "dylora-distilled", "droplora", "nested-dropout", "sorted-lora"),
    "matryoshka",
]


def problems(method, scale):
    config = compose([f"method={method}", f"method.scale={scale}"])
    return [each for each in method_class(config.method.kind).problems(config) if "scale" in each]


@pytest.mark.parametrize("method", LOWER_RANKS)
def test_methods_that_train_lower_ranks_train_them_at_any_scale(method):
    assert not problems(method, "alpha/r")
    assert not problems(method, "alpha/sqrt(b)")


@pytest.mark.parametrize("method", ["lora", "lora-continued", "lora-squeeze"])
def test_at_r_max_alone_no_second_name_for_a_scale_is_accepted(method):
    assert not problems(method, "alpha/sqrt(b)")
    (problem,) = problems(method, "alpha/r")
    assert "trains rank r_max alone, where that is alpha/b" in problem
