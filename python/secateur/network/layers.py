"""Layers: the affine operations, which multiply by codes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur import bounds, exact
from secateur.errors import ShapeError
from secateur.network import arrays
from secateur.network.arrays import Integers, Mask, along_channels, picked
from secateur.network.change import CannotUndoError, Change, with_offset
from secateur.network.operation import (
    ENDS,
    Box,
    End,
    Operation,
    Shape,
    SingleSource,
    Wish,
    per_channel,
    refuse,
)
from secateur.network.windows import Padding, counts, pads, positions, windows
from secateur.ranges import Ranges


@dataclass(frozen=True, eq=False)
class Layer(SingleSource):
    """An affine operation: codes · x + bias, one accumulator per output channel.

    Args:
        name, source: as of every operation.

    Example:
        >>> import numpy as np
        >>> layer = Linear("fc", "input", np.array([[1, 0, 3]], np.int8))
        >>> isinstance(layer, Layer), layer.codes.flags.writeable
        (True, False)
    """

    accumulates: ClassVar[bool] = True

    name: str
    source: str
    codes: NDArray[Any]
    bias: Integers | None = None

    def _check(self, axes: range) -> None:
        codes = arrays.codes(self.name, self.codes)
        if codes.ndim not in axes or 0 in codes.shape:
            raise ShapeError(
                f"layer {self.name!r}: codes have shape {codes.shape}; expected "
                f"{axes.start} to {axes.stop - 1} axes, none of them empty",
                argument="codes",
                shape=codes.shape,
                layer=self.name,
            )
        object.__setattr__(self, "codes", codes)
        if self.bias is not None:
            bias = arrays.integers(self.name, "bias", self.bias, [codes.shape[:1]])
            object.__setattr__(self, "bias", bias)

    @cached_property
    def _reach(self) -> int:
        """At least Σ |code| of every channel."""
        rows = self.codes.reshape(len(self.codes), -1)
        greatest = exact.magnitude(rows)
        if greatest * rows.shape[1] >= exact.INT64:
            return greatest * rows.shape[1]
        return int(np.abs(rows.astype(np.int64)).sum(axis=1).max())

    def _carrier(self, x: Integers) -> type:
        """The type of number in which sums over `x` are exact, the bias among their terms."""
        bias = 0 if self.bias is None else exact.magnitude(self.bias)
        return exact.carrier(exact.magnitude(x) * self._reach + bias)

    def _carried(self, sums: NDArray[Any]) -> Integers:
        """Return sums with the bias, which may bring back what leaves int64 without it."""
        if self.bias is not None:
            sums = sums + along_channels(self.bias, sums).astype(sums.dtype)
        return exact.carried(sums)

    def columns(self, values: NDArray[Any]) -> NDArray[Any]:
        """Shape `values` [in], one for each input channel, to broadcast over the codes."""
        raise NotImplementedError

    def rows(self, x: NDArray[Any]) -> NDArray[Any]:
        """Return what the codes are multiplied by, [groups, batch · positions, taps of a channel].

        Args:
            x: [batch, *source shape].
        """
        raise NotImplementedError

    def tap_ranges(self, source: Box) -> Ranges:
        """Return the range that each code's input takes over all positions.

        Returns:
            [groups, in / groups, *kernel]; 0 lies in it where a tap meets zero padding.
        """
        raise NotImplementedError

    def constant(self, values: Integers) -> Integers:
        """Return what input channels that are `values` [in] everywhere add, int64 [out].

        Raises:
            CannotUndoError: it is not the same at all positions.
        """
        raise NotImplementedError

    def attained(self, own: Box, sources: Sequence[Box], known: Sequence[Mask], free: bool) -> Mask:
        return np.full((own.shape[0], len(ENDS)), free)

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        extra = self.constant(sources[0].channel_offsets)
        return replace(self, bias=with_offset(self.bias, extra)), None

    def shifted(self, offset: Integers) -> Operation:
        return replace(self, bias=with_offset(self.bias, offset))

    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        return iter(())


@dataclass(frozen=True, eq=False)
class Linear(Layer):
    """v = codes · x + bias: one accumulator per output channel.

    Args:
        name: the layer's name.
        source: name of a node of shape (in,).
        codes: integer [out, in], any integer dtype.
        bias: int64 [out] or None.

    Raises:
        DtypeError, ShapeError: arrays that are none of these; names the layer.

    Example:
        >>> import numpy as np
        >>> fc = Linear("fc", "input", np.array([[1, -2, 3]], np.int8), np.array([5]))
        >>> fc.evaluate(np.array([[1, 1, 1], [3, 0, 0]]))
        array([[7],
               [8]])
    """

    kind: ClassVar[str] = "linear"

    def __post_init__(self) -> None:
        self._check(range(2, 3))

    def shape(self, *sources: Shape) -> Shape:
        if sources[0] != self.codes.shape[1:]:
            raise refuse(
                self.name,
                f"takes {self.codes.shape[1:]} inputs but its source has shape {sources[0]}",
            )
        return self.codes.shape[:1]

    def evaluate(self, *sources: Integers) -> Integers:
        (x,) = sources
        kind = self._carrier(x)
        return self._carried(x.astype(kind) @ self.codes.T.astype(kind))

    def ranges(self, *sources: Box) -> Ranges:
        given = sources[0].full
        return bounds.linear(self.codes, given.low, given.high, self.bias)

    def columns(self, values: NDArray[Any]) -> NDArray[Any]:
        return values

    def rows(self, x: NDArray[Any]) -> NDArray[Any]:
        return x[None]

    def tap_ranges(self, source: Box) -> Ranges:
        return source.full.moved(lambda side: side[None])

    def constant(self, values: Integers) -> Integers:
        kind = exact.carrier(exact.magnitude(values) * self._reach)
        return exact.carried(self.codes.astype(kind) @ values.astype(kind))

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        sign = 1 if end == "high" else -1
        return Wish(0, sign * np.sign(self.codes[channel]).astype(np.int64))

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        return own, [sources[0] | self.codes[own].any(axis=0)]

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Linear:
        return replace(self, codes=self.codes[own][:, sources[0]], bias=picked(self.bias, own))


@dataclass(frozen=True, eq=False)
class Conv(Layer):
    """Convolution over 1 to 3 spatial axes, zero padding outside the source.

    Args:
        name: the layer's name.
        source: name of a node of shape (channels, *spatial).
        codes: integer [out, channels / groups, *kernel].
        bias: int64 [out] or None.
        stride, dilation: one int per spatial axis, at least 1; empty for all 1.
        padding: (before, after) per spatial axis, not negative; empty for none.
        groups: number of groups that the channels are split into.

    Raises:
        DtypeError, ShapeError: arrays that are none of these; names the layer.
        NetworkError: a geometry that is none; names layer and argument.

    Example:
        >>> import numpy as np
        >>> conv = Conv("conv", "input", np.ones((1, 1, 3, 3), np.int8), padding=((1, 1), (1, 1)))
        >>> conv.shape((1, 5, 5))
        (1, 5, 5)
        >>> conv.evaluate(np.ones((1, 1, 2, 2), int))
        array([[[[4, 4],
                 [4, 4]]]])
    """

    kind: ClassVar[str] = "conv"

    stride: tuple[int, ...] = ()
    padding: Padding = ()
    dilation: tuple[int, ...] = ()
    groups: int = 1

    def __post_init__(self) -> None:
        self._check(range(3, 6))
        axes = self.codes.ndim - 2
        for field in ("stride", "dilation"):
            given = _unless_empty(getattr(self, field), (1,) * axes)
            object.__setattr__(self, field, counts(self.name, field, given, axes, 1))
        padding = _unless_empty(self.padding, ((0, 0),) * axes)
        object.__setattr__(self, "padding", pads(self.name, padding, axes))
        (groups,) = counts(self.name, "groups", (self.groups,), 1, 1)
        object.__setattr__(self, "groups", groups)
        if self.codes.shape[0] % groups:
            raise refuse(
                self.name,
                f"{self.codes.shape[0]} output channels do not split into {groups} groups",
            )

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's extent along each spatial axis."""
        return self.codes.shape[2:]

    def shape(self, *sources: Shape) -> Shape:
        (source,) = sources
        channels = self.codes.shape[1] * self.groups
        if len(source) != self.codes.ndim - 1 or source[0] != channels:
            raise refuse(
                self.name,
                f"takes {channels} channels and {self.codes.ndim - 2} spatial axes "
                f"but its source has shape {source}",
            )
        spatial = positions(
            self.name, source[1:], self.kernel, self.stride, self.padding, self.dilation
        )
        return (self.codes.shape[0], *spatial)

    def evaluate(self, *sources: Integers) -> Integers:
        (x,) = sources
        if self._engine is not None and (values := self._engine.values(x)) is not None:
            return values
        kind = self._carrier(x)
        places = self.shape(x.shape[1:])[1:]
        # [groups, outputs, inputs · taps] times [groups, inputs · taps, batch · positions]: what
        # is copied together lies together along the last spatial axis.
        weights: NDArray[Any] = self.codes.reshape(self.groups, -1, self.codes[0].size).astype(kind)
        view = self._windows(x.astype(kind))
        split = view.reshape(len(x), self.groups, self.codes.shape[1], *view.shape[2:])
        first = 3 + len(places)
        order = (1, 2, *range(first, split.ndim), 0, *range(3, first))
        columns = len(x) * math.prod(places)
        taps = split.transpose(order).reshape(self.groups, self.codes[0].size, columns)
        sums = (weights @ taps).reshape(len(self.codes), len(x), *places)
        return self._carried(np.ascontiguousarray(sums.swapaxes(0, 1)))

    @cached_property
    def _engine(self) -> bounds.Convolution | None:
        """What computes it fast where products of bytes hold its sums."""
        if self.codes.dtype != np.int8:
            return None
        return bounds.Convolution(
            self.codes,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def rows(self, x: NDArray[Any]) -> NDArray[Any]:
        view = self._windows(x)
        batch, _, *rest = view.shape
        places = len(self.kernel)
        split = view.reshape(batch, self.groups, self.codes.shape[1], *rest)
        order = (1, 0, *range(3, 3 + places), 2, *range(3 + places, split.ndim))
        columns = batch * math.prod(rest[:places])
        return split.transpose(order).reshape(self.groups, columns, self.codes[0].size)

    def _windows(self, x: NDArray[Any]) -> NDArray[Any]:
        return windows(x, self.kernel, self.stride, self.padding, self.dilation)

    def ranges(self, *sources: Box) -> Ranges:
        return per_channel(self._ranges(sources[0]), len(self.kernel) + 1)

    def _ranges(self, source: Box, positions: bool = False) -> Ranges:
        given = source.channels if source.per_channel else source.full
        return bounds.conv(
            self.codes,
            given.low,
            given.high,
            self.bias,
            input_shape=source.shape,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
            positions=positions,
        )

    def columns(self, values: NDArray[Any]) -> NDArray[Any]:
        rows = np.repeat(values.reshape(self.groups, -1), len(self.codes) // self.groups, axis=0)
        return rows.reshape(*rows.shape, *(1,) * len(self.kernel))

    def tap_ranges(self, source: Box) -> Ranges:
        seen = source.full.moved(lambda side: self._windows(side[None])[0])
        hull = seen.hull_over(range(1, len(source.shape)))
        return hull.moved(lambda side: side.reshape(self.groups, *self.codes.shape[1:]))

    def constant(self, values: Integers) -> Integers:
        if values.any() and np.any(self.padding):
            # Padding stays zero: the constant would be missing at the borders.
            raise CannotUndoError
        taps = self.codes.reshape(len(self.codes), self.codes.shape[1], -1)
        rows = exact.compute(lambda c: c.sum(axis=2), self._reach, taps)
        # The columns of a convolution with one tap.
        columns = np.repeat(values.reshape(self.groups, -1), len(rows) // self.groups, axis=0)
        reach = exact.magnitude(columns) * self._reach
        return exact.compute(lambda r, c: (r * c).sum(axis=1), reach, rows, columns)

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        """Wish for the codes' signs under the window that comes furthest."""
        (source,) = sources
        values = getattr(self._ranges(source, positions=True), end)[channel]
        best = values.argmin() if end == "low" else values.argmax()
        place = np.unravel_index(best, values.shape)
        # Where each tap of the window lies, by the number of its element; −1 in the padding.
        elements = np.arange(np.prod(source.shape)).reshape(1, *source.shape)
        under = windows(elements, self.kernel, self.stride, self.padding, self.dilation, fill=-1)
        group = channel * self.groups // len(self.codes)
        inputs = slice(group * self.codes.shape[1], (group + 1) * self.codes.shape[1])
        tap = (slice(None), *place)
        at = under[0, inputs][tap]
        signs = np.zeros(int(np.prod(source.shape)), np.int64)
        codes = np.sign(self.codes[channel]).astype(np.int64)
        signs[at[at >= 0]] = codes[at >= 0] * (1 if end == "high" else -1)
        return Wish(0, signs.reshape(source.shape))

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        (source,) = sources
        if self.groups == 1:
            return own, [source | self.codes[own].any(axis=(0, *range(2, self.codes.ndim)))]
        # A group goes as a whole, inputs and outputs, or stays as a whole.
        groups = own.reshape(self.groups, -1).any(axis=1)
        groups |= source.reshape(self.groups, -1).any(axis=1)
        return (
            own | np.repeat(groups, len(own) // self.groups),
            [source | np.repeat(groups, len(source) // self.groups)],
        )

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Conv:
        groups, codes = self.groups, self.codes[own]
        if groups == 1:
            codes = codes[:, sources[0]]
        else:
            groups = int(own.reshape(groups, -1).any(axis=1).sum())
        return replace(self, codes=codes, bias=picked(self.bias, own), groups=groups)


def _unless_empty(given: Any, default: tuple[Any, ...]) -> Any:
    """Return `default` for the empty tuple; 0 is none, and to be refused."""
    return default if isinstance(given, tuple) and not given else given
