"""Small random networks and their inputs, for every test that needs some.

`networks()` is a hypothesis strategy over all operations; `EXAMPLES` are the common
architectures as functions of a seeded generator; `inputs` gives all inputs of a small box.

    @given(networks())
    def test_something(network):
        x = inputs(network)
        assert (f(network)(x) == network(x)).all()
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

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
    Operation,
    Output,
    Place,
    Quantize,
    Reshape,
    Shape,
    SumPool,
    Table,
    Take,
    Transpose,
)


def inputs(network: Network, limit: int = 2048, seed: int = 0) -> np.ndarray:
    """Every input of the network's box where there are at most `limit`, else samples of it.

    Samples are half corners of the box, which is where the extremes of a layer lie.
    """
    low = np.broadcast_to(network.input.low, network.input.shape).ravel()
    high = np.broadcast_to(network.input.high, network.input.shape).ravel()
    if math.prod(int(n) for n in high - low + 1) <= limit:
        axes = [range(a, b + 1) for a, b in zip(low.tolist(), high.tolist(), strict=True)]
        box = np.array(list(itertools.product(*axes)), dtype=np.int64)
    else:
        random = np.random.default_rng(seed)
        corners = np.where(random.random((limit // 2, low.size)) < 0.5, low, high)
        inside = random.integers(low, high, size=(limit // 2, low.size), endpoint=True)
        box = np.concatenate([low[None], high[None], corners, inside])
    return box.reshape(-1, *network.input.shape)


class Builder:
    """A network under construction: one operation after another on the node `at`.

    `bounds[name]` is a scalar that no |value| of the node exceeds: crude on purpose, so
    that tests do not lean on the analysis that they check.
    """

    def __init__(self, shape: Shape, low: object, high: object, scale: float = 1.0) -> None:
        self.input = Input(shape, np.asarray(low), np.asarray(high), scale=scale)
        self.operations: list[Operation] = []
        self.shapes = {"input": shape}
        self.bounds = {
            "input": int(max(np.abs(self.input.low).max(), np.abs(self.input.high).max()))
        }
        self.at = "input"

    @property
    def shape(self) -> Shape:
        return self.shapes[self.at]

    @property
    def bound(self) -> int:
        return self.bounds[self.at]

    def name(self, kind: str) -> str:
        return f"{kind}{len(self.operations)}"

    def put(self, operation: Operation, bound: int) -> None:
        self.operations.append(operation)
        self.shapes[operation.name] = operation.shape(*(self.shapes[s] for s in operation.sources))
        self.bounds[operation.name] = bound
        self.at = operation.name

    def _affine_bound(self, codes: np.ndarray, bias: np.ndarray | None) -> int:
        rows = np.abs(codes.astype(np.int64)).reshape(len(codes), -1).sum(axis=1) * self.bound
        return int((rows if bias is None else rows + np.abs(bias)).max())

    def linear(self, codes: np.ndarray, bias: np.ndarray | None = None) -> None:
        bound = self._affine_bound(codes, bias)
        self.put(Linear(self.name("linear"), self.at, codes, bias), bound)

    def conv(self, codes: np.ndarray, bias: np.ndarray | None = None, **geometry: object) -> None:
        bound = self._affine_bound(codes, bias)
        self.put(Conv(self.name("conv"), self.at, codes, bias, **geometry), bound)

    def lookup(self, table: Table, **options: object) -> None:
        bound = max(abs(table.codomain.low), abs(table.codomain.high))
        self.put(Lookup(self.name("lookup"), self.at, table, **options), bound)

    def activation(
        self, name: str = "relu", low: int = 0, high: int = 3, **parameters: float
    ) -> None:
        """A table of a named activation that spreads the accumulator over its codes."""
        grid = Quantize(max(self.bound, 1) / (2.0 * max(abs(low), abs(high), 1)), low, high)
        self.lookup(FunctionTable((Activation(name, parameters),), grid))

    def add(self, *sources: str, bias: np.ndarray | None = None) -> None:
        bound = sum(self.bounds[s] for s in sources)
        bound += 0 if bias is None else int(np.abs(bias).max())
        self.put(Add(self.name("add"), sources, bias), bound)

    def concat(self, *sources: str, axis: int = 0) -> None:
        self.put(Concat(self.name("concat"), sources, axis), max(self.bounds[s] for s in sources))

    def sum_pool(self, kernel: Shape, stride: Shape, padding: tuple[tuple[int, int], ...]) -> None:
        operation = SumPool(self.name("sum_pool"), self.at, kernel, stride, padding)
        self.put(operation, self.bound * math.prod(kernel))

    def max_pool(self, kernel: Shape, stride: Shape, padding: tuple[tuple[int, int], ...]) -> None:
        self.put(MaxPool(self.name("max_pool"), self.at, kernel, stride, padding), self.bound)

    def reshape(self, to: Shape) -> None:
        self.put(Reshape(self.name("reshape"), self.at, to), self.bound)

    def transpose(self, axes: tuple[int, ...]) -> None:
        self.put(Transpose(self.name("transpose"), self.at, axes), self.bound)

    def take(self, axis: int, indices: object) -> None:
        self.put(Take(self.name("take"), self.at, axis, np.asarray(indices)), self.bound)

    def place(self, axis: int, indices: object, fill: int = 0) -> None:
        operation = Place(self.name("place"), self.at, axis, np.asarray(indices), fill)
        self.put(operation, max(self.bound, abs(fill)))

    def network(self, factor: object = (1,), offset: object = (0,)) -> Network:
        output = Output(
            source=self.at,
            factor=np.asarray(factor, dtype=np.int64),
            offset=np.asarray(offset, dtype=np.int64),
            scale=np.array([0.5]),
            bias=np.array([0.25]),
        )
        return Network(self.input, tuple(self.operations), output)


def codes(random: np.random.Generator, *shape: int, magnitude: int = 2) -> np.ndarray:
    """Random int8 codes in [-magnitude, magnitude], about a third of them zero."""
    drawn = random.integers(-magnitude, magnitude, size=shape, endpoint=True, dtype=np.int8)
    return np.where(random.random(shape) < 0.25, np.int8(0), drawn)


def biases(random: np.random.Generator, channels: int) -> np.ndarray:
    """Random int64 biases in [-3, 3]."""
    return random.integers(-3, 3, size=channels, endpoint=True)


def mlp(
    random: np.random.Generator,
    sizes: tuple[int, ...] = (6, 5, 3),
    low: int = 0,
    high: int = 3,
    magnitude: int = 2,
) -> Network:
    """Linear layers with a table between any two."""
    b = Builder((sizes[0],), low, high)
    for fan_in, fan_out in itertools.pairwise(sizes):
        if b.operations:
            b.activation()
        b.linear(codes(random, fan_out, fan_in, magnitude=magnitude), biases(random, fan_out))
    return b.network()


def signed_mlp(random: np.random.Generator) -> Network:
    """Signed inputs and signed activations."""
    b = Builder((4,), -2, 1)
    b.linear(codes(random, 4, 4), biases(random, 4))
    b.activation("tanh", low=-2, high=1)
    b.linear(codes(random, 2, 4))
    return b.network()


def convolutional(random: np.random.Generator) -> Network:
    """Padding, stride, groups, dilation and a flattened head, two spatial axes."""
    b = Builder((2, 4, 4), 0, 2)
    b.conv(codes(random, 2, 2, 3, 3), biases(random, 2), padding=((1, 1), (1, 1)))
    b.activation()
    b.conv(codes(random, 4, 1, 2, 2), stride=(2, 2), groups=2)
    b.activation("hardtanh", low=-1, high=2, min_val=-4.0, max_val=8.0)
    b.reshape((16,))
    b.linear(codes(random, 3, 16), biases(random, 3))
    return b.network()


def convolutional_1d(random: np.random.Generator) -> Network:
    """One spatial axis, lopsided padding, dilation."""
    b = Builder((2, 6), -1, 2)
    b.conv(codes(random, 3, 2, 2), padding=((2, 0),), dilation=(2,))
    b.activation("sigmoid", low=0, high=3)
    b.conv(codes(random, 2, 3, 3), biases(random, 2), stride=(2,))
    return b.network()


def residual(random: np.random.Generator) -> Network:
    """A connection past one layer, then a table and a head."""
    b = Builder((5,), 0, 3)
    b.linear(codes(random, 4, 5), biases(random, 4))
    b.activation()
    skip = b.at
    b.linear(codes(random, 4, 4))
    b.add(skip, b.at, bias=biases(random, 4))
    b.activation("relu", low=0, high=3)
    b.linear(codes(random, 2, 4), biases(random, 2))
    return b.network()


def concatenated(random: np.random.Generator) -> Network:
    """Two branches joined along their channels."""
    b = Builder((4,), -1, 2)
    b.linear(codes(random, 3, 4), biases(random, 3))
    b.activation()
    left = b.at
    b.at = "input"
    b.linear(codes(random, 2, 4))
    b.activation("abs", low=0, high=3)
    b.concat(left, b.at)
    b.linear(codes(random, 2, 5), biases(random, 2))
    return b.network()


def pooled(random: np.random.Generator) -> Network:
    """Max pooling, then sum pooling over all that is left."""
    b = Builder((1, 4, 4), 0, 3)
    b.conv(codes(random, 2, 1, 2, 2), biases(random, 2), padding=((1, 0), (1, 0)))
    b.activation()
    b.max_pool((2, 2), (2, 2), ((0, 0), (0, 0)))
    b.sum_pool((2, 2), (2, 2), ((0, 0), (0, 0)))
    b.reshape((2,))
    b.linear(codes(random, 2, 2), biases(random, 2))
    return b.network()


def reshaped(random: np.random.Generator) -> Network:
    """A reshape and a transpose between accumulators and their table."""
    b = Builder((4,), 0, 2)
    b.linear(codes(random, 6, 4), biases(random, 6))
    b.reshape((2, 3))
    b.transpose((1, 0))
    b.activation()
    b.conv(codes(random, 2, 3, 1))
    return b.network()


def taken(random: np.random.Generator) -> Network:
    """A slice in steps, reversed channels, padding by a constant, and pixels shown twice."""
    b = Builder((2, 3, 2), 0, 2)
    b.conv(codes(random, 3, 2, 2, 1), biases(random, 3))
    b.activation()
    b.take(1, [1])
    b.take(0, [2, 0])
    b.place(2, [0, 0, 1, 1])
    b.place(1, [-1, 0, -1], fill=1)
    b.conv(codes(random, 3, 2, 2, 2), biases(random, 3))
    return b.network()


def per_channel(random: np.random.Generator) -> Network:
    """Per-channel scales in one table, explicit entries in another, rounding in a third."""
    b = Builder((5,), 0, 3)
    b.linear(codes(random, 3, 5), biases(random, 3))
    scales = Affine(np.array([0.5, 1.0, 1.5]), np.array([0.0, -1.0, 0.25]))
    b.lookup(FunctionTable((scales, Activation("relu")), Quantize(1.5, 0, 3)))
    b.linear(codes(random, 2, 3))
    size = 2 * b.bound + 1
    values = random.integers(-2, 3, size=(2, size), endpoint=True)
    b.lookup(ExplicitTable(values, np.array([-b.bound, -b.bound])))
    b.linear(codes(random, 2, 2, magnitude=3), biases(random, 2))
    b.lookup(FunctionTable((), Quantize(2.0, -4, 3)), rounding_bits=1)
    return b.network()


#: Architecture → function of a seeded generator that builds one small network of it.
EXAMPLES: dict[str, Callable[[np.random.Generator], Network]] = {
    f.__name__: f
    for f in (
        mlp,
        signed_mlp,
        convolutional,
        convolutional_1d,
        residual,
        concatenated,
        pooled,
        reshaped,
        taken,
        per_channel,
    )
}


def example(name: str, seed: int = 0) -> Network:
    """The network of `EXAMPLES[name]` for a seed."""
    return EXAMPLES[name](np.random.default_rng(seed))


_ACTIVATIONS: tuple[tuple[str, dict[str, float]], ...] = (
    ("relu", {}),
    ("abs", {}),
    ("tanh", {}),
    ("leaky_relu", {"negative_slope": 0.25}),
    ("hardtanh", {"min_val": -3.0, "max_val": 5.0}),
)


class _Drawing(Builder):
    """A builder whose every choice is hypothesis's."""

    def __init__(self, draw: st.DrawFn, *args: object) -> None:
        super().__init__(*args)  # type: ignore[arg-type]
        self.draw = draw

    def integer(self, low: int, high: int) -> int:
        return self.draw(st.integers(low, high))

    def flag(self) -> bool:
        return self.draw(st.booleans())

    def integers(self, low: int, high: int, *shape: int) -> np.ndarray:
        size = math.prod(shape)
        drawn = self.draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(drawn, dtype=np.int64).reshape(shape)

    def drawn_codes(self, *shape: int) -> np.ndarray:
        """Codes with, now and then, a dead channel and a common factor."""
        drawn = self.integers(-3, 3, *shape)
        if self.flag():
            factors = self.integers(0, 3, shape[0])
            drawn = drawn * factors.reshape(-1, *(1,) * (len(shape) - 1))
        return drawn.astype(self.draw(st.sampled_from([np.int8, np.int64])))

    def drawn_bias(self, channels: int) -> np.ndarray | None:
        return self.integers(-9, 9, channels) if self.flag() else None

    def settle(self) -> None:
        """Put a table in front of what multiplies, where values have grown."""
        if self.bound > 7:
            self.drawn_lookup()

    def drawn_linear(self) -> None:
        self.settle()
        out = self.integer(1, 4)
        self.linear(self.drawn_codes(out, self.shape[0]), self.drawn_bias(out))

    def drawn_conv(self) -> None:
        self.settle()
        channels, *spatial = self.shape
        groups = self.draw(st.sampled_from([g for g in (1, 2, 3) if channels % g == 0]))
        out = groups * self.integer(1, 2)
        kernel = tuple(self.integer(1, min(3, n)) for n in spatial)
        self.conv(
            self.drawn_codes(out, channels // groups, *kernel),
            self.drawn_bias(out),
            stride=tuple(self.integer(1, 2) for _ in spatial),
            padding=tuple((self.integer(0, 2), self.integer(0, 2)) for _ in spatial),
            dilation=tuple(
                self.integer(1, 2) if 2 * (k - 1) < n else 1
                for k, n in zip(kernel, spatial, strict=True)
            ),
            groups=groups,
        )

    def drawn_lookup(self) -> None:
        channels = self.shape[0]
        rounding_bits = self.integer(0, 2)
        reach = self.bound + (1 << rounding_bits)
        factor = self.integers(-2, 2, channels) if self.flag() else None
        offset = self.integers(-5, 5, channels) if self.flag() else None
        low = -self.integer(0, 2)
        high = low + self.integer(1, 4)
        kind = self.draw(st.sampled_from(["function", "per_channel", "explicit", "identity"]))
        if kind == "identity":
            grid = Quantize(1.0, -7, 7) if self.bound <= 7 else Quantize(1.0, low, high)
            self.lookup(FunctionTable((), grid))
            return
        if kind == "explicit":
            reach = 2 * reach + 5
            rows = channels if self.flag() else 1
            values = self.integers(low, high, rows, 1 + min(2 * reach, 8))
            values = np.repeat(values, 1 + 2 * reach // values.shape[1], axis=1)
            table: Table = ExplicitTable(values, np.full(rows, -reach))
        else:
            name, parameters = self.draw(st.sampled_from(_ACTIVATIONS))
            steps = (Activation(name, parameters),)
            if kind == "per_channel":
                halves = self.integers(-4, 4, 2, channels) / 2.0
                steps = (Affine(halves[0], halves[1]), *steps)
            table = FunctionTable(steps, Quantize(self.integer(1, 6) / 2.0, low, high))
        self.lookup(table, factor=factor, offset=offset, rounding_bits=rounding_bits)

    def drawn_residual(self) -> None:
        self.settle()
        skip, channels = self.at, self.shape[0]
        if len(self.shape) == 1:
            self.linear(self.drawn_codes(channels, channels), self.drawn_bias(channels))
        else:
            ones = (1,) * (len(self.shape) - 1)
            self.conv(self.drawn_codes(channels, channels, *ones), self.drawn_bias(channels))
        self.add(skip, self.at, bias=self.drawn_bias(channels))

    def drawn_concat(self) -> None:
        self.settle()
        source = self.at
        branches = [source] if self.flag() else []
        while len(branches) < 2:
            self.at = source
            if len(self.shape) == 1:
                self.drawn_linear()
            else:
                ones = (1,) * (len(self.shape) - 1)
                self.conv(self.drawn_codes(self.integer(1, 2), self.shape[0], *ones))
            branches.append(self.at)
        self.concat(*branches)

    def drawn_pool(self) -> None:
        spatial = self.shape[1:]
        kernel = tuple(self.integer(1, min(2, n)) for n in spatial)
        stride = tuple(self.integer(1, 2) for _ in spatial)
        padding = tuple((self.integer(0, k - 1), self.integer(0, k - 1)) for k in kernel)
        (self.sum_pool if self.flag() else self.max_pool)(kernel, stride, padding)

    def drawn_reshape(self) -> None:
        size = math.prod(self.shape)
        divisors = [d for d in range(1, size + 1) if size % d == 0]
        first = self.draw(st.sampled_from(divisors))
        self.reshape((size,) if self.flag() else (first, size // first))

    def drawn_transpose(self) -> None:
        self.transpose(tuple(self.draw(st.permutations(range(len(self.shape))))))

    def drawn_take(self) -> None:
        axis = self.integer(0, len(self.shape) - 1)
        order = self.draw(st.permutations(range(self.shape[axis])))
        self.take(axis, order[: self.integer(1, len(order))])

    def drawn_place(self) -> None:
        axis = self.integer(0, len(self.shape) - 1)
        indices = self.integers(-1, self.shape[axis] - 1, self.integer(1, 4))
        self.place(axis, indices, self.integer(-2, 2))

    def stage(self) -> None:
        stages = [self.drawn_lookup, self.drawn_residual, self.drawn_concat, self.drawn_reshape]
        stages += [self.drawn_take, self.drawn_place]
        stages += (
            [self.drawn_linear]
            if len(self.shape) == 1
            else [
                self.drawn_conv,
                self.drawn_pool,
                self.drawn_transpose,
            ]
        )
        self.draw(st.sampled_from(stages))()


@st.composite
def networks(draw: st.DrawFn, max_stages: int = 4) -> Network:
    """Any small network: 1 to `max_stages` stages over a few inputs, signed or not."""
    shape = draw(st.sampled_from([(1,), (3,), (4,), (2, 3), (1, 4), (1, 2, 2), (2, 2, 2)]))
    size = math.prod(shape)
    most = 3 if size <= 4 else 1
    lows = draw(st.lists(st.integers(-2, 1), min_size=size, max_size=size))
    spans = draw(st.lists(st.integers(0, most), min_size=size, max_size=size))
    low = np.array(lows).reshape(shape)
    b = _Drawing(draw, shape, low, low + np.array(spans).reshape(shape))
    for _ in range(draw(st.integers(1, max_stages))):
        b.stage()
    channels = b.shape[0]
    factor = b.integers(-2, 3, channels) if b.flag() else np.array([1])
    offset = b.integers(-9, 9, channels) if b.flag() else np.array([0])
    return b.network(factor, offset)


def with_input(network: Network, low: object, high: object) -> Network:
    """The same network over another box of inputs."""
    changed = replace(network.input, low=np.asarray(low), high=np.asarray(high))
    return replace(network, input=changed)
