"""A2Q's budget, by its own formula."""

import numpy as np
import pytest
from layers import layer, problem

from secateur.errors import OptionError
from secateur.pruning.apply import apply_strategy
from secateur.pruning.l1_ball import radius


@pytest.mark.parametrize(
    ("low", "high", "bits", "expected"),
    [(0, 3, 8, 31), (0, 7, 8, 15), (-4, 3, 8, 31), (0, 255, 16, 127), (2, 3, 8, 31), (0, 3, 1, 0)],
)
def test_the_radius(low, high, bits, expected):
    assert radius(layer([[1]], low, high), bits) == expected


def test_the_largest_weights_that_still_fit_stay():
    # The radius at 5 bits of two-bit inputs is 3.
    codes = np.array([[2, -2, 1, 1], [4, 1, 1, 1]])
    kept = apply_strategy(problem(layer(codes)), "l1-ball", bits=5)["fc"]
    assert kept.tolist() == [[True, False, True, False], [False, True, True, True]]


@pytest.mark.parametrize("bits", [0, 64])
def test_widths_are_1_to_63(bits):
    with pytest.raises(OptionError, match="expected 1 to 63"):
        apply_strategy(problem(layer([[1]])), "l1-ball", bits=bits)
