"""The operations of a network: each a frozen value that knows its shape and its arithmetic.

Shapes leave the batch axis out; `evaluate` takes and gives int64 arrays that have it first.
Axis 0 of a shape is the channel axis. `evaluate` is the reference that every circuit is
compared with: plain, obvious, exact.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from secateur.errors import DtypeError, NetworkError, ShapeError
from secateur.network.tables import Integers, Table, _along_channels

Shape = tuple[int, ...]


class Operation(Protocol):
    """One node of a network's graph; `name` is what it is called and what it yields."""

    @property
    def name(self) -> str:
        """The operation's own name, unique in its network."""

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the operations, or of the input, that it reads."""

    @property
    def shape(self) -> Callable[..., Shape]:
        """Method: shapes of the sources ↦ shape of the result, batch axis left out."""

    @property
    def evaluate(self) -> Callable[..., Integers]:
        """Method: integers of the sources ↦ integers of the result, int64 [batch, *shape]."""


def _refuse(layer: str, problem: str) -> NetworkError:
    return NetworkError(f"layer {layer!r}: {problem}", layer=layer)


def _check_affine(name: str, codes: NDArray[Any], bias: Integers | None, axes: range) -> None:
    if not np.issubdtype(codes.dtype, np.integer):
        raise DtypeError(
            f"layer {name!r}: codes are {codes.dtype}, expected integers; quantize first",
            argument="codes",
            dtype=codes.dtype,
            expected="integer",
            layer=name,
        )
    if codes.ndim not in axes or 0 in codes.shape:
        raise ShapeError(
            f"layer {name!r}: codes have shape {codes.shape}; expected "
            f"{axes.start} to {axes.stop - 1} axes, none of them empty",
            argument="codes",
            shape=codes.shape,
            layer=name,
        )
    if bias is not None and (bias.dtype != np.int64 or bias.shape != codes.shape[:1]):
        raise ShapeError(
            f"layer {name!r}: bias is {bias.dtype} {bias.shape}, expected int64 {codes.shape[:1]}",
            argument="bias",
            shape=bias.shape,
            expected=codes.shape[:1],
            layer=name,
        )


@dataclass(frozen=True, eq=False)
class Linear:
    """v = codes · x + bias: one accumulator per output channel.

    Args:
        name: the layer's name.
        source: name of a node of shape (in,).
        codes: integer [out, in], any integer dtype.
        bias: int64 [out] or None.
    """

    name: str
    source: str
    codes: NDArray[Any]
    bias: Integers | None = None

    def __post_init__(self) -> None:
        _check_affine(self.name, self.codes, self.bias, range(2, 3))

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def shape(self, source: Shape) -> Shape:
        if source != self.codes.shape[1:]:
            raise _refuse(
                self.name, f"takes {self.codes.shape[1:]} inputs but its source has shape {source}"
            )
        return self.codes.shape[:1]

    def evaluate(self, source: Integers) -> Integers:
        v = source @ self.codes.T.astype(np.int64)
        return v if self.bias is None else v + self.bias


@dataclass(frozen=True, eq=False)
class Conv:
    """Convolution over 1 to 3 spatial axes, zero padding outside the source.

    Args:
        name: the layer's name.
        source: name of a node of shape (channels, *spatial).
        codes: integer [out, channels / groups, *kernel].
        bias: int64 [out] or None.
        stride, dilation: one int per spatial axis.
        padding: (before, after) per spatial axis.
        groups: number of groups that the channels are split into.
    """

    name: str
    source: str
    codes: NDArray[Any]
    bias: Integers | None = None
    stride: tuple[int, ...] = ()
    padding: tuple[tuple[int, int], ...] = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        _check_affine(self.name, self.codes, self.bias, range(3, 6))
        axes = self.codes.ndim - 2
        for field, default in (("stride", 1), ("padding", (0, 0)), ("dilation", 1)):
            given = getattr(self, field) or (default,) * axes
            if len(given) != axes:
                raise _refuse(self.name, f"{field} {given} does not match {axes} spatial axes")
            object.__setattr__(self, field, tuple(given))
        if self.groups < 1 or self.codes.shape[0] % self.groups:
            raise _refuse(
                self.name,
                f"{self.codes.shape[0]} output channels do not split into {self.groups} groups",
            )

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's extent along each spatial axis."""
        return self.codes.shape[2:]

    def shape(self, source: Shape) -> Shape:
        channels = self.codes.shape[1] * self.groups
        if len(source) != self.codes.ndim - 1 or source[0] != channels:
            raise _refuse(
                self.name,
                f"takes {channels} channels and {self.codes.ndim - 2} spatial axes "
                f"but its source has shape {source}",
            )
        spatial = _window_counts(
            self.name, source[1:], self.kernel, self.stride, self.padding, self.dilation
        )
        return (self.codes.shape[0], *spatial)

    def evaluate(self, source: Integers) -> Integers:
        windows = _windows(source, self.kernel, self.stride, self.padding, self.dilation)
        axes = self.codes.ndim - 2
        per_group = self.codes.shape[1]
        codes = self.codes.astype(np.int64)
        out_per_group = codes.shape[0] // self.groups
        # windows: [batch, channels, *positions, *kernel]
        v = np.concatenate(
            [
                np.moveaxis(
                    np.tensordot(
                        windows[:, g * per_group : (g + 1) * per_group],
                        codes[g * out_per_group : (g + 1) * out_per_group],
                        axes=(
                            (1, *range(2 + axes, 2 + 2 * axes)),
                            tuple(range(1, codes.ndim)),
                        ),
                    ),
                    -1,
                    1,
                )
                for g in range(self.groups)
            ],
            axis=1,
        )
        return v if self.bias is None else v + _along_channels(self.bias, v)


