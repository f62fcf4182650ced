"""Ranges of convolutions, against the definition window by window."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st

from secateur import bounds
from secateur.errors import (
    AccumulatorOverflowError,
    ArgumentError,
    DtypeError,
    EmptyRangeError,
    ShapeError,
)


def slow_conv(weight, low, high, bias, mask, *, input_shape, stride, padding, dilation, groups):
    """Low and high `[out, *spatial_out]`, one tap at a time, in Python's integers."""
    out, channels, *kernel = weight.shape
    spatial = input_shape[1:]
    sides = [
        np.broadcast_to(
            np.reshape(s, np.shape(s) + (1,) * (len(input_shape) - np.ndim(s)))
            if np.ndim(s)
            else s,
            input_shape,
        )
        for s in (low, high)
    ]
    windows = [
        (size + before + after - d * (k - 1) - 1) // step + 1
        for size, (before, after), d, k, step in zip(
            spatial, padding, dilation, kernel, stride, strict=True
        )
    ]
    lows, highs = np.zeros((out, *windows), object), np.zeros((out, *windows), object)
    for o in range(out):
        group = o // (out // groups)
        for at in itertools.product(*map(range, windows)):
            lo = hi = 0 if bias is None else int(bias[o])
            for c, *tap in itertools.product(range(channels), *map(range, kernel)):
                place = [
                    a * s - p[0] + t * d
                    for a, s, p, t, d in zip(at, stride, padding, tap, dilation, strict=True)
                ]
                if mask is not None and not mask[(o, c, *tap)]:
                    continue
                if all(0 <= x < size for x, size in zip(place, spatial, strict=True)):
                    w = int(weight[(o, c, *tap)])
                    ends = [w * int(s[(group * channels + c, *place)]) for s in sides]
                    lo, hi = lo + min(ends), hi + max(ends)
            lows[(o, *at)], highs[(o, *at)] = lo, hi
    return lows, highs


@st.composite
def convolutions(draw):
    axes = draw(st.integers(1, 3))
    groups = draw(st.integers(1, 2))
    channels, per_group = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    few = st.integers(1, 3)
    kernel = [draw(few) for _ in range(axes)]
    spatial = [draw(st.integers(1, 9 if axes == 1 else 4)) for _ in range(axes)]
    stride, dilation = ([draw(few) for _ in range(axes)] for _ in range(2))
    padding = [(draw(st.integers(0, 3)), draw(st.integers(0, 3))) for _ in range(axes)]
    for size, k, d, (before, after) in zip(spatial, kernel, dilation, padding, strict=True):
        assume(size + before + after >= d * (k - 1) + 1)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    dtype = draw(st.sampled_from([np.int8, np.int64, np.uint8]))
    weight = rng.integers(
        0 if dtype == np.uint8 else -9, 10, (groups * per_group, channels, *kernel)
    )
    input_shape = (groups * channels, *spatial)
    shape = draw(st.sampled_from([(), input_shape[:1], input_shape]))
    low, high = np.sort(rng.integers(-9, 10, (2, *shape)), axis=0)
    bias = rng.integers(-9, 10, len(weight)) if draw(st.booleans()) else None
    mask = rng.random(weight.shape) < 0.6 if draw(st.booleans()) else None
    geometry = {
        "input_shape": input_shape,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }
    ends = (low, high) if shape else (int(low), int(high))
    return (weight.astype(dtype), *ends, bias, mask), geometry


@given(convolutions())
def test_every_position_is_the_definition(convolution):
    arrays, geometry = convolution
    ranges = bounds.conv(*arrays, **geometry, positions=True)
    low, high = slow_conv(*arrays, **geometry)
    assert ranges.shape == low.shape
    assert (ranges.low == low).all()
    assert (ranges.high == high).all()


