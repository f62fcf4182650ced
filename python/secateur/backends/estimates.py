"""What an estimate of a circuit's price is made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

#: The backends' own default: that any lookup of an inference goes wrong.
DEFAULT_GLOBAL_P_ERROR = 1e-5


@dataclass(frozen=True)
class Lookups:
    """The lookups of one accumulator.

    Args:
        count: how many elements are looked up.
        width: bits of the accumulator.
        dropped: how many of its low bits are dropped before the lookup.
        approximate: whether they are dropped approximately.
    """

    count: int
    width: int
    dropped: int = 0
    approximate: bool = False


def p_error_of(p_error: float | None, global_p_error: float | None, lookups: int) -> float:
    """Return the probability that one lookup goes wrong, as the backends understand these."""
    if p_error is not None:
        return p_error
    overall = DEFAULT_GLOBAL_P_ERROR if global_p_error is None else global_p_error
    return -math.expm1(math.log1p(-overall) / max(lookups, 1))


def between(prices: Mapping[int, float], p_error: float) -> float:
    """Return the price at `p_error` from those at some −log2 of it, straight in logarithms."""
    levels = sorted(prices)
    logs = [math.log(prices[level]) for level in levels]
    level = -math.log2(max(p_error, 2.0**-200))
    return math.exp(float(np.interp(level, levels, logs)))
