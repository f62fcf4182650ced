"""Taking: elements along one axis by their numbers; slices, padding, repeated pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, ClassVar

import numpy as np

from secateur import exact
from secateur.network import arrays
from secateur.network.arrays import Integers, Mask
from secateur.network.change import CannotUndoError, Change
from secateur.network.operation import (
    Operation,
    Shape,
    refuse,
)
from secateur.network.rearranging import Move, Rearrangement
from secateur.network.windows import counts


class _Along(Move):
    """What taking has in common: an axis, and which element of the source stands where on it."""

    axis: int
    indices: Integers

    #: What stands where an index is −1.
    fill: int = 0

    def __post_init__(self) -> None:
        (axis,) = counts(self.name, "axis", (self.axis,), 1, 0)
        object.__setattr__(self, "axis", axis)
        indices = arrays.integers(self.name, "indices", self.indices)
        if indices.ndim != 1 or not indices.size:
            raise refuse(self.name, f"its indices have shape {indices.shape}; it takes nothing")
        object.__setattr__(self, "indices", indices)

    def shape(self, *sources: Shape) -> Shape:
        (source,) = sources
        if self.axis >= len(source):
            raise refuse(self.name, f"takes along axis {self.axis} of {source}")
        if int(self.indices.max()) >= source[self.axis]:
            raise refuse(
                self.name,
                f"takes element {self.indices.max()} of {source[self.axis]} along an axis",
            )
        return (*source[: self.axis], len(self.indices), *source[self.axis + 1 :])

    def _taken(self, x: Any, axis: int, fill: int) -> Any:
        taken = x.take(np.maximum(self.indices, 0), axis)
        if (self.indices >= 0).all():
            return taken
        column = self.indices.reshape(-1, *(1,) * (x.ndim - axis - 1))
        return np.where(column >= 0, taken, fill)

    def evaluate(self, *sources: Integers) -> Integers:
        return self._taken(sources[0], self.axis + 1, self.fill)

    def move(self, x: Any) -> Any:
        return self._taken(x, self.axis, self.fill)

    def origins(self, shape: Shape) -> Integers:
        return self._taken(np.arange(prod(shape)).reshape(shape), self.axis, -1)

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        (change,) = sources
        if (self.indices >= 0).all():
            return self, change.map(self.move)
        if (change.factor != 1).any() or (change.offset != change.offset.flat[0]).any():
            raise CannotUndoError
        fill = exact.subtract(np.array(self.fill), change.offset.flat[:1])
        moved = replace(self, fill=int(fill[0]))  # type: ignore[type-var]
        return moved, Change(np.ones(shape, np.int64), np.full(shape, change.offset.flat[0]))

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        (source,) = sources
        if self.axis:
            both = own | source
            return both, [both]
        source = source.copy()
        source[self.indices[own & (self.indices >= 0)]] = True
        return own, [source]

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Operation:
        if self.axis:
            return self
        position = np.cumsum(sources[0]) - 1
        moved = np.where(self.indices >= 0, position[self.indices], -1)
        return replace(self, indices=moved[own])  # type: ignore[type-var]


@dataclass(frozen=True, eq=False)
class Take(_Along, Rearrangement):
    """Some elements along an axis, each once: a slice, a part of a split.

    Args:
        name: the operation's name.
        source: name of any node.
        axis: along which, 0 being the channels.
        indices: int64 [extent], different ones, from 0.

    Raises:
        NetworkError: indices that are negative, repeated, or beyond the source's extent.

    Example:
        >>> import numpy as np
        >>> Take("two", "input", 0, np.array([2, 0])).evaluate(np.array([[5, 6, 7]]))
        array([[7, 5]])
    """

    kind: ClassVar[str] = "take"

    name: str
    source: str
    axis: int
    indices: Integers

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.indices.min() < 0 or len(np.unique(self.indices)) < len(self.indices):
            raise refuse(self.name, "takes an element twice, or none; Place does")


@dataclass(frozen=True, eq=False)
class Place(_Along):
    """Elements along an axis as often as wanted, and a constant between them: padding, zoom.

    Args:
        name: the operation's name.
        source: name of any node.
        axis: along which, 0 being the channels.
        indices: int64 [extent], from 0; −1 where `fill` stands.
        fill: the constant.

    Raises:
        NetworkError: indices below −1, or beyond the source's extent.

    Example:
        >>> import numpy as np
        >>> Place("padded", "input", 0, np.array([-1, 0, 1, 1])).evaluate(np.array([[5, 6]]))
        array([[0, 5, 6, 6]])
    """

    kind: ClassVar[str] = "place"

    name: str
    source: str
    axis: int
    indices: Integers
    fill: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.indices.min() < -1:
            raise refuse(self.name, f"has the index {self.indices.min()}, below −1")
        fill = int(arrays.integers(self.name, "fill", self.fill, [()]))
        object.__setattr__(self, "fill", fill)
