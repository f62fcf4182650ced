"""Linear ranges: brute force over small boxes, Python's integers for large ones."""

from __future__ import annotations

import itertools
from multiprocessing import get_all_start_methods, get_context

import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra import numpy as hnp

from secateur import bounds
from secateur.errors import (
    AccumulatorOverflowError,
    ArgumentError,
    DtypeError,
    EmptyRangeError,
    ShapeError,
)

CODES = [np.int8, np.uint8, np.int16, np.int32, np.int64]


def big_linear(weight, low, high, bias=None, mask=None):
    """The definition in Python's integers: [(low, high)] per channel."""
    out, width = weight.shape
    lows, highs = np.broadcast_to(low, width).tolist(), np.broadcast_to(high, width).tolist()
    result = []
    for channel in range(out):
        start = 0 if bias is None else int(bias[channel])
        least = most = start
        for i in range(width):
            if mask is None or mask[channel, i]:
                w = int(weight[channel, i])
                least += min(w * lows[i], w * highs[i])
                most += max(w * lows[i], w * highs[i])
        result.append((least, most))
    return result


def pairs(ranges):
    return list(zip(ranges.low.ravel().tolist(), ranges.high.ravel().tolist(), strict=True))


ANY_WIDTH = st.integers(0, 300)


@st.composite
def layers(draw, width=ANY_WIDTH, ends=200):
    dtype = draw(st.sampled_from(CODES))
    shape = draw(st.integers(1, 4)), draw(width)
    info = np.iinfo(dtype)
    limit = min(int(info.max), 2**31)
    elements = st.integers(max(int(info.min), -limit), limit)
    weight = draw(hnp.arrays(dtype, shape, elements=elements))
    one = st.tuples(st.integers(-ends, ends), st.integers(-ends, ends)).map(sorted)
    if draw(st.booleans()):
        low, high = draw(one)
    else:
        sides = [draw(hnp.arrays(np.int64, shape[1], elements=st.integers(-ends, ends)))] * 2
        sides[1] = draw(hnp.arrays(np.int64, shape[1], elements=st.integers(-ends, ends)))
        low, high = np.minimum(*sides), np.maximum(*sides)
    bias = draw(st.none() | hnp.arrays(np.int64, shape[0], elements=st.integers(-(10**6), 10**6)))
    mask = draw(st.none() | hnp.arrays(np.bool_, shape))
    return weight, low, high, bias, mask


@given(layers())
def test_linear_is_the_definition(layer):
    assert pairs(bounds.linear(*layer)) == big_linear(*layer)


@given(layers(width=st.integers(0, 40), ends=40_000))
def test_linear_is_the_definition_for_ranges_that_16_bits_do_not_hold(layer):
    assert pairs(bounds.linear(*layer)) == big_linear(*layer)


@given(layers(width=st.integers(1, 4), ends=3))
def test_both_ends_are_attained_and_never_exceeded(layer):
    weight, low, high, bias, mask = layer
    width = weight.shape[1]
    lows, highs = np.broadcast_to(low, width), np.broadcast_to(high, width)
    box = [range(lo, hi + 1) for lo, hi in zip(lows, highs, strict=True)]
    inputs = np.array(list(itertools.product(*box)), np.int64)
    kept = weight.astype(np.int64) * (1 if mask is None else mask)
    values = inputs @ kept.T + (0 if bias is None else bias)
    ranges = bounds.linear(*layer)
    assert (ranges.low == values.min(axis=0)).all()
    assert (ranges.high == values.max(axis=0)).all()


@given(layers(), st.integers(0, 50), st.integers(0, 50))
def test_widening_the_inputs_never_narrows(layer, below, above):
    weight, low, high, bias, mask = layer
    narrow = bounds.linear(weight, low, high, bias, mask)
    wide = bounds.linear(weight, low - below, high + above, bias, mask)
    assert (wide.low <= narrow.low).all()
    assert (wide.high >= narrow.high).all()


@given(layers(), st.randoms(use_true_random=False))
def test_pruning_never_widens_where_inputs_can_be_zero(layer, random):
    weight, low, high, bias, _ = layer
    low, high = np.minimum(low, 0), np.maximum(high, 0)
    mask = np.array([[random.random() < 0.5 for _ in row] for row in weight], bool)
    mask = mask.reshape(weight.shape)
    full = bounds.linear(weight, low, high, bias)
    pruned = bounds.linear(weight, low, high, bias, mask)
    assert (pruned.low >= full.low).all()
    assert (pruned.high <= full.high).all()


@given(layers())
def test_span_never_widens_by_pruning_whatever_the_inputs(layer):
    weight, low, high, bias, mask = layer
    full, pruned = (bounds.linear(weight, low, high, bias, m) for m in (None, mask))
    assert (pruned.high - pruned.low <= full.high - full.low).all()


