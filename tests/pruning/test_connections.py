"""Concrete ML's rule, by its own numbers."""

import numpy as np
import pytest
from layers import layer, problem

from secateur.errors import BrokenPromiseError, OptionError
from secateur.pruning.apply import apply_strategy
from secateur.pruning.connections import most_connections


@pytest.mark.parametrize(
    ("widths", "most"), [((8, 3, 3), 5), ((8, 2, 2), 28), ((4, 3, 3), 0), ((8, 3, 0), None)]
)
def test_the_rule(widths, most):
    assert most_connections(*widths) == most


def test_every_neuron_keeps_its_largest_weights():
    codes = np.array([[-4, 3, 2, 1, 1, 3, -2], [1, 0, -1, 2, -3, 3, 3]])
    kept = apply_strategy(problem(layer(codes, high=7)), "connections", bits=8)["fc"]
    assert kept.sum(axis=1).tolist() == [5, 5]
    assert kept[0].tolist() == [True, True, True, False, False, True, True]


def test_widths_are_the_layers_own_unless_given():
    eight = layer([[1] * 8], high=1)  # a code of 1 needs 2 signed bits, an input of 1 needs 1
    assert apply_strategy(problem(eight), "connections", bits=4)["fc"].sum() == 5
    assert apply_strategy(problem(eight), "connections", bits=4, weight_bits=3)["fc"].sum() == 2


def test_what_cannot_be_too_wide_is_left_alone():
    assert apply_strategy(problem(layer([[3] * 9], 2, 2)), "connections", bits=1)["fc"].all()


def test_widths_given_too_small_break_the_promise():
    with pytest.raises(BrokenPromiseError, match="promised 4 span bits"):
        apply_strategy(problem(layer([[7] * 9])), "connections", bits=4, weight_bits=1)


@pytest.mark.parametrize("options", [{"bits": 0}, {"weight_bits": 0}, {"activation_bits": -1}])
def test_widths_have_limits(options):
    with pytest.raises(OptionError, match="expected"):
        apply_strategy(problem(layer([[1]])), "connections", **options)
