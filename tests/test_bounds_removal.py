"""Profiles and trackers against the ranges of what is left; tables against their entries."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur import bounds
from secateur.errors import (
    AccumulatorOverflowError,
    ArgumentError,
    DtypeError,
    EmptyRangeError,
    IndexRangeError,
    OrderError,
    ShapeError,
    TableRangeError,
)


@st.composite
def removals(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 4)), draw(st.integers(0, 12))
    dtype = draw(st.sampled_from([np.int8, np.uint8, np.int32, np.int64]))
    weight = rng.integers(0, 100, shape).astype(dtype)
    if dtype != np.uint8:
        weight -= dtype(50)
    if draw(st.booleans()):
        low, high = np.sort(rng.integers(-9, 10, (2, shape[1])), axis=0)
    else:
        low, high = sorted(rng.integers(-9, 10, 2).tolist())
    order = rng.permutation(weight.size)[: draw(st.integers(0, weight.size))]
    counts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=8)))
    bias = rng.integers(-99, 99, shape[0]) if draw(st.booleans()) else None
    return weight, order, low, high, counts, bias


@given(removals())
def test_profile_is_the_range_of_what_is_left(removal):
    weight, order, low, high, counts, bias = removal
    lows, highs = bounds.profile(*removal)
    assert lows.shape == highs.shape == (len(counts), len(weight))
    for index, count in enumerate(counts):
        mask = np.ones(weight.size, bool)
        mask[order[:count]] = False
        left = bounds.linear(weight, low, high, bias, mask.reshape(weight.shape))
        assert (lows[index] == left.low).all()
        assert (highs[index] == left.high).all()
    turned = bounds.profile(np.asfortranarray(weight), order[::-1][::-1], *removal[2:])
    assert (turned[0] == lows).all()


@given(st.lists(removals(), max_size=4), st.randoms(use_true_random=False))
def test_profile_network_is_each_layer_alone(layers, random):
    weights = [layer[0] for layer in layers]
    sizes = [weight.size for weight in weights]
    order = list(range(sum(sizes)))
    random.shuffle(order)
    counts = sorted(random.randrange(len(order) + 1) for _ in range(5))
    lows, highs = [layer[2] for layer in layers], [layer[3] for layer in layers]
    profiles = bounds.profile_network(weights, order, lows, highs, counts)
    assert len(profiles) == len(layers)
    start = 0
    for weight, low, high, profile in zip(weights, lows, highs, profiles, strict=True):
        own = [(k, i - start) for k, i in enumerate(order) if start <= i < start + weight.size]
        own_counts = [sum(k < count for k, _ in own) for count in counts]
        alone = bounds.profile(weight, np.array([i for _, i in own], int), low, high, own_counts)
        assert (profile[0] == alone[0]).all()
        assert (profile[1] == alone[1]).all()
        start += weight.size


def test_profile_beyond_64_bits_on_the_way():
    weight = np.array([[2**62, 2**62, -(2**62)]])
    _, high = bounds.profile(weight, [0, 1, 2], 1, 1, [0, 1, 2, 3])
    assert high.tolist() == [[2**62], [0], [-(2**62)], [0]]
    with pytest.raises(AccumulatorOverflowError) as caught:
        bounds.profile(weight, [2], 1, 1, [0, 1])
    assert caught.value.high == 2**63


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"order": [0, 0]}, OrderError),
        ({"order": [0, 4]}, OrderError),
        ({"order": [-1, 0]}, OrderError),
        ({"order": [0.0, 1.0]}, DtypeError),
        ({"order": [[0, 1]]}, ShapeError),
        ({"counts": [2, 1]}, OrderError),
        ({"counts": [-1]}, OrderError),
        ({"counts": [3]}, OrderError),
        ({"counts": 1}, ShapeError),
        ({"low": 5}, EmptyRangeError),
        ({"bias": [1]}, ShapeError),
    ],
)
def test_what_is_no_order_is_refused(changes, error):
    good = {"weight": np.ones((2, 2), np.int8), "order": [0, 1], "low": 0, "high": 1}
    good["counts"] = [2]
    bounds.profile(**good)
    with pytest.raises(error):
        bounds.profile(**{**good, **changes})
    if "bias" not in changes:
        given = {**good, **changes}
        with pytest.raises(error):
            bounds.profile_network(
                [given["weight"]], given["order"], [given["low"]], [1], given["counts"]
            )


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(ShapeError):
        bounds.profile_network([np.ones((1, 1), np.int8)], [0], [0], [], [0])


def test_order_errors_name_the_place():
    with pytest.raises(OrderError) as caught:
        bounds.profile(np.ones((2, 2), np.int8), [3, 1, 3], 0, 1, [3])
    assert (caught.value.argument, caught.value.index, caught.value.value) == ("order", 2, 3)


actions = st.lists(
    st.tuples(
        st.sampled_from(["remove", "restore", "set", "remove_channel", "restore_channel", "undo"]),
        st.integers(0, 2),
        st.integers(0, 4),
        st.integers(-99, 99),
    ),
    max_size=40,
)


@given(actions, st.integers(0, 2**32 - 1))
def test_the_tracker_is_the_range_of_what_is_left(actions, seed):
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 10, (3, 5), np.int8)
    low, high = np.sort(rng.integers(-9, 10, (2, 5)), axis=0)
    bias, mask = rng.integers(-9, 10, 3), rng.random((3, 5)) < 0.7
    tracker = bounds.RangeTracker(weight, low, high, bias, mask)
    state = weight.astype(np.int64), mask.copy(), np.ones(3, bool)
    history = []
    for name, channel, place, value in actions:
        if name == "undo":
            steps = min(place, len(history))
            assert tracker.undo(place) == steps
            for _ in range(steps):
                state = history.pop()
        else:
            history.append(tuple(part.copy() for part in state))
            weights, kept, channels = state
            if name == "set":
                tracker.set(channel, place, value)
                weights[channel, place], kept[channel, place] = value, True
            elif name in ("remove", "restore"):
                getattr(tracker, name)(channel, place)
                kept[channel, place] = name == "restore"
            else:
                getattr(tracker, name)(channel)
                channels[channel] = name == "restore_channel"
        weights, kept, channels = state
        left = kept & channels[:, None]
        expected = bounds.linear(weights, low, high, bias, left)
        assert tracker.ranges() == expected
        assert tracker.range(channel) == expected[channel]
        assert (tracker.mask == left).all()
        assert (tracker.weight == weights).all()
        assert tracker.changes == len(history)
    tracker.undo(10**6)
    assert tracker.ranges() == bounds.linear(weight, low, high, bias, mask)


def test_a_refused_change_changes_nothing():
    tracker = bounds.RangeTracker(np.ones((1, 2), np.int64), 0, 2**63 - 1)
    before = tracker.mask, tracker.changes
    with pytest.raises(AccumulatorOverflowError):
        tracker.ranges()
    tracker.remove(0, 1)
    assert tracker.range(0) == bounds.Range(0, 2**63 - 1)
    for channel, place in [(1, 0), (-1, 0), (0, 2), (0, -1)]:
        for name in ("remove", "restore"):
            with pytest.raises(IndexRangeError):
                getattr(tracker, name)(channel, place)
        with pytest.raises(IndexRangeError):
            tracker.set(channel, place, 1)
    for name in ("remove_channel", "restore_channel", "range"):
        with pytest.raises(IndexRangeError) as caught:
            getattr(tracker, name)(7)
        assert (caught.value.argument, caught.value.index, caught.value.size) == ("channel", 7, 1)
    assert tracker.changes == 1
    with pytest.raises(ArgumentError):
        tracker.undo(-1)
    assert tracker.undo() == 1
    assert (tracker.mask == before[0]).all()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"weight": np.ones(2, np.int8)}, ShapeError),
        ({"weight": np.ones((1, 2))}, DtypeError),
        ({"low": 2}, EmptyRangeError),
        ({"bias": [1, 2]}, ShapeError),
        ({"mask": np.ones((2, 2), bool)}, ShapeError),
    ],
)
def test_what_is_no_layer_is_not_tracked(changes, error):
    with pytest.raises(error):
        bounds.RangeTracker(**{"weight": np.ones((1, 2), np.int8), "low": 0, "high": 1, **changes})


@given(st.data())
def test_table_ranges_are_the_extremes_of_the_entries(data):
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    channels, entries = data.draw(st.integers(0, 5)), data.draw(st.integers(1, 30))
    shared = data.draw(st.booleans())
    tables = rng.integers(-128, 128, entries if shared else (channels, entries), np.int8)
    start = rng.integers(-9, 10, channels) if data.draw(st.booleans()) else int(rng.integers(-9, 9))
    low, high = np.sort(rng.integers(0, entries, (2, channels)), axis=0)
    ranges = bounds.table_ranges(tables, low + start, high + start, start)
    for channel in range(channels):
        table = tables if shared else tables[channel]
        part = table[low[channel] : high[channel] + 1]
        assert ranges[channel] == bounds.Range(int(part.min()), int(part.max()))
    turned = bounds.table_ranges(np.asfortranarray(tables), low + start, high + start, start)
    assert turned == ranges


def test_tables_at_the_ends_of_int64():
    table = np.array([2**63 - 1, -(2**63), 0])
    start = 2**63 - 3
    ranges = bounds.table_ranges(table, [start], [2**63 - 1], start)
    assert (ranges.low[0], ranges.high[0]) == (-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"low": [-1]}, TableRangeError),
        ({"high": [3]}, TableRangeError),
        ({"start": 1}, TableRangeError),
        ({"tables": np.empty(0, np.int8)}, TableRangeError),
        ({"low": [2], "high": [1]}, EmptyRangeError),
        ({"low": [0, 0]}, ShapeError),
        ({"tables": np.ones((2, 3), np.int8)}, ShapeError),
        ({"tables": np.int8(3)}, ShapeError),
        ({"start": [0, 0]}, ShapeError),
        ({"tables": np.ones(3)}, DtypeError),
        ({"low": [0.5]}, DtypeError),
    ],
)
def test_ranges_that_leave_their_table_are_refused(changes, error):
    good = {"tables": np.arange(3, dtype=np.int8), "low": [0], "high": [2]}
    bounds.table_ranges(**good)
    with pytest.raises(error):
        bounds.table_ranges(**{**good, **changes})