@given(layers(), st.randoms(use_true_random=False))
def test_permuting_the_inputs_changes_nothing(layer, random):
    weight, low, high, bias, mask = layer
    order = list(range(weight.shape[1]))
    random.shuffle(order)
    low, high = (side if np.ndim(side) == 0 else side[order] for side in (low, high))
    kept = None if mask is None else mask[:, order]
    assert bounds.linear(weight[:, order], low, high, bias, kept) == bounds.linear(*layer)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("end", ["min", "max"])
@pytest.mark.parametrize("width", [0, 1, 63, 64, 65, 127, 255, 256, 257, 8191, 8193, 20_000])
def test_extremes_of_every_dtype_and_length(dtype, end, width):
    weight = np.full((2, width), getattr(np.iinfo(dtype), end), dtype)
    for low, high in [(0, 1), (-1, 0), (-1, 1), (0, 0)]:
        expected = big_linear(weight, low, high)
        if all(lo >= -(2**63) and hi < 2**63 for lo, hi in expected):
            assert pairs(bounds.linear(weight, low, high)) == expected
            each = np.full(width, low), np.full(width, high)
            if width:  # two different ranges, so that they are not taken for one
                each[1][0] += 0 if dtype == np.int64 else 1
                expected = big_linear(weight, *each)
            assert pairs(bounds.linear(weight, *each)) == expected
        else:
            with pytest.raises(AccumulatorOverflowError) as caught:
                bounds.linear(weight, low, high)
            assert caught.value.channel == 0
            assert (caught.value.low, caught.value.high) == expected[0]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
@pytest.mark.parametrize("ends", [(-16_383, 16_383), (-1, 16_383), (-16_383, -16_382)])
def test_longest_products_that_16_bits_hold(dtype, ends):
    for end in ("min", "max"):
        weight = np.full((1, 3000), getattr(np.iinfo(dtype), end), dtype)
        low, high = np.full(3000, ends[0]), np.full(3000, ends[1])
        high[0] += 1
        assert pairs(bounds.linear(weight, low, high)) == big_linear(weight, low, high)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("width", [6144, 6145, 8192, 8193, 10_240, 10_241, 12_301])
@pytest.mark.parametrize("ends", [(-128, 127), (0, 255), (-129, 120), (-128, 128), (-9000, 9000)])
def test_long_rows_with_a_range_per_input(dtype, width, ends):
    rng = np.random.default_rng(width)
    info = np.iinfo(np.int8 if dtype == np.int64 else dtype)
    weight = rng.integers(info.min, info.max, (11, width), endpoint=True).astype(dtype)
    weight[0], weight[1] = info.min, info.max
    low, high = np.sort(rng.integers(*ends, (2, width), endpoint=True), axis=0)
    low[0], high[0] = ends
    wide = weight.astype(np.int64)  # 2**31 * 2**14 * 12,301 < 2**63
    mask = rng.random(weight.shape) < 0.5
    for kept in (None, mask):
        terms = (wide if kept is None else wide * kept)[..., None] * np.stack([low, high], axis=1)
        ranges = bounds.linear(weight, low, high, mask=kept)
        assert (ranges.low == terms.min(axis=2).sum(axis=1)).all()
        assert (ranges.high == terms.max(axis=2).sum(axis=1)).all()


def test_int64_extremes_cancel_beyond_128_bits():
    least = -(2**63)
    weight = np.array([[least, least, -least - 1, -least - 1, 0, 0]])
    low = np.array([least, -least - 1, least, -least - 1, least, 0])
    expected = big_linear(weight, low, low)
    assert abs(expected[0][0]) < 2**66
    with pytest.raises(AccumulatorOverflowError):
        bounds.linear(weight[:, :1], low[:1], low[:1])
    small = np.array([[least, least, 1]]), np.array([1, -1, 5])
    assert pairs(bounds.linear(small[0], small[1], small[1])) == [(5, 5)]
    six = np.array([[least] * 3 + [least] * 3])
    sides = np.array([least] * 3 + [-least - 1] * 3)
    (value, _), *_ = big_linear(six, sides, sides)
    assert value == -3 * least  # each half alone lies beyond 128 bits
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.linear(six, sides, sides)
    assert caught.value.low == value


def test_bias_at_the_limit_of_int64():
    weight = np.array([[1, -1]], np.int8)
    assert pairs(bounds.linear(weight, 0, 1, [2**63 - 2])) == [(2**63 - 3, 2**63 - 1)]
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.linear(weight, 0, 2, [2**63 - 2])
    assert caught.value.high == 2**63
    assert "channel 0" in str(caught.value)


def test_overflow_names_the_first_channel():
    weight = np.zeros((8000, 600), np.int64)
    weight[[300, 7000], 0] = 2**62
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.linear(weight, 0, 4)
    assert caught.value.channel == 300


