"""Closed integer intervals: the interval algebra of the whole library.

Whatever computes on ranges does it here. Results are exact for the intervals that go in (an
operation's own correlations apart), and what int64 does not hold is an error, never a wrap.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from secateur import exact
from secateur.errors import (
    AccumulatorOverflowError,
    ArgumentError,
    DtypeError,
    EmptyRangeError,
    ShapeError,
)
from secateur.show.tables import Table, Tabular

Width: TypeAlias = Literal["span", "signed", "unsigned", "integer"]
"""What is measured in bits: high - low, two's complement, plain binary, or whichever of the two
last holds the interval."""

_WIDTHS = ("span", "signed", "unsigned", "integer")


@dataclass(frozen=True, slots=True)
class Range:
    """A closed interval of integers of any size.

    Raises `EmptyRangeError` where `low` lies above `high`.

    >>> Range(-3, 12).bits("span"), Range(-3, 12).bits("signed")
    (4, 5)
    """

    low: int
    high: int

    def __post_init__(self) -> None:
        for name in ("low", "high"):
            value = getattr(self, name)
            if type(value) is not int:
                object.__setattr__(self, name, _integer(value, name))
        if self.low > self.high:
            raise EmptyRangeError(
                f"the range is empty: low {self.low} lies above high {self.high}",
                low=self.low,
                high=self.high,
            )

    def __contains__(self, value: object) -> bool:
        return isinstance(value, (int, np.integer)) and self.low <= int(value) <= self.high

    @property
    def span(self) -> int:
        """High - low."""
        return self.high - self.low

    def bits(self, width: Width = "span") -> int:
        """Bits that the interval needs.

        "span": bit length of `high - low`, the width that is enough once a constant offset
        moves `low` to 0. "signed": two's complement. "unsigned": bit length of `high`;
        raises `EmptyRangeError` where `low` is negative. "integer": unsigned where `low` is not
        negative, else signed. [0, 0] needs 0, 1, 0 and 0 bits.
        """
        if width == "span":
            return self.span.bit_length()
        if width == "integer":
            width = "signed" if self.low < 0 else "unsigned"
        if width == "signed":
            return 1 + max(
                (end if end >= 0 else ~end).bit_length() for end in (self.low, self.high)
            )
        if width == "unsigned":
            if self.low < 0:
                raise _not_unsigned(self.low, self.high, None)
            return self.high.bit_length()
        raise _unknown_width(width)


class Ranges(Tabular):
    """Closed intervals, one per channel (or per mask and channel, or per position).

    Sums, differences and products take other ranges or integer constants, broadcast as NumPy
    does, and raise `AccumulatorOverflowError` where an end does not fit int64.

    Attributes:
        low, high: int64 `[...]`, of the same shape and read-only; `low <= high` everywhere.

    Raises `DtypeError` for anything but integers that fit int64, `ShapeError` where the shapes
    differ, `EmptyRangeError` with the index of the first interval whose low lies above its high.

    >>> ranges = Ranges([-4, 0], [11, 7])
    >>> ranges.bits("span"), ranges.bits("signed")
    (array([4, 3]), array([5, 4]))
    >>> ranges[0]
    Range(low=-4, high=11)
    >>> ranges * [2, -1] - 1
    Ranges(low=array([-9, -8]), high=array([21, -1]))
    """

    __slots__ = ("high", "low")

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]

    def __init__(self, low: npt.ArrayLike, high: npt.ArrayLike) -> None:
        lows, highs = int64(low, "low"), int64(high, "high")
        if lows.shape != highs.shape:
            raise ShapeError(
                f"high has shape {highs.shape}, but low has shape {lows.shape}",
                argument="high",
                shape=highs.shape,
                expected=lows.shape,
            )
        empty = np.flatnonzero(lows > highs)
        if empty.size:
            index = tuple(int(i) for i in np.unravel_index(empty[0], lows.shape))
            raise EmptyRangeError(
                f"the range at {index} is empty: low {lows[index]} lies above high {highs[index]}",
                index=index,
                low=int(lows[index]),
                high=int(highs[index]),
            )
        _fill(self, lows, highs)

    @classmethod
    def point(cls, values: npt.ArrayLike) -> Ranges:
        """The ranges that hold `values`, integers `[...]`, alone."""
        exact_values = int64(values, "values")
        return trusted(exact_values, exact_values)

    @classmethod
    def full(cls, shape: Sequence[int], each: Range) -> Ranges:
        """The one interval `each` everywhere in `shape`; no element of it is stored twice."""
        return trusted(
            *(np.broadcast_to(np.int64(end), tuple(shape)) for end in (each.low, each.high))
        )

    @classmethod
    def concatenate(cls, ranges: Sequence[Ranges], axis: int = 0) -> Ranges:
        """The intervals of all `ranges`, joined along `axis`."""
        return trusted(
            np.concatenate([r.low for r in ranges], axis=axis),
            np.concatenate([r.high for r in ranges], axis=axis),
        )

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Ranges is frozen: cannot set {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Ranges is frozen: cannot delete {name}")

    def __reduce__(self) -> tuple[type[Ranges], tuple[object, object]]:
        return Ranges, (self.low, self.high)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of `low` and `high`."""
        return self.low.shape

    def __len__(self) -> int:
        return len(self.low)

    def __getitem__(self, index: int | tuple[int, ...]) -> Range:
        """The one interval at `index`, which must name every axis."""
        return Range(_integer(self.low[index], "index"), _integer(self.high[index], "index"))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Ranges):
            return NotImplemented
        return np.array_equal(self.low, other.low) and np.array_equal(self.high, other.high)

    __hash__ = None  # type: ignore[assignment]

    # NumPy's operators leave arrays of constants on the left to those below.
    __array_ufunc__ = None

    def __repr__(self) -> str:
        return f"Ranges(low={self.low!r}, high={self.high!r})"

    @property
    def magnitude(self) -> int:
        """The greatest absolute value in any interval, a Python integer; 0 where there are none."""
        return max(exact.magnitude(self.low), exact.magnitude(self.high))

    @property
    def span(self) -> npt.NDArray[np.uint64]:
        """High - low of each interval, uint64 `[...]`: exact over the whole of int64."""
        with np.errstate(over="ignore"):  # of single numbers NumPy warns; modulo 2^64 is meant
            return np.asarray(self.high.view(np.uint64) - self.low.view(np.uint64))

    @property
    def is_point(self) -> npt.NDArray[np.bool_]:
        """Whether each interval holds one value alone, bool `[...]`."""
        return np.asarray(self.low == self.high)

    @property
    def widest(self) -> int:
        """Index of the interval of the greatest span, flattened; the first of several."""
        return int(self.span.argmax())

    def table(self) -> Table:
        """One row per interval: its index, low, high, span and widths in bits.

        The unsigned width is None where low is negative.

        >>> print(Ranges([-4, 0], [11, 7]).table())
        channel  low  high  span  span bits  signed bits  unsigned bits
        0        -4   11    15    4          5
        1        0    7     7     3          4            3
        """
        axes = self.low.ndim
        names = ["channel"] * axes if axes < 2 else [f"axis {i}" for i in range(axes)]
        columns = [side.ravel().tolist() for side in (self.low, self.high, self.span)]
        columns += [self.bits(width).ravel().tolist() for width in ("span", "signed", "integer")]
        columns[-1] = [
            bits if low >= 0 else None for low, bits in zip(columns[0], columns[-1], strict=True)
        ]
        heading = (*names, "low", "high", "span", "span bits", "signed bits", "unsigned bits")
        rows = zip(np.ndindex(self.shape), zip(*columns, strict=True), strict=True)
        return Table(heading, [(*index, *values) for index, values in rows])

    def __add__(self, other: Ranges | npt.ArrayLike) -> Ranges:
        other = _operand(other)
        return _ends(lambda: (exact.add(self.low, other.low), exact.add(self.high, other.high)))

    __radd__ = __add__

    def __neg__(self) -> Ranges:
        return Ranges.point(0) - self

    def __sub__(self, other: Ranges | npt.ArrayLike) -> Ranges:
        other = _operand(other)
        return _ends(
            lambda: (exact.subtract(self.low, other.high), exact.subtract(self.high, other.low))
        )

    def __rsub__(self, other: npt.ArrayLike) -> Ranges:
        return _operand(other) - self

    def __mul__(self, other: Ranges | npt.ArrayLike) -> Ranges:
        other = _operand(other)
        sides = (other.low,) if other.low is other.high else (other.low, other.high)

        def ends() -> tuple[npt.NDArray[np.int64], ...]:
            corners = [exact.multiply(a, b) for a in (self.low, self.high) for b in sides]
            return np.minimum.reduce(corners), np.maximum.reduce(corners)

        return _ends(ends)

    __rmul__ = __mul__

    def __floordiv__(self, divisor: npt.ArrayLike) -> Ranges:
        """Each interval divided by a positive constant, rounded down."""
        by = int64(divisor, "divisor")
        if (by <= 0).any():
            raise ArgumentError(
                f"ranges are divided by positive constants, got {by.min()}",
                argument="divisor",
                value=int(by.min()),
                expected="positive integers",
            )
        return trusted(self.low // by, self.high // by)

    @classmethod
    def total(cls, terms: Sequence[Ranges]) -> Ranges:
        """The sum of all `terms`, broadcast, which may leave int64 on the way and come back."""

        def ends() -> tuple[npt.NDArray[np.int64], ...]:
            reach = sum(term.magnitude for term in terms)
            return tuple(
                exact.compute(
                    lambda *each: reduce(np.add, each), reach, *(getattr(t, side) for t in terms)
                )
                for side in ("low", "high")
            )

        return _ends(ends)

    def sum(self, axes: Sequence[int]) -> Ranges:
        """The sum of the intervals along `axes`, each value at an extreme of its own."""
        over = tuple(axes)
        return _ends(lambda: (exact.total(self.low, over), exact.total(self.high, over)))

    def union(self, *others: Ranges | npt.ArrayLike) -> Ranges:
        """The smallest intervals that hold these and `others`, broadcast."""
        every = (self, *map(_operand, others))
        low, high = (
            reduce(function, [getattr(r, side) for r in every])
            for function, side in ((np.minimum, "low"), (np.maximum, "high"))
        )
        return trusted(low, high)

    def intersection(self, other: Ranges) -> Ranges:
        """The intervals that lie in these and in `other`; `EmptyRangeError` where none does."""
        return Ranges(np.maximum(self.low, other.low), np.minimum(self.high, other.high))

    def hull(self) -> Range:
        """The smallest interval that holds all of them; `ShapeError` where there are none."""
        return self.hull_over(range(self.low.ndim))[()]

    def hull_over(self, axes: Sequence[int]) -> Ranges:
        """The smallest intervals that hold all those along `axes`, which are gone.

        Raises `ShapeError` where there are none.
        """
        over = tuple(axes)
        if not self.low.size:
            raise ShapeError("no ranges, so no hull", argument="low", shape=self.shape)
        return trusted(self.low.min(axis=over), self.high.max(axis=over))

    def moved(self, view: Callable[[Any], Any]) -> Ranges:
        """The intervals seen through `view`, which only moves, repeats or drops elements."""
        return trusted(view(self.low), view(self.high))

    def broadcast_to(self, shape: Sequence[int]) -> Ranges:
        """The intervals repeated over `shape`, as NumPy broadcasts."""
        return self.moved(lambda side: np.broadcast_to(side, tuple(shape)))

    def contains(self, values: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether each of `values`, integers of any size, broadcast, lies in its interval."""
        given = np.asarray(values)
        if given.dtype.kind not in "iuO" and given.size:
            raise _not_integers(given, "values")
        if given.dtype.kind == "u" and given.dtype.itemsize == 8:
            # NumPy would compare these with int64 as floats.
            return np.asarray(
                (given <= np.uint64(exact.INT64 - 1)) & self.contains(given.astype(np.int64))
            )
        return np.asarray((self.low <= given) & (given <= self.high))

    def within(self, other: Ranges) -> npt.NDArray[np.bool_]:
        """Whether each interval lies within that of `other`, broadcast, bool `[...]`."""
        return np.asarray((other.low <= self.low) & (self.high <= other.high))

    def bits(self, width: Width = "span") -> npt.NDArray[np.int64]:
        """Bits that each interval needs, int64 of the same shape; see `Range.bits`.

        Exact over the whole of int64: the span of [-2**63, 2**63 - 1] is 64 bits.
        """
        if width == "span":
            return _bit_length(self.span)
        if width == "signed":
            ends = np.maximum(self.high ^ (self.high >> 63), self.low ^ (self.low >> 63))
            return _bit_length(ends.view(np.uint64)) + 1
        if width == "unsigned":
            negative = np.flatnonzero(self.low < 0)
            if negative.size:
                at = tuple(int(i) for i in np.unravel_index(negative[0], self.low.shape))
                raise _not_unsigned(int(self.low[at]), int(self.high[at]), at)
            return _bit_length(self.high.view(np.uint64))
        if width == "integer":
            signed = np.asarray(self.low < 0)
            plain = _bit_length(np.maximum(self.high, 0).view(np.uint64))
            return np.where(signed, self.bits("signed"), plain)
        raise _unknown_width(width)


def trusted(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> Ranges:
    """Ranges of arrays that are nobody else's to write: nothing to check, nothing to copy."""
    ranges = object.__new__(Ranges)
    _fill(ranges, low, high)
    return ranges


def _fill(ranges: Ranges, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> None:
    low, high = np.asarray(low), np.asarray(high)
    low.setflags(write=False)
    high.setflags(write=False)
    object.__setattr__(ranges, "low", low)
    object.__setattr__(ranges, "high", high)


def _operand(value: Ranges | npt.ArrayLike) -> Ranges:
    return value if isinstance(value, Ranges) else Ranges.point(value)


def _ends(
    compute: Callable[[], tuple[npt.NDArray[np.int64], ...]],
) -> Ranges:
    try:
        return trusted(*compute())
    except AccumulatorOverflowError as error:
        channel = error.index[0] if error.index else None  # type: ignore[attr-defined]
        raise AccumulatorOverflowError(
            f"{'a range' if channel is None else f'channel {channel}'} reaches "
            f"{error.high}, which 64 bits do not hold",  # type: ignore[attr-defined]
            channel=channel,
            low=error.low,  # type: ignore[attr-defined]
            high=error.high,  # type: ignore[attr-defined]
            index=error.index,  # type: ignore[attr-defined]
        ) from None


def _bit_length(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    # Halves of 32 bits convert to float64 exactly, and frexp's exponent is the bit length.
    upper = (values >> np.uint64(32)).astype(np.float64)
    lower = (values & np.uint64(0xFFFF_FFFF)).astype(np.float64)
    bits = np.where(upper > 0, np.frexp(upper)[1] + 32, np.frexp(lower)[1])
    return bits.astype(np.int64)


def int64(values: npt.ArrayLike, argument: str) -> npt.NDArray[np.int64]:
    """Return integers as an int64 array of their own.

    Raises:
        DtypeError: they are no integers, or do not fit int64; names `argument`.
    """
    array = np.asarray(values)
    fits = array.dtype.kind == "i" or (
        array.dtype.kind == "u" and (array.dtype.itemsize < 8 or (array < exact.INT64).all())
    )
    if not fits and array.size:
        raise _not_integers(array, argument)
    return array.astype(np.int64)


def _not_integers(array: npt.NDArray[Any], argument: str) -> DtypeError:
    return DtypeError(
        f"{argument} has dtype {array.dtype}, expected integers that fit int64",
        argument=argument,
        dtype=str(array.dtype),
        expected="integers that fit int64",
    )


def _integer(value: object, argument: str) -> int:
    if isinstance(value, np.integer):
        return int(value)
    raise DtypeError(
        f"{argument} is {value!r}, expected one integer",
        argument=argument,
        dtype=type(value).__name__,
        expected="an integer",
    )


def _not_unsigned(low: int, high: int, index: tuple[int, ...] | None) -> EmptyRangeError:
    where = "" if index is None else f" at {index}"
    return EmptyRangeError(
        f"the range [{low}, {high}]{where} has no unsigned width: its low end is negative; "
        'ask for "signed", "integer" or "span" bits',
        index=index,
        low=low,
        high=high,
    )


def _unknown_width(width: str) -> ArgumentError:
    return ArgumentError(
        f"width is {width!r}, but it must be one of {', '.join(map(repr, _WIDTHS))}",
        argument="width",
        value=width,
        expected=_WIDTHS,
    )
