"""Magnitudes at the edges of the types against Python's integers, and arguments of every kind."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur import bounds
from secateur.errors import AccumulatorOverflowError, DtypeError, IndexRangeError, SecateurError

LEAST, MOST = -(2**63), 2**63 - 1
CODES = [np.int8, np.uint8, np.int16, np.int32, np.int64]


def numbers(least, most):
    """Integers between, those beside powers of two and the ends foremost."""
    near = [least, most, 0, *(s * 2**k + d for k in range(64) for s in (1, -1) for d in (-1, 0, 1))]
    edges = sorted({n for n in near if least <= n <= most})
    return st.sampled_from(edges) | st.integers(least, most)


def ends():
    one = numbers(LEAST, MOST)
    return st.tuples(one, one).map(sorted)


@st.composite
def layers(draw, most=8):
    """Weight `[out][in]` of some dtype, ends per input, biases and a mask, in Python's integers."""
    dtype = draw(st.sampled_from(CODES))
    info = np.iinfo(dtype)
    width = draw(st.integers(1, most))
    row = st.lists(numbers(int(info.min), int(info.max)), min_size=width, max_size=width)
    weight = draw(st.lists(row, min_size=1, max_size=3))
    inputs = draw(st.lists(ends(), min_size=width, max_size=width))
    if draw(st.booleans()):
        inputs = [inputs[0]] * width
    bias = draw(st.lists(numbers(LEAST, MOST), min_size=len(weight), max_size=len(weight)))
    mask = draw(st.lists(st.lists(st.booleans(), min_size=width, max_size=width), min_size=3))
    return np.array(weight, dtype), inputs, bias, np.array(mask[: len(weight)])


def terms(row, inputs):
    products = ((w * lo, w * hi) for w, (lo, hi) in zip(row, inputs, strict=True))
    return [(min(pair), max(pair)) for pair in products]


def same(call, expected):
    """`call` gives the expected ranges, or says which channel does not fit, and its numbers."""
    wrong = [i for i, (lo, hi) in enumerate(expected) if lo < LEAST or hi > MOST]
    if wrong:
        with pytest.raises(AccumulatorOverflowError) as caught:
            call()
        error = caught.value
        assert (error.channel, (error.low, error.high)) == (wrong[0], expected[wrong[0]])
    else:
        ranges = call()
        found = zip(ranges.low.ravel().tolist(), ranges.high.ravel().tolist(), strict=True)
        assert list(found) == expected


@given(layers())
def test_linear_and_partial_and_prefix_sums_at_the_edges(layer):
    weight, inputs, bias, mask = layer
    low, high = np.array(inputs, np.int64).T
    arguments = (weight, low, high, bias, mask)
    total, anyhow, in_order = [], [], []
    for row, keep, start in zip(weight.tolist(), mask, bias, strict=True):
        each = [t for t, kept in zip(terms(row, inputs), keep, strict=True) if kept]
        total.append((start + sum(lo for lo, _ in each), start + sum(hi for _, hi in each)))
        free = [*each, (start, start)]
        anyhow.append((sum(min(lo, 0) for lo, _ in free), sum(max(hi, 0) for _, hi in free)))
        lows, highs = ([start, *(t[i] for t in each)] for i in (0, 1))
        hull = min(itertools.accumulate(lows)), max(itertools.accumulate(highs))
        in_order.append(hull)
    same(lambda: bounds.linear(*arguments), total)
    same(lambda: bounds.partial_sums(*arguments), anyhow)
    same(lambda: bounds.prefix_sums(*arguments), in_order)


