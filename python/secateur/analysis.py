"""Analysis: a proved range for every node of a network.

Ranges flow from the input to the output, one operation at a time, each computed by the
engine from the ranges of its sources. The range of an affine operation is exact over the
box of its input ranges. Through a whole network a range is *sound*: never too narrow. It
is also *exact* where an input of the network is known that attains both its ends;
`RangeReport.witness` gives that input.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from secateur import bounds
from secateur.errors import AccumulatorOverflowError, NetworkError
from secateur.network import (
    Add,
    Concat,
    Conv,
    Layer,
    Linear,
    Lookup,
    MaxPool,
    Network,
    Operation,
    Reshape,
    Shape,
    SumPool,
    Transpose,
)
from secateur.network.tables import Integers
from secateur.ranges import Ranges

End = Literal["low", "high"]

#: No circuit looks up more than 16 bits. Beyond these entries a table is not evaluated, and
#: its codomain is the range.
LARGEST_TABLE = 1 << 16

# How many entries, over all channels, are held at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class NodeRange:
    """The proved range of one node.

    Args:
        name: the node's name.
        kind: the operation's type in lower case ("linear", "lookup", …, "input").
        shape: the node's shape, batch axis left out.
        ranges: int64 low and high, one axis for each of `shape`, broadcastable to it.
        exact: bool [channels]; True where an input of the network attains both ends.
    """

    name: str
    kind: str
    shape: Shape
    ranges: Ranges
    exact: NDArray[np.bool_]

    @property
    def channels(self) -> Ranges:
        """The hull of every channel's elements, low and high int64 [channels]."""
        hull = _hull(self.ranges)
        return Ranges(*(np.broadcast_to(side, self.shape[:1]) for side in (hull.low, hull.high)))

    def bits(self, kind: Literal["span", "signed", "unsigned"] = "span") -> int:
        """Return the width of the widest channel."""
        return int(self.channels.bits(kind).max())


@dataclass(frozen=True, eq=False)
class RangeReport:
    """The proved range of every node of `network`, in the order of the data.

    Args:
        network: what was analysed.
        nodes: name → range, in order, the input first.
        boxes: name → int64 [*node shape] for the nodes whose every element is an element of
            the input: that element's index in the input, flattened.
    """

    network: Network
    nodes: Mapping[str, NodeRange]
    boxes: Mapping[str, Integers] = field(repr=False)

    def __getitem__(self, name: str) -> NodeRange:
        """Return the range of the node called `name`.

        Raises:
            NetworkError: there is no such node.
        """
        if name not in self.nodes:
            raise NetworkError(
                f"no node is named {name!r}; there are {', '.join(self.nodes)}", operation=name
            )
        return self.nodes[name]

    def __iter__(self) -> Iterator[NodeRange]:
        return iter(self.nodes.values())

    @property
    def accumulators(self) -> tuple[NodeRange, ...]:
        """The nodes that add: the affine operations, residual adds and sum pools."""
        return tuple(
            self.nodes[o.name]
            for o in self.network.operations
            if isinstance(o, Layer | Add | SumPool)
        )

    @property
    def accumulator_bits(self) -> int:
        """Span bits of the widest accumulator: what a circuit needs once offsets are free."""
        return max((node.bits() for node in self.accumulators), default=0)

    def witness(self, layer: str, channel: int, end: End = "high") -> Integers:
        """Return an input of the network that attains one end of a channel's exact range.

        Args:
            layer: name of a node.
            channel: index along axis 0 of the node's shape.
            end: which end, "low" or "high".

        Returns:
            int64 [*network.input.shape]. For it, the least (or greatest) value in that
            channel of `network.nodes(x[None])[layer]` is exactly the range's low (or high).

        Raises:
            NetworkError: the channel's range is sound but not known to be attained.
        """
        node = self[layer]
        if not node.exact[channel]:
            raise NetworkError(
                f"layer {layer!r}, channel {channel}: its range "
                f"[{node.channels.low[channel]}, {node.channels.high[channel]}] is sound, "
                "but no input is known that attains it",
                layer=layer,
            )
        return _witness(self, node, channel, end)

    def __str__(self) -> str:
        """A table, one row per node: shape, range over all channels, span bits, exactness."""
        rows = [("node", "kind", "shape", "low", "high", "span bits", "range is")]
        for node in self:
            channels = node.channels
            rows.append(
                (
                    node.name,
                    node.kind,
                    "×".join(map(str, node.shape)),
                    str(channels.low.min()),
                    str(channels.high.max()),
                    str(node.bits()),
                    "exact" if node.exact.all() else "sound",
                )
            )
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        return "\n".join(
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )


