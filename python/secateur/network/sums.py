"""Sums of nodes: residual connections."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import ClassVar

import numpy as np

from secateur import exact
from secateur.network import arrays
from secateur.network.arrays import Integers, Mask, along_channels, column, picked
from secateur.network.change import Change, with_offset
from secateur.network.operation import Box, End, Operation, Shape, Wish, refuse
from secateur.ranges import Ranges


@dataclass(frozen=True, eq=False)
class Add(Operation):
    """The elementwise sum of nodes of one shape: a residual connection.

    Args:
        name: the operation's name.
        sources: names of the nodes, at least one.
        bias: int64 [channels] added to the sum, or None.

    Example:
        >>> import numpy as np
        >>> Add("sum", ("a", "b"), bias=np.array([10])).evaluate(np.array([[1]]), np.array([[2]]))
        array([[13]])
    """

    kind: ClassVar[str] = "add"
    accumulates: ClassVar[bool] = True

    name: str
    sources: tuple[str, ...]
    bias: Integers | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        if not self.sources:
            raise refuse(self.name, "adds nothing; name its sources")
        if self.bias is not None:
            bias = arrays.integers(self.name, "bias", self.bias)
            if bias.ndim != 1:
                raise refuse(self.name, f"bias has shape {bias.shape}, expected [channels]")
            object.__setattr__(self, "bias", bias)

    def reading_from(self, sources: tuple[str, ...]) -> Add:
        return replace(self, sources=sources)

    def shape(self, *sources: Shape) -> Shape:
        if len(set(sources)) != 1:
            raise refuse(self.name, f"adds nodes of different shapes {sources}")
        if self.bias is not None and len(self.bias) not in (1, sources[0][0]):
            raise refuse(
                self.name, f"its bias is for {len(self.bias)} channels, it has {sources[0][0]}"
            )
        return sources[0]

    def evaluate(self, *sources: Integers) -> Integers:
        terms = [*sources]
        if self.bias is not None:
            terms.append(along_channels(self.bias, sources[0]))
        # In one sum: terms may leave int64 on the way and come back.
        return exact.compute(
            lambda *each: reduce(np.add, each), sum(map(exact.magnitude, terms)), *terms
        )

    def ranges(self, *sources: Box) -> Ranges:
        terms = [s.ranges for s in sources]
        if self.bias is not None:
            terms.append(Ranges.point(column(self.bias, len(sources[0].shape))))
        return Ranges.total(terms)

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        """Wish for the same end of the source whose channel spans most."""
        spans = [int(s.channels.span[channel]) for s in sources]
        return Wish(spans.index(max(spans)), channel=channel, end=end)

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        offsets = [s.channel_offsets for s in sources]
        return self.shifted(reduce(exact.add, offsets)), None

    def shifted(self, offset: Integers) -> Operation:
        return replace(self, bias=with_offset(self.bias, offset))

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        every = own | np.any(sources, axis=0)
        return every, [every] * len(sources)

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Add:
        return replace(self, bias=picked(self.bias, own))

    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        yield origin