@given(layers(most=6), st.data())
def test_profiles_and_trackers_at_the_edges(layer, data):
    weight, inputs, bias, _ = layer
    low, high = np.array(inputs, np.int64).T
    order = data.draw(st.permutations(range(weight.size)))
    counts = sorted(data.draw(st.lists(st.integers(0, weight.size), max_size=3)))
    left = [weight.astype(object).ravel()]
    for index in order:
        left.append(left[-1].copy())
        left[-1][index] = 0

    def ranges(flat):
        rows = flat.reshape(weight.shape).tolist()
        each = zip((terms(row, inputs) for row in rows), bias, strict=True)
        return [(b + sum(t[0] for t in ts), b + sum(t[1] for t in ts)) for ts, b in each]

    def profile():
        return bounds.Ranges(*bounds.profile(weight, order, low, high, counts, bias))

    expected = [pair for count in counts for pair in ranges(left[count])]
    wrong = next((i for i, (lo, hi) in enumerate(expected) if lo < LEAST or hi > MOST), None)
    if wrong is None:
        same(profile, expected)
    else:
        with pytest.raises(AccumulatorOverflowError) as caught:
            profile()
        found = caught.value.channel, (caught.value.low, caught.value.high)
        assert found == (wrong % len(weight), expected[wrong])

    tracker = bounds.RangeTracker(weight, low, high, bias)
    for flat, index in zip(left, [*order, None], strict=True):
        same(tracker.ranges, ranges(flat))
        if index is not None:
            tracker.remove(*divmod(index, weight.shape[1]))
    tracker.undo(weight.size)
    same(tracker.ranges, ranges(left[0]))


@given(layers(most=6), st.integers(1, 9), st.integers(0, 5), st.booleans(), st.booleans())
def test_convolutions_at_the_edges(layer, size, padding, each, masked):
    weight, inputs, bias, mask = layer
    taps = weight.shape[1]
    if size + 2 * padding < taps:
        return
    inputs = [inputs[i % taps] if each else inputs[0] for i in range(size)]
    low, high = np.array(inputs, np.int64).T[:, None]
    kept = mask if masked else np.ones_like(mask)
    hulls = []
    for row, keep, start in zip(weight.tolist(), kept, bias, strict=True):
        padded = [(0, 0)] * padding + inputs + [(0, 0)] * padding
        codes = [w if k else 0 for w, k in zip(row, keep, strict=True)]
        windows = [terms(codes, padded[at : at + taps]) for at in range(len(padded) - taps + 1)]
        found = [(start + sum(t[0] for t in w), start + sum(t[1] for t in w)) for w in windows]
        hulls.append(found)
    geometry = {"input_shape": (1, size), "padding": padding}
    one = (low, high) if each else inputs[0]
    arguments = (weight[:, None], *one, bias, mask[:, None] if masked else None)
    every = [pair for found in hulls for pair in found]
    if all(lo >= LEAST and hi <= MOST for lo, hi in every):
        same(lambda: bounds.conv(*arguments, positions=True, **geometry), every)
        whole = [(min(f)[0], max(hi for _, hi in f)) for f in hulls]
        same(lambda: bounds.conv(*arguments, **geometry), whole)
    else:
        for positions in (False, True):
            with pytest.raises(AccumulatorOverflowError) as caught:
                bounds.conv(*arguments, positions=positions, **geometry)
            assert (caught.value.low, caught.value.high) in hulls[caught.value.channel]


def test_sums_beyond_128_bits_do_not_come_back_in_a_convolution():
    weight = np.array([[[LEAST, LEAST, LEAST, MOST, MOST, 2]]])
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.conv(weight, LEAST, LEAST, input_shape=(1, 6))
    assert caught.value.high == caught.value.low == 2**126


def test_profiles_pass_through_sums_beyond_128_bits():
    weight = np.full((1, 6), MOST)
    sides = np.array([-MOST, -MOST, -MOST, MOST, MOST, MOST])
    low, high = bounds.profile(weight, [0, 1, 2, 3, 4, 5], sides, sides, [0, 6])
    assert low.tolist() == high.tolist() == [[0], [0]]
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.profile(weight, [0, 1, 2], sides, sides, [3])
    assert caught.value.high == 3 * MOST * MOST


