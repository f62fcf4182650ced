"""Rearranging: the same elements in another shape, order or company."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from secateur.network.arrays import Integers, Mask, column
from secateur.network.change import Change
from secateur.network.operation import (
    ENDS,
    Box,
    End,
    Operation,
    Shape,
    SingleSource,
    Wish,
    refuse,
)
from secateur.network.windows import counts
from secateur.ranges import Ranges


class Move(SingleSource):
    """An operation whose elements are elements of its source, or a constant."""

    @abstractmethod
    def move(self, x: Any) -> Any:
        """Return the elements of `x` [*shape of the source] where they come to be, [*shape]."""

    def origins(self, shape: Shape) -> Integers:
        """Return which element of the source, of `shape`, stands where, flat; −1 for none."""
        origins: Integers = self.move(np.arange(prod(shape)).reshape(shape))
        return origins

    def ranges(self, *sources: Box) -> Ranges:
        return sources[0].full.moved(self.move)

    def attained(self, own: Box, sources: Sequence[Box], known: Sequence[Mask], free: bool) -> Mask:
        return np.full((own.shape[0], len(ENDS)), free)

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        values = getattr(own.full, end)[channel]
        best = values.argmin() if end == "low" else values.argmax()
        (source,) = sources
        element = self.origins(source.shape)[channel].flat[best]
        signs = np.zeros(prod(source.shape), np.int64)
        if element >= 0:
            signs[element] = 1 if end == "high" else -1
        return Wish(0, signs.reshape(source.shape))

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        return self, sources[0].map(self.move)

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        (source,), (shape,) = sources, shapes
        kept = self.move(np.broadcast_to(column(source, len(shape)), shape))
        own = own | kept.reshape(len(own), -1).any(axis=1)
        came_from = self.move(np.broadcast_to(column(np.arange(shape[0]), len(shape)), shape))
        source = source.copy()
        source[came_from[own].ravel()] = True
        return own, [source]

    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        origins = self.origins(shapes[source])
        yield np.where(origins < 0, -1, origin.ravel()[origins])


class Rearrangement(Move):
    """A move that takes every element of its source at most once, and no constant."""


@dataclass(frozen=True)
class Reshape(Rearrangement):
    """The same elements in row-major order under another shape; flattening is (n,).

    Args:
        name: the operation's name.
        source: name of any node.
        to: the shape.

    Raises `NetworkError` where `to` is no shape.

    Example:
        >>> Reshape("flat", "input", (6,)).shape((2, 3))
        (6,)
    """

    kind: ClassVar[str] = "reshape"

    name: str
    source: str
    to: Shape

    def __post_init__(self) -> None:
        to = counts(self.name, "to", self.to, len(tuple(self.to)), 1)
        if not to:
            raise refuse(self.name, "reshapes to a shape without axes; (1,) has one element")
        object.__setattr__(self, "to", to)

    def shape(self, *sources: Shape) -> Shape:
        if prod(sources[0]) != prod(self.to):
            raise refuse(self.name, f"cannot reshape {sources[0]} to {self.to}")
        return self.to

    def evaluate(self, *sources: Integers) -> Integers:
        return sources[0].reshape(len(sources[0]), *self.to)

    def move(self, x: Any) -> Any:
        return x.reshape(self.to)

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Reshape:
        return replace(self, to=(int(own.sum()), *self.to[1:]))


@dataclass(frozen=True)
class Transpose(Rearrangement):
    """The axes in another order; `axes` leaves the batch axis out.

    Args:
        name: the operation's name.
        source: name of any node.
        axes: of the source, in their new order.

    Example:
        >>> Transpose("turned", "input", (1, 0)).shape((2, 3))
        (3, 2)
    """

    kind: ClassVar[str] = "transpose"

    name: str
    source: str
    axes: tuple[int, ...]

    def __post_init__(self) -> None:
        axes = counts(self.name, "axes", self.axes, len(tuple(self.axes)), 0)
        object.__setattr__(self, "axes", axes)

    def shape(self, *sources: Shape) -> Shape:
        if sorted(self.axes) != list(range(len(sources[0]))):
            raise refuse(self.name, f"axes {self.axes} do not order the axes of {sources[0]}")
        return tuple(sources[0][a] for a in self.axes)

    def evaluate(self, *sources: Integers) -> Integers:
        return sources[0].transpose(0, *(a + 1 for a in self.axes))

    def move(self, x: Any) -> Any:
        return x.transpose(self.axes)


@dataclass(frozen=True)
class Concat(Operation):
    """Nodes joined along `axis` (0 is the channel axis).

    Args:
        name: the operation's name.
        sources: names of the nodes, alike but along `axis`.

    Example:
        >>> import numpy as np
        >>> Concat("both", ("a", "b")).evaluate(np.array([[1]]), np.array([[2, 3]]))
        array([[1, 2, 3]])
    """

    kind: ClassVar[str] = "concat"

    name: str
    sources: tuple[str, ...]
    axis: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        if not self.sources:
            raise refuse(self.name, "joins nothing; name its sources")
        (axis,) = counts(self.name, "axis", (self.axis,), 1, 0)
        object.__setattr__(self, "axis", axis)

    def reading_from(self, sources: tuple[str, ...]) -> Concat:
        return replace(self, sources=sources)

    def shape(self, *sources: Shape) -> Shape:
        rest = {(*s[: self.axis], *s[self.axis + 1 :]) for s in sources}
        if len(rest) != 1 or self.axis >= len(sources[0]):
            raise refuse(self.name, f"cannot join {sources} along axis {self.axis}")
        joined = sum(s[self.axis] for s in sources)
        return (*sources[0][: self.axis], joined, *sources[0][self.axis + 1 :])

    def evaluate(self, *sources: Integers) -> Integers:
        return np.concatenate(sources, axis=self.axis + 1)

    def ranges(self, *sources: Box) -> Ranges:
        return Ranges.concatenate([s.full for s in sources], self.axis)

    def attained(self, own: Box, sources: Sequence[Box], known: Sequence[Mask], free: bool) -> Mask:
        if self.axis == 0:
            return np.concatenate(known)
        return np.any(self._attaining(own, sources, known), axis=0)

    def _attaining(self, own: Box, sources: Sequence[Box], known: Sequence[Mask]) -> list[Mask]:
        """For each source, bool [channels, 2]: its ends that occur and are those of the whole."""
        return [
            mask
            & np.stack([getattr(s.channels, e) == getattr(own.channels, e) for e in ENDS], axis=1)
            for s, mask in zip(sources, known, strict=True)
        ]

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        if self.axis == 0:
            starts = np.cumsum([0, *(s.shape[0] for s in sources)])
            at = int(np.searchsorted(starts, channel, side="right")) - 1
            return Wish(at, channel=channel - int(starts[at]), end=end)
        column_of = ENDS.index(end)
        attaining = [
            bool(mask[channel, column_of]) for mask in self._attaining(own, sources, known)
        ]
        reached = [int(getattr(s.channels, end)[channel]) for s in sources]
        best = reached.index(min(reached) if end == "low" else max(reached))
        return Wish(attaining.index(True) if any(attaining) else best, channel=channel, end=end)

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        return self, Change(
            np.concatenate([s.factor for s in sources], axis=self.axis),
            np.concatenate([s.offset for s in sources], axis=self.axis),
        )

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        if self.axis == 0:
            own = own | np.concatenate(sources)
            return own, np.split(own, np.cumsum([len(s) for s in sources])[:-1])
        every = own | np.any(sources, axis=0)
        return every, [every] * len(sources)

    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        parts = [np.full(s, -1) for s in shapes]
        parts[source] = origin
        yield np.concatenate(parts, axis=self.axis)
