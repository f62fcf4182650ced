"""Every rule against brute force: no input leaves a proved range, and all ends are attained."""

from __future__ import annotations

import itertools
import operator
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from backends import on_each_backend
from secateur.circuits.proof import prove
from secateur.circuits.rules import Traced, range_of
from secateur.errors import AccumulatorOverflowError, UnprovableError
from secateur.ranges import Ranges

CODES = np.array([[1, -2, 0], [3, 1, -1]])


def measure(graph, low, high):
    """Least and greatest value of every element of the result, over all inputs of the box."""
    axes = [
        range(a, b + 1) for a, b in zip(low.ravel().tolist(), high.ravel().tolist(), strict=True)
    ]
    samples = (np.array(v, dtype=np.int64).reshape(low.shape) for v in itertools.product(*axes))
    results = np.array([graph(sample) for sample in samples], dtype=np.int64)
    return results.min(axis=0), results.max(axis=0)


def assign(x, ns):
    y = ns.zeros((4,))
    y[1:3] = x
    return y + np.array([0, 1, 2, 3])


def maximum(x, ns):
    relu = ns.LookupTable([0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0])
    a, b = x[0:1], x[1:2]
    return b + relu[a - b]


def tables(x, ns):
    first, second = ns.LookupTable([3, 1, 7, -2]), ns.LookupTable([0, 5, 5, 2])
    return ns.LookupTable([first, second])[x]


def fused(x, ns):
    wave = np.sin(x * 0.7) * 5.0
    return np.rint(wave).astype(np.int64)


