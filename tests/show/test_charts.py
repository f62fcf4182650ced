"""Axes place values in order, between their ends, with ticks that can be read."""

import math

import pytest
from hypothesis import given, strategies as st

from secateur.show.charts import Axis

values = st.lists(st.floats(-1e12, 1e12), min_size=1, max_size=8)
positive = st.lists(st.floats(1e-6, 1e15), min_size=1, max_size=8)
fractions = st.lists(st.floats(1e-4, 1 - 1e-4), min_size=1, max_size=8)


@given(values | positive | fractions)
def test_values_lie_in_order_between_the_ends(given_values):
    axis = Axis.of(given_values)
    places = [axis.place(v) for v in sorted(given_values)]
    assert places == sorted(places)
    assert all(-1e-6 <= place <= 1 + 1e-6 for place in places)
    assert axis.ticks == sorted(axis.ticks)
    assert all(axis.low <= tick <= axis.high for tick in axis.ticks)


@pytest.mark.parametrize(
    ("given_values", "scale", "ticks"),
    [
        ([0.2, 0.98], "logit", [0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98]),
        ([0.95, 0.98], "linear", [0.95, 0.955, 0.96, 0.965, 0.97, 0.975, 0.98]),
        ([4, 8], "linear", [4, 5, 6, 7, 8]),
        ([3e8, 1e11], "log", [5e8, 1e9, 2e9, 5e9, 1e10, 2e10, 5e10, 1e11]),
        ([0, 1e6], "linear", [0, 2e5, 4e5, 6e5, 8e5, 1e6]),
    ],
)
def test_the_scale_and_the_ticks_suit_the_values(given_values, scale, ticks):
    axis = Axis.of(given_values)
    assert axis.scale == scale
    assert len(axis.ticks) == len(ticks)
    assert all(math.isclose(a, b, abs_tol=1e-9) for a, b in zip(axis.ticks, ticks, strict=True))


def test_equal_values_lie_in_the_middle():
    assert Axis.of([3.0, 3.0]).place(3.0) == pytest.approx(0.5)
