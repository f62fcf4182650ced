"""Emulated circuits against decrypted ones, those with too narrow widths above all."""

from __future__ import annotations

import importlib
import itertools
from functools import partial

import numpy as np
import pytest

from backends import on_each_backend
from secateur import concrete
from secateur.backends.emulation import Kind, Remainders, Torus, centred
from secateur.errors import AccumulatorOverflowError, UnprovableError
from secateur.ranges import Range

ENTRIES = [3, -2, 5, 1, 0, 7, -4, 2]


def abs_of_sum(ns, x, y):
    return abs(x - y) + 1


# name → (function, samples that the widths are taken from, inputs that leave them)
NARROW = {
    "unsigned difference": (lambda ns, x, y: x - y, [(3, 1), (3, 3)], [(0, 3), (1, 2), (3, 0)]),
    "signed difference": (lambda ns, x, y: x - 2 * y, [(3, 2), (2, 0)], [(0, 3), (3, 3), (3, 0)]),
    "table above": (
        lambda ns, x, y: ns.LookupTable(ENTRIES)[x + y] + 1,
        [(3, 1), (0, 7), (7, 0)],
        [(7, 7), (7, 1), (4, 5), (6, 6)],
    ),
    "table below": (
        lambda ns, x, y: ns.LookupTable(ENTRIES)[x - y] + 1,
        [(3, 1), (7, 7), (7, 0)],
        [(0, 1), (0, 7), (3, 5)],
    ),
    "signed table": (
        lambda ns, x, y: ns.LookupTable(ENTRIES)[x - y] + 1,
        [(0, 2), (0, 4), (3, 0)],
        [(7, 2), (5, 0), (7, 0), (2, 7)],
    ),
}


@pytest.mark.encrypted
@on_each_backend
@pytest.mark.parametrize("name", NARROW)
def test_narrow_circuits_decrypt_as_they_are_emulated(backend, name):
    function, samples, inputs = NARROW[name]
    ns = backend.namespace
    configuration = ns.Configuration(dump_artifacts_on_unexpected_failures=False, p_error=1e-9)
    statuses = {"x": "encrypted", "y": "encrypted"}
    compiler = ns.Compiler(lambda x, y: function(ns, x, y), statuses)
    circuit = compiler.compile(samples, configuration)
    emulate = backend.emulator(circuit)
    for pair in samples + inputs:
        try:
            decrypted = circuit.encrypt_run_decrypt(*pair)
        except ValueError:  # its encryption refuses what its inputs have no width for
            continue
        assert int(emulate(*pair)) == int(decrypted), pair


@pytest.mark.encrypted
@on_each_backend
def test_a_column_of_minus_one_is_no_column_of_one(backend):
    circuit = concrete.compile(lambda x: x * np.array([-1, -1]) + 3, {"x": (0, 5)}, {"x": (2,)})
    assert np.array_equal(circuit.emulate([2, 5]), [1, -2])
    assert np.array_equal(circuit.encrypt_run_decrypt([2, 5]), [1, -2])


WEIGHTS = np.array([3, -2, 1, 2])

# Functions of four numbers, of which the widest value is looked up.
LOOKED_UP = {
    "relu of a product": lambda ns, x: np.maximum(x @ WEIGHTS, 0),
    "absolute difference": lambda ns, x: abs(x[0] - 2 * x[1]) + x[2],
    "quotient of a sum": lambda ns, x: np.sum(x) // 3,
    "table of a sum": lambda ns, x: ns.LookupTable([3, 1, 0, 2] * 4)[x[0] + 2 * x[1] + x[2]],
    "comparison": lambda ns, x: 1 * (x[0] + x[1] + 2 * x[2] < 7) + (x[3] > 1),
    "remainders": lambda ns, x: (x + 2 * x[::-1]) % 3,
    "one of several": lambda ns, x: np.maximum(x * np.array([1, 1, 5, 1]), 3) % 4,
}


def narrow(monkeypatch, bits):
    """Have every range declared with at most so many bits."""
    compiling = importlib.import_module("secateur.concrete.compile")
    declare = compiling.declare

    def narrowed(graph, proof):
        within = Range(-(1 << (bits - 1)), (1 << (bits - 1)) - 1), Range(0, (1 << bits) - 1)
        ends = {}
        for node, (low, high) in declare(graph, proof).items():
            box = within[low >= 0]
            ends[node] = max(low, box.low), min(high, box.high)
        return ends

    monkeypatch.setattr(compiling, "declare", narrowed)


@on_each_backend
@pytest.mark.parametrize("name", LOOKED_UP)
def test_one_bit_too_few_before_a_lookup_is_seen(backend, name, monkeypatch):
    function = partial(LOOKED_UP[name], backend.namespace)
    inputs = list(itertools.product(range(4), repeat=4))

    def wrong(circuit):
        return [x for x in inputs if not np.array_equal(circuit.emulate(x), function(np.array(x)))]

    circuit = concrete.compile(function, {"x": range(4)}, {"x": (4,)})
    bits = max(backend.widths(circuit.graph).values())
    assert not wrong(circuit)
    narrow(monkeypatch, bits - 1)
    circuit = concrete.compile(function, {"x": range(4)}, {"x": (4,)})
    assert max(backend.widths(circuit.graph).values()) == bits - 1
    assert wrong(circuit)


def test_the_torus_wraps_and_negates():
    ring = Torus()
    numbers = ring.encode(np.array([3, 9, 15, -1]), 3)
    assert ring.message(numbers, 3).tolist() == [3, 9, 15, 15]
    keys, negated = ring.keys(numbers, 3, signed=False)
    assert keys.tolist() == [3, 1, 7, 7]
    assert negated.tolist() == [False, True, True, True]
    keys, negated = ring.keys(numbers, 3, signed=True)
    assert keys.tolist() == [3, 1, 7, 7]  # 3, beyond the end, −1, −1
    assert negated.tolist() == [False, True, False, False]


def test_remainders_say_where_a_lookup_leaves_its_table():
    ring = Remainders((7, 8, 9))
    numbers = ring.encode(np.array([-3, 255]), 8)
    assert centred(numbers, 504).tolist() == [-3, -249]
    with pytest.raises(AccumulatorOverflowError, match="a lookup of 8 bits reads"):
        ring.keys(numbers, 8, signed=True)
    assert ring.keys(numbers[:1], 8, signed=True)[0].tolist() == [253]


def test_kinds():
    assert Kind.parse("tensor<2x3x!FHE.esint<7>>") == Kind((2, 3), 7, True, True)
    assert Kind.parse("!FHE.eint<4>") == Kind((), 4, True, False)
    assert Kind.parse("tensor<4xindex>") == Kind((4,), 64, False, False)
    assert Kind.parse("i8") == Kind((), 8, False, True)
    with pytest.raises(UnprovableError, match="values of type f32"):
        Kind.parse("f32")


@on_each_backend
@pytest.mark.parametrize("bits", [9, 12])
def test_wide_circuits_are_emulated(backend, bits):
    """Above some width ciphertexts are remainders; the arithmetic is another one."""
    top = (1 << bits) - 1
    wrapped = backend.namespace.univariate(lambda v: v * 7 % (1 << bits) - (1 << (bits - 1)))

    def function(x):
        return np.concatenate((wrapped(x), x * -3 + 2 * x + top, wrapped(x - 5)))

    circuit = concrete.compile(function, {"x": Range(0, top)}, {"x": (1,)})
    for x in (0, 1, 5, top // 3, top // 2 + 1, top):
        sample = np.array([x])
        assert np.array_equal(circuit.emulate(sample), function(sample)), x
