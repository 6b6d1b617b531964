"""What a measurement says of other batches and other depths: the arithmetic."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dylora_exp.runner.time_fits import Line, Measurement, at_depth, line_through

positive = st.floats(0.01, 100)


@given(fixed=positive, each=positive, first=st.integers(1, 500), more=st.integers(1, 500))
def test_a_line_is_found_again_from_two_of_its_points(fixed, each, first, more):
    points = [(tokens, fixed + each * tokens) for tokens in (first, first + more)]
    found = line_through(points)
    for tokens in (0, 17, 2_000):
        assert found.at(tokens) == pytest.approx(fixed + each * tokens, rel=1e-6, abs=1e-6)


def test_noise_makes_no_time_that_falls_or_is_below_0():
    assert line_through([(10, 3.0), (20, 2.0)]) == Line(2.5, 0.0)
    assert line_through([(10, 1.0), (20, 4.0)]) == Line(0.0, 0.2)  # through (0, -2) otherwise
    assert line_through([(10, 1.0)]) == Line(0.0, 0.1)
    assert Line(-1.0, 0.1).at(5) == 0.0


@given(rest=positive, layer=positive, depth=st.integers(1, 100))
def test_layers_that_are_alike_are_counted_exactly(rest, layer, depth):
    values = {layers: rest + layer * layers for layers in (1, 3)}
    assert at_depth(depth, values) == pytest.approx(rest + layer * depth) or depth == 2
    assert at_depth(depth, {depth: 7.0}) == 7.0


def test_another_rank_has_as_many_parameters_as_it_says():
    # RoBERTa-base with two labels: 36,864 r + 592,130
    measured = Measurement(
        *(Line(1.0, 0.5), Line(2.0, 0.0), 4.0, 8.0, Line(0.0, 0.0), 0.0),
        *(887_042, 294_912, 8, (), (1, 3), 12),
    )
    assert measured.trained_parameters(1) == 628_994
    faster = measured.faster(2.0)
    assert faster.training == Line(0.5, 0.25)
    assert (faster.scoring.fixed, faster.per_cut, faster.new_token) == (1.0, 2.0, 4.0)
