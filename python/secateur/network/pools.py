"""Pools: one value for each window of one channel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import ClassVar

import numpy as np

from secateur import bounds, exact
from secateur.network.arrays import Integers, Mask
from secateur.network.change import CannotUndoError, Change
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


class Pool(SingleSource):
    """What pools have in common: their geometry, and that channels stay apart."""

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding

    def __post_init__(self) -> None:
        if not 1 <= len(self.kernel) <= 3:
            raise refuse(self.name, f"its kernel is {self.kernel}, expected 1 to 3 axes")
        axes = len(self.kernel)
        for field in ("kernel", "stride"):
            object.__setattr__(self, field, counts(self.name, field, getattr(self, field), axes, 1))
        object.__setattr__(self, "padding", pads(self.name, self.padding, axes))

    def shape(self, *sources: Shape) -> Shape:
        (source,) = sources
        axes = len(self.kernel)
        if len(source) != axes + 1:
            raise refuse(self.name, f"pools {axes} spatial axes but its source has shape {source}")
        ones = (1,) * axes
        extents = positions(self.name, source[1:], self.kernel, self.stride, self.padding, ones)
        return (source[0], *extents)

    def _windows(self, x: Integers, fill: int = 0) -> Integers:
        """[batch, channels, *positions, taps]."""
        ones = (1,) * len(self.kernel)
        found = windows(x, self.kernel, self.stride, self.padding, ones, fill)
        return found.reshape(*found.shape[: 2 + len(self.kernel)], -1)

    @abstractmethod
    def _best(self, end: End, source: Box) -> Integers:
        """The value at every position if each element is at `end`, [channels, *positions]."""

    def attained(self, own: Box, sources: Sequence[Box], known: Sequence[Mask], free: bool) -> Mask:
        return np.full((own.shape[0], len(ENDS)), free)

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        """Wish for the elements under the window that comes furthest."""
        (source,) = sources
        values = self._best(end, source)[channel]
        best = values.argmin() if end == "low" else values.argmax()
        elements = np.arange(prod(source.shape)).reshape(1, *source.shape)
        under = self._windows(elements, fill=-1)[0, channel].reshape(values.size, -1)[best]
        signs = np.zeros(prod(source.shape), np.int64)
        signs[under[under >= 0]] = 1 if end == "high" else -1
        return Wish(0, signs.reshape(source.shape))

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        both = own | sources[0]
        return both, [both]

    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        taps = self._windows(origin[None], fill=-1)[0]
        return (taps[..., tap] for tap in range(taps.shape[-1]))


@dataclass(frozen=True)
class SumPool(Pool):
    """The sum over each window of one channel; average pooling with its divisor left out.

    The divisor belongs to the scale of what follows, so that the sum stays an integer.

    Args:
        name: the operation's name.
        source: name of a node of shape (channels, *spatial).
        kernel, stride: one int per spatial axis, at least 1.
        padding: (before, after) per spatial axis, not negative; zeros are added up there.

    Raises:
        NetworkError: a geometry that is none; names the layer.

    Example:
        >>> import numpy as np
        >>> pool = SumPool("pool", "input", (2,), (2,), ((0, 0),))
        >>> pool.evaluate(np.array([[[1, 3, -2, 0]]]))
        array([[[ 4, -2]]])
    """

    kind: ClassVar[str] = "sum-pool"
    accumulates: ClassVar[bool] = True

    name: str
    source: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding

    def evaluate(self, *sources: Integers) -> Integers:
        (x,) = sources
        reach = exact.magnitude(x) * prod(self.kernel)
        return exact.compute(lambda v: self._windows(v).sum(axis=-1), reach, x)

    def ranges(self, *sources: Box) -> Ranges:
        return per_channel(self._ranges(sources[0]), len(self.kernel) + 1)

    def _ranges(self, source: Box, positions: bool = False) -> Ranges:
        """The depthwise convolution with ones that a sum pool is."""
        given = source.channels if source.per_channel else source.full
        return bounds.conv(
            np.ones((source.shape[0], 1, *self.kernel), np.int8),
            given.low,
            given.high,
            input_shape=source.shape,
            stride=self.stride,
            padding=self.padding,
            groups=source.shape[0],
            positions=positions,
        )

    def _best(self, end: End, source: Box) -> Integers:
        return np.asarray(getattr(self._ranges(source, positions=True), end))

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        factor, offset = sources[0].channels
        if np.any(self.padding) and offset.any():
            # A window at the border sums fewer offsets than one inside.
            raise CannotUndoError
        summed = exact.multiply(offset, np.array(prod(self.kernel)))
        return self, Change.per_channel(factor, summed, shape)


@dataclass(frozen=True)
class MaxPool(Pool):
    """The maximum over each window of one channel, padding left out of account.

    Args:
        name: the operation's name.
        source: name of a node of shape (channels, *spatial).
        kernel, stride: one int per spatial axis, at least 1.
        padding: (before, after) per spatial axis, not negative and less than the kernel.

    Raises:
        NetworkError: a geometry that is none; names the layer.

    Example:
        >>> import numpy as np
        >>> pool = MaxPool("pool", "input", (2,), (2,), ((0, 0),))
        >>> pool.evaluate(np.array([[[1, 3, -2, 0]]]))
        array([[[3, 0]]])
    """

    kind: ClassVar[str] = "max-pool"

    name: str
    source: str
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Padding

    def __post_init__(self) -> None:
        super().__post_init__()
        for extent, ends in zip(self.kernel, self.padding, strict=True):
            if max(ends) >= extent:
                raise refuse(self.name, f"padding {ends} reaches a window of nothing else")

    def evaluate(self, *sources: Integers) -> Integers:
        return np.asarray(self._windows(sources[0], fill=int(np.iinfo(np.int64).min)).max(axis=-1))

    def ranges(self, *sources: Box) -> Ranges:
        # A maximum grows with every element, so that its ends are those of the ends.
        best = Ranges(*(self._best(end, sources[0]) for end in ENDS))
        return per_channel(best.hull_over(range(1, len(self.kernel) + 1)), len(self.kernel) + 1)

    def _best(self, end: End, source: Box) -> Integers:
        return self.evaluate(getattr(source.full, end)[None])[0]

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        return self, Change.per_channel(*sources[0].channels, shape)
