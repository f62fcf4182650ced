"""Exact ranges of accumulators, and the best masks under them: the face of the Rust engine."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from . import _native
from .errors import ArgumentError, DtypeError, ShapeError
from .ranges import Range, Ranges, trusted

__all__ = [
    "Convolution",
    "Range",
    "RangeTracker",
    "Ranges",
    "conv",
    "fit_scales",
    "hold_back",
    "linear",
    "num_threads",
    "partial_sums",
    "prefix_sums",
    "profile",
    "profile_network",
    "select",
    "selection_gap",
    "set_num_threads",
    "table_ranges",
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
    hardware needs whose adders must not wrap on the way. Arguments, results and errors are
    those of `linear`: Ranges `[out]`, or `[masks, out]` for a batch of masks.

    >>> import numpy as np
    >>> partial_sums(np.array([[1, -2, 3]], dtype=np.int8), 1, 15, bias=[100])
    Ranges(low=array([-30]), high=array([160]))
    """
    return trusted(*_native.partial_sums(weight, low, high, bias, mask))


def prefix_sums(
    weight: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
) -> Ranges:
    """Range of every partial sum of a linear layer that adds its inputs from first to last.

    The hull over the prefixes: the bias alone, the bias and the first product, and so on; permute
    the columns of `weight` for another order. This is the width of a single adder that takes one
    product after the other, never wider than `partial_sums`.

    Args:
        weight, low, high, bias: as in `linear`.
        mask: bool, `[out, in]`, True keeps a weight.

    Returns:
        Ranges `[out]`. Both ends are attained by some prefix and input.

    Raises:
        DtypeError, ShapeError, EmptyRangeError: as in `linear`.
        AccumulatorOverflowError: a prefix that does not fit int64, even where the whole sum does.

    >>> import numpy as np
    >>> prefix_sums(np.array([[3, -2, 1]], dtype=np.int8), 0, 10)
    Ranges(low=array([-20]), high=array([40]))
    """
    return trusted(*_native.prefix_sums(weight, low, high, bias, mask))


def conv(
    weight: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
    mask: npt.ArrayLike | None = None,
    *,
    input_shape: Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | Sequence[int]] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    positions: bool = False,
) -> Ranges:
    """Exact range of every accumulator of a convolution, hull over its positions.

    A window at the border sees fewer taps, and padding contributes zero. The hull is taken over
    the sets of taps that occur for this geometry: the cost grows with their number, not with the
    number of pixels, unless every input element has a range of its own.

    Args:
        weight: codes, `[out, in / groups, *kernel]`, 1 to 3 spatial axes, integer types as in
            `linear`.
        low, high: the inputs' ranges, one integer, `[in]`, or `input_shape`.
        bias: integers, `[out]`.
        mask: bool, of the weight's shape, True keeps a weight.
        input_shape: `(in, *spatial)`, without padding.
        stride, dilation: at least 1; one integer or one per spatial axis.
        padding: zeros, at least 0; one integer, or for each spatial axis one integer or a pair
            (before, after).
        groups: channels are connected within so many groups only.
        positions: True gives the range at every position instead of the hull.

    Returns:
        Ranges `[out]`, or `[out, *spatial_out]` for `positions`. Both ends are attained.

    Raises:
        DtypeError, EmptyRangeError, AccumulatorOverflowError: as in `linear`.
        ShapeError: shapes that do not go together, or a padded input smaller than the kernel.
        ArgumentError: strides, paddings, dilations or groups that make no convolution.

    >>> import numpy as np
    >>> ones = np.ones((1, 1, 3, 3), dtype=np.int8)
    >>> conv(ones, 1, 15, input_shape=(1, 8, 8), padding=1)  # four taps in the corners
    Ranges(low=array([4]), high=array([135]))
    """
    shape = [_count(size, "input_shape", 0) for size in _listed(input_shape, "input_shape")]
    geometry = _geometry(shape, stride, padding, dilation, groups)
    kernel = _native.conv_positions if positions else _native.conv
    return trusted(*kernel(weight, low, high, bias, mask, geometry))


