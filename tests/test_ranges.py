"""Ranges and their widths, against Python's integers."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur.errors import ArgumentError, DtypeError, EmptyRangeError, ShapeError
from secateur.ranges import Range, Ranges

int64 = st.integers(-(2**63), 2**63 - 1)
EDGES = [-(2**63), -(2**62) - 1, -(2**32), -2, -1, 0, 1, 2, 2**31, 2**53, 2**53 + 1, 2**63 - 1]


def signed_bits(low, high):
    return next(b for b in range(1, 65) if -(2 ** (b - 1)) <= low and high < 2 ** (b - 1))


@given(st.lists(st.tuples(int64, int64).map(sorted), max_size=9))
def test_widths_are_those_of_python(ends):
    ranges = Ranges(np.array([e[0] for e in ends], int), np.array([e[1] for e in ends], int))
    assert ranges.bits().tolist() == [(h - lo).bit_length() for lo, h in ends]
    assert ranges.bits("signed").tolist() == [signed_bits(lo, h) for lo, h in ends]
    for index, (low, high) in enumerate(ends):
        assert ranges[index] == Range(low, high)
        assert Range(low, high).bits() == (high - low).bit_length()
        assert Range(low, high).bits("signed") == signed_bits(low, high)


@pytest.mark.parametrize("low", EDGES)
@pytest.mark.parametrize("high", EDGES)
def test_widths_at_the_edges(low, high):
    if low > high:
        return
    ranges = Ranges([low], [high])
    assert ranges.bits()[0] == Range(low, high).bits() == (high - low).bit_length()
    assert ranges.bits("signed")[0] == Range(low, high).bits("signed") == signed_bits(low, high)
    if low >= 0:
        assert ranges.bits("unsigned")[0] == high.bit_length() == Range(low, high).bits("unsigned")
    else:
        for value in (ranges, Range(low, high)):
            with pytest.raises(EmptyRangeError) as caught:
                value.bits("unsigned")
            assert caught.value.low == low


def test_ranges_are_frozen():
    ranges = Ranges([0, 1], [2, 3])
    with pytest.raises(ValueError, match="read-only"):
        ranges.low[0] = 5
    with pytest.raises(AttributeError):
        ranges.low = np.zeros(2)
    with pytest.raises(AttributeError):
        del ranges.low
    with pytest.raises(AttributeError):
        Range(0, 1).low = 3
    with pytest.raises(TypeError):
        hash(ranges)


def test_ranges_copy_what_they_are_given():
    low = np.zeros(2, int)
    ranges = Ranges(low, [1, 1])
    low[:] = 9
    assert ranges.low.tolist() == [0, 0]


def test_ranges_survive_pickling_and_compare():
    ranges = Ranges([[0, 1]], [[2, 3]])
    again = pickle.loads(pickle.dumps(ranges))
    assert again == ranges
    assert not again.low.flags.writeable
    assert ranges != Ranges([[0, 1]], [[2, 4]])
    assert ranges != 3
    assert ranges.shape == (1, 2)
    assert len(ranges) == 1
    assert ranges[0, 1] == Range(1, 3)
    assert eval(repr(ranges), {"Ranges": Ranges, "array": np.array}) == ranges


def test_hull_and_membership():
    assert Ranges([[0, -4], [7, 2]], [[2, 3], [8, 5]]).hull() == Range(-4, 8)
    assert 3 in Range(3, 3)
    assert np.int8(3) in Range(3, 3)
    assert 4 not in Range(3, 3)
    assert 3.0 not in Range(3, 3)
    with pytest.raises(ShapeError):
        Ranges([], []).hull()


def test_a_range_may_be_larger_than_64_bits():
    wide = Range(-(2**100), 2**100)
    assert (wide.bits(), wide.bits("signed")) == (102, 102)
    assert Range(np.int8(1), np.uint64(2**63)) == Range(1, 2**63)


@pytest.mark.parametrize(
    ("low", "high", "error"),
    [
        ([1, 5], [1, 4], EmptyRangeError),
        ([1], [1, 2], ShapeError),
        ([1.5], [2], DtypeError),
        ([True], [2], DtypeError),
        ([2**63], [2**63], DtypeError),
    ],
)
def test_what_are_no_ranges_is_refused(low, high, error):
    with pytest.raises(error) as caught:
        Ranges(low, high)
    if error is EmptyRangeError:
        assert (caught.value.index, caught.value.low, caught.value.high) == ((1,), 5, 4)


def test_what_is_no_range_is_refused():
    with pytest.raises(EmptyRangeError):
        Range(2, 1)
    with pytest.raises(DtypeError):
        Range(0.5, 1)
    for value in (Range(0, 1), Ranges([0], [1])):
        with pytest.raises(ArgumentError):
            value.bits("float")
