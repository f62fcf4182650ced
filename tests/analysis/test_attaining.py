"""The search for inputs that attain ends, held against every input of small boxes."""

import numpy as np
import pytest
from hypothesis import given, settings

from networks import EXAMPLES, Builder, example, inputs, networks
from secateur.analysis import analyze
from secateur.network.operation import ENDS


def attained_by_some(network, name, report):
    """Which ends of a node's channels any input attains, bool [channels, 2], by trying all."""
    values = network.nodes(inputs(network, limit=1 << 13))[name]
    axes = (0, *range(2, values.ndim))
    channels = report[name].channels
    return np.stack(
        [values.min(axis=axes) == channels.low, values.max(axis=axes) == channels.high], axis=1
    )


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.table
def test_every_end_that_an_input_attains_is_found(name):
    network = example(name)
    report = analyze(network, attain=20.0)
    for node in report.accumulators:
        possible = attained_by_some(network, node.name, report)
        missed = possible & ~node.attained
        assert not missed.any(), (node.name, np.argwhere(missed))


@settings(max_examples=40)
@given(networks())
def test_what_is_found_is_attained(network):
    report = analyze(network, attain=0.2)
    for node in report:
        for channel, end in np.argwhere(node.attained).tolist():
            x = report.witness(node.name, channel, ENDS[end])
            values = network.nodes(x[None])[node.name][0, channel]
            reached = values.max() if end else values.min()
            assert reached == getattr(node.channels, ENDS[end])[channel]


def test_a_search_finds_more_than_the_rules_know():
    network = example("residual")
    plain, searched = analyze(network), analyze(network, attain=True)
    assert sum(int(n.attained.sum()) for n in searched) > sum(int(n.attained.sum()) for n in plain)
    # Ranges are what they were.
    assert all(searched[n.name].ranges == n.ranges for n in plain)


def test_an_end_that_no_input_attains_stays_sound():
    b = Builder((1,), -3, 3)
    b.linear(np.array([[1], [-1]], np.int8))
    b.activation(low=0, high=3)
    b.linear(np.array([[1, 1]], np.int8))
    # |x| is at most 3, the box of the two activations reaches 6.
    report = analyze(b.network(), attain=1.0)
    node = report["linear2"]
    assert not node.exact[0]
    assert node.attained[0].tolist() == [True, False]
