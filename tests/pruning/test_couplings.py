"""Which channels feed which, on every architecture, and checked by making one channel speak."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from networks import EXAMPLES, Builder, codes, example, inputs, networks
from secateur.errors import NetworkError
from secateur.network import Conv
from secateur.pruning.couplings import couplings_of


def pairs(network):
    return {(c.producer, c.consumer): c.columns.tolist() for c in couplings_of(network)}


def removable(network):
    return {c.producer: c.removable.tolist() for c in couplings_of(network)}


def test_a_flattened_image_feeds_a_block_of_columns():
    network = example("convolutional")
    assert pairs(network)["conv2", "linear5"] == [
        [c, 4 * c + i] for c in range(4) for i in range(4)
    ]
    assert pairs(network)["conv0", "conv2"] == [[0, 0], [1, 1]]


def test_a_residual_add_makes_two_layers_feed_one_column():
    network = example("residual")
    diagonal = [[c, c] for c in range(4)]
    assert pairs(network) == {
        ("linear0", "linear2"): diagonal,
        ("linear0", "linear5"): diagonal,
        ("linear2", "linear5"): diagonal,
    }
    assert removable(network) == {"linear0": [True] * 4, "linear2": [True] * 4}


def test_concatenated_branches_feed_their_own_columns():
    network = example("concatenated")
    assert pairs(network) == {
        ("linear0", "linear5"): [[0, 0], [1, 1], [2, 2]],
        ("linear2", "linear5"): [[0, 3], [1, 4]],
    }


def test_what_reaches_the_output_or_mixes_with_the_input_is_not_removable():
    random = np.random.default_rng(0)
    b = Builder((3,), 0, 3)
    b.linear(codes(random, 3, 3))
    b.add("input", b.at)
    b.linear(codes(random, 3, 3))
    hidden = b.at
    b.linear(codes(random, 3, 3))
    b.add(hidden, b.at)
    assert removable(b.network()) == {"linear0": [False] * 3, "linear2": [False] * 3}


@given(networks())
def test_a_channel_moves_no_column_that_it_does_not_feed(network):
    """With all codes zero a changed bias travels no further than to the next layers."""
    still = network.with_operations(*(replace(o, codes=0 * o.codes) for o in network.layers))
    x = inputs(network, limit=2)[:1]
    before = still.nodes(x)
    couplings = {(c.producer, c.consumer): c.columns for c in couplings_of(network)}
    for producer in still.layers:
        for channel in range(len(producer.codes)):
            bias = (
                np.zeros(len(producer.codes), np.int64) if producer.bias is None else producer.bias
            )
            moved = replace(producer, bias=bias + 3 * (np.arange(len(bias)) == channel))
            try:
                after = still.with_operations(moved).nodes(x)
            except NetworkError:  # an explicit table without an entry there
                continue
            for consumer in network.layers:
                different = (before[consumer.source] != after[consumer.source])[0]
                columns = np.flatnonzero(different.reshape(len(different), -1).any(axis=1))
                fed = couplings.get((producer.name, consumer.name), np.empty((0, 2)))
                assert set(columns) <= set(fed[fed[:, 0] == channel, 1])


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_column_of_a_hidden_layer_is_fed(name):
    network = example(name)
    for consumer in network.layers:
        if consumer.source == network.input.name:
            continue
        fed = [c.columns[:, 1] for c in couplings_of(network) if c.consumer == consumer.name]
        groups = consumer.groups if isinstance(consumer, Conv) else 1
        assert set(np.concatenate(fed)) == set(range(consumer.codes.shape[1] * groups))
