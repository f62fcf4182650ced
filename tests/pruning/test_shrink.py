"""A shrunk network is smaller and computes the same integers."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from networks import Builder, example, inputs, networks
from secateur.pruning.plugins import strategies
from secateur.pruning.prune import prune
from secateur.pruning.shrink import shrink


@given(networks(), st.sampled_from(sorted(strategies())))
def test_nothing_changes(network, strategy):
    x = inputs(network, limit=256)
    pruned = prune(network, strategy, samples=x)
    assert (shrink(pruned)(x) == pruned(x)).all()


def test_a_dead_neuron_leaves_its_constant_in_the_next_bias():
    b = Builder((2,), 0, 3)
    b.linear(np.array([[1, 1], [0, 0], [0, 1]], np.int8), np.array([0, 4, 0]))
    b.activation("relu", low=0, high=3)
    b.linear(np.array([[1, 2, 1]], np.int8))
    network = b.network()
    small = shrink(network)
    constant = network["lookup1"].evaluate(np.array([[0, 4, 0]]))[0, 1]
    assert constant > 0
    assert small["linear0"].codes.tolist() == [[1, 1], [0, 1]]
    assert small["linear2"].bias.tolist() == [2 * constant]


def test_a_chain_of_removals_ends_in_fewer_lookups():
    network = example("mlp")
    pruned = prune(network, [("structured", {"sparsity": 0.6}), ("accumulator", {"bits": 4})])
    small = shrink(pruned)
    assert small.shapes["lookup1"] < pruned.shapes["lookup1"]
    x = inputs(network)
    assert (small(x) == pruned(x)).all()


@pytest.mark.parametrize("name", ["mlp", "convolutional", "residual"])
def test_shrinking_twice_is_shrinking_once(name):
    small = shrink(prune(example(name), "structured"))
    assert shrink(small) is small
