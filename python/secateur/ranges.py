"""Closed integer intervals, and how many bits they need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from .errors import ArgumentError, DtypeError, EmptyRangeError, ShapeError

Width: TypeAlias = Literal["span", "signed", "unsigned"]
"""What is measured in bits: high - low, two's complement, or plain binary."""

_WIDTHS = ("span", "signed", "unsigned")


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

    def bits(self, width: Width = "span") -> int:
        """Bits that the interval needs.

        "span": bit length of `high - low`, the width that is enough once a constant offset
        moves `low` to 0. "signed": two's complement. "unsigned": bit length of `high`;
        raises `EmptyRangeError` where `low` is negative. [0, 0] needs 0, 1 and 0 bits.
        """
        if width == "span":
            return (self.high - self.low).bit_length()
        if width == "signed":
            return 1 + max(
                (end if end >= 0 else ~end).bit_length() for end in (self.low, self.high)
            )
        if width == "unsigned":
            if self.low < 0:
                raise _not_unsigned(self.low, self.high, None)
            return self.high.bit_length()
        raise _unknown_width(width)


class Ranges:
    """Closed intervals, one per channel (or per mask and channel, or per position).

    Attributes:
        low, high: int64 `[...]`, of the same shape and read-only; `low <= high` everywhere.

    Raises `DtypeError` for anything but integers that fit int64, `ShapeError` where the shapes
    differ, `EmptyRangeError` with the index of the first interval whose low lies above its high.

    >>> ranges = Ranges([-4, 0], [11, 7])
    >>> ranges.bits("span"), ranges.bits("signed")
    (array([4, 3]), array([5, 4]))
    >>> ranges[0]
    Range(low=-4, high=11)
    """

    __slots__ = ("high", "low")

    low: npt.NDArray[np.int64]
    high: npt.NDArray[np.int64]

    def __init__(self, low: npt.ArrayLike, high: npt.ArrayLike) -> None:
        lows, highs = _int64(low, "low"), _int64(high, "high")
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

    def __repr__(self) -> str:
        return f"Ranges(low={self.low!r}, high={self.high!r})"

    def bits(self, width: Width = "span") -> npt.NDArray[np.int64]:
        """Bits that each interval needs, int64 of the same shape; see `Range.bits`.

        Exact over the whole of int64: the span of [-2**63, 2**63 - 1] is 64 bits.
        """
        if width == "span":
            # The difference of two int64 fits uint64, where the subtraction is exact.
            return _bit_length(self.high.view(np.uint64) - self.low.view(np.uint64))
        if width == "signed":
            ends = np.maximum(self.high ^ (self.high >> 63), self.low ^ (self.low >> 63))
            return _bit_length(ends.view(np.uint64)) + 1
        if width == "unsigned":
            negative = np.flatnonzero(self.low < 0)
            if negative.size:
                at = tuple(int(i) for i in np.unravel_index(negative[0], self.low.shape))
                raise _not_unsigned(int(self.low[at]), int(self.high[at]), at)
            return _bit_length(self.high.view(np.uint64))
        raise _unknown_width(width)

    def hull(self) -> Range:
        """The smallest interval that holds all of them; `ShapeError` where there are none."""
        if not self.low.size:
            raise ShapeError("no ranges, so no hull", argument="low", shape=self.shape)
        return Range(int(self.low.min()), int(self.high.max()))


def trusted(low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> Ranges:
    """Ranges of arrays that the engine has just made: nothing to check, nothing to copy."""
    ranges = object.__new__(Ranges)
    _fill(ranges, low, high)
    return ranges


def _fill(ranges: Ranges, low: npt.NDArray[np.int64], high: npt.NDArray[np.int64]) -> None:
    low.setflags(write=False)
    high.setflags(write=False)
    object.__setattr__(ranges, "low", low)
    object.__setattr__(ranges, "high", high)


def _bit_length(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    # Halves of 32 bits convert to float64 exactly, and frexp's exponent is the bit length.
    upper = (values >> np.uint64(32)).astype(np.float64)
    lower = (values & np.uint64(0xFFFF_FFFF)).astype(np.float64)
    bits = np.where(upper > 0, np.frexp(upper)[1] + 32, np.frexp(lower)[1])
    return bits.astype(np.int64)


def _int64(values: npt.ArrayLike, argument: str) -> npt.NDArray[np.int64]:
    array = np.asarray(values)
    fits = array.dtype.kind == "i" or (array.dtype.kind == "u" and array.dtype.itemsize < 8)
    if not fits and array.size:
        raise DtypeError(
            f"{argument} has dtype {array.dtype}, expected integers that fit int64",
            argument=argument,
            dtype=str(array.dtype),
            expected="integers that fit int64",
        )
    return array.astype(np.int64)


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
        'ask for "signed" or "span" bits',
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
