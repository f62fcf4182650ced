"""Selections: every subset of small channels, a plain table for larger ones."""

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
    InfeasibleError,
    SaliencyError,
    SelectionLimitError,
    ShapeError,
)


def best_of_table(costs, saliency, budget):
    """The optimum of a 0/1 knapsack, one row of the textbook's table at a time."""
    best = np.zeros(budget + 1)
    for cost, worth in zip(costs, saliency, strict=True):
        if cost <= budget:
            moved = best[: budget + 1 - cost] + worth
            best[cost:] = np.maximum(best[cost:], moved)
    return best[-1]


def fits(codes, low, high, bits, budget, bias, mask):
    ranges = bounds.linear(codes, low, high, bias, mask)
    return (ranges.bits(budget) <= bits).all()


NARROW, WIDE, WHOLE = st.integers(0, 9), st.integers(20, 200), st.booleans()


@st.composite
def problems(draw, width=NARROW):
    shape = draw(st.integers(1, 3)), draw(width)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(-7, 8, shape).astype(draw(st.sampled_from([np.int8, np.int32])))
    if draw(WHOLE):
        saliency = rng.integers(0, 20, shape).astype(float)
    else:
        scale = 10.0 ** draw(st.integers(-300, 290))
        saliency = scale * rng.random(shape) * draw(st.sampled_from([1, abs(codes), codes**2]))
    kind = draw(st.sampled_from(["one", "positive", "symmetric", "around zero", "anywhere"]))
    if kind == "one":
        low, high = sorted(rng.integers(-5, 6, 2).tolist())
    elif kind == "positive":
        low, high = np.zeros(shape[1], int), rng.integers(0, 8, shape[1])
    elif kind == "symmetric":
        high = rng.integers(0, 8, shape[1])
        low = -high
    elif kind == "around zero":
        low, high = -rng.integers(0, 8, shape[1]), rng.integers(0, 8, shape[1])
    else:
        low, high = np.sort(rng.integers(-8, 9, (2, shape[1])), axis=0)
    mask = rng.random(shape) < 0.7 if draw(st.booleans()) else None
    return codes, saliency, low, high, draw(st.integers(1, 8)), mask


@given(problems(), st.sampled_from(["span", "signed"]), st.integers(-20, 20))
def test_exact_keeps_the_most_of_all_subsets(problem, budget, bias):
    codes, saliency, low, high, bits, given_mask = problem
    bias = np.full(len(codes), bias)
    options = {"budget": budget, "bias": bias, "mask": given_mask}
    arguments = codes, saliency, low, high, bits
    if budget == "signed" and not -(2 ** (bits - 1)) <= bias[0] < 2 ** (bits - 1):
        with pytest.raises(InfeasibleError) as caught:
            bounds.select(*arguments, **options)
        assert (caught.value.channel, caught.value.bits) == (0, bits)
        needed = bounds.Range(bias[0], bias[0]).bits("signed")
        assert caught.value.needed_bits == needed
        return
    exact = bounds.select(*arguments, **options)
    greedy = bounds.select(*arguments, "greedy", **options)
    gaps = [bounds.selection_gap(m, *arguments, **options) for m in (exact, greedy)]
    lows, highs = (np.broadcast_to(s, codes.shape[1]) for s in (low, high))
    for channel, row in enumerate(codes.astype(np.int64)):
        ends = np.array([row * lows, row * highs])
        up, down = ends.max(axis=0), ends.min(axis=0)
        allowed = np.ones(len(row), bool) if given_mask is None else given_mask[channel]
        subsets = np.array(list(itertools.product([False, True], repeat=len(row))), bool)
        subsets = subsets[~(subsets & ~allowed).any(axis=1)]
        tops, bottoms = bias[0] + subsets @ up, bias[0] + subsets @ down
        if budget == "span":
            fit = tops - bottoms < 2**bits
        else:
            fit = (tops < 2 ** (bits - 1)) & (bottoms >= -(2 ** (bits - 1)))
        worth = np.where(subsets, saliency[channel], 0.0).sum(axis=1)
        optimum = worth[fit].max()
        kept = saliency[channel][exact[channel]].sum()
        assert kept == pytest.approx(optimum, rel=1e-12, abs=0)
        assert saliency[channel][greedy[channel]].sum() <= optimum * (1 + 1e-12)
        assert (gaps[0] >= -1e-9 * saliency.sum(axis=1)).all()
        assert (gaps[1] >= gaps[0] - 1e-9 * saliency.sum(axis=1)).all()
        for mask in (exact[channel], greedy[channel]):
            assert not (mask & ~allowed).any()
            assert mask[allowed & (up == 0) & (down == 0)].all()
    for mask in (exact, greedy):
        assert fits(codes, low, high, bits, budget, bias, mask)


