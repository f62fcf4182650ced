"""What approximate rounding may change: no circuit that goes astray goes further."""

from dataclasses import replace

import numpy as np
import pytest

from networks import EXAMPLES, example, inputs
from secateur.analysis import analyze
from secateur.errors import AccumulatorOverflowError
from secateur.narrowing import deviation
from secateur.network import ExplicitTable, Input, Lookup, Network, Output


def rounded(network, bits):
    changed = [replace(o, rounding_bits=bits) for o in network.operations if isinstance(o, Lookup)]
    return network.with_operations(*changed)


def astray(network, x, random):
    """The integers where every rounded lookup takes its block, or a neighbour, as it happens."""
    report, nodes = analyze(network), {network.input.name: x}
    for operation in network.operations:
        values = [nodes[source] for source in operation.sources]
        if isinstance(operation, Lookup) and operation.rounding_bits:
            channels = report[operation.source].channels
            axes = (-1, *(1,) * (values[0].ndim - 2))
            ends = [end.reshape(axes) for end in (channels.low, channels.high)]
            block = 1 << operation.rounding_bits
            moved = values[0] + block * random.integers(-1, 2, values[0].shape)
            values = [np.clip(moved, *ends)]
        nodes[operation.name] = operation.evaluate(*values)
    return network.output.integers(nodes[network.output.source])


@pytest.mark.parametrize("bits", [1, 3])
@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_holds_whatever_goes_astray(name, bits):
    network, random = rounded(example(name, seed=3), bits), np.random.default_rng(0)
    bound = deviation(network)
    x = inputs(network, 200)
    difference = np.abs(astray(network, x, random) - network(x))
    axes = (0, *range(2, difference.ndim))
    assert (difference.max(axis=axes) <= bound).all()


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_nothing_goes_astray_where_nothing_is_rounded(name):
    assert not deviation(rounded(example(name, seed=3), 0)).any()


def test_entries_from_end_to_end_of_int64_are_no_small_difference():
    """2^63 − 1 less −2^63 is −1 in int64."""
    ends = np.array([[-(2**63), -(2**63), 2**63 - 1, 2**63 - 1]])
    lookup = Lookup("step", "input", ExplicitTable(ends, np.array([0])), rounding_bits=1)
    one, zero = np.ones(1), np.zeros(1)
    output = Output("step", one.astype(int), zero.astype(int), one, zero)
    network = Network(Input((1,), np.array(0), np.array(3)), (lookup,), output)
    with pytest.raises(AccumulatorOverflowError, match=str(2**64 - 1)):
        deviation(network)
