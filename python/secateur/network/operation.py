"""What an operation of a network is: one class that states all of its rules in one place.

Shapes leave the batch axis out; axis 0 of a shape is the channel axis. `evaluate` takes and
gives int64 arrays that have the batch axis first, and is exact or an error at every magnitude.
What a backend makes of an operation is the one rule that lives elsewhere, with the circuits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import numpy as np

from secateur.errors import NetworkError
from secateur.network.arrays import Frozen, Integers, Mask, column
from secateur.network.change import CannotUndoError, Change
from secateur.ranges import Ranges

Shape = tuple[int, ...]
End = Literal["low", "high"]

#: The ends of a range, in the order of the columns that say which of them are attained.
ENDS: tuple[End, End] = ("low", "high")


@dataclass(frozen=True, eq=False)
class Box:
    """The values that a node may take: every element in a range of its own.

    Args:
        shape: the node's shape, batch axis left out.
        ranges: int64 low and high, one axis for each of `shape`, broadcastable to it.

    Example:
        >>> from secateur.ranges import Ranges
        >>> Box((2, 3), Ranges([[0], [-1]], [[3], [1]])).channels
        Ranges(low=array([ 0, -1]), high=array([3, 1]))
    """

    shape: Shape
    ranges: Ranges

    @property
    def full(self) -> Ranges:
        """The range of every element, [*shape]."""
        return self.ranges.broadcast_to(self.shape)

    @property
    def channels(self) -> Ranges:
        """The hull of every channel's elements, [channels]."""
        return self.ranges.hull_over(range(1, self.ranges.low.ndim)).broadcast_to(self.shape[:1])

    @property
    def per_channel(self) -> bool:
        """Whether all elements of a channel share one range by the way that it is held."""
        return all(extent == 1 for extent in self.ranges.shape[1:])


def per_channel(channels: Ranges, axes: int) -> Ranges:
    """Return ranges [channels] with the other axes of a node of `axes` axes as 1."""
    return channels.moved(lambda side: column(side, axes))


@dataclass(frozen=True)
class Wish:
    """Where to look for an input that brings a channel to one end of its range.

    Args:
        source: which of the operation's sources it is about.
        signs: int8 [*shape of that source]; 1 where an element should be at the high end of its
            range, −1 at the low end, 0 where it does not matter. None where an end of one of
            the source's own channels decides.
        channel, end: that channel of the source and its end, where `signs` is None.
    """

    source: int
    signs: Integers | None = None
    channel: int = 0
    end: End = "high"


class Operation(Frozen, ABC):
    """One node of a network's graph; `name` is what it is called and what it yields.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Add
        >>> add = Add("sum", ("a", "b"))
        >>> isinstance(add, Operation), add.kind, add.accumulates, add.sources
        (True, 'add', True, ('a', 'b'))
    """

    #: What files and tables call operations of this class.
    kind: ClassVar[str]

    #: Whether its result is an accumulator: an integer that is added up.
    accumulates: ClassVar[bool] = False

    name: str

    #: Names of the operations, or of the input, that it reads.
    sources: tuple[str, ...]

    @abstractmethod
    def reading_from(self, sources: tuple[str, ...]) -> Operation:
        """Return the operation with other names for its sources, in order."""

    @abstractmethod
    def shape(self, *sources: Shape) -> Shape:
        """Return the shape of the result; raise `NetworkError` where the sources do not fit."""

    @abstractmethod
    def evaluate(self, *sources: Integers) -> Integers:
        """Return the integers of the result, int64 [batch, *shape].

        Raises:
            AccumulatorOverflowError: a value that int64 does not hold.
        """

    @abstractmethod
    def ranges(self, *sources: Box) -> Ranges:
        """Return the range of the result over the box of its sources, as a `Box` holds it.

        Raises:
            AccumulatorOverflowError: an end that int64 does not hold; `channel` says where.
        """

    def attained(self, own: Box, sources: Sequence[Box], known: Sequence[Mask], free: bool) -> Mask:
        """Return which ends of the channels' ranges some input of the network attains.

        Args:
            own: the range of the result.
            sources: those of the sources.
            known: for each source, bool [channels, 2]: which of its ends are attained.
            free: every element of the only source is an element of the network's input of its
                own, so that every combination of their ends occurs.

        Returns:
            bool [channels, 2] for low and high; False where it is not known.
        """
        return np.zeros((own.shape[0], 2), np.bool_)

    @abstractmethod
    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        """Return what to wish of a source for `channel` to come to `end` of its range.

        Where `attained` says that the end is attained, a wish that is granted attains it. The
        arguments are those of `attained`.
        """

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        """Return the operation for changed sources, and how its own value changes, if it does.

        Raises:
            CannotUndoError: there is no place to undo the change.
        """
        raise CannotUndoError

    def shifted(self, offset: Integers) -> Operation | None:
        """Return the operation with `offset` [channels] added to its result; None if it cannot."""
        return None

    @abstractmethod
    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        """Return the channels that have to stay: its own and those of its sources, bool each.

        Given those that are known to be needed; the masks returned hold these and more.
        """

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Operation:
        """Return the operation on its kept channels, reading its sources' kept channels."""
        return self

    @abstractmethod
    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        """Yield where the elements of the result come from.

        Args:
            source: which source.
            origin: int64 [*its shape]; for each element where it comes from, −1 for nowhere.
            shapes: of all sources.

        Yields:
            int64 [*shape], once for each way in which an element of the result may come from
            one of the source. An affine operation, where trails end, yields nothing.
        """


class SingleSource(Operation):
    """An operation that reads one node, `source`."""

    source: str

    @property
    def sources(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one name that it reads."""
        return (self.source,)

    def reading_from(self, sources: tuple[str, ...]) -> Operation:
        """Return the operation with another name for its source."""
        return replace(self, source=sources[0])  # type: ignore[type-var]


def refuse(layer: str, problem: str) -> NetworkError:
    """Return the error for an operation that is not one, or does not fit its sources."""
    return NetworkError(f"layer {layer!r}: {problem}", layer=layer)