def test_profiles_that_fit_are_given_whatever_the_whole_layer_reaches():
    low, high = bounds.profile(np.array([[MOST, 1]]), [0], 2, 3, [1])
    assert (low.tolist(), high.tolist()) == ([[2]], [[3]])


class Opaque:
    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("no array")


STRANGE = {
    "none": None,
    "text": "a",
    "float": 0.5,
    "infinite": float("inf"),
    "huge": 2**70,
    "uint64": np.array([[1]], np.uint64),
    "floats": np.array([[1.0]]),
    "complex": np.array([[1j]]),
    "objects": np.array([[2**70]], object),
    "dates": np.array([["2020-01-01"]], "datetime64[D]"),
    "texts": np.array([["1"]]),
    "records": np.zeros((1, 1), [("a", np.int8)]),
    "ragged": [[1], [1, 2]],
    "opaque": Opaque(),
    "set": {1},
    "0-d": np.array(1.5),
    "3-d": np.ones((1, 1, 1, 1, 1), np.float32),
    "empty 3-d": np.ones((0, 0, 0), np.int8),
}

ONES = np.ones((1, 1), np.int8)
CALLS = {
    bounds.linear: {"weight": ONES, "low": 0, "high": 1, "bias": [0], "mask": ONES > 0},
    bounds.partial_sums: {"weight": ONES, "low": 0, "high": 1, "bias": [0], "mask": ONES > 0},
    bounds.prefix_sums: {"weight": ONES, "low": 0, "high": 1, "bias": [0], "mask": ONES > 0},
    bounds.conv: {
        "weight": ONES[None],
        "low": 0,
        "high": 1,
        "bias": [0],
        "mask": ONES[None] > 0,
        "input_shape": (1, 3),
        "stride": 1,
        "padding": 0,
        "dilation": 1,
        "groups": 1,
    },
    bounds.profile: {
        "weight": ONES,
        "order": [0],
        "low": 0,
        "high": 1,
        "counts": [1],
        "bias": [0],
    },
    bounds.profile_network: {
        "weights": [ONES],
        "order": [0],
        "lows": [0],
        "highs": [1],
        "counts": [1],
    },
    bounds.table_ranges: {"tables": ONES[0], "low": [0], "high": [0], "start": 0},
    bounds.RangeTracker: {"weight": ONES, "low": 0, "high": 1, "bias": [0], "mask": ONES > 0},
    bounds.select: {
        "codes": ONES,
        "saliency": [[1.0]],
        "low": 0,
        "high": 1,
        "bits": 3,
        "method": "exact",
        "budget": "span",
        "bias": [0],
        "mask": ONES > 0,
    },
    bounds.selection_gap: {
        "chosen": ONES > 0,
        "codes": ONES,
        "saliency": [[1.0]],
        "low": 0,
        "high": 1,
        "bits": 3,
        "budget": "span",
        "bias": [0],
        "mask": ONES > 0,
    },
    bounds.fit_scales: {
        "weight": [[1.0]],
        "start": [1.0],
        "low": 0,
        "high": 1,
        "bits": 3,
        "codes": (-1, 1),
        "mask": ONES > 0,
    },
    bounds.set_num_threads: {"threads": 2},
}
#: What is meant, and exact: no argument, one range for all, real numbers for real numbers.
PERMITTED = {
    *(("bias", "none"), ("mask", "none"), ("threads", "none"), ("lows", "set"), ("highs", "set")),
    *((name, kind) for name in ("weight", "saliency") for kind in ("floats", "uint64")),
}


@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
def test_strange_arguments_are_errors_of_our_tree_that_name_them(call):
    try:
        call(**CALLS[call])
        for argument, (name, value) in itertools.product(CALLS[call], STRANGE.items()):
            real = call in (bounds.fit_scales, bounds.select, bounds.selection_gap)
            if (argument, name) in PERMITTED and (real or argument not in ("weight", "saliency")):
                continue
            with pytest.raises(SecateurError) as caught:
                call(**{**CALLS[call], argument: value})
            named = getattr(caught.value, "argument", argument) or argument
            assert argument.rstrip("s") in str(caught.value) + named, (argument, name)
    finally:
        bounds.set_num_threads(None)