def analyze(network: Network) -> RangeReport:
    """Return the proved range of every node of `network`.

    Raises:
        AccumulatorOverflowError: an accumulator that 64 bits do not hold; names layer and
            channel.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Network, Output
        >>> from secateur.network import Linear
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> fc = Linear("fc", "input", np.array([[1, -2, 0]], np.int8))
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (fc,),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> report = analyze(network)
        >>> report["fc"].ranges.low, report["fc"].ranges.high, report["fc"].bits()
        (array([-6]), array([3]), 4)
        >>> report.witness("fc", 0)
        array([3, 0, 0])
    """
    source = network.input
    axes = len(source.shape)
    given = (
        np.broadcast_to(side, source.shape) if side.ndim not in (0, axes) else side
        for side in (source.low, source.high)
    )
    low, high = np.broadcast_arrays(
        *(side.reshape((1,) * axes) if side.ndim == 0 else side for side in given)
    )
    nodes = {
        source.name: NodeRange(
            source.name, "input", source.shape, Ranges(low, high), np.ones(source.shape[0], bool)
        )
    }
    boxes = {source.name: np.arange(math.prod(source.shape)).reshape(source.shape)}
    for operation in network.operations:
        shape = network.shapes[operation.name]
        sources = [nodes[s] for s in operation.sources]
        origin = boxes.get(operation.sources[0])
        if origin is not None and isinstance(operation, Reshape | Transpose):
            boxes[operation.name] = operation.evaluate(origin[None])[0]
        ranges = propagate(operation, shape, sources)
        exact = _exact(operation, shape, sources[0], ranges, origin is not None)
        kind = type(operation).__name__.lower()
        nodes[operation.name] = NodeRange(operation.name, kind, shape, ranges, exact)
    return RangeReport(network, nodes, boxes)


def _full(node: NodeRange) -> tuple[Integers, Integers]:
    return (
        np.broadcast_to(node.ranges.low, node.shape),
        np.broadcast_to(node.ranges.high, node.shape),
    )


def _per_channel(node: NodeRange) -> bool:
    return all(extent == 1 for extent in node.ranges.low.shape[1:])


def _conv_sides(node: NodeRange) -> tuple[Integers, Integers]:
    """Low and high as the engine's convolution takes them: per channel where they are so."""
    low, high = node.ranges.low, node.ranges.high
    if _per_channel(node):
        channels = node.shape[:1]
        return tuple(np.broadcast_to(s.reshape(-1), channels) for s in (low, high))  # type: ignore[return-value]
    return _full(node)


