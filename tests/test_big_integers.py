"""Whole networks, with magnitudes up to the edges of int64, against Python's integers.

A reference that knows nothing of ranges computes every node in integers that never overflow. No
value may leave its proved range, the network must compute the same, narrowing must change nothing.
NETWORKS=100000 in the environment makes the search a long one.
"""

import itertools
import math
import os

import numpy as np
import pytest

from secateur.analysis import analyze
from secateur.errors import AccumulatorOverflowError, NetworkError
from secateur.narrowing import narrow
from secateur.network import (
    Activation,
    Add,
    Affine,
    Concat,
    Conv,
    ExplicitTable,
    FunctionTable,
    Input,
    Linear,
    Lookup,
    MaxPool,
    Network,
    Output,
    Quantize,
    Reshape,
    SumPool,
    Transpose,
)

NETWORKS = int(os.environ.get("NETWORKS", "300"))
INT64 = 1 << 63


class Draw:
    """Random integers of any magnitude, and networks made of them."""

    def __init__(self, seed):
        self.random = np.random.default_rng(seed)

    def below(self, n):
        return int(self.random.integers(n))

    def flag(self):
        return bool(self.random.random() < 0.5)

    def integer(self, bits=None):
        """An integer of up to `bits` bits, mostly near a power of two, of either sign."""
        bits = self.below(63 if bits is None else bits + 1)
        value = (1 << bits) + self.below(5) - 2
        return max(-INT64, min(INT64 - 1, value if self.flag() else -value))

    def integers(self, *shape, bits=None):
        flat = [self.integer(bits) for _ in range(math.prod(shape))]
        return np.array(flat, dtype=np.int64).reshape(shape)

    def table(self, channels):
        grid = Quantize(
            float(2.0 ** self.below(64)) / (1 + self.below(3)), -self.below(4), 1 + self.below(4)
        )
        if self.below(5) == 0:
            rows = channels if self.flag() else 1
            return ExplicitTable(self.integers(rows, 7, bits=40), np.full(rows, -3))
        steps = []
        if self.flag():
            scales = self.random.normal(size=channels) * 2.0 ** self.below(8)
            steps.append(Affine(scales, self.random.normal(size=channels)))
        name = ["relu", "abs", "hardtanh", "leaky_relu", None][self.below(5)]
        parameters = {
            "hardtanh": {"min_val": -1e10, "max_val": 1e12},
            "leaky_relu": {"negative_slope": 0.25},
        }
        if name:
            steps.append(Activation(name, parameters.get(name, {})))
        return FunctionTable(tuple(steps), grid)

    def operation(self, name, nodes):
        """An operation on one of `nodes`, name → shape, or None where none fits."""
        source = list(nodes)[-1 - min(self.below(3), len(nodes) - 1)]
        shape = nodes[source]
        kind = self.below(8)
        small = None if self.below(3) == 0 else 3
        if kind == 0 and len(shape) == 1:
            codes = self.integers(1 + self.below(3), shape[0], bits=small)
            return Linear(name, source, codes, self.bias(len(codes)))
        if kind == 0:
            groups = shape[0] if self.below(3) == 0 else 1
            kernel = [1 + self.below(min(n, 2)) for n in shape[1:]]
            codes = self.integers(groups, shape[0] // groups, *kernel, bits=small)
            pads = tuple((self.below(2), self.below(2)) for _ in kernel)
            return Conv(name, source, codes, self.bias(groups), padding=pads, groups=groups)
        if kind in (1, 2):
            channels = shape[0]
            factor = self.integers(channels, bits=small) if self.below(4) == 0 else None
            offset = self.integers(channels, bits=small) if self.below(4) == 0 else None
            rounding = self.below(3) if self.flag() else 0
            return Lookup(name, source, self.table(channels), factor, offset, rounding)
        if kind == 3:
            others = [n for n, s in nodes.items() if s == shape]
            sources = (source, *(others[self.below(len(others))] for _ in range(1 + self.below(2))))
            return Add(name, sources, self.bias(shape[0]))
        if kind == 4:
            others = [n for n, s in nodes.items() if s[1:] == shape[1:]]
            return Concat(name, (source, others[self.below(len(others))]))
        if kind == 5 and len(shape) > 1:
            kernel = tuple(1 + self.below(min(2, n)) for n in shape[1:])
            pool = SumPool if self.flag() else MaxPool
            pads = tuple((self.below(k), self.below(k)) for k in kernel)
            return pool(name, source, kernel, tuple(1 + self.below(2) for _ in kernel), pads)
        if kind == 6:
            size = math.prod(shape)
            first = [d for d in range(1, size + 1) if size % d == 0]
            d = first[self.below(len(first))]
            return Reshape(name, source, (size,) if self.flag() else (d, size // d))
        if kind == 7:
            return Transpose(name, source, tuple(self.random.permutation(len(shape)).tolist()))
        return None

    def bias(self, channels):
        return self.integers(channels, bits=10 if self.flag() else None) if self.flag() else None

    def network(self):
        shape = [(2,), (3,), (1, 2), (2, 2), (1, 2, 2)][self.below(5)]
        ends = np.sort(
            np.stack([self.integers(*shape, bits=3 if self.flag() else None) for _ in range(2)]),
            axis=0,
        )
        nodes = {"input": shape}
        operations = []
        for k in range(1 + self.below(5)):
            operation = self.operation(f"n{k}", nodes)
            if operation is not None:
                operations.append(operation)
                nodes[operation.name] = operation.shape(*(nodes[s] for s in operation.sources))
        if not operations:
            return None
        last = operations[-1].name
        one = np.ones(1, np.int64)
        output = Output(last, one, one * 0, one * 0.5, one * 0.0)
        return Network(Input(shape, ends[0], ends[1]), tuple(operations), output)

    def sample(self, network):
        """An input: corners, mostly, since extremes lie there."""
        low, high = network.input.box.full.low.ravel(), network.input.box.full.high.ravel()
        flat = [
            [a, b, a + (b - a) // 2][self.below(3)]
            for a, b in zip(low.tolist(), high.tolist(), strict=True)
        ]
        return np.array(flat, dtype=np.int64).reshape(network.input.shape)


def reference(network, x):
    """Every node in Python's integers: name → object array [*shape]; None beyond a table."""
    nodes = {"input": x.astype(object)}
    for o in network.operations:
        sources = [nodes[s] for s in o.sources]
        nodes[o.name] = REFERENCE[type(o)](o, *sources)
    return nodes


def _biased(values, bias):
    if bias is None:
        return values
    return values + bias.astype(object).reshape(-1, *(1,) * (values.ndim - 1))


def _linear(o, x):
    rows = [sum((int(c) * v for c, v in zip(row, x, strict=True)), 0) for row in o.codes.tolist()]
    return _biased(np.array(rows, dtype=object), o.bias)


def _taps(x, kernel, stride, padding, dilation, shape):
    """Yield (channel, position, [(tap, value)]) of every window."""
    for channel in range(x.shape[0]):
        for position in np.ndindex(shape):
            taps = []
            for tap in itertools.product(*map(range, kernel)):
                at = tuple(
                    p * s - pad[0] + t * d
                    for p, s, pad, t, d in zip(
                        position, stride, padding, tap, dilation, strict=True
                    )
                )
                if all(0 <= i < n for i, n in zip(at, x.shape[1:], strict=True)):
                    taps.append((tap, x[(channel, *at)]))
            yield channel, position, taps


def _conv(o, x):
    shape = o.shape(x.shape)
    result = np.zeros(shape, dtype=object)
    per_group, out = o.codes.shape[1], o.codes.shape[0] // o.groups
    how = (o.kernel, o.stride, o.padding, o.dilation, shape[1:])
    for channel, position, taps in _taps(x, *how):
        group, inner = divmod(channel, per_group)
        for target in range(group * out, (group + 1) * out):
            for tap, value in taps:
                result[(target, *position)] += int(o.codes[(target, inner, *tap)]) * value
    return _biased(result, o.bias)


def _pool(o, x):
    shape = o.shape(x.shape)
    result = np.zeros(shape, dtype=object)
    ones = (1,) * len(o.kernel)
    for channel, position, taps in _taps(x, o.kernel, o.stride, o.padding, ones, shape[1:]):
        values = [value for _, value in taps]
        result[(channel, *position)] = max(values) if isinstance(o, MaxPool) else sum(values)
    return result


def _lookup(o, x):
    result = np.zeros(x.shape, dtype=object)
    for at in np.ndindex(x.shape):
        v, c = x[at], at[0]
        v = v >> o.rounding_bits << o.rounding_bits
        v = v * (1 if o.factor is None else int(o.factor[c])) + (
            0 if o.offset is None else int(o.offset[c])
        )
        result[at] = _code(o.table, c, v)
    return result


def _code(table, channel, v):
    if isinstance(table, ExplicitTable):
        row = table.values[channel if len(table.values) > 1 else 0]
        return int(row[v - int(table.start[channel if len(table.start) > 1 else 0])])
    x = float(v)
    for step in table.steps:
        if isinstance(step, Affine):
            x = x * float(step.scale[channel]) + float(step.offset[channel])
        else:
            p = step.parameters
            x = {
                "relu": lambda x=x: max(x, 0.0),
                "abs": lambda x=x: abs(x),
                "hardtanh": lambda x=x, p=p: min(max(x, p["min_val"]), p["max_val"]),
                "leaky_relu": lambda x=x, p=p: x if x >= 0 else p["negative_slope"] * x,
            }[step.name]()
    grid = table.quantize
    return min(max(round(x / grid.scale), grid.low), grid.high)


REFERENCE = {
    Linear: _linear,
    Conv: _conv,
    SumPool: _pool,
    MaxPool: _pool,
    Lookup: _lookup,
    Add: lambda o, *xs: _biased(sum(xs[1:], xs[0]), o.bias),
    Concat: lambda o, *xs: np.concatenate(xs, axis=o.axis),
    Reshape: lambda o, x: x.reshape(o.to),
    Transpose: lambda o, x: x.transpose(o.axes),
}


def try_one(seed):
    """Hold one network against the reference; return what came of it."""
    draw = Draw(seed)
    network = draw.network()
    if network is None:
        return "none"
    try:
        report = analyze(network)
    except AccumulatorOverflowError:
        return "overflow"
    except NetworkError:
        return "table"  # entries that do not reach over their accumulator are refused
    samples = np.stack([draw.sample(network) for _ in range(3)])
    found = network.nodes(samples)
    for k, x in enumerate(samples):
        for name, values in reference(network, x).items():
            full = report[name].full
            assert (values >= full.low).all(), (seed, name)
            assert (values <= full.high).all(), (seed, name)
            assert (found[name][k] == values).all(), (seed, name)
    narrowed = narrow(network)
    assert (narrowed(samples) == network(samples)).all(), seed
    return "proved"


@pytest.mark.parametrize("block", range(10))
def test_no_value_leaves_its_range(block):
    each = max(1, NETWORKS // 10)
    outcomes = [try_one(seed) for seed in range(block * each, (block + 1) * each)]
    assert outcomes.count("proved") >= each // 4