@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize(
    "kind",
    ["contiguous", "strided", "reversed", "column-major", "swapped", "unaligned", "read-only"],
)
def test_arrays_of_every_layout_give_the_same(dtype, kind):
    plain = np.random.default_rng(0).integers(0, 100, (4, 5)).astype(dtype)

    def laid_out(array):
        if kind == "strided":
            return np.repeat(array, 2, axis=-1)[..., ::2]
        if kind == "reversed":
            return array[..., ::-1].copy()[..., ::-1]
        if kind == "column-major":
            return np.asfortranarray(array)
        if kind == "swapped":
            return array.astype(array.dtype.newbyteorder())
        if kind == "unaligned":
            room = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype)
            room = room.reshape(array.shape)
            room[...] = array
            return room
        array = array.copy()
        array.setflags(write=kind != "read-only")
        return array

    low, high, bias = np.arange(-2, 3), np.arange(5) + 9, np.arange(4) * 7
    mask, order = plain % 3 > 0, np.arange(20)[::-1].copy()
    views = [laid_out(a) for a in (plain, low, high, bias, mask)]
    assert bounds.linear(*views) == bounds.linear(plain, low, high, bias, mask)
    profile = bounds.profile(views[0], laid_out(order), *views[1:3], laid_out(np.array([3, 9])))
    again = bounds.profile(plain, order, low, high, [3, 9])
    assert all((a == b).all() for a, b in zip(profile, again, strict=True))
    chosen = bounds.select(views[0], laid_out(plain * 0.5), *views[1:3], 9)
    assert (chosen == bounds.select(plain, plain * 0.5, low, high, 9)).all()
    window = {"input_shape": (1, 8)}
    conv = bounds.conv(views[0][:, None], -1, 5, views[3], views[4][:, None], **window)
    assert conv == bounds.conv(plain[:, None], -1, 5, bias, mask[:, None], **window)


@pytest.mark.parametrize("index", [2**70, -(2**70), 5, -1])
def test_indices_of_any_size_are_out_of_range(index):
    tracker = bounds.RangeTracker(ONES, 0, 1)
    for call in (
        lambda: tracker.remove(index, 0),
        lambda: tracker.restore(0, index),
        lambda: tracker.set(0, index, 1),
        lambda: tracker.range(index),
        lambda: tracker.remove_channel(index),
        lambda: tracker.restore_channel(index),
    ):
        with pytest.raises(IndexRangeError) as caught:
            call()
        assert (caught.value.index, caught.value.size) == (index, 1)


@pytest.mark.parametrize("value", ["a", 0.5, None, [0]])
def test_what_is_no_integer_is_no_index_and_no_code(value):
    tracker = bounds.RangeTracker(ONES, 0, 1)
    calls = {
        "channel": lambda: tracker.range(value),
        "input": lambda: tracker.remove(0, value),
        "value": lambda: tracker.set(0, 0, value),
        "steps": lambda: tracker.undo(value),
    }
    for argument, call in calls.items():
        with pytest.raises(DtypeError) as caught:
            call()
        assert caught.value.argument == argument
    with pytest.raises(DtypeError):
        tracker.set(0, 0, 2**63)
    assert tracker.changes == 0


def test_gaps_of_saliencies_whose_sum_exceeds_float64():
    codes, saliency = np.array([[3, 3, 0, 0]], np.int8), np.full((1, 4), 1.7e308)
    kept = bounds.select(codes, saliency, 0, 1, bits=2)
    gap = bounds.selection_gap(kept, codes, saliency, 0, 1, bits=2)
    assert abs(gap[0]) < 1e-12 * saliency[0, 0]
