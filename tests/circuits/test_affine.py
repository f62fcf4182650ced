"""Affine forms and lookups that bend one way: ranges that boxes cannot see, sound and attained."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from backends import on_each_backend
from secateur import concrete
from secateur.circuits.affine import Forms
from secateur.circuits.proof import prove
from secateur.ranges import Range, Ranges


def relu(ns, x):
    return ns.univariate(lambda v: np.maximum(v, 0))(x)


def table_relu(ns, x):
    return ns.LookupTable([*range(16), *[0] * 16])[x]


# name → function of three values a, b, c; all of their ranges are attained
EXACT = {
    "300x − 200x + 1": lambda ns, a, b, c: 300 * a - 200 * a + 1,
    "x − x": lambda ns, a, b, c: a - a,
    "a + b − a": lambda ns, a, b, c: (a + b) - a,
    "(a − b) + (b − c)": lambda ns, a, b, c: (a - b) + (b - c),
    "max": lambda ns, a, b, c: b + relu(ns, a - b),
    "max by a table": lambda ns, a, b, c: b + table_relu(ns, a - b),
    "max the other way": lambda ns, a, b, c: relu(ns, b - a) + a,
    "max by np.maximum": lambda ns, a, b, c: b + np.maximum(a - b, 0),
    "max by np.minimum": lambda ns, a, b, c: a - np.minimum(a - b, 0),
    "max by abs": lambda ns, a, b, c: a + b + abs(a - b),
    "max halved": lambda ns, a, b, c: (a + b + abs(a - b)) // 2,
    "min": lambda ns, a, b, c: a - relu(ns, a - b),
    "min by np.maximum": lambda ns, a, b, c: a - np.maximum(a - b, 0),
    "min by np.minimum": lambda ns, a, b, c: b + np.minimum(a - b, 0),
    "min by abs": lambda ns, a, b, c: a + b - abs(a - b),
    "max of sums": lambda ns, a, b, c: (b + c) + relu(ns, a - b - c),
    "−max": lambda ns, a, b, c: -(b + relu(ns, a - b)),
    "scaled": lambda ns, a, b, c: 3 * b + 3 * relu(ns, a - b) + 1,
    "max of three": lambda ns, a, b, c: c + relu(ns, (b + relu(ns, a - b)) - c),
    "median": lambda ns, a, b, c: _median(ns, a, b, c),
    "leaky": lambda ns, a, b, c: b + ns.univariate(lambda v: np.where(v < 0, v, 2 * v))(a - b),
}


def _median(ns, a, b, c):
    low, high = a - relu(ns, a - b), b + relu(ns, a - b)
    rest = high - relu(ns, high - c)
    return low + relu(ns, rest - low)


def ends(function, boxes):
    """The least and greatest value over all inputs."""
    values = [
        int(np.asarray(function(*inputs)))
        for inputs in itertools.product(*(range(a, b + 1) for a, b in boxes))
    ]
    return Range(min(values), max(values))


def proved(backend, function, boxes):
    def traced(a, b, c):
        return function(backend.namespace, a, b, c)

    ranges = dict(zip("abc", (Ranges.point(a).union(b) for a, b in boxes), strict=True))
    tracing = backend.trace(traced, {name: r.low for name, r in ranges.items()})
    (output,) = tracing.graph.output_nodes.values()
    return prove(tracing.graph, ranges, tighten=Forms().tighten)[output].hull()


@on_each_backend
@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("boxes", [[(0, 7), (0, 7), (0, 7)], [(-3, 2), (1, 4), (0, 1)]])
def test_ranges_are_attained(backend, name, boxes):
    function = EXACT[name]
    exact = ends(lambda *v: function(backend.namespace, *v), boxes)
    assert proved(backend, function, boxes) == exact


@on_each_backend
def test_tensors_moved_scaled_and_summed(backend):
    codes = np.array([[1, -2], [3, 1]])

    def function(x):
        y = np.concatenate((x @ codes, x[::-1])).reshape((2, 2))
        return np.sum(y.T - x, axis=0) + y[1]

    ranges = {"x": Ranges([0, -1], [3, 2])}
    tracing = backend.trace(function, {"x": np.zeros(2, dtype=np.int64)})
    (output,) = tracing.graph.output_nodes.values()
    found = prove(tracing.graph, ranges, tighten=Forms().tighten)[output]
    values = np.array([function(np.array(x)) for x in itertools.product(range(4), range(-1, 3))])
    assert found == Ranges(values.min(axis=0), values.max(axis=0))


@on_each_backend
def test_what_bends_both_ways_is_left_to_the_box(backend):
    def function(ns, a, b, c):
        return b + ns.univariate(lambda v: v % 3)(a - b)

    boxes = [(0, 7), (0, 7), (0, 0)]
    assert proved(backend, function, boxes) == Range(0, 9)  # attained only in part: 8


@on_each_backend
def test_coefficients_too_great_for_64_bits_are_left_to_the_box(backend):
    def function(ns, a, b, c):
        return (a * (1 << 61)) * 2 - (a * (1 << 61)) * 2 + b

    assert proved(backend, function, [(0, 0), (1, 2), (0, 0)]) == Range(1, 2)
    found = proved(backend, function, [(0, 1), (1, 2), (0, 0)])
    assert found.low <= 1
    assert found.high >= 2


@on_each_backend
def test_a_sum_that_cancels_takes_its_own_width(backend):
    circuit = concrete.compile(lambda x: (300 * x - 299 * x) // 1, {"x": Range(0, 7)})
    assert circuit.output.hull() == Range(0, 7)
    assert [int(circuit.emulate(x)) for x in range(8)] == list(range(8))
