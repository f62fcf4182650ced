import dataclasses

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur.errors import PointError
from secateur.sweeps.points import grid, identity, plain

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
points = st.dictionaries(st.text(), values, max_size=5)


@dataclasses.dataclass(frozen=True)
class Candidate:
    strategy: str
    bits: tuple[int, ...]


@dataclasses.dataclass
class Mutable:
    bits: int


def test_a_grid_is_every_combination_the_last_axis_fastest():
    points = grid(a=[1, 2], b=["xy"], c=range(3))
    assert len(points) == 6
    assert list(points) == [{"a": a, "b": "xy", "c": c} for a in (1, 2) for c in range(3)]
    assert list(points) == list(points)


def test_a_grid_without_axes_is_one_empty_point_and_with_an_empty_axis_none():
    assert list(grid()) == [{}]
    assert list(grid(a=[1], b=[])) == []


@pytest.mark.parametrize("axis", ["magnitude", 3, None])
def test_an_axis_that_lists_no_values_is_refused(axis):
    with pytest.raises(PointError, match=r"axis 'strategy'.*strategy=\[") as caught:
        grid(strategy=axis)
    assert caught.value.field == "strategy"


def test_the_content_of_a_dataclass_is_that_of_its_mapping():
    assert plain(Candidate("magnitude", (4, 5))) == {"strategy": "magnitude", "bits": [4, 5]}
    assert plain({"bits": np.int64(4), "sparsity": np.float64(0.5), "on": np.True_}) == plain(
        {"bits": 4, "sparsity": 0.5, "on": True}
    )
    assert plain({"inner": Candidate("m", ())}) == {"inner": {"strategy": "m", "bits": []}}


@pytest.mark.parametrize(
    ("point", "field"),
    [
        ({"mask": np.ones(3)}, "mask"),
        ({"f": print}, "f"),
        ({"x": float("nan")}, "x"),
        ({"x": [1.0, float("inf")]}, "x"),
        ({"outer": {"inner": {1, 2}}}, "outer.inner"),
        ({3: "x"}, 3),
        ({"outer": {3: "x"}}, 3),
    ],
)
def test_a_field_without_identity_is_named(point, field):
    with pytest.raises(PointError, match=repr(field)) as caught:
        plain(point)
    assert caught.value.field == field
    assert caught.value.point is point


@pytest.mark.parametrize("point", [3, "bits=3", Candidate, [("bits", 3)]])
def test_what_is_no_mapping_is_no_point(point):
    with pytest.raises(PointError, match=r"mapping or a frozen dataclass"):
        plain(point)


def test_a_dataclass_that_can_change_is_refused():
    with pytest.raises(PointError, match=r"Mutable can change.*frozen=True"):
        plain(Mutable(3))


@given(points, points)
def test_identity_is_equality_of_content(one, other):
    same = identity(plain(one)) == identity(plain(other))
    assert same == (repr(_sorted(one)) == repr(_sorted(other)))


def _sorted(value):
    if isinstance(value, dict):
        return {k: _sorted(value[k]) for k in sorted(value)}
    return [_sorted(v) for v in value] if isinstance(value, list) else value


def test_identity_stays_as_it_was():
    """Journals of earlier releases hold these keys."""
    assert identity({"a": 1, "b": [0.5, "x", None]}) == ("394f353af60602c836fe0b96ca9909e9")
