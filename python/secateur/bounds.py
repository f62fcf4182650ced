"""Exact ranges of accumulators, and the best masks under them: the face of the Rust engine."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _native
from .errors import ArgumentError
from .ranges import Range, Ranges, trusted

__all__ = [
    "Range",
    "Ranges",
    "linear",
    "num_threads",
    "partial_sums",
    "select",
    "selection_gap",
    "set_num_threads",
]


def linear(
    weight: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Ranges:
    """Exact range of every accumulator of a linear layer: `b + Σ wᵢxᵢ` over `low <= x <= high`.

    Args:
        weight: codes, `[out, in]`, int8, int16, int32, int64 or uint8, any strides; not copied
            where its rows are contiguous.
        low, high: the inputs' ranges, one integer or `[in]`.
        bias: integers, `[out]`.
        mask: bool, `[out, in]`, True keeps a weight; or a batch of masks `[masks, out, in]`.

    Returns:
        Ranges `[out]`, or `[masks, out]` for a batch. Both ends are attained: the high one by
        xᵢ = highᵢ where wᵢ > 0 and lowᵢ elsewhere (interval arithmetic; Moore 1966, chapter 3).

    Raises:
        DtypeError: weights or ranges that are not integers, masks that are not boolean.
        ShapeError: shapes that do not go together; it names both.
        EmptyRangeError: a low above its high; it names the index.
        AccumulatorOverflowError: an end that does not fit int64; it names the channel.

    >>> import numpy as np
    >>> weight = np.array([[1, -2, 3], [0, 4, 0]], dtype=np.int8)
    >>> linear(weight, 0, 15)
    Ranges(low=array([-30,   0]), high=array([60, 60]))
    """
    return trusted(*_native.linear(weight, low, high, bias, mask))


def partial_sums(
    weight: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Ranges:
    """Range of every partial sum of a linear layer, in whatever order its terms are added.

    The bias is one of the terms, and the empty sum counts: `[min(b, 0) + Σ min(0, wᵢxᵢ),
    max(b, 0) + Σ max(0, wᵢxᵢ)]`, each term at its own extreme. This is the width that integer
    hardware needs whose adders must not wrap on the way. Arguments, results and errors are those
    of `linear`.

    >>> import numpy as np
    >>> partial_sums(np.array([[1, -2, 3]], dtype=np.int8), 1, 15, bias=[100])
    Ranges(low=array([-30]), high=array([160]))
    """
    return trusted(*_native.partial_sums(weight, low, high, bias, mask))


def select(
    codes: npt.ArrayLike,
    saliency: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bits: npt.ArrayLike,
    method: Literal["exact", "greedy"] = "exact",
    *,
    budget: Literal["span", "signed"] = "span",
    bias: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> npt.NDArray[np.bool_]:
    """The mask that keeps the most saliency while every channel fits its bits.

    Args:
        codes: `[out, in]`, the integer types of `linear`.
        saliency: `[out, in]`, finite and not negative; computed with as float64.
        low, high: the inputs' ranges, one integer, `[in]`, or `[out, in]` where channels see
            different inputs (grouped convolutions).
        bits: 1 to 63, one integer or `[out]`.
        method: "exact", a 0/1 knapsack per channel solved to the optimum (Pisinger 1997); or
            "greedy", by falling saliency per cost, whose distance from the optimum
            `selection_gap` bounds.
        budget: "span", Σ |wᵢ|(highᵢ - lowᵢ) <= 2**bits - 1, enough where a constant offset moves
            the low end to 0; or "signed", the range with its bias in two's complement.
        bias: integers, `[out]`; matters to "signed" only.
        mask: bool, `[out, in]`, False where a weight is already gone.

    Returns:
        bool `[out, in]`, True keeps a weight. What costs nothing (a zero weight, a constant input)
        stays. The mask is maximal: nothing that it removes would still fit, so weights without
        saliency go only where they must. Of equal weights with equal saliency the first stay. An
        exact mask keeps a saliency that no other exceeds by more than `in * 2**-51` of the
        channel's total, less than float64 sums can tell; with whole-numbered saliencies up to
        a total of `2**51 / in` it is optimal to the last.

    Raises:
        DtypeError, ShapeError, EmptyRangeError: as in `linear`.
        BitsError: bits outside 1 to 63.
        SaliencyError: negative, infinite or NaN; it names the index.
        InfeasibleError: a signed budget that the bias alone exceeds; it names channel and bits.
        SelectionLimitError: an exact selection that outgrows memory; "greedy" never does.

    >>> import numpy as np
    >>> codes = np.array([[3, -2, 2, 1]], dtype=np.int8)
    >>> select(codes, np.array([[5.0, 3.0, 3.0, 1.0]]), 0, 3, bits=4)
    array([[ True,  True, False, False]])
    """
    exact, signed = _choice("method", method, _METHODS), _choice("budget", budget, _BUDGETS)
    weights = np.asarray(saliency, dtype=np.float64)
    return _native.select(codes, weights, low, high, bits, exact, signed, bias, mask)


def selection_gap(
    chosen: npt.ArrayLike,
    codes: npt.ArrayLike,
    saliency: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bits: npt.ArrayLike,
    *,
    budget: Literal["span", "signed"] = "span",
    bias: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """How much saliency the mask `chosen` can at most be short of the optimum, per channel.

    The measure is the fractional bound (Dantzig 1957): what could be kept if weights could be
    kept in part. `chosen` is a mask `[out, in]`, of `select` or not; the other arguments are
    those of `select`, which also names the errors. Returns float64 `[out]`, at least 0 for masks
    that fit, up to rounding.

    >>> import numpy as np
    >>> problem = np.array([[3, -2, 2]], dtype=np.int8), np.array([[5.0, 3.0, 3.0]]), 0, 3
    >>> selection_gap(select(*problem, bits=3, method="greedy"), *problem, bits=3)
    array([0.5])
    """
    weights = np.asarray(saliency, dtype=np.float64)
    signed = _choice("budget", budget, _BUDGETS)
    most = _native.fractional_bounds(codes, weights, low, high, bits, signed, bias, mask)
    kept = np.where(np.asarray(chosen, dtype=np.bool_), weights, 0.0).sum(axis=1)
    return np.asarray(most - kept)


def set_num_threads(threads: int | None) -> None:
    """Makes later calls use at most that many threads; None stands for one per processor.

    Small calls run on the calling thread whatever the number. Raises `ArgumentError` outside
    1 to 1024.

    >>> set_num_threads(None)
    """
    if threads is not None and not 1 <= threads <= 1024:
        raise ArgumentError(
            f"threads is {threads}, but it must lie in 1 to 1024 or be None",
            argument="threads",
            value=threads,
            expected="1 to 1024, or None",
        )
    _native.set_num_threads(threads or 0)


def num_threads() -> int:
    """Number of threads that a large call uses.

    >>> num_threads() >= 1
    True
    """
    return _native.num_threads()


_METHODS = {"exact": True, "greedy": False}
_BUDGETS = {"signed": True, "span": False}


def _choice(argument: str, value: Any, choices: dict[str, bool]) -> bool:
    try:
        return choices[value]
    except (KeyError, TypeError):
        raise ArgumentError(
            f"{argument} is {value!r}, but it must be one of {', '.join(map(repr, choices))}",
            argument=argument,
            value=value,
            expected=tuple(choices),
        ) from None