def propagate(operation: Operation, shape: Shape, sources: list[NodeRange]) -> Ranges:
    """Return the range of one operation over the box of its sources' ranges."""
    try:
        match operation:
            case Linear():
                return bounds.linear(operation.codes, *_full(sources[0]), operation.bias)
            case Conv():
                return _column(_conv(operation, sources[0]), len(shape))
            case Lookup():
                return _lookup(operation, sources[0])
            case Add():
                return _add(operation, sources)
            case SumPool():
                return _column(_conv(_as_conv(operation, shape[0]), sources[0]), len(shape))
            case MaxPool():
                # A maximum grows with every element, so that its ends are those of the ends.
                ends = (operation.evaluate(side[None])[0] for side in _full(sources[0]))
                return _column(_hull(Ranges(*ends)), len(shape))
            case Concat():
                sides = zip(*(_full(s) for s in sources), strict=True)
                return Ranges(*(np.concatenate(s, axis=operation.axis) for s in sides))
            case Reshape():
                return Ranges(*(side.reshape(operation.to) for side in _full(sources[0])))
            case Transpose():
                ranges = sources[0].ranges
                return Ranges(
                    ranges.low.transpose(operation.axes), ranges.high.transpose(operation.axes)
                )
    except AccumulatorOverflowError as error:
        raise AccumulatorOverflowError(
            f"layer {operation.name!r}: {error}",
            layer=operation.name,
            channel=error.channel,  # type: ignore[attr-defined]
            low=error.low,  # type: ignore[attr-defined]
            high=error.high,  # type: ignore[attr-defined]
        ) from None
    raise NetworkError(
        f"layer {operation.name!r}: no range is known for a {type(operation).__name__}",
        layer=operation.name,
    )


def _hull(ranges: Ranges) -> Ranges:
    """The hull over all axes but the first: [channels]."""
    axes = tuple(range(1, ranges.low.ndim))
    return Ranges(ranges.low.min(axis=axes), ranges.high.max(axis=axes))


def _column(channels: Ranges, axes: int) -> Ranges:
    """Per-channel ranges [channels] with the other axes of a node's shape as 1."""
    shape = (-1, *(1,) * (axes - 1))
    return Ranges(channels.low.reshape(shape), channels.high.reshape(shape))


def _conv(conv: Conv, source: NodeRange, positions: bool = False) -> Ranges:
    low, high = _conv_sides(source)
    return bounds.conv(
        conv.codes,
        low,
        high,
        conv.bias,
        input_shape=source.shape,
        stride=conv.stride,
        padding=conv.padding,
        dilation=conv.dilation,
        groups=conv.groups,
        positions=positions,
    )


def _as_conv(pool: SumPool, channels: int) -> Conv:
    """The depthwise convolution with ones that a sum pool is."""
    ones = np.ones((channels, 1, *pool.kernel), np.int8)
    return Conv(
        pool.name, pool.source, ones, stride=pool.stride, padding=pool.padding, groups=channels
    )