class Convolution:
    """A convolution whose accumulators are computed, not bounded: exact, and fast for few bits.

    Inputs that span at most 7 bits, zero among them, are multiplied as bytes; where each output
    reads one input channel they may have any width. All sums must fit 32 bits but for the bias.
    What exceeds that takes another way, such as products of matrices of floats that hold it.

    Args:
        weight: codes, int8 `[out, in / groups, *kernel]`, 1 to 3 spatial axes; copied.
        bias: integers, `[out]`.
        stride, padding, dilation, groups: as in `conv`.

    Raises:
        DtypeError: weights that are not int8, or a bias that is no integers.
        ArgumentError: as in `conv`.

    >>> import numpy as np
    >>> convolution = Convolution(np.ones((1, 1, 3, 3), dtype=np.int8), padding=1)
    >>> convolution.values(np.ones((1, 1, 2, 2), dtype=int))
    array([[[[4, 4],
             [4, 4]]]])
    """

    __slots__ = ("_convolution",)

    def __init__(
        self,
        weight: npt.NDArray[np.int8],
        bias: npt.ArrayLike | None = None,
        *,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int | Sequence[int]] = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> None:
        codes = _array(weight, "weight", "int8")
        geometry = _geometry([0] * (codes.ndim - 1), stride, padding, dilation, groups)
        self._convolution = _native.Convolution(codes, bias, geometry)

    def values(self, x: npt.ArrayLike) -> npt.NDArray[np.int64] | None:
        """The accumulators, int64 `[batch, out, *spatial_out]`; None where they are too wide.

        Args:
            x: integers, `[batch, in, *spatial]`.

        Raises:
            DtypeError: inputs that are no integers.
            ShapeError: inputs that do not go with the weights, or smaller than the kernel.

        >>> import numpy as np
        >>> Convolution(np.ones((1, 2, 1), dtype=np.int8)).values([[[0, 1000], [0, 0]]]) is None
        True
        """
        return self._convolution.values(x)


