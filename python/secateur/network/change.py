"""Changes of unit: what a node yields, in other integers, and how its readers undo them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur import exact
from secateur.network.arrays import Integers, column
from secateur.ranges import Ranges


class CannotUndoError(Exception):
    """A reader has no place to undo the change; narrowing catches it and leaves all as it was."""


@dataclass(frozen=True, eq=False)
class Change:
    """v = factor · v′ + offset, element by element.

    Args:
        factor: int64 [*shape of the node], positive.
        offset: int64 [*shape of the node].

    Example:
        >>> import numpy as np
        >>> Change(np.array([2]), np.array([-3]))
        Change(factor=array([2]), offset=array([-3]))
    """

    factor: Integers
    offset: Integers

    @classmethod
    def per_channel(cls, factor: Integers, offset: Integers, shape: tuple[int, ...]) -> Change:
        """The change of whole channels, factor and offset int64 [channels]."""
        return cls(*(np.broadcast_to(column(side, len(shape)), shape) for side in (factor, offset)))

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> Change:
        """The change that changes nothing."""
        return cls.per_channel(np.ones(1, np.int64), np.zeros(1, np.int64), shape)

    def of(self, ranges: Ranges) -> Ranges:
        """The range of v′ for a v in `ranges`."""
        return (ranges - self.offset) // self.factor

    def map(self, view: Callable[[Any], Any]) -> Change:
        """The change with both arrays seen through `view`."""
        return Change(view(self.factor), view(self.offset))

    @property
    def channels(self) -> tuple[Integers, Integers]:
        """Factor and offset int64 [channels], where they are the same all over a channel."""
        factor, offset = (side.reshape(len(side), -1) for side in (self.factor, self.offset))
        if (factor != factor[:, :1]).any() or (offset != offset[:, :1]).any():
            raise CannotUndoError
        return factor[:, 0], offset[:, 0]

    @property
    def channel_offsets(self) -> Integers:
        """The offset int64 [channels] of a change that is no more than an offset."""
        factor, offset = self.channels
        if (factor != 1).any():
            raise CannotUndoError
        return offset


def undone(
    factor: Integers | None, offset: Integers | None, change_factor: Integers, change: Integers
) -> tuple[Integers, Integers]:
    """Return factor and offset, [channels], of f · v + o for a v that is now f′ · v′ + o′."""
    outer = np.ones(1, np.int64) if factor is None else factor
    constant = np.zeros(1, np.int64) if offset is None else offset
    inner = exact.multiply(outer, change)
    return exact.multiply(outer, change_factor), exact.add(inner, constant)


def with_offset(bias: Integers | None, extra: Integers) -> Integers:
    """Return a bias, [channels], with `extra` added."""
    return extra if bias is None else exact.add(bias, extra)