# name → (shape, low, high, function of x and the backend's module)
EXACT = {
    "add constant": ((2,), -2, 3, lambda x, ns: x + np.array([5, -9])),
    "add": ((2,), -2, 3, lambda x, ns: x[0] + x[1]),
    "subtract": ((2,), -2, 3, lambda x, ns: x[0:1] - x[1:2]),
    "subtract from constant": ((2,), -2, 3, lambda x, ns: 4 - x),
    "negative": ((2,), -2, 3, lambda x, ns: -x),
    "multiply by constant": ((2,), -2, 3, lambda x, ns: x * np.array([-3, 2])),
    "matmul": ((2, 2), 0, 2, lambda x, ns: x @ CODES),
    "matmul from the left": ((3, 1), -1, 2, lambda x, ns: CODES @ x),
    "matmul of a batch": ((2, 1, 2), 0, 2, lambda x, ns: x @ np.stack([CODES, -CODES])),
    "vector by matrix": ((2,), -1, 2, lambda x, ns: x @ CODES),
    "dot": ((3,), -1, 2, lambda x, ns: np.dot(x, np.array([1, -4, 2]))),
    "dot with a scalar": ((3,), -1, 2, lambda x, ns: np.dot(x, -3)),
    "sum": ((2, 2), -1, 2, lambda x, ns: np.sum(x, axis=1, keepdims=True)),
    "sum of all": ((2, 2), -1, 2, lambda x, ns: np.sum(x)),
    "index": ((2, 2), -1, 2, lambda x, ns: x[::-1, 1]),
    "assign": ((2,), 1, 3, assign),
    "concatenate": ((2,), -1, 2, lambda x, ns: np.concatenate((x, 3 - x))),
    "reshape": ((2, 2), -1, 2, lambda x, ns: x.reshape((4,)).flatten()),
    "transpose": ((2, 2), -1, 2, lambda x, ns: (x + np.array([0, 5])).T),
    "transpose axes": ((1, 2, 2), -1, 2, lambda x, ns: np.transpose(x, (2, 0, 1))),
    "broadcast": ((2,), -1, 2, lambda x, ns: np.broadcast_to(x, (3, 2))),
    "expand and squeeze": ((2,), -1, 2, lambda x, ns: np.squeeze(np.expand_dims(x, axis=0))),
    "array": ((2,), -1, 2, lambda x, ns: ns.array([x[0], x[1], x[0]])),
    "zeros and ones": ((2,), -1, 2, lambda x, ns: x + ns.zeros((2,)) + ns.ones((2,))),
    "table": ((2,), 0, 3, lambda x, ns: ns.LookupTable([4, -1, 9, 2])[x]),
    "table below zero": ((2,), -2, 1, lambda x, ns: ns.LookupTable([4, -1, 9, 2])[x]),
    "table per element": ((2,), 0, 3, tables),
    "univariate": ((2,), -3, 4, lambda x, ns: ns.univariate(lambda v: (v - 1) ** 2)(x)),
    "power": ((2,), -3, 4, lambda x, ns: x**2),
    "not monotone, fused": ((2,), -3, 6, fused),
    "comparison with constant": ((2,), -2, 3, lambda x, ns: x > np.array([0, 9])),
    "equality with constant": ((2,), -2, 3, lambda x, ns: x == 2),
    "bits with constant": ((2,), 0, 7, lambda x, ns: x & 5),
    "shift by constant": ((2,), -8, 7, lambda x, ns: x >> 1),
    "floor division": ((2,), -3, 4, lambda x, ns: x // 2),
    "clip": ((2,), -3, 4, lambda x, ns: np.clip(x, -1, 2)),
    "round_bit_pattern": ((2,), 0, 14, lambda x, ns: ns.round_bit_pattern(x, 2)),
    "comparison": ((2,), -2, 3, lambda x, ns: x[0:1] < x[1:2]),
    "equality": ((2,), -2, 3, lambda x, ns: x[0:1] != x[1:2]),
    "shift": ((2,), 0, 3, lambda x, ns: x[0:1] << x[1:2]),
    "shift right": ((2,), 0, 3, lambda x, ns: (x[0:1] + 5) >> x[1:2]),
    "product": ((2,), -2, 3, lambda x, ns: x[0:1] * x[1:2]),
    "maximum": ((2,), 0, 7, maximum),
    "and": ((2,), 0, 5, lambda x, ns: x[0:1] & x[1:2]),
    "or": ((2,), 1, 5, lambda x, ns: x[0:1] | x[1:2]),
    "xor": ((2,), 0, 5, lambda x, ns: x[0:1] ^ x[1:2]),
}

#: Sound, but not exact: the operands depend on each other.
SOUND = {
    "difference with itself": ((2,), -2, 3, lambda x, ns: x - x[::-1] + x),
    "a maximum's sum with another": ((3,), 0, 3, lambda x, ns: maximum(x, ns) + x[2:3]),
}


def proved(backend, function, low, high):
    tracing = backend.trace(lambda x: function(x, backend.namespace), {"x": low})
    (output,) = tracing.graph.output_nodes.values()
    return tracing.graph, prove(tracing.graph, {"x": Ranges(low, high)})[output]


@on_each_backend
@pytest.mark.parametrize("name", EXACT)
def test_the_ends_of_a_proved_range_are_attained(backend, name):
    shape, low, high, function = EXACT[name]
    low, high = np.full(shape, low), np.full(shape, high)
    graph, ranges = proved(backend, function, low, high)
    least, most = measure(graph, low, high)
    assert (ranges.low == least).all()
    assert (ranges.high == most).all()


@on_each_backend
@pytest.mark.parametrize("name", SOUND)
def test_no_input_leaves_a_proved_range(backend, name):
    shape, low, high, function = SOUND[name]
    low, high = np.full(shape, low), np.full(shape, high)
    graph, ranges = proved(backend, function, low, high)
    least, most = measure(graph, low, high)
    assert (ranges.low <= least).all()
    assert (most <= ranges.high).all()


@on_each_backend
def test_ranges_of_their_own_for_every_element(backend):
    low, high = np.array([0, -1, 2]), np.array([0, 3, 2])
    _, ranges = proved(backend, lambda x, ns: x**2 + np.array([1, 0, 0]), low, high)
    assert ranges == Ranges([1, 0, 4], [1, 9, 4])


@on_each_backend
@pytest.mark.parametrize("axes", [1, 2, 3])
def test_convolution_is_exact_at_every_position(backend, axes):
    weight = np.arange(-3, 2**axes - 3).reshape((1, 1, *(2,) * axes))
    shape = (1, 1, *(3,) * axes)
    conv = backend.conv

    def function(x, ns):
        return conv(x, weight, np.array([5]), strides=(1,) * axes, dilations=(1,) * axes)

    low = -(np.arange(3**axes).reshape(shape) % 3)
    high = low + 2
    _, ranges = proved(backend, function, low, high)
    # One affine function: the extremes of a position are at corners that the signs name.
    for at in np.ndindex(ranges.shape):
        window = tuple(slice(p, p + 2) for p in at[2:])
        lows, highs = low[(0, 0, *window)], high[(0, 0, *window)]
        w = weight[0, 0]
        assert ranges.high[at] == 5 + (w * np.where(w > 0, highs, lows)).sum()
        assert ranges.low[at] == 5 + (w * np.where(w > 0, lows, highs)).sum()


@on_each_backend
def test_an_unknown_operation_is_refused_by_name_and_line(backend):
    def function(x, ns):
        return ns.LookupTable([1, 2])[x]

    with pytest.raises(UnprovableError, match=r"'tlu' at .*test_rules\.py:\d+ looks up") as caught:
        proved(backend, function, np.zeros(1, int), np.full(1, 2))
    assert caught.value.operation == "tlu"
    assert "test_rules.py" in caught.value.location


@on_each_backend
def test_a_function_without_a_value_is_refused(backend):
    def function(x, ns):
        return np.log2(3 - x).astype(np.int64)

    with np.errstate(divide="ignore"), pytest.raises(UnprovableError, match="no value for input 0"):
        proved(backend, function, np.zeros(1, int), np.full(1, 3))


ENDS = [-(2**63), -(2**63) + 1, -(2**62), -1, 0, 1, 3, 2**31, 2**62 - 1, 2**62, 2**63 - 1]

ARITHMETIC = {
    "add": operator.add,
    "subtract": operator.sub,
    "multiply": operator.mul,
    "left_shift": operator.lshift,
    "negative": lambda a, b: -a,
}


class _Node:
    """A node with two operands, for rules that ask nothing else of it."""

    def __init__(self, name):
        self.properties = {"name": name, "kwargs": {}}
        self.location = "somewhere.py:1"
        self.operation = SimpleNamespace(value="generic")


@pytest.mark.parametrize("name", ARITHMETIC)
@given(
    ends=st.tuples(*[st.sampled_from(ENDS)] * 2),
    others=st.tuples(*[st.sampled_from(ENDS)] * 2),
)
def test_arithmetic_is_exact_or_an_error_at_every_magnitude(name, ends, others):
    if name == "left_shift":
        others = tuple(abs(end) % 63 for end in others)
    (a, b), (c, d) = sorted(ends), sorted(others)
    node, one, other = (_Node(n) for n in (name, "input", "other"))
    proved = {one: Ranges.point([a]).union([b]), other: Ranges.point([c]).union([d])}
    preds = [one] if name == "negative" else [one, other]
    corners = [ARITHMETIC[name](x, y) for x in (a, b) for y in (c, d)]
    traced = Traced(node, lambda asked: preds if asked is node else [], proved)
    if min(corners) >= -(2**63) and max(corners) < 2**63:
        assert range_of(traced) == Ranges([min(corners)], [max(corners)])
    else:
        with pytest.raises(AccumulatorOverflowError, match=f"{name!r} at somewhere"):
            range_of(traced)


@given(a=st.tuples(*[st.integers(0, 40)] * 2), b=st.tuples(*[st.integers(0, 40)] * 2))
def test_bits_of_boxes_are_exact(a, b):
    (a_low, a_high), (b_low, b_high) = sorted(a), sorted(b)
    pairs = [(x, y) for x in range(a_low, a_high + 1) for y in range(b_low, b_high + 1)]
    for name, operation in {
        "bitwise_and": operator.and_,
        "bitwise_or": operator.or_,
        "bitwise_xor": operator.xor,
    }.items():
        node, one, other = (_Node(n) for n in (name, "one", "other"))
        proved = {one: Ranges([a_low], [a_high]), other: Ranges([b_low], [b_high])}
        values = [operation(x, y) for x, y in pairs]
        traced = Traced(node, lambda asked, preds=(one, other): list(preds), proved)
        assert range_of(traced) == Ranges([min(values)], [max(values)])


@on_each_backend
def test_what_64_bits_do_not_hold_is_refused(backend):
    with pytest.raises(AccumulatorOverflowError, match="'multiply' at"):
        proved(backend, lambda x, ns: x * (1 << 40), np.zeros(1, int), np.full(1, 1 << 30))