@dataclass(frozen=True, eq=False)
class Lookup:
    """A table of every element: code = table[factor · v + offset].

    The circuit looks v itself up; `factor` and `offset` are inside its table and cost
    nothing. Narrowing puts there what it takes out of the accumulator.

    Args:
        name: the operation's name.
        source: name of any node.
        table: the rule; per channel or one for all.
        factor: int64 [channels] or [1].
        offset: int64 [channels] or [1].
        rounding_bits: how many of v's lowest bits are dropped before the table: v becomes
            ⌊v / 2^r⌋ · 2^r, so that nothing is ever rounded up past the top of the width.
    """

    name: str
    source: str
    table: Table
    factor: Integers | None = None
    offset: Integers | None = None
    rounding_bits: int = 0

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def shape(self, source: Shape) -> Shape:
        return source

    def evaluate(self, source: Integers) -> Integers:
        v = source
        if self.rounding_bits:
            v = v >> self.rounding_bits << self.rounding_bits
        if self.factor is not None:
            v = v * _along_channels(self.factor, v)
        if self.offset is not None:
            v = v + _along_channels(self.offset, v)
        return self.table(v)


@dataclass(frozen=True, eq=False)
class Add:
    """The elementwise sum of two or more nodes of one shape: a residual connection.

    Args:
        name: the operation's name.
        sources: names of the nodes.
        bias: int64 [channels] added to the sum, or None.
    """

    name: str
    sources: tuple[str, ...]
    bias: Integers | None = None

    def shape(self, *sources: Shape) -> Shape:
        if len(set(sources)) != 1:
            raise _refuse(self.name, f"adds nodes of different shapes {sources}")
        return sources[0]

    def evaluate(self, *sources: Integers) -> Integers:
        v = sum(sources[1:], sources[0])
        return v if self.bias is None else v + _along_channels(self.bias, v)


@dataclass(frozen=True)
class Concat:
    """Nodes joined along `axis` (0 is the channel axis)."""

    name: str
    sources: tuple[str, ...]
    axis: int = 0

    def shape(self, *sources: Shape) -> Shape:
        rest = {(*s[: self.axis], *s[self.axis + 1 :]) for s in sources}
        if len(rest) != 1 or not 0 <= self.axis < len(sources[0]):
            raise _refuse(self.name, f"cannot join {sources} along axis {self.axis}")
        joined = sum(s[self.axis] for s in sources)
        return (*sources[0][: self.axis], joined, *sources[0][self.axis + 1 :])

    def evaluate(self, *sources: Integers) -> Integers:
        return np.concatenate(sources, axis=self.axis + 1)


