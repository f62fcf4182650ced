"""Exact integer arithmetic on arrays: int64 where it holds the result, an error where it does not.

A bound on the magnitude of a result decides how it is computed: in int64 where no step can
leave it, else in Python's integers, of which those that int64 does not hold are an error.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import AccumulatorOverflowError

Integers = NDArray[np.int64]

#: The least magnitude that int64 may not hold; float64 and float32 hold every integer below theirs.
INT64, FLOAT64, FLOAT32 = 1 << 63, 1 << 53, 1 << 24


def magnitude(values: NDArray[Any]) -> int:
    """Return the greatest absolute value in `values`, any integers; 0 where there are none."""
    return max(abs(int(values.min())), abs(int(values.max()))) if values.size else 0


def compute(function: Callable[..., Any], reach: int, *operands: NDArray[Any]) -> Integers:
    """Return `function(*operands)`, a composition of sums and products, exactly.

    Args:
        function: takes int64 arrays and gives one; takes arrays of Python's integers likewise.
        reach: no value on the way is greater in magnitude.
        operands: integers.

    Raises:
        AccumulatorOverflowError: a result that int64 does not hold; names its index and value.
    """
    if reach < INT64:
        return np.asarray(function(*(o.astype(np.int64, copy=False) for o in operands)))
    return fitted(np.asarray(function(*(o.astype(object) for o in operands)), dtype=object))


def fitted(values: NDArray[Any]) -> Integers:
    """Return Python's integers as int64.

    Raises:
        AccumulatorOverflowError: one that int64 does not hold, as `compute`.
    """
    outside = np.argwhere((values < -INT64) | (values >= INT64))
    if len(outside):
        at = tuple(int(i) for i in outside[0])
        value = int(values[at])
        raise AccumulatorOverflowError(
            f"the value at {at} is {value}, which 64 bits do not hold",
            index=at,
            low=value,
            high=value,
        )
    return values.astype(np.int64)


def add(a: NDArray[Any], b: NDArray[Any]) -> Integers:
    """Return a + b, broadcast; `AccumulatorOverflowError` where int64 does not hold it."""
    return compute(lambda x, y: x + y, magnitude(a) + magnitude(b), a, b)


def subtract(a: NDArray[Any], b: NDArray[Any]) -> Integers:
    """Return a − b, broadcast; `AccumulatorOverflowError` where int64 does not hold it."""
    return compute(lambda x, y: x - y, magnitude(a) + magnitude(b), a, b)


def multiply(a: NDArray[Any], b: NDArray[Any]) -> Integers:
    """Return a · b, broadcast; `AccumulatorOverflowError` where int64 does not hold it."""
    return compute(lambda x, y: x * y, max(magnitude(a), 1) * magnitude(b), a, b)


def total(values: NDArray[Any], axes: tuple[int, ...]) -> Integers:
    """Return the sum over `axes`; `AccumulatorOverflowError` where int64 does not hold it."""
    terms = max(1, prod(values.shape[a] for a in axes))
    return compute(lambda v: v.sum(axis=axes), magnitude(values) * terms, values)


def carrier(reach: int) -> type:
    """Return the fastest type of number in which sums and products up to `reach` are exact.

    Every partial sum of every order is an integer of magnitude at most `reach`: below 2^24 a
    float32 holds it, below 2^53 a float64, so that BLAS, whatever its order, rounds nothing.
    """
    limits = ((np.float32, FLOAT32), (np.float64, FLOAT64), (np.int64, INT64))
    return next((kind for kind, limit in limits if reach < limit), object)


def carried(values: NDArray[Any]) -> Integers:
    """Return the integers that an array of a `carrier` holds.

    Raises:
        AccumulatorOverflowError: one that int64 does not hold, as `compute`.
    """
    return fitted(values) if values.dtype == object else values.astype(np.int64, copy=False)