@given(convolutions())
def test_the_hull_is_that_of_all_positions(convolution):
    arrays, geometry = convolution
    hull = bounds.conv(*arrays, **geometry)
    low, high = slow_conv(*arrays, **geometry)
    over = tuple(range(1, low.ndim))
    assert (hull.low == low.min(axis=over)).all()
    assert (hull.high == high.max(axis=over)).all()


@given(convolutions())
def test_any_strides_give_the_same(convolution):
    (weight, low, high, bias, mask), geometry = convolution
    turned = np.asfortranarray(weight)
    kept = None if mask is None else np.asfortranarray(mask)
    assert bounds.conv(turned, low, high, bias, kept, **geometry) == bounds.conv(
        weight, low, high, bias, mask, **geometry
    )


def test_padding_is_zero_where_inputs_cannot_be():
    # qonnx's range analysis gives 9 here; a corner sees four taps.
    ones = np.ones((1, 1, 3, 3), np.int8)
    ranges = bounds.conv(ones, 1, 15, input_shape=(1, 5, 5), padding=1)
    assert (ranges.low.tolist(), ranges.high.tolist()) == ([4], [135])


def test_no_window_lies_inside():
    # The kernel is larger than the input: no position sees all taps.
    weight = np.arange(1, 6, dtype=np.int8).reshape(1, 1, 5)
    ranges = bounds.conv(weight, 1, 1, input_shape=(1, 2), padding=2, positions=True)
    assert ranges.low.tolist() == [[7, 5]]


def test_a_tap_that_stride_never_moves_off_the_padding_counts_for_nothing():
    weight = np.array([[[100, 1]]], np.int8)
    ranges = bounds.conv(weight, 0, 1, input_shape=(1, 1), padding=[(1, 0)], stride=5)
    assert ranges.high.tolist() == [1]


def test_depthwise_and_int64_extremes():
    weight = np.array([2**62, -(2**62)]).reshape(2, 1, 1)
    ranges = bounds.conv(weight, [0, 1], [1, 2], input_shape=(2, 3), groups=2)
    assert ranges.low.tolist() == [0, -(2**63)]
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.conv(weight, [0, 1], [1, 3], input_shape=(2, 3), groups=2)
    assert (caught.value.channel, caught.value.low) == (1, -3 * 2**62)
    each = np.zeros((2, 3), int), np.full((2, 3), 1)
    each[1][1, 2] = 4
    with pytest.raises(AccumulatorOverflowError):
        bounds.conv(weight, *each, input_shape=(2, 3), groups=2)


def test_large_images_cost_no_more_than_their_patterns():
    weight = np.ones((4, 3, 3, 3), np.int8)
    ranges = bounds.conv(weight, 0, 1, input_shape=(3, 100_000, 100_000), padding=1)
    assert ranges.high.tolist() == [27] * 4


def test_many_channels_on_many_threads():
    rng = np.random.default_rng(0)
    weight = rng.integers(-8, 8, (256, 64, 3, 3), np.int8)
    low, high = -rng.integers(0, 4, 64), rng.integers(0, 4, 64)
    hull = bounds.conv(weight, low, high, input_shape=(64, 8, 8), padding=1)
    whole = bounds.linear(weight.reshape(256, -1), low.repeat(9), high.repeat(9))
    assert hull == whole  # zero is in every input range, so the inside decides
    image = (6, 6)
    each = [np.broadcast_to(s[:, None, None], (64, *image)) for s in (low, high)]
    assert bounds.conv(weight, *each, input_shape=(64, *image), padding=1) == hull