@dataclass(frozen=True)
class SumPool:
    """The sum over each window of one channel; average pooling with its divisor left out.

    The divisor belongs to the scale of what follows, so that the sum stays an integer.
    """

    name: str
    source: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def shape(self, source: Shape) -> Shape:
        return _pooled(self.name, source, self.kernel, self.stride, self.padding)

    def evaluate(self, source: Integers) -> Integers:
        windows = _windows(source, self.kernel, self.stride, self.padding)
        return windows.sum(axis=tuple(range(-len(self.kernel), 0)), dtype=np.int64)


@dataclass(frozen=True)
class MaxPool:
    """The maximum over each window of one channel, padding left out of account."""

    name: str
    source: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        for extent, pads in zip(self.kernel, self.padding, strict=True):
            if max(pads) >= extent:
                raise _refuse(self.name, f"padding {pads} reaches a window of nothing else")

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def shape(self, source: Shape) -> Shape:
        return _pooled(self.name, source, self.kernel, self.stride, self.padding)

    def evaluate(self, source: Integers) -> Integers:
        nothing = np.iinfo(np.int64).min
        windows = _windows(source, self.kernel, self.stride, self.padding, fill=nothing)
        return windows.max(axis=tuple(range(-len(self.kernel), 0)))


@dataclass(frozen=True)
class Reshape:
    """The same elements in row-major order under another shape; flattening is (n,)."""

    name: str
    source: str
    to: Shape

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def shape(self, source: Shape) -> Shape:
        if math.prod(source) != math.prod(self.to):
            raise _refuse(self.name, f"cannot reshape {source} to {self.to}")
        return self.to

    def evaluate(self, source: Integers) -> Integers:
        return source.reshape(len(source), *self.to)


@dataclass(frozen=True)
class Transpose:
    """The axes in another order; `axes` leaves the batch axis out."""

    name: str
    source: str
    axes: tuple[int, ...]

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.source,)

    def shape(self, source: Shape) -> Shape:
        if sorted(self.axes) != list(range(len(source))):
            raise _refuse(self.name, f"axes {self.axes} do not order the axes of {source}")
        return tuple(source[a] for a in self.axes)

    def evaluate(self, source: Integers) -> Integers:
        return source.transpose(0, *(a + 1 for a in self.axes))


Layer = Linear | Conv


def _window_counts(
    name: str,
    spatial: Shape,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
) -> Shape:
    counts = []
    for extent, taps, step, (before, after), gap in zip(
        spatial, kernel, stride, padding, dilation, strict=True
    ):
        room = extent + before + after - gap * (taps - 1) - 1
        if room < 0:
            raise _refuse(
                name, f"a kernel of {kernel} with dilation {dilation} does not fit {spatial}"
            )
        counts.append(room // step + 1)
    return tuple(counts)


def _pooled(
    name: str,
    source: Shape,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
) -> Shape:
    if len(source) != len(kernel) + 1:
        raise _refuse(name, f"pools {len(kernel)} spatial axes but its source has shape {source}")
    ones = (1,) * len(kernel)
    return (source[0], *_window_counts(name, source[1:], kernel, stride, padding, ones))


def _windows(
    x: Integers,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int] | None = None,
    fill: int = 0,
) -> Integers:
    """Return a view [batch, channels, *positions, *kernel] of padded `x`."""
    axes = len(kernel)
    dilation = dilation or (1,) * axes
    x = np.pad(x, ((0, 0), (0, 0), *padding), constant_values=fill)
    reach = tuple(gap * (taps - 1) + 1 for taps, gap in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, (1, 1, *reach))
    steps = (slice(None, None, s) for s in stride)
    taps = (slice(None, None, d) for d in dilation)
    every = slice(None)
    index: tuple[Any, ...] = (every, every, *steps, 0, 0, *taps)
    return view[index]
