"""Fitted scales: against the fractional knapsack they relax to, and every choice of codes."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur import bounds
from secateur.errors import (
    ArgumentError,
    BitsError,
    DtypeError,
    EmptyRangeError,
    NotFiniteError,
    ShapeError,
)

STEP = 2 ** (1 / 8)
#: What the engine calls as near as the nearest.
SLACK = 0.02


def units(weight, scale, costs, codes):
    """Gain and cost of every unit of every code, those of one weight by falling gain."""
    for w, cost in zip(weight, costs, strict=True):
        for k in range(1, (-codes[0] if w < 0 else codes[1]) + 1):
            yield scale**2 * (2 * abs(w) / scale - 2 * k + 1), cost


def relaxed(weight, scale, costs, bits, codes):
    """The gain of the best codes within the budget, the last unit in part (Dantzig 1957)."""
    room, gain = 2**bits - 1, 0.0
    useful = [unit for unit in units(weight, scale, costs, codes) if unit[0] > 0]
    for worth, cost in sorted(useful, key=lambda unit: -unit[0] / max(unit[1], 1e-9)):
        part = 1.0 if cost <= room else room / cost
        gain, room = gain + part * worth, room - part * cost
        if part < 1:
            break
    return gain


def best_of_all(weight, scale, costs, bits, codes):
    """The gain of the best codes within the budget, all of them tried."""
    gains = [
        sum(w**2 - (w - scale * c) ** 2 for w, c in zip(weight, chosen, strict=True))
        for chosen in itertools.product(range(codes[0], codes[1] + 1), repeat=len(weight))
        if sum(abs(c) * cost for c, cost in zip(chosen, costs, strict=True)) <= 2**bits - 1
    ]
    return max(gains)


@st.composite
def channels(draw, most_inputs):
    size = draw(st.integers(1, most_inputs))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    weight = rng.standard_normal(size) ** draw(st.sampled_from([1, 3]))
    high = rng.integers(0, 16, size) if draw(st.booleans()) else np.full(size, 3)
    codes = draw(st.sampled_from([(-1, 0), (-1, 1), (-3, 3), (-4, 3)]))
    return weight, high, draw(st.integers(1, 9)), codes, rng.uniform(0.05, 2) * abs(weight).max()


@given(channels(60))
def test_no_neighbour_is_nearer(channel):
    weight, high, bits, codes, start = channel
    weight[::7] = 0.0
    (scale,) = bounds.fit_scales(weight[None], [start], 0, high, bits, codes)
    possible = np.abs(weight[(weight < 0) | (codes[1] > 0)])
    if not possible.any():
        assert scale == start
        return
    coarsest, reach = possible.max(), max(-codes[0], codes[1])
    gain = relaxed(weight, scale, high, bits, codes)
    permitted = [s for s in (scale * STEP, scale / STEP) if coarsest / reach / 16 < s < coarsest]
    for other in [*permitted, np.clip(start, coarsest / reach / 16, coarsest)]:
        assert gain >= (1 - SLACK) * relaxed(weight, other, high, bits, codes)


@given(channels(4))
def test_the_relaxation_is_short_of_one_unit_at_most(channel):
    weight, high, bits, codes, scale = channel
    exact = best_of_all(weight, scale, high, bits, codes)
    bound = relaxed(weight, scale, high, bits, codes)
    worth = [0.0, *(gain for gain, _ in units(weight, scale, high, codes))]
    assert exact - 1e-9 <= bound <= exact + max(worth) + 1e-9


def test_a_budget_for_few_weights_leads_to_their_mean():
    weight = np.array([[5.0, 4.2, -4.6, 0.9, -0.5, 0.3, 0.2, 0.1]])
    for start in (0.5, 4.6, 5.0):
        (scale,) = bounds.fit_scales(weight, [start], 0, 1, 2, (-1, 1))
        assert scale == pytest.approx(4.6, rel=STEP - 1)


def test_a_budget_that_nothing_exceeds_leads_to_the_least_squared_error():
    weight = np.random.default_rng(0).standard_normal((1, 500))
    errors = {
        s: np.square(weight - s * (weight / s).round().clip(-3, 3)).sum()
        for s in np.linspace(0.2, 1.5, 200)
    }
    (scale,) = bounds.fit_scales(weight, [0.9], 0, 3, 40, (-3, 3))
    assert scale == pytest.approx(min(errors, key=errors.__getitem__), rel=STEP - 1)


class TestLayers:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((300, 90))
    start = rng.uniform(0.2, 1.0, 300)
    high = rng.integers(1, 9, 90)

    def fit(self, weight=weight, start=start, low=0, high=high, bits=6, **mask):
        return bounds.fit_scales(weight, start, low, high, bits, (-3, 3), **mask)

    def test_are_fitted_channel_by_channel_on_any_number_of_threads(self):
        one_by_one = [self.fit(self.weight[k : k + 1], self.start[k : k + 1]) for k in range(300)]
        bounds.set_num_threads(2)
        assert self.fit().tolist() == np.concatenate(one_by_one).tolist()
        bounds.set_num_threads(None)

    def test_may_have_any_layout(self):
        scattered = np.asfortranarray(self.weight), self.start.repeat(2)[::2]
        assert self.fit(*scattered).tolist() == self.fit().tolist()
        assert self.fit(self.weight.tolist()).tolist() == self.fit().tolist()

    def test_grow_with_their_weights(self):
        assert (
            self.fit(1024 * self.weight, 1024 * self.start).tolist() == (1024 * self.fit()).tolist()
        )

    def test_see_only_what_the_mask_keeps(self):
        mask = self.rng.random(self.weight.shape) < 0.5
        mask[5] = False
        masked = self.fit(mask=mask)
        assert masked.tolist() == self.fit(np.where(mask, self.weight, 0.0)).tolist()
        assert masked[5] == self.start[5]
        assert masked.tolist() != self.fit().tolist()

    def test_may_have_ranges_of_their_own(self):
        low, high = np.repeat(-(np.arange(300) % 5)[:, None], 90, axis=1), self.high
        own = self.fit(low=low, high=np.broadcast_to(high, low.shape))
        for rest in range(5):
            alike = self.fit(low=low[rest], high=high)
            assert own[rest::5].tolist() == alike[rest::5].tolist()

    def test_of_no_inputs_or_no_channels_stay(self):
        assert self.fit(np.zeros((2, 0)), [0.5, 2.0], high=3).tolist() == [0.5, 2.0]
        assert self.fit(np.zeros((0, 4)), [], high=3).tolist() == []


class TestRefuses:
    weight = np.ones((2, 3))

    def fit(self, weight=weight, start=(1.0, 1.0), low=0, high=3, bits=4, codes=(-3, 3), **mask):
        return bounds.fit_scales(weight, start, low, high, bits, codes, **mask)

    @pytest.mark.parametrize("bits", [0, 64, -3])
    def test_bits(self, bits):
        with pytest.raises(BitsError, match=f"1 to 63, got {bits}"):
            self.fit(bits=bits)

    @pytest.mark.parametrize("codes", [(0, 0), (1, 3), (-3, -1), (-(2**20) - 1, 3), (0, 2**21)])
    def test_codes_without_a_zero_or_without_another(self, codes):
        with pytest.raises(ArgumentError, match="codes is"):
            self.fit(codes=codes)

    @pytest.mark.parametrize("value", [np.nan, np.inf, -1e301])
    def test_weights_that_are_not_finite(self, value):
        weight = self.weight.copy()
        weight[1, 2] = value
        with pytest.raises(NotFiniteError, match=r"weight\[1, 2\] is") as caught:
            self.fit(weight)
        assert (caught.value.argument, caught.value.channel) == ("weight", 1)

    @pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
    def test_scales_that_are_none(self, value):
        with pytest.raises(NotFiniteError, match="scale of channel 1 is") as caught:
            self.fit(start=[1.0, value])
        assert (caught.value.argument, caught.value.channel) == ("start", 1)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"weight": np.ones(3)},
            {"start": [1.0]},
            {"high": [3, 3]},
            {"low": np.zeros((3, 3), int)},
            {"mask": np.ones((3, 2), bool)},
        ],
        ids=str,
    )
    def test_shapes(self, wrong):
        with pytest.raises(ShapeError):
            self.fit(**wrong)

    def test_ranges_and_masks_of_other_kinds(self):
        with pytest.raises(EmptyRangeError):
            self.fit(low=4)
        with pytest.raises(DtypeError):
            self.fit(high=3.5)
        with pytest.raises(DtypeError):
            self.fit(mask=np.ones((2, 3)))
