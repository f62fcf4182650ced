"""`bounds.hold_back`: weights held within the budget, against a slow reference."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur import bounds
from secateur.errors import ArgumentError, BitsError, DtypeError, NotFiniteError, ShapeError


def codes_of(weight, scale, ends):
    return np.clip(np.rint(weight / scale), *ends)


def reference(row, scale, spans, bits, ends, kept):
    """One channel, one code at a time: the weight nearest to the edge of its code goes back."""
    row, number = row.copy(), row.dtype.type
    units = row / scale
    codes = [int(c) if k else 0 for c, k in zip(codes_of(row, scale, ends), kept, strict=True)]
    magnitudes = [abs(c) for c in codes]
    reach = max(-ends[0], ends[1])
    while sum(m * s for m, s in zip(magnitudes, spans, strict=True)) > 2**bits - 1:
        beyond = [
            (min(abs(float(u)), reach) - m + 0.5, i)
            for i, (u, m, s) in enumerate(zip(units, magnitudes, spans, strict=True))
            if m and s
        ]
        _, first = min(beyond)
        magnitudes[first] -= 1
        row[first] = np.copysign(number(magnitudes[first] + 0.49), units[first]) * scale
    return row


@st.composite
def layers(draw):
    kind = draw(st.sampled_from([np.float32, np.float64]))
    out, fan_in = draw(st.integers(1, 3)), draw(st.integers(0, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    # Quarters, so that ties of rounding and of distance occur.
    weight = (random.integers(-40, 41, (out, fan_in)) / 4).astype(kind)
    weight += draw(st.sampled_from([0, 1])) * random.normal(size=weight.shape).astype(kind) / 8
    scale = (2.0 ** random.integers(-2, 3, out) * draw(st.sampled_from([1.0, 1.1]))).astype(kind)
    largest = draw(st.sampled_from([1, 3, 2**20, 2**40, 2**62]))
    low = random.integers(-largest, largest + 1, draw(st.sampled_from([(fan_in,), weight.shape])))
    high = low + random.integers(0, largest, low.shape, endpoint=True)
    ends = draw(st.sampled_from([(-1, 1), (-3, 3), (-8, 7), (0, 3), (-127, 127)]))
    mask = draw(st.none() | st.just(random.random(weight.shape) < 0.7))
    return weight, scale, low, high, draw(st.integers(0, 64)), ends, mask


@given(layers())
def test_equals_the_reference_and_fits(layer):
    weight, scale, low, high, bits, ends, mask = layer
    channels, held = bounds.hold_back(weight, scale, low, high, bits, ends, mask=mask)
    after = weight.copy()
    after[channels] = held
    spans = np.broadcast_to(high.astype(object) - low.astype(object), weight.shape)
    kept = np.ones(weight.shape, bool) if mask is None else mask
    rows = zip(weight, scale, spans, kept, strict=True)
    expected = [reference(w, s, spans, bits, ends, k) for w, s, spans, k in rows]
    assert held.dtype == weight.dtype
    assert (after == np.array(expected).reshape(weight.shape)).all()
    assert channels.tolist() == sorted(
        i for i, row in enumerate(expected) if (row != weight[i]).any()
    )
    codes = np.where(kept, np.abs(codes_of(after, scale[:, None], ends)), 0).astype(np.int64)
    assert ((codes * spans).sum(1) <= 2**bits - 1).all()


def test_strides_and_threads_change_nothing():
    random = np.random.default_rng(0)
    weight, mask = random.normal(size=(900, 120)), random.random((900, 120)) < 0.5
    arguments = np.full(900, 0.1), 0, random.integers(1, 16, 120), 6, (-7, 7)
    found = bounds.hold_back(weight, *arguments, mask=mask)
    bounds.set_num_threads(3)
    try:
        others = bounds.hold_back(
            np.asfortranarray(weight), *arguments, mask=np.asfortranarray(mask)
        )
    finally:
        bounds.set_num_threads(None)
    assert all((a == b).all() for a, b in zip(found, others, strict=True))
    assert len(found[0]) == 900


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"weight": [[np.nan, 1.0]]}, NotFiniteError),
        ({"weight": [[1.0, -np.inf]]}, NotFiniteError),
        ({"scale": [0.0]}, NotFiniteError),
        ({"scale": [np.nan]}, NotFiniteError),
        ({"scale": [1.0, 1.0]}, ShapeError),
        ({"weight": [1.0]}, ShapeError),
        ({"mask": [[True]]}, ShapeError),
        ({"mask": [[1, 1]]}, DtypeError),
        ({"weight": [["a", "b"]]}, DtypeError),
        ({"low": [0, 0, 0]}, ShapeError),
        ({"bits": -1}, BitsError),
        ({"bits": 65}, BitsError),
        ({"codes": (1, 3)}, ArgumentError),
        ({"codes": (-1, 0, 1)}, ArgumentError),
        ({"codes": 3}, DtypeError),
    ],
)
def test_what_is_refused(change, error):
    given = {"weight": [[1.0, 2.0]], "scale": [1.0], "low": 0, "high": 3, "bits": 4}
    given |= {"codes": (-3, 3)} | change
    with pytest.raises(error):
        bounds.hold_back(**given)
