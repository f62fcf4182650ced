"""What is traced computes the network, and its proved ranges are those of the analysis."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from backends import on_each_backend
from networks import EXAMPLES, Builder, codes, example, inputs, networks
from secateur.analysis import analyze
from secateur.circuits.lowering import Lowered
from secateur.circuits.proof import prove
from secateur.narrowing import narrow


def trace(network, backend):
    lowered = Lowered(analyze(network), backend)
    sample = np.broadcast_to(network.input.low, network.input.shape)
    return lowered, backend.trace(lowered.function(), {"x": sample}).graph


def check(network, backend):
    """Compare with the interpreter on inputs, and with the analysis on every operation."""
    lowered, graph = trace(network, backend)
    for x in inputs(network, limit=24)[:24]:
        raw = np.asarray(graph(x)).astype(np.int64)
        assert (network.output.integers(raw[None]) == network(x[None])).all()
    report = lowered.report
    proof = prove(graph, {"x": report[network.input.name].ranges}, lowered.joined)
    for name, node in lowered.nodes.items():
        if node in proof:
            shape = network.shapes[name]
            assert (proof[node].low == np.broadcast_to(report[name].ranges.low, shape)).all()
            assert (proof[node].high == np.broadcast_to(report[name].ranges.high, shape)).all()


@on_each_backend
@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("seed", [0, 1])
def test_examples(backend, name, seed):
    network = example(name, seed)
    check(network, backend)
    check(narrow(network), backend)


@on_each_backend
@given(network=networks())
def test_any_network(backend, network):
    check(network, backend)


@on_each_backend
@given(network=networks())
def test_any_narrowed_network(backend, network):
    check(narrow(network), backend)


@on_each_backend
def test_three_spatial_axes(backend):
    random = np.random.default_rng(3)
    b = Builder((2, 4, 3, 3), -1, 2)
    weights = codes(random, 4, 1, 2, 2, 2)
    geometry = {"stride": (2, 1, 1), "dilation": (2, 1, 2), "padding": ((1, 1), (0, 1), (0, 0))}
    b.conv(weights, groups=2, **geometry)
    b.activation()
    check(b.network(), backend)


@on_each_backend
def test_max_pool_ignores_its_padding_below_zero(backend):
    b = Builder((2, 3, 3), np.array([[[-4]], [[-3]]]), -1)
    b.max_pool((2, 2), (1, 1), ((1, 0), (0, 1)))
    check(b.network(), backend)
