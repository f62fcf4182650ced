"""What depends on one element alone has exactly the range of its values."""

from __future__ import annotations

import numpy as np
import pytest

from backends import on_each_backend
from secateur.circuits.proof import prove
from secateur.circuits.single import Single
from secateur.ranges import Range, Ranges

EXACT = {
    "parabola": lambda ns, x: x**2 - 3 * x + 1,
    "cubic": lambda ns, x: x**3 - 2 * x**2 + 3 * x - 1,
    "of tables": lambda ns, x: ns.LookupTable([3, 1, 7, -2, 0, 0, 5, 2])[x] - x,
    "tests": lambda ns, x: 1 * (x > 1) + 2 * (x < -1) - (x == 0),
    "encrypted tests of itself": lambda ns, x: (x**2 < x + 2) * 3,
    "with constants of every element": lambda ns, x: abs(x - np.array([0, 1, 2])) - x,
}


def proved(backend, function, ranges):
    def traced(x):
        return function(backend.namespace, x)

    tracing = backend.trace(traced, {"x": ranges.low})
    (output,) = tracing.graph.output_nodes.values()
    return prove(tracing.graph, {"x": ranges}, tighten=Single().tighten)[output]


@on_each_backend
@pytest.mark.parametrize("name", EXACT)
def test_ranges_are_attained(backend, name):
    ranges = Ranges([-3, 0, 2], [2, 4, 2])
    found = proved(backend, EXACT[name], ranges)
    for i in range(3):
        values = [
            int(np.asarray(EXACT[name](backend.namespace, np.full(3, x)))[i])
            for x in range(int(ranges.low[i]), int(ranges.high[i]) + 1)
        ]
        assert found[i] == Range(min(values), max(values))


@on_each_backend
def test_two_elements_are_not_one(backend):
    """A reversed copy of a value is another one."""
    found = proved(backend, lambda ns, x: x**2 - x[::-1], Ranges([0, 0], [3, 3]))
    assert found == Ranges([-3, -3], [9, 9])


@on_each_backend
def test_a_root_may_be_the_result_of_many(backend):
    def function(ns, x):
        y = x @ np.array([1, 2])
        return y**2 - 6 * y

    assert proved(backend, function, Ranges([0, 0], [3, 1])).hull() == Range(-9, 0)
