"""Axes place values in order, between their ends, with ticks that can be read."""

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
    ("given_values", "scale"),
    [
        ([0.2, 0.98], "logit"),
        ([0.95, 0.98], "linear"),
        ([4, 8], "linear"),
        ([3e8, 1e11], "log"),
        ([0, 1e6], "linear"),
    ],
)
def test_the_scale_suits_the_values_and_has_some_ticks(given_values, scale):
    axis = Axis.of(given_values)
    assert axis.scale == scale
    assert 4 <= len(axis.ticks) <= 10


def test_equal_values_lie_in_the_middle():
    assert Axis.of([3.0, 3.0]).place(3.0) == pytest.approx(0.5)