def profile(
    weight: npt.ArrayLike,
    order: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    counts: npt.ArrayLike,
    bias: npt.ArrayLike | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Low and high of every channel after the first k removals, for every k asked, in one pass.

    Args:
        weight: codes, `[out, in]`, integer types as in `linear`.
        order: the weights as they are removed, flat row-major indices, none twice, one axis.
            What follows the last count is not read.
        low, high: the inputs' ranges, one integer or `[in]`.
        counts: how many removals, not falling, `[counts]`.
        bias: integers, `[out]`.

    Returns:
        `(low, high)`, int64 `[counts, out]` each.

    Raises:
        OrderError: counts that fall or exceed the order, an index out of range or twice.
        DtypeError, ShapeError, EmptyRangeError, AccumulatorOverflowError: as in `linear`.

    >>> import numpy as np
    >>> weight = np.array([[1, -2], [3, 4]], dtype=np.int8)
    >>> low, high = profile(weight, [1, 3, 0], 0, 10, counts=[0, 1, 3])
    >>> high.tolist()
    [[10, 70], [10, 70], [0, 30]]
    """
    return _native.profile(weight, order, low, high, counts, bias)


def profile_network(
    weights: Sequence[npt.ArrayLike],
    order: npt.ArrayLike,
    lows: Sequence[npt.ArrayLike],
    highs: Sequence[npt.ArrayLike],
    counts: npt.ArrayLike,
) -> list[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """`profile` over many layers with one order of removal: a `(low, high)` for each layer.

    Args:
        weights: codes of each layer, `[out, in]`.
        order: flat indices into all weights, one layer after the other, each row-major.
        lows, highs: the input ranges of each layer, one integer or `[in]`.
        counts: how many removals over all layers, not falling, `[counts]`.

    Returns:
        For each layer `(low, high)`, int64 `[counts, out]` each.

    Raises what `profile` raises, and `ShapeError` for lists of different lengths.

    >>> import numpy as np
    >>> layers = [np.array([[1, 2]], dtype=np.int8), np.array([[3], [4]], dtype=np.int8)]
    >>> [high.tolist() for _, high in profile_network(layers, [3, 0], [0, 0], [9, 9], [0, 1, 2])]
    [[[27], [27], [18]], [[27, 36], [27, 0], [27, 0]]]
    """
    layers, least, most = (
        _listed(values, argument)
        for values, argument in ((weights, "weights"), (lows, "lows"), (highs, "highs"))
    )
    if not len(layers) == len(least) == len(most):
        raise ShapeError(
            f"there are {len(layers)} weights, {len(least)} lows and {len(most)} highs",
            argument="lows and highs",
            shape=(len(least), len(most)),
            expected=len(layers),
        )
    return _native.profile_network(layers, order, least, most, counts)


def table_ranges(
    tables: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    start: npt.ArrayLike = 0,
) -> Ranges:
    """Exact range of arbitrary integer tables over index ranges, channel by channel.

    Args:
        tables: entries, `[entries]` for all channels or `[channels, entries]`, integer types as
            in `linear`.
        low, high: which indices can occur, integers, `[channels]`.
        start: the index that the first entry stands for, one integer or `[channels]`.

    Returns:
        Ranges `[channels]`: the least and the greatest entry from `low` to `high`, monotone or not.

    Raises:
        TableRangeError: an index range that leaves its table; it names the channel.
        DtypeError, ShapeError, EmptyRangeError: as in `linear`.

    >>> import numpy as np
    >>> table_ranges(np.array([5, -1, 3, 2]), low=[-1, 0], high=[1, 1], start=-2)
    Ranges(low=array([-1,  2]), high=array([3, 3]))
    """
    return trusted(*_native.table_ranges(tables, low, high, start))


class RangeTracker:
    """A linear layer whose ranges are kept up to date while single weights come and go.

    Every change, every question about one channel and every step back takes constant time,
    whatever the size of the layer: made for strategies that remove weights one by one.

    Arguments and errors are those of `linear`, with one mask `[out, in]`; the weights are copied.
    Indices that the layer does not have raise `IndexRangeError`, values that are no integers of
    64 bits `DtypeError`. Ranges on the way may exceed int64; `AccumulatorOverflowError` comes
    only where they are asked for.

    >>> import numpy as np
    >>> tracker = RangeTracker(np.array([[1, -2, 3]], dtype=np.int8), 0, 15)
    >>> tracker.remove(0, 2)
    >>> tracker.range(0)
    Range(low=-30, high=15)
    >>> tracker.undo()
    1
    >>> tracker.ranges()
    Ranges(low=array([-30]), high=array([60]))
    """

    __slots__ = ("_tracker",)

    def __init__(
        self,
        weight: npt.ArrayLike,
        low: npt.ArrayLike,
        high: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        mask: npt.ArrayLike | None = None,
    ) -> None:
        self._tracker = _native.RangeTracker(weight, low, high, bias, mask)

    def remove(self, channel: int, input: int) -> None:
        """Remove one weight; nothing where it is gone already."""
        self._tracker.remove(channel, input)

    def restore(self, channel: int, input: int) -> None:
        """Put one weight back with its value; nothing where it is there."""
        self._tracker.restore(channel, input)

    def set(self, channel: int, input: int, value: int) -> None:
        """Give one weight a value, and put it back where it was removed."""
        self._tracker.set(channel, input, value)

    def remove_channel(self, channel: int) -> None:
        """Remove an output channel: its range is its bias until it is put back."""
        self._tracker.remove_channel(channel)

    def restore_channel(self, channel: int) -> None:
        """Put an output channel back, with the weights that it has by now."""
        self._tracker.restore_channel(channel)

    def undo(self, steps: int = 1) -> int:
        """Take back the last changes, all of them where there are fewer; returns how many.

        Every call of the five above is one change, one that changed nothing included.
        """
        return self._tracker.undo(_count(steps, "steps", 0))

    @property
    def changes(self) -> int:
        """Number of changes that `undo` can take back."""
        return self._tracker.changes()

    def range(self, channel: int) -> Range:
        """Exact range of one channel; `AccumulatorOverflowError` where int64 does not hold it."""
        return Range(*self._tracker.range(channel))

    def ranges(self) -> Ranges:
        """Exact ranges of all channels, `[out]`; raises as `range` does."""
        return trusted(*self._tracker.ranges())

    @property
    def mask(self) -> npt.NDArray[np.bool_]:
        """What is kept, bool `[out, in]`; all False for a removed channel."""
        return self._tracker.mask()

    @property
    def weight(self) -> npt.NDArray[np.int64]:
        """The codes by now, removed or not, int64 `[out, in]`."""
        return self._tracker.weight()


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
        saliency go only where they must (signed budgets with inputs that are never zero
        excepted). Of equal weights with equal saliency the first stay. An
        exact mask keeps a saliency that no other exceeds by more than `in * 2**-51` of the
        channel's total, less than float64 sums can tell; with whole-numbered saliencies up to
        a total of `2**51 / in` it is optimal to the last.

    Raises:
        DtypeError, ShapeError, EmptyRangeError: as in `linear`.
        BitsError: bits outside 1 to 63.
        SaliencyError: negative, infinite or NaN; it names the index.
        InfeasibleError: a signed budget that the bias alone exceeds (even where inputs that are
            never zero could make up for it); it names channel and bits.
        SelectionLimitError: an exact selection that outgrows memory, as adversarial saliencies
            with budgets of far more than 16 bits can; "greedy" never does.

    >>> import numpy as np
    >>> codes = np.array([[3, -2, 2, 1]], dtype=np.int8)
    >>> select(codes, np.array([[5.0, 3.0, 3.0, 1.0]]), 0, 3, bits=4)
    array([[ True,  True, False, False]])
    """
    exact, signed = _choice("method", method, _METHODS), _choice("budget", budget, _BUDGETS)
    weights = _floats(saliency, "saliency")
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

    Raises:
        DtypeError: a mask that is not boolean.
        ShapeError: a mask of another shape than the codes'; and what `select` raises.

    >>> import numpy as np
    >>> problem = np.array([[3, -2, 2]], dtype=np.int8), np.array([[5.0, 3.0, 3.0]]), 0, 3
    >>> selection_gap(select(*problem, bits=3, method="greedy"), *problem, bits=3)
    array([0.5])
    """
    weights = _floats(saliency, "saliency")
    signed = _choice("budget", budget, _BUDGETS)
    problem = low, high, bits, signed, bias, mask
    most, unit = _native.fractional_bounds(codes, weights, *problem), 1.0
    if not np.isfinite(most).all():
        # The sum exceeds float64, which the gap need not do.
        unit = 2.0**64
        most = _native.fractional_bounds(codes, weights / unit, *problem)
    kept = _array(chosen, "chosen", "bool")
    if kept.dtype != np.bool_:
        raise _dtype_error(kept.dtype, "chosen", "bool")
    if kept.shape != weights.shape:
        raise ShapeError(
            f"chosen has shape {kept.shape}, but saliency has shape {weights.shape}",
            argument="chosen",
            shape=kept.shape,
            expected=weights.shape,
        )
    gap = most - np.where(kept, weights / unit, 0.0).sum(axis=1)
    return np.asarray(gap * unit)


def fit_scales(
    weight: npt.ArrayLike,
    start: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bits: int,
    codes: tuple[int, int],
    *,
    mask: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """The scales at which the codes that fit their accumulators come nearest to the weights.

    A code c of a channel stands for the weight scale * c. Too fine a scale spends the span on
    few weights with large codes, too coarse a one leaves it unspent.

    Args:
        weight: `[out, in]`, finite; taken as float64.
        start: `[out]`, positive and finite; the scales that the search starts from.
        low, high: the inputs' ranges, one integer, `[in]`, or `[out, in]` where channels see
            different inputs (grouped convolutions).
        bits: 1 to 63, span bits of every accumulator.
        codes: the least code, -2**20 to 0, and the greatest, 0 to 2**20, of which only one may
            be 0.
        mask: bool, `[out, in]`, False where a weight is already gone.

    Returns:
        float64 `[out]`, positive. At a scale s a channel is as near as the least Σ (w - s * c)²
        over all its codes with Σ |c|(high - low) <= 2**bits - 1, as the Lagrangian relaxation
        of that choice has it (Everett 1963): of the last code that fits in part, the part
        counts. From `start` the search takes steps of 2**(1/8) for as long as they lead nearer,
        in single precision, from 1/16 of the scale that clips no weight to the largest weight.
        Weights rounded at that scale need not fit: `select` removes what is too much. A
        channel that has no weight for which there is a code keeps its scale.

    Raises:
        DtypeError, ShapeError, EmptyRangeError: as in `linear`.
        BitsError: bits outside 1 to 63.
        ArgumentError: codes that are no such pair.
        NotFiniteError: a weight that is NaN or above 1e300 in magnitude, or a scale that is not
            positive and finite; it names the channel.

    >>> import numpy as np
    >>> weight = np.array([[0.9, -0.8, 0.5, 0.4, 0.1]])
    >>> scales = fit_scales(weight, [0.3], 0, 3, bits=4, codes=(-3, 3))
    >>> scales.round(1)  # 15 // 3 units: at 0.3 they would go to two weights
    array([0.5])
    """
    weights, starts = _floats(weight, "weight"), _floats(start, "start")
    return _native.fit_scales(weights, starts, low, high, bits, _pair(codes, "codes"), mask)


def hold_back(
    weight: npt.ArrayLike,
    scale: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    bits: int,
    codes: tuple[int, int],
    *,
    mask: npt.ArrayLike | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[Any]]:
    """The channels whose codes exceed their accumulators' bits, with weights that do not.

    A weight has the code round(weight / scale), ties to even, clipped to `codes`. Of a channel
    where Σ |code|(high - low) exceeds 2**bits - 1, those weights that lie least beyond the edge
    of their code go back across it, one code at a time, until the codes fit: a projection after
    an optimiser's step. Each then lies 0.49 of its scale beyond the code that it keeps.

    Args:
        weight: `[out, in]`, finite; taken as float64 where it is not float32.
        scale: `[out]`, positive and finite; taken in the weight's type.
        low, high: the inputs' ranges, one integer, `[in]`, or `[out, in]` where channels see
            different inputs (grouped convolutions).
        bits: 0 to 64, span bits of every accumulator.
        codes: as in `fit_scales`.
        mask: bool, `[out, in]`, False where a weight is gone, whatever its code.

    Returns:
        int64 `[channels]`, rising; and their weights `[channels, in]` in the weight's type, of
        which those stay as they are that need not move. Of weights equally far beyond, the
        first go back.

    Raises:
        DtypeError, ShapeError, EmptyRangeError: as in `linear`.
        BitsError: bits outside 0 to 64.
        ArgumentError: codes that are no such pair.
        NotFiniteError: a weight that is NaN or infinite, or a scale that is not positive and
            finite; it names the channel.

    >>> channels, weights = hold_back([[1.6, -0.9, 0.7]], [1.0], 0, 3, bits=3, codes=(-3, 3))
    >>> channels, weights  # 2, -1, 1 cost 12 of 7: the nearest to its edge goes back, then the next
    (array([0]), array([[ 1.49, -0.9 ,  0.49]]))
    """
    weights = _array(weight, "weight", "real numbers")
    if weights.dtype != np.float32:
        weights = _floats(weights, "weight")
    scales = _floats(scale, "scale").astype(weights.dtype, copy=False)
    return _native.hold_back(weights, scales, low, high, bits, _pair(codes, "codes"), mask)


def set_num_threads(threads: int | None) -> None:
    """Makes later calls use at most that many threads; None stands for one per processor.

    Small calls run on the calling thread whatever the number. Raises `DtypeError` for what is no
    integer, `ArgumentError` outside 1 to 1024.

    >>> set_num_threads(None)
    """
    _native.set_num_threads(0 if threads is None else _count(threads, "threads", 1, 1024))


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


def _pair(codes: Any, argument: str) -> tuple[Any, Any]:
    pair = _listed(codes, argument)
    if len(pair) != 2:
        raise ArgumentError(
            f"{argument} is {codes!r}, but it must be the least and the greatest code",
            argument=argument,
            value=codes,
            expected="two integers",
        )
    return pair[0], pair[1]


def _count(value: Any, argument: str, least: int, most: int = 2**63 - 1) -> int:
    try:
        number = index(value)
    except TypeError:
        raise _dtype_error(type(value).__name__, argument, "an integer") from None
    if not least <= number <= most:
        raise ArgumentError(
            f"{argument} is {number}, but it must lie in {least} to {most}",
            argument=argument,
            value=number,
            expected=f"{least} to {most}",
        )
    return number


def _dtype_error(dtype: Any, argument: str, expected: str) -> DtypeError:
    return DtypeError(
        f"{argument} is of type {dtype}, expected {expected}",
        argument=argument,
        dtype=str(dtype),
        expected=expected,
    )


def _listed(values: Any, argument: str) -> list[Any]:
    try:
        return list(values)
    except TypeError:
        raise _dtype_error(type(values).__name__, argument, "a sequence") from None


def _array(values: Any, argument: str, expected: str) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except Exception as error:  # whatever an object's own conversion raises
        raise _dtype_error(type(values).__name__, argument, expected) from error


def _floats(values: Any, argument: str) -> npt.NDArray[np.float64]:
    array = _array(values, argument, "real numbers")
    if array.dtype.kind not in "biuf":
        raise _dtype_error(array.dtype, argument, "real numbers")
    return array.astype(np.float64, copy=False)


def _each(value: Any, axes: int, argument: str) -> list[Any]:
    """One value for each spatial axis: `value` itself, or its elements."""
    if not isinstance(value, Sequence) and not (isinstance(value, np.ndarray) and value.ndim):
        return [value] * axes
    if len(value) != axes:
        raise ShapeError(
            f"{argument} has {len(value)} entries, but there are {axes} spatial axes",
            argument=argument,
            shape=(len(value),),
            expected=(axes,),
        )
    return list(value)


def _geometry(
    shape: list[int], stride: Any, padding: Any, dilation: Any, groups: Any
) -> tuple[list[int], list[int], list[tuple[int, int]], list[int], int]:
    """What the engine takes of a convolution over inputs of `shape`."""
    axes = max(len(shape) - 1, 0)
    return (
        shape,
        _per_axis(stride, axes, "stride"),
        _paddings(padding, axes),
        _per_axis(dilation, axes, "dilation"),
        _count(groups, "groups", 1),
    )


def _per_axis(value: Any, axes: int, argument: str) -> list[int]:
    return [_count(entry, argument, 1) for entry in _each(value, axes, argument)]


def _paddings(value: Any, axes: int) -> list[tuple[int, int]]:
    pairs = (_each(entry, 2, "padding") for entry in _each(value, axes, "padding"))
    return [(_count(a, "padding", 0), _count(b, "padding", 0)) for a, b in pairs]