def _lookup(lookup: Lookup, source: NodeRange) -> Ranges:
    """Return the range of a table over each range of its source, element by element."""
    given = source.ranges
    shape = (source.shape[0], *given.low.shape[1:])
    low, high = (np.broadcast_to(side, shape) for side in (given.low, given.high))
    most = int((high - low).max(initial=0))
    if most >= LARGEST_TABLE:
        hull = lookup.table.codomain
        return Ranges(np.full(shape, hull.low), np.full(shape, hull.high))
    block = max(1, _BLOCK // max(1, low.size))
    least, greatest = [], []
    for start in range(0, most + 1, block):
        steps = np.arange(start, min(start + block, most + 1)).reshape(-1, *(1,) * low.ndim)
        entries = lookup.evaluate(np.minimum(low + steps, high))
        least.append(entries.min(axis=0))
        greatest.append(entries.max(axis=0))
    return Ranges(np.min(least, axis=0), np.max(greatest, axis=0))


def _add(add: Add, sources: list[NodeRange]) -> Ranges:
    """Return the sum of the sources' ranges, added up in Python's integers, which never wrap."""
    shape = np.broadcast_shapes(*(s.ranges.low.shape for s in sources))
    bias = np.zeros(1, np.int64) if add.bias is None else add.bias
    column = bias.astype(object).reshape(-1, *(1,) * (len(shape) - 1))
    low, high = (
        sum((getattr(s.ranges, side).astype(object) for s in sources), column)
        for side in ("low", "high")
    )
    int64 = np.iinfo(np.int64)
    outside = np.argwhere((low < int64.min) | (high > int64.max))
    if len(outside):
        at = tuple(outside[0])
        raise AccumulatorOverflowError(
            f"channel {at[0]} adds up to [{low[at]}, {high[at]}], which 64 bits do not hold",
            channel=int(at[0]),
            low=low[at],
            high=high[at],
        )
    return Ranges(low.astype(np.int64), high.astype(np.int64))


def _exact(
    operation: Operation, shape: Shape, source: NodeRange, ranges: Ranges, box: bool
) -> NDArray[np.bool_]:
    """Say for each channel whether an input of the network attains both ends of its `ranges`.

    `box` means that every element of the source is an element of the input, so that all
    combinations of their ends occur.
    """
    if box and isinstance(operation, Layer | SumPool | MaxPool | Reshape | Transpose):
        return np.ones(shape[0], bool)
    if isinstance(operation, Lookup):
        # Only the ends of the accumulator are known to occur, not the values between.
        hull = _hull(ranges)
        ends = [
            operation.evaluate(side[None])[0]
            for side in (source.channels.low, source.channels.high)
        ]
        attained = (np.minimum(*ends) == hull.low) & (np.maximum(*ends) == hull.high)
        exact: NDArray[np.bool_] = source.exact & attained
        return exact
    return np.zeros(shape[0], bool)


def _witness(report: RangeReport, node: NodeRange, channel: int, end: End) -> Integers:
    """Walk from an exact range back to the input elements that attain one of its ends."""
    network = report.network
    while node.kind == "lookup":
        lookup = network[node.name]
        source = report[lookup.sources[0]].channels
        at_low = lookup.evaluate(source.low[None])[0, channel]
        goal = getattr(node.channels, end)[channel]
        end = "low" if at_low == goal else "high"
        node = report[lookup.sources[0]]
    if node.name in report.boxes:
        coefficients = np.zeros(node.shape, np.int64)
        side = np.broadcast_to(getattr(node.ranges, end), node.shape)[channel]
        best = side.argmin() if end == "low" else side.argmax()
        coefficients.reshape(node.shape[0], -1)[channel, best] = 1
        source_name = node.name
    else:
        operation = network[node.name]
        (source_name,) = operation.sources
        coefficients = _coefficients(operation, report[source_name], channel, end)
    upper = coefficients > 0 if end == "high" else coefficients < 0
    x_low, x_high = _full(report[network.input.name])
    x = x_low.copy()
    origin = report.boxes[source_name]
    x.flat[origin[upper]] = x_high.flat[origin[upper]]
    return x


def _coefficients(operation: Operation, source: NodeRange, channel: int, end: End) -> Integers:
    """Return what each element of the source adds to the element that attains `end`.

    int64 [*source shape]; only the sign matters to a witness.
    """
    if isinstance(operation, Linear):
        return operation.codes[channel].astype(np.int64)
    coefficients = np.zeros(source.shape, np.int64)
    if isinstance(operation, MaxPool):
        # With the whole channel at one end, so is its greatest element.
        coefficients[channel] = 1
        return coefficients
    if isinstance(operation, SumPool):
        operation = _as_conv(operation, source.shape[0])
    assert isinstance(operation, Conv)
    values = getattr(_conv(operation, source, positions=True), end)[channel]
    best = values.argmin() if end == "low" else values.argmax()
    position = np.unravel_index(best, values.shape)
    codes = operation.codes[channel]
    group = channel // (operation.codes.shape[0] // operation.groups)
    first = group * operation.codes.shape[1]
    for tap in np.ndindex(codes.shape):
        at = tuple(
            int(p) * stride - before + k * gap
            for p, stride, (before, _), k, gap in zip(
                position,
                operation.stride,
                operation.padding,
                tap[1:],
                operation.dilation,
                strict=True,
            )
        )
        if all(0 <= a < extent for a, extent in zip(at, source.shape[1:], strict=True)):
            coefficients[first + tap[0]][at] = codes[tap]
    return coefficients
