"""What the compilers get wrong by themselves, and what they do of repaired graphs."""

from __future__ import annotations

import numpy as np
import pytest

from backends import BACKENDS, on_each_backend
from secateur import concrete
from secateur.ranges import Range

OLD = [b for b in BACKENDS if b.name == "concrete-numpy"]
NEW = [b for b in BACKENDS if b.name == "concrete-python"]


def wrong(emulate, function, boxes):
    """The inputs of a box of two scalars for which a circuit is wrong."""
    (a, b), (c, d) = boxes
    inputs = [(x, y) for x in range(a, b + 1) for y in range(c, d + 1)]
    return [i for i in inputs if int(emulate(*i)) != int(function(*map(np.int64, i)))]


def sampled(backend, function, boxes):
    """The backend's own circuit, from every input that there is."""
    (a, b), (c, d) = boxes
    inputs = [(x, y) for x in range(a, b + 1) for y in range(c, d + 1)]
    statuses = {"x": "encrypted", "y": "encrypted"}
    options = {"dump_artifacts_on_unexpected_failures": False}
    configuration = backend.namespace.Configuration(**options)
    return backend.namespace.Compiler(function, statuses).compile(inputs, configuration)


def proved(function, boxes):
    return concrete.compile(function, dict(zip("xy", boxes, strict=True)))


@pytest.mark.parametrize("backend", OLD)
@pytest.mark.parametrize(
    ("function", "boxes"),
    [
        (lambda x, y: x < y, [(-3, 1), (0, 4)]),
        (lambda x, y: x >> y, [(0, 7), (2, 3)]),
    ],
    ids=["mixed signs", "narrow shift"],
)
def test_wrong_without_repair_right_with_it(backend, function, boxes):
    alone = sampled(backend, function, boxes)
    assert wrong(backend.emulator(alone), function, boxes)
    assert not wrong(proved(function, boxes).emulate, function, boxes)


@pytest.mark.parametrize("backend", NEW)
def test_products_of_mixed_signs(backend):
    function, boxes = lambda x, y: x * y, [(-2, 1), (0, 7)]
    alone = sampled(backend, function, boxes)
    assert wrong(backend.emulator(alone), function, boxes)
    assert not wrong(proved(function, boxes).emulate, function, boxes)


@pytest.mark.parametrize("backend", NEW)
def test_rounding_of_signed_values_to_fewer_bits(backend):
    def function(x, y):
        return backend.namespace.round_bit_pattern(x, 2) + y

    boxes = [(-1, 4), (0, 1)]
    alone = sampled(backend, function, boxes)
    assert wrong(backend.emulator(alone), function, boxes)
    assert not wrong(proved(function, boxes).emulate, function, boxes)


@on_each_backend
def test_what_moves_nothing_keeps_the_width_of_its_source(backend):
    def function(x, y):
        return x.reshape(x.shape) + ~x + y

    assert not wrong(proved(function, [(0, 5), (0, 0)]).emulate, function, [(0, 5), (0, 0)])


@pytest.mark.parametrize("backend", NEW)
@pytest.mark.parametrize("rounding", ["round_bit_pattern", "truncate_bit_pattern"])
@pytest.mark.parametrize("boxes", [[(2, 7), (0, 1)], [(-3, 2), (0, 1)], [(0, 0), (0, 1)]])
def test_what_is_rounded_is_read_whole_whatever_its_width(backend, rounding, boxes):
    def function(x, y):
        rounded = getattr(backend.namespace, rounding)(x, 3)
        return backend.namespace.identity(rounded) + y

    assert not wrong(proved(function, boxes).emulate, function, boxes)


@pytest.mark.parametrize("backend", OLD)
@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x == y,
        lambda x, y: x != y,
        lambda x, y: x & y,
        lambda x, y: x | y,
        lambda x, y: x ^ y,
        lambda x, y: x >> y,
    ],
)
def test_single_bits_compile(backend, function):
    boxes = [(0, 1), (0, 1)]
    with pytest.raises((ValueError, ZeroDivisionError)):
        sampled(backend, function, boxes)
    circuit = proved(function, boxes)
    assert not wrong(circuit.emulate, function, boxes)
    assert max(backend.widths(circuit.graph).values()) == 2


@on_each_backend
@pytest.mark.parametrize(
    "function",
    [
        lambda x, y: x == y,
        lambda x, y: x < y,
        lambda x, y: x <= y,
        lambda x, y: x > y,
        lambda x, y: x >= y,
        lambda x, y: x != y,
    ],
)
@pytest.mark.parametrize("boxes", [[(-4, 3), (-4, 3)], [(0, 5), (-9, 2)], [(-20, -17), (0, 2)]])
def test_comparisons_of_any_signs(backend, function, boxes):
    # The sum makes the circuit wider than the operands are.
    wide = lambda x, y: function(x, y) + 20  # noqa: E731
    assert not wrong(proved(wide, boxes).emulate, wide, boxes)


@on_each_backend
def test_a_loose_proof_makes_no_comparison_wrong(backend):
    relu = backend.namespace.univariate(lambda v: np.maximum(v, 0))

    def function(x):
        return x[0] >= x[1] - relu(x[1] - x[2])

    circuit = concrete.compile(function, {"x": Range(0, 3)}, {"x": (3,)})
    for x in np.ndindex(4, 4, 4):
        assert int(circuit.emulate(x)) == int(x[0] >= min(x[1], x[2]))


@on_each_backend
@pytest.mark.parametrize(
    ("function", "bits"),
    [(lambda x: x // 8, 3), (lambda x: x > 100, 3), (lambda x: np.minimum(x, 30) + 0, 3)],
)
def test_constants_of_lookups_cost_no_bit(backend, function, bits):
    circuit = concrete.compile(function, {"x": Range(0, 7)})
    assert max(backend.widths(circuit.graph).values()) == bits
    assert [int(circuit.emulate(x)) for x in range(8)] == [int(function(x)) for x in range(8)]


@on_each_backend
def test_a_scalar_against_constants_is_looked_up_for_each(backend):
    circuit = concrete.compile(lambda x: x == np.array([1, 2, 3]), {"x": Range(0, 3)})
    assert np.array_equal(circuit.emulate(2), [0, 1, 0])