GOOD = {"weight": np.ones((2, 1, 3, 3), np.int8), "low": 0, "high": 1, "input_shape": (1, 4, 4)}


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"input_shape": (1, 2, 2)}, ShapeError),
        ({"input_shape": (1, 4)}, ShapeError),
        ({"input_shape": (2, 4, 4)}, ShapeError),
        ({"input_shape": (1, 4, 2**40)}, ShapeError),
        ({"input_shape": (1, 4, -4)}, ArgumentError),
        ({"input_shape": (1, 4, 4.0)}, DtypeError),
        ({"weight": np.ones((2, 1), np.int8)}, ShapeError),
        ({"weight": np.ones((2, 1, 1, 1, 1, 1), np.int8)}, ShapeError),
        ({"weight": np.ones((2, 1, 3, 3))}, DtypeError),
        ({"stride": 0}, ArgumentError),
        ({"stride": (1, 1, 1)}, ShapeError),
        ({"dilation": 2}, ShapeError),
        ({"dilation": 2**62}, ShapeError),
        ({"padding": -1}, ArgumentError),
        ({"padding": [(1, 1, 1), 1]}, ShapeError),
        ({"padding": 2**62}, ShapeError),
        ({"groups": 0}, ArgumentError),
        ({"groups": 3}, ArgumentError),
        ({"groups": 2}, ShapeError),
        ({"low": [0, 0]}, ShapeError),
        ({"low": np.zeros((1, 4, 4), int), "high": [1]}, ShapeError),
        ({"low": [2]}, EmptyRangeError),
        ({"bias": [1]}, ShapeError),
        ({"mask": np.ones((2, 1, 3, 2), bool)}, ShapeError),
        ({"mask": np.ones((2, 1, 3, 3))}, DtypeError),
    ],
)
def test_what_is_no_convolution_is_refused(changes, error):
    bounds.conv(**GOOD)
    with pytest.raises(error):
        bounds.conv(**{**GOOD, **changes})


@given(convolutions(), st.integers(0, 3), st.sampled_from([1, 13, 14, 2**40]))
def test_values_are_the_definition_or_none(convolution, batch, factor):
    (weight, _, _, bias, _), geometry = convolution
    assume(weight.dtype != np.int64)
    codes = weight.astype(np.int8)
    rng = np.random.default_rng(batch)
    x = rng.integers(-4, 6, (batch, *geometry["input_shape"])) * factor
    engine = bounds.Convolution(
        codes, bias, **{name: geometry[name] for name in geometry if name != "input_shape"}
    )
    values = engine.values(x)
    if values is None:
        assert factor == 2**40 or (codes.shape[1] > 1 and np.ptp(x) > 127)
        return
    assert values.dtype == np.int64
    assert len(values) == batch
    for sample, found in zip(x, values, strict=True):
        assert (found == slow_conv(codes, sample, sample, bias, None, **geometry)[0]).all()


def test_values_next_to_what_bytes_and_64_bits_hold():
    codes = np.array([[[-128], [127]]], np.int8)
    span = np.array([[[-100, 27], [27, -100]]])
    for bias in (-(2**62) + 40_000, 2**62 - 40_000):
        values = bounds.Convolution(codes, [bias]).values(span)
        assert values.tolist() == [[[bias + 12_800 + 3_429, bias - 3_456 - 12_700]]]
    assert bounds.Convolution(codes, [2**63 - 1]).values(span) is None
    assert bounds.Convolution(codes).values(span - [[[0], [1]]]) is None
    assert bounds.Convolution(codes).values([[[-(2**63)], [2**63 - 1]]]) is None


def test_a_convolution_of_values_is_refused_by_argument():
    codes = np.ones((2, 1, 2), np.int8)
    with pytest.raises(DtypeError, match="weight"):
        bounds.Convolution(codes.astype(np.int16))
    with pytest.raises(DtypeError, match="x has dtype float64"):
        bounds.Convolution(codes).values(np.ones((1, 1, 2)))
    for x in (3, [1], [[1, 2]], [[[1]]], [[[1, 2], [1, 2]]]):
        with pytest.raises(ShapeError):
            bounds.Convolution(codes).values(x)
    with pytest.raises(ArgumentError, match="groups"):
        bounds.Convolution(codes, groups=4).values(np.ones((1, 4, 2), int))
    with pytest.raises(ShapeError, match="bias"):
        bounds.Convolution(codes, [1, 2, 3]).values(np.ones((1, 1, 2), int))