@given(problems(WIDE))
def test_exact_span_is_the_textbook_optimum(problem):
    codes, saliency, low, high, bits, mask = problem
    kept = bounds.select(codes, saliency, low, high, bits, mask=mask)
    assert fits(codes, low, high, bits, "span", None, kept)
    costs = np.abs(codes.astype(np.int64)) * (np.asarray(high) - low)
    allowed = np.ones(codes.shape, bool) if mask is None else mask
    for channel in range(len(codes)):
        here = allowed[channel]
        top = best_of_table(costs[channel][here], saliency[channel][here], 2**bits - 1)
        assert saliency[channel][kept[channel]].sum() == pytest.approx(top, rel=1e-12, abs=0)


@st.composite
def coarse_problems(draw):
    """Codes of few bits on few ranges, saliencies with many equals, a unit costing anything."""
    shape = draw(st.integers(1, 3)), draw(st.integers(10, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    codes = rng.integers(-3, 4, shape).astype(np.int8)
    saliency = rng.integers(0, draw(st.sampled_from([2, 5, 50, 10**6])), shape).astype(float)
    high = rng.integers(1, 1 + draw(st.integers(1, 3)), shape[1]) * draw(st.sampled_from([1, 5]))
    return codes, saliency, 0, high, draw(st.integers(1, 10))


def falling_efficiency(costs, saliency, budget):
    """The greedy selection, weight by weight: worthless ones last, the cheapest of them first."""
    kept = costs == 0
    efficiency = saliency / np.where(kept, 1, costs)
    for i in np.lexsort((np.where(saliency > 0, 0, costs), -efficiency)):
        if not kept[i] and costs[i] <= budget:
            kept[i], budget = True, budget - costs[i]
    return kept


@given(coarse_problems())
def test_few_costs(problem):
    codes, saliency, low, high, bits = problem
    exact, greedy = bounds.select(*problem), bounds.select(*problem, "greedy")
    costs = np.abs(codes) * (high - low)
    assert fits(codes, low, high, bits, "span", None, exact)
    for channel, (cost, worth) in enumerate(zip(costs, saliency, strict=True)):
        top = best_of_table(cost, worth, 2**bits - 1)
        assert worth[exact[channel]].sum() == top
        assert (greedy[channel] == falling_efficiency(cost, worth, 2**bits - 1)).all()
        for one in np.unique(cost):
            where = np.flatnonzero(cost == one)
            ranked = where[np.argsort(-worth[where], kind="stable")]
            assert (np.diff(exact[channel][ranked].astype(int)) <= 0).all()


@given(problems(), st.sampled_from(["exact", "greedy"]), st.sampled_from(["span", "signed"]))
def test_masks_are_maximal(problem, method, budget):
    codes, saliency, low, high, bits, _ = problem
    kept = bounds.select(codes, saliency, low, high, bits, method, budget=budget)
    for place in zip(*np.nonzero(~kept), strict=True):
        more = kept.copy()
        more[place] = True
        channel = place[0]
        ranges = bounds.linear(codes[channel : channel + 1], low, high, mask=more[channel][None])
        if budget == "signed" and not _around_zero(low, high):
            continue  # a weight can then move the range away from one end: see the docstring
        assert ranges.bits(budget)[0] > bits


def _around_zero(low, high):
    return np.all(np.asarray(low) <= 0) and np.all(np.asarray(high) >= 0)


def test_what_fits_whole_is_kept_whole_without_any_saliency():
    codes = np.array([[3, -2, 0, 1]], np.int8)
    assert bounds.select(codes, np.zeros((1, 4)), 0, 1, bits=3).all()


def test_weights_without_saliency_go_only_where_they_must():
    codes = np.array([[2, 1, 1, 3]], np.int8)
    kept = bounds.select(codes, np.array([[5.0, 0, 0, 0]]), 0, 1, bits=2)
    assert kept.tolist() == [[True, True, False, False]]


def test_of_equals_the_first_stay():
    codes = np.ones((1, 6), np.int8)
    for method in ("exact", "greedy"):
        kept = bounds.select(codes, np.ones((1, 6)), 0, 1, 2, method)
        assert kept.tolist() == [[True] * 3 + [False] * 3]


def test_bits_and_ranges_per_channel():
    codes = np.full((3, 4), 2, np.int8)
    saliency = np.ones((3, 4))
    kept = bounds.select(codes, saliency, 0, 1, bits=[1, 2, 3])
    assert kept.sum(axis=1).tolist() == [0, 1, 3]
    high = np.array([[1] * 4, [2] * 4, [3] * 4])
    assert bounds.select(codes, saliency, 0, high, bits=3).sum(axis=1).tolist() == [3, 1, 1]
    low = np.zeros((3, 4), int)
    assert bounds.select(codes, saliency, low, high, bits=3).sum(axis=1).tolist() == [3, 1, 1]
    assert bounds.select(codes, saliency, [0] * 4, high, 3).sum(axis=1).tolist() == [3, 1, 1]


@pytest.mark.parametrize("bits", [32, 52, 53, 62, 63])
def test_wide_budgets(bits):
    rng = np.random.default_rng(bits)
    codes = rng.integers(-(2**31), 2**31, (4, 12)).astype(np.int64)
    high = 2 ** max(bits - 33, 0)
    saliency = rng.random((4, 12))
    kept = bounds.select(codes, saliency, 0, high, bits)
    for channel in range(4):
        costs = [abs(int(w)) * high for w in codes[channel]]
        best = max(
            sum(s for s, k in zip(saliency[channel], keep, strict=True) if k)
            for keep in itertools.product([False, True], repeat=12)
            if sum(c for c, k in zip(costs, keep, strict=True) if k) < 2**bits
        )
        assert saliency[channel][kept[channel]].sum() == pytest.approx(best, rel=1e-12)


def test_hard_instances_end():
    rng = np.random.default_rng(5)
    codes = rng.integers(1, 128, (2, 400)).astype(np.int8)
    cost = codes.astype(float) * 15
    for saliency in (cost, cost * 0.1, cost + 10, cost + rng.integers(-3, 4, cost.shape) + 4):
        kept = bounds.select(codes, saliency, 0, 15, bits=15)
        for channel in range(2):
            top = best_of_table((cost[channel] / 15).astype(int), saliency[channel], 32767 // 15)
            assert saliency[channel][kept[channel]].sum() == pytest.approx(top, rel=1e-12)


def test_an_exact_selection_that_outgrows_memory_is_refused():
    rng = np.random.default_rng(8)
    codes = rng.integers(2**49, 2**50, (1, 90))
    problem = codes, codes.astype(float), 0, 1, 54  # subset sums of large numbers
    with pytest.raises(SelectionLimitError) as caught:
        bounds.select(*problem)
    assert caught.value.channel == 0
    assert caught.value.limit > 10**6
    assert fits(codes, 0, 1, 54, "span", None, bounds.select(*problem, "greedy"))


@pytest.mark.parametrize("threads", [1, 3])
def test_the_number_of_threads_changes_nothing(threads):
    rng = np.random.default_rng(6)
    codes = rng.integers(-8, 8, (300, 90), np.int8)
    saliency = rng.random(codes.shape)
    expected = bounds.select(codes, saliency, 0, 3, 6)
    try:
        bounds.set_num_threads(threads)
        assert (bounds.select(codes, saliency, 0, 3, 6) == expected).all()
    finally:
        bounds.set_num_threads(None)


def test_signed_budgets_with_inputs_of_both_signs_at_size():
    rng = np.random.default_rng(7)
    codes = rng.integers(-8, 8, (3, 300), np.int8)
    saliency = rng.random(codes.shape)
    problem = codes, saliency, -4, 3, 8
    kept = bounds.select(*problem, budget="signed", bias=[20, 0, -20])
    assert fits(codes, -4, 3, 8, "signed", [20, 0, -20], kept)
    gap = bounds.selection_gap(kept, *problem, budget="signed", bias=[20, 0, -20])
    assert (gap < saliency.max()).all()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"bits": 0}, BitsError),
        ({"bits": 64}, BitsError),
        ({"bits": [3, 64]}, BitsError),
        ({"bits": [3, 3, 3]}, ShapeError),
        ({"bits": [[3]]}, ShapeError),
        ({"bits": 2.5}, DtypeError),
        ({"saliency": np.full((2, 2), np.nan)}, SaliencyError),
        ({"saliency": np.full((2, 2), np.inf)}, SaliencyError),
        ({"saliency": np.full((2, 2), -1.0)}, SaliencyError),
        ({"saliency": np.ones((2, 3))}, ShapeError),
        ({"saliency": np.ones(2)}, ShapeError),
        ({"codes": np.ones((2, 2))}, DtypeError),
        ({"codes": np.ones(2, np.int8)}, ShapeError),
        ({"low": 2}, EmptyRangeError),
        ({"low": [0]}, ShapeError),
        ({"low": np.zeros((3, 2), int)}, ShapeError),
        ({"low": np.zeros((1, 2, 2), int)}, ShapeError),
        ({"mask": np.ones((2, 2))}, DtypeError),
        ({"mask": np.ones((1, 2), bool)}, ShapeError),
        ({"bias": [1]}, ShapeError),
        ({"method": "best"}, ArgumentError),
        ({"budget": []}, ArgumentError),
    ],
)
def test_what_is_no_problem_is_refused(changes, error):
    good = {"codes": np.ones((2, 2), np.int8), "saliency": np.ones((2, 2)), "low": 0, "high": 1}
    good["bits"] = 1
    bounds.select(**good)
    with pytest.raises(error):
        bounds.select(**{**good, **changes})


def test_bad_saliency_names_its_place():
    saliency = np.ones((3, 4))
    saliency[2, 1] = np.nan
    with pytest.raises(SaliencyError) as caught:
        bounds.select(np.ones((3, 4), np.int8), saliency, 0, 1, 3)
    assert caught.value.index == (2, 1)
    assert np.isnan(caught.value.value)
