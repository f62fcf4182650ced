"""Lookups: a table of every element, which is what an activation is in a circuit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from secateur import exact
from secateur.errors import NotFiniteError
from secateur.network import arrays
from secateur.network.arrays import Integers, Mask, along_channels, picked
from secateur.network.change import CannotUndoError, Change, undone
from secateur.network.operation import ENDS, Box, End, Operation, Shape, SingleSource, Wish, refuse
from secateur.network.tables import ExplicitTable, FunctionTable, Table, tabulate
from secateur.network.windows import counts
from secateur.ranges import Ranges

#: No circuit looks up more than 16 bits. A table that is not known to be monotone is not
#: evaluated on more entries, and its codomain is its range.
LARGEST_TABLE = 1 << 16

# How many entries, over all channels, are held at a time.
_BLOCK = 1 << 20


@dataclass(frozen=True, eq=False)
class Lookup(SingleSource):
    """A table of every element: code = table[factor · v + offset].

    The circuit looks v itself up; `factor` and `offset` are inside its table and cost
    nothing. Narrowing puts there what it takes out of the accumulator.

    Args:
        name: the operation's name.
        source: name of any node.
        table: the rule; per channel or one for all.
        factor: int64 [channels] or [1].
        offset: int64 [channels] or [1].
        rounding_bits: how many of v's lowest bits are dropped before the table, 0 to 62: v
            becomes ⌊v / 2^r⌋ · 2^r, so that nothing is ever rounded up past the top of the width.

    Raises:
        DtypeError, ShapeError, NetworkError: parameters that are none of these; names the layer.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Activation, FunctionTable, Quantize
        >>> relu = Lookup("relu", "fc", FunctionTable((Activation("relu"),), Quantize(4.0, 0, 3)))
        >>> relu.evaluate(np.array([[-9], [5], [8], [99]])).T
        array([[0, 1, 2, 3]])
    """

    kind: ClassVar[str] = "lookup"

    name: str
    source: str
    table: Table
    factor: Integers | None = None
    offset: Integers | None = None
    rounding_bits: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.table, FunctionTable | ExplicitTable):
            raise refuse(self.name, f"its table is a {type(self.table).__name__}")
        for field in ("factor", "offset"):
            if (given := getattr(self, field)) is not None:
                checked = arrays.integers(self.name, field, given)
                if checked.ndim != 1 or not checked.size:
                    raise refuse(self.name, f"{field} has shape {checked.shape}, not [channels]")
                object.__setattr__(self, field, checked)
        (bits,) = counts(self.name, "rounding_bits", (self.rounding_bits,), 1, 0)
        if bits > 62:
            raise refuse(self.name, f"rounding_bits is {bits}, more than 62")
        object.__setattr__(self, "rounding_bits", bits)

    def shape(self, *sources: Shape) -> Shape:
        (source,) = sources
        parts = {"table": self.table.channels} | {
            field: len(getattr(self, field))
            for field in ("factor", "offset")
            if getattr(self, field) is not None
        }
        for part, channels in parts.items():
            if channels not in (1, source[0]):
                raise refuse(
                    self.name, f"its {part} is for {channels} channels, its source has {source[0]}"
                )
        return source

    def evaluate(self, *sources: Integers) -> Integers:
        """Return the codes of `v` [batch, channels, ...].

        Where the values that occur are far fewer than the elements, each is looked up once.
        """
        (v,) = sources
        axes = (0, *range(2, v.ndim))
        if v.size:
            low, high = v.min(axis=axes), v.max(axis=axes)
            entries = (int(Ranges(low, high).span.max()) + 1) * len(low)
            if entries <= min(v.size // 4, _BLOCK):
                table = tabulate(self.rule, low, high)
                # One flat index and the narrowest entries, which take a third of the time. What
                # wraps on the way to an index within the table wraps back.
                first = np.arange(len(low)) * table.shape[1] - low
                narrow = np.min_scalar_type(min(int(table.min()), ~int(table.max())))
                entries = table.astype(narrow).take(v + along_channels(first, v))
                return entries.astype(np.int64)
        return self.rule(v)

    def rule(self, v: Integers) -> Integers:
        """Return the codes of `v` [batch, channels, ...], one by one."""
        if self.rounding_bits:
            v = v >> self.rounding_bits << self.rounding_bits
        if self.factor is not None or self.offset is not None:
            v = self._scaled(v)
        try:
            return self.table(v)
        except NotFiniteError as error:
            raise error.at_layer(self.name) from None

    def _scaled(self, v: Integers) -> Integers:
        """Return factor · v + offset, whose product may leave int64 and come back."""
        factor = along_channels(np.ones(1, np.int64) if self.factor is None else self.factor, v)
        offset = along_channels(np.zeros(1, np.int64) if self.offset is None else self.offset, v)
        reach = max(1, exact.magnitude(v)) * exact.magnitude(factor) + exact.magnitude(offset)
        return exact.compute(lambda v, f, o: v * f + o, reach, v, factor, offset)

    def ranges(self, *sources: Box) -> Ranges:
        """Return the range of the table over each range of its source, element by element."""
        (source,) = sources
        shape = (source.shape[0], *source.ranges.shape[1:])
        given = source.ranges.broadcast_to(shape)
        if self.table.monotone:
            # Rounding, a factor and an offset keep or turn the order as a whole.
            return self._ends(given)
        most = int(given.span.max())
        if most >= LARGEST_TABLE:
            return Ranges.full(shape, self.table.codomain)
        block = max(1, _BLOCK // max(1, given.low.size))
        found = []
        for start in range(0, most + 1, block):
            steps = np.arange(start, min(start + block, most + 1)).reshape(-1, *(1,) * len(shape))
            # A step beyond the span stays at the high end, and none leaves int64.
            within = np.minimum(steps.astype(np.uint64), given.span).astype(np.int64)
            entries = self.rule(given.low + within)
            found.append(Ranges(entries.min(axis=0), entries.max(axis=0)))
        return found[0].union(*found[1:])

    def _ends(self, given: Ranges) -> Ranges:
        """The hull of the codes at both ends of each range."""
        at_low, at_high = (self.rule(side[None])[0] for side in (given.low, given.high))
        return Ranges.point(at_low).union(at_high)

    def attained(self, own: Box, sources: Sequence[Box], known: Sequence[Mask], free: bool) -> Mask:
        """Only the ends of the accumulator are known to occur, not the values between."""
        found = self._attaining(own, sources[0], known[0])
        return np.stack([found[end].any(axis=1) for end in ENDS], axis=1)

    def wish(
        self, channel: int, end: End, own: Box, sources: Sequence[Box], known: Sequence[Mask]
    ) -> Wish:
        attaining = self._attaining(own, sources[0], known[0])[end][channel]
        if not attaining.any():
            # The end whose code comes nearest.
            at_low, at_high = self._codes_of_ends(sources[0])[channel].tolist()
            attaining = np.array([False, at_high >= at_low]) ^ (end == "low")
        return Wish(0, channel=channel, end=ENDS[int(attaining.argmax())])

    def _attaining(self, own: Box, source: Box, known: Mask) -> dict[End, Mask]:
        """End → bool [channels, 2]: the ends of the source that occur and have its code."""
        codes, hull = self._codes_of_ends(source), own.channels
        return {end: known & (codes == getattr(hull, end)[:, None]) for end in ENDS}

    def _codes_of_ends(self, source: Box) -> Integers:
        """The codes at the low and the high end of every channel, [channels, 2]."""
        return self.rule(np.stack([source.channels.low, source.channels.high])).T

    def reading(self, shape: Shape, sources: Sequence[Change]) -> tuple[Operation, Change | None]:
        factor, offset = sources[0].channels
        if self.rounding_bits and (
            (factor != 1).any() or (offset % (1 << self.rounding_bits)).any()
        ):
            # Rounding comes before the table, and commutes with no other change.
            raise CannotUndoError
        new_factor, new_offset = undone(self.factor, self.offset, factor, offset)
        return replace(self, factor=new_factor, offset=new_offset), None

    def needed(
        self, own: Mask, sources: Sequence[Mask], shapes: Sequence[Shape]
    ) -> tuple[Mask, list[Mask]]:
        both = own | sources[0]
        return both, [both]

    def restricted(self, own: Mask, sources: Sequence[Mask]) -> Lookup:
        return replace(
            self,
            table=self.table.restricted(own),
            factor=picked(self.factor, own),
            offset=picked(self.offset, own),
        )

    def trails(self, source: int, origin: Integers, shapes: Sequence[Shape]) -> Iterator[Integers]:
        yield origin