@pytest.mark.parametrize("dtype", CODES)
def test_any_strides_and_byte_orders(dtype):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 100, (40, 300)).astype(dtype)
    low, high = np.arange(40), np.arange(40) + 7
    views = [
        base.T,
        base.T[::-1],
        base.T[::3, ::-1],
        np.ascontiguousarray(base.T)[:, ::-1],
        np.asfortranarray(base.T),
        base.T.astype(np.dtype(dtype).newbyteorder()),
    ]
    for view in views:
        inputs = (low, high) if view.shape[1] == 40 else (0, 7)
        plain = np.array(view.tolist(), dtype)
        assert bounds.linear(view, *inputs) == bounds.linear(plain, *inputs)
        assert pairs(bounds.linear(view, *inputs)) == big_linear(plain, *inputs)
    packed = np.zeros(300, np.dtype([("pad", np.int8), ("w", dtype)]))
    packed["w"] = base[0]
    assert pairs(bounds.linear(packed["w"][None], 0, 7)) == big_linear(base[:1], 0, 7)


def test_read_only_weights_and_lists():
    weight = np.array([[1, -2]], np.int8)
    weight.setflags(write=False)
    assert pairs(bounds.linear(weight, 0, 3)) == [(-6, 3)]
    assert pairs(bounds.linear([[1, -2]], [0, 0], (3, 3), bias=[1])) == [(-5, 4)]


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0), (1, 1)])
def test_empty_and_single_axes(shape):
    ranges = bounds.linear(np.ones(shape, np.int8), 0, 1)
    assert ranges.low.shape == (shape[0],)
    assert (ranges.high == shape[1]).all()
    masks = np.ones((3, *shape), bool)
    assert bounds.linear(np.ones(shape, np.int8), 0, 1, mask=masks).shape == (3, shape[0])


@given(layers(), st.integers(0, 4), st.integers(0, 2**32 - 1))
def test_a_batch_of_masks_is_each_mask_alone(layer, count, seed):
    weight, low, high, bias, _ = layer
    masks = np.random.default_rng(seed).random((count, *weight.shape)) < 0.5
    for view in (masks, np.asfortranarray(masks), masks[::-1]):
        ranges = bounds.linear(weight, low, high, bias, view)
        assert ranges.shape == (count, len(weight))
        for index, mask in enumerate(view):
            alone = bounds.linear(weight, low, high, bias, mask)
            assert (ranges.low[index] == alone.low).all()
            assert (ranges.high[index] == alone.high).all()


def test_a_mask_of_any_bytes_keeps_what_is_not_zero():
    mask = np.array([[0, 1, 2, 255]], np.uint8).view(np.bool_)
    weight = np.array([[1, 10, 100, 1000]], np.int16)
    assert pairs(bounds.linear(weight, 1, 1, mask=mask)) == [(1110, 1110)]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(threads):
    rng = np.random.default_rng(1)
    weight = rng.integers(-128, 128, (6007, 700), np.int8)
    low = rng.integers(-9, 0, 700)
    expected = weight.clip(0).astype(np.int64) @ (low + 9) + weight.clip(None, 0) @ low
    try:
        bounds.set_num_threads(threads)
        assert bounds.num_threads() == threads
        assert (bounds.linear(weight, low, low + 9).high == expected).all()
    finally:
        bounds.set_num_threads(None)


def _high_of_a_large_layer(_: int) -> int:
    return int(bounds.linear(np.ones((6000, 900), np.int8), 0, 1).high.max())


@pytest.mark.skipif("fork" not in get_all_start_methods(), reason="this system does not fork")
def test_forked_processes_have_threads_of_their_own():
    try:
        bounds.set_num_threads(2)
        assert _high_of_a_large_layer(0) == 900
        with get_context("fork").Pool(2) as pool:
            assert pool.map_async(_high_of_a_large_layer, range(4)).get(60) == [900] * 4
    finally:
        bounds.set_num_threads(None)


@pytest.mark.parametrize("threads", [0, -1, 1025])
def test_impossible_numbers_of_threads_are_refused(threads):
    with pytest.raises(ArgumentError):
        bounds.set_num_threads(threads)


def test_float32_midpoint_radius_is_inexact_where_we_are_not():
    # 8-bit codes, 8-bit inputs, fan-in 4608: beyond the 24 bits of a float32.
    rng = np.random.default_rng(2)
    weight = rng.integers(-127, 128, (64, 4608), np.int8)
    ours = bounds.linear(weight, 0, 255)
    exact = big_linear(weight, 0, 255)
    assert pairs(ours) == exact
    floats = weight.astype(np.float32)
    middle = floats @ np.full(4608, 127.5, np.float32)
    radius = np.abs(floats) @ np.full(4608, 127.5, np.float32)
    wrong = (middle + radius) != np.array([high for _, high in exact])
    assert wrong.any()


@given(layers(width=st.integers(0, 6), ends=4))
def test_partial_sums_hold_every_order(layer):
    weight, low, high, bias, mask = layer
    ranges = bounds.partial_sums(*layer)
    width = weight.shape[1]
    lows, highs = np.broadcast_to(low, width).tolist(), np.broadcast_to(high, width).tolist()
    for channel, row in enumerate(weight.tolist()):
        terms = [0 if bias is None else int(bias[channel])] * 2
        products = [
            (min(w * lo, w * hi), max(w * lo, w * hi))
            for i, (w, lo, hi) in enumerate(zip(row, lows, highs, strict=True))
            if mask is None or mask[channel, i]
        ]
        least = min(0, terms[0]) + sum(min(0, p) for p, _ in products)
        most = max(0, terms[1]) + sum(max(0, p) for _, p in products)
        assert (ranges.low[channel], ranges.high[channel]) == (least, most)


@given(layers(ends=40_000))
def test_prefix_sums_are_the_hull_of_the_prefixes(layer):
    weight, low, high, bias, mask = layer
    ranges = bounds.prefix_sums(*layer)
    width = weight.shape[1]
    lows, highs = np.broadcast_to(low, width).tolist(), np.broadcast_to(high, width).tolist()
    for channel, row in enumerate(weight.tolist()):
        lo = hi = 0 if bias is None else int(bias[channel])
        least, most = lo, hi
        for i, w in enumerate(row):
            if mask is None or mask[channel, i]:
                lo += min(w * lows[i], w * highs[i])
                hi += max(w * lows[i], w * highs[i])
                least, most = min(least, lo), max(most, hi)
        assert (ranges.low[channel], ranges.high[channel]) == (least, most)


def test_prefix_sums_beyond_int64_are_refused_even_where_the_whole_fits():
    weight = np.array([[2**62, 2**62, -(2**62)]])
    assert pairs(bounds.linear(weight, 1, 1)) == [(2**62, 2**62)]
    with pytest.raises(AccumulatorOverflowError):
        bounds.prefix_sums(weight, 1, 1)


@pytest.mark.parametrize("function", [bounds.linear, bounds.partial_sums, bounds.prefix_sums])
class TestRefusals:
    @pytest.mark.parametrize("dtype", [np.float32, np.complex64, object, np.bool_, np.uint32])
    def test_weights_that_are_no_codes(self, function, dtype):
        with pytest.raises(DtypeError) as caught:
            function(np.ones((2, 2), dtype), 0, 1)
        assert caught.value.argument == "weight"
        assert caught.value.dtype == str(np.dtype(dtype))

    def test_low_above_high_names_the_index(self, function):
        weight = np.ones((2, 3), np.int8)
        with pytest.raises(EmptyRangeError) as caught:
            function(weight, [0, 5, 0], [1, 4, 1])
        assert (caught.value.index, caught.value.low, caught.value.high) == (1, 5, 4)
        with pytest.raises(EmptyRangeError):
            function(weight, 1, 0)

    @pytest.mark.parametrize(
        ("arguments", "argument", "shape"),
        [
            ({"weight": np.ones(3, np.int8)}, "weight", (3,)),
            ({"low": [0, 0]}, "low", (2,)),
            ({"low": [0, 0, 0], "high": [1, 1]}, "high", (2,)),
            ({"low": [[0, 0, 0]]}, "low", (1, 3)),
            ({"bias": [1, 2, 3]}, "bias", (3,)),
            ({"bias": 1}, "bias", ()),
            ({"mask": np.ones((3, 2), bool)}, "mask", (3, 2)),
            ({"mask": np.ones(3, bool)}, "mask", (3,)),
        ],
    )
    def test_shapes_that_do_not_match_name_both(self, function, arguments, argument, shape):
        given = {"weight": np.ones((2, 3), np.int8), "low": 0, "high": 1, **arguments}
        with pytest.raises(ShapeError) as caught:
            function(**given)
        assert caught.value.argument in (argument, "low and high")
        assert caught.value.expected

    def test_masks_that_are_not_boolean(self, function):
        with pytest.raises(DtypeError) as caught:
            function(np.ones((1, 1), np.int8), 0, 1, mask=np.ones((1, 1), np.int8))
        assert caught.value.argument == "mask"

    @pytest.mark.parametrize("low", [0.5, "a", [0.5], None, 2**63, np.uint64(2**63)])
    def test_ends_that_are_no_integers(self, function, low):
        with pytest.raises(DtypeError) as caught:
            function(np.ones((1, 1), np.int8), low, 2**62)
        assert caught.value.argument == "low"
