"""The best mask within a width, held against every mask there is."""

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, strategies as st
from layers import layer, problem, small_layers

from networks import EXAMPLES, example
from secateur.errors import (
    AccumulatorOverflowError,
    BrokenPromiseError,
    InfeasibleError,
    OptionError,
    UnknownLayerError,
    UnknownSaliencyError,
)
from secateur.pruning import Accumulator
from secateur.pruning.apply import apply_strategy
from secateur.pruning.plugins import strategies
from secateur.pruning.problem import Span
from secateur.pruning.prune import problem_of


def extremes(codes, low, high, bias):
    """Low and high of one accumulator, spelled out in Python's integers."""
    terms = [(int(w) * int(a), int(w) * int(b)) for w, a, b in zip(codes, low, high, strict=True)]
    return bias + sum(map(min, terms)), bias + sum(map(max, terms))


def fits(low, high, bits, budget):
    if budget == "span":
        return high - low <= 2**bits - 1
    return -(2 ** (bits - 1)) <= low and high <= 2 ** (bits - 1) - 1


def most_saliency(drawn, channel, bits, budget):
    """The greatest kept saliency over all masks of one channel that fit."""
    low, high = drawn.low.ravel(), drawn.high.ravel()
    best = 0
    for kept in itertools.product([0, 1], repeat=drawn.shape[1]):
        kept = np.array(kept) & drawn.mask[channel]
        ends = extremes(drawn.codes[channel] * kept, low, high, int(drawn.bias[channel]))
        if fits(*ends, bits, budget):
            best = max(best, int((np.abs(drawn.weight[channel]) * kept).sum()))
    return best


@pytest.mark.parametrize("budget", ["span", "signed"])
@given(drawn=small_layers(), bits=st.integers(1, 8))
def test_no_mask_within_the_width_keeps_more(budget, drawn, bits):
    too_wide = [c for c, b in enumerate(drawn.bias.tolist()) if not fits(b, b, bits, budget)]
    if too_wide:
        with pytest.raises(InfeasibleError, match="layer 'fc': channel") as caught:
            apply_strategy(problem(drawn), "accumulator", bits=bits, budget=budget)
        assert (caught.value.layer, caught.value.channel) == ("fc", too_wide[0])
        return
    kept = apply_strategy(problem(drawn), "accumulator", bits=bits, budget=budget)["fc"]
    best = [most_saliency(drawn, c, bits, budget) for c in range(len(drawn.codes))]
    assert (np.abs(drawn.weight) * kept).sum(axis=1).tolist() == best


RIVALS = {
    **{f"{name} {s}": (name, {"sparsity": s}) for name in ("magnitude", "random", "structured")
       for s in (0.3, 0.6, 0.9)},
    "nm": ("nm", {"n": 1, "m": 4}),
    "connections": ("connections", {}),
    "l1-ball": ("l1-ball", {}),
}  # fmt: skip


@pytest.mark.parametrize("network", EXAMPLES)
@pytest.mark.parametrize("bits", [3, 4, 5])
def test_no_other_strategy_keeps_more_in_any_channel_that_fits(network, bits):
    given_one = problem_of(example(network))
    widths = {layer.name: bits for layer in given_one.layers}
    ours = apply_strategy(given_one, Accumulator(widths))
    for name, options in RIVALS.values():
        if "bits" in strategies()[name].__dataclass_fields__:
            options = {"bits": widths}
        theirs = apply_strategy(given_one, name, **options)
        for seen in given_one.layers:
            spent = (seen.costs * theirs[seen.name]).reshape(len(seen.codes), -1).sum(axis=1)
            within = spent <= 2**bits - 1
            worth = np.abs(seen.weight)
            kept, rival = (
                (worth * mask[seen.name]).reshape(len(worth), -1).sum(axis=1)
                for mask in (ours, theirs)
            )
            assert (kept >= rival)[within].all(), name


def test_every_layer_may_have_a_width_of_its_own():
    two = problem(
        layer([[3, 2, 1]], name="a"), layer([[3, 2, 1]], name="b"), layer([[3]], name="c")
    )
    masks = apply_strategy(two, "accumulator", bits={"a": 2, "b": 4})
    assert masks["a"].tolist() == [[False, False, True]]
    assert two["b"].ranges(masks["b"]).bits().tolist() == [4]
    assert masks["c"].all()


def test_a_width_for_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UnknownLayerError, match="'b'; there are fc"):
        apply_strategy(problem(layer([[1]])), "accumulator", bits={"b": 3})


@pytest.mark.parametrize("bits", [0, 64, {"fc": -1}])
def test_widths_are_1_to_63(bits):
    with pytest.raises(OptionError, match="expected 1 to 63"):
        apply_strategy(problem(layer([[1]])), "accumulator", bits=bits)


def test_another_saliency_keeps_other_weights():
    x = np.array([[0.0, 0.0, 9.0]])
    fed = problem(layer([[3, 2, 1]]), activate=lambda: {"fc": x})
    masks = apply_strategy(fed, "accumulator", bits=2, saliency="activation")
    assert masks["fc"].tolist() == [[False, False, True]]
    with pytest.raises(UnknownSaliencyError, match=r"'activatio'; did you mean activation\?"):
        apply_strategy(fed, "accumulator", saliency="activatio")


def test_groups_are_selected_on_their_own_ranges():
    grouped = layer(
        [[[1, 1]], [[1, 1]]], low=[[[0, 0]], [[0, 0]]], high=[[[1, 9]], [[9, 1]]], groups=2
    )
    masks = apply_strategy(problem(grouped), "accumulator", bits=1)
    assert masks["fc"].tolist() == [[[True, False]], [[False, True]]]


class TestRoomForBlocks:
    """`dropped_about`: half a block of 2^r stays free at both ends of the width."""

    @given(drawn=small_layers(), bits=st.integers(2, 8), data=st.data())
    def test_no_mask_that_leaves_it_keeps_more(self, drawn, bits, data):
        dropped = data.draw(st.integers(0, bits - 1))
        most = 2**bits - 1 - (2**dropped if dropped else 0)
        given = Accumulator(bits=bits, dropped_about={"fc": dropped})
        kept = apply_strategy(problem(drawn), given)["fc"]
        low, high = drawn.low.ravel(), drawn.high.ravel()
        for c, codes in enumerate(drawn.codes):
            best = 0
            for some in itertools.product([0, 1], repeat=drawn.shape[1]):
                some = np.array(some) & drawn.mask[c]
                ends = extremes(codes * some, low, high, 0)
                if ends[1] - ends[0] <= most:
                    best = max(best, int((np.abs(drawn.weight[c]) * some).sum()))
            assert np.abs(drawn.weight[c])[kept[c]].sum() == best

    @pytest.mark.parametrize(("bits", "dropped"), [(2, 1), (6, 3), (6, 5), (16, 15), (16, 1)])
    def test_is_all_that_is_kept_free(self, bits, dropped):
        # 2^r more than what the codes span is just enough, one less is not.
        most = 2**bits - 1 - 2**dropped
        given = Accumulator(bits=bits, dropped_about={"fc": dropped})
        assert apply_strategy(problem(layer([[1]], 0, most)), given)["fc"].all()
        assert not apply_strategy(problem(layer([[1]], 0, most + 1)), given)["fc"].any()

    def test_refuses_inputs_that_64_bits_do_not_hold_so(self):
        far = problem(layer([[1]], 2**60, 2**60 + 3))
        assert apply_strategy(far, Accumulator(bits=6))["fc"].all()
        with pytest.raises(AccumulatorOverflowError, match="layer 'fc'") as caught:
            apply_strategy(far, Accumulator(bits=6, dropped_about={"fc": 3}))
        assert caught.value.layer == "fc"

    def test_holds_for_the_layers_that_are_named(self):
        both = problem(layer([[1, 1]], name="a"), layer([[1, 1]], name="b"))
        masks = apply_strategy(both, Accumulator(bits=3, dropped_about={"a": 1}))
        assert masks["a"].sum() == 1  # two span 6 of 7, and 5 are left
        assert masks["b"].sum() == 2

    def test_is_proved(self):
        @dataclass(frozen=True)
        class Lax(Accumulator):
            """Keeps whatever is kept."""

            def masks(self, problem):
                return {x.name: x.mask for x in problem.layers}

        with pytest.raises(
            BrokenPromiseError, match=r"span of at most 5, .* and spans 6;"
        ) as caught:
            apply_strategy(problem(layer([[1, 1], [0, 1]])), Lax(bits=3, dropped_about={"fc": 1}))
        assert (caught.value.channel, caught.value.promised) == (0, Span(5))

    def test_comes_with_the_last_step_of_a_schedule(self):
        given, wide = Accumulator(bits=3, dropped_about={"fc": 1}), problem(layer([[3, 3, 3]]))
        assert given.toward(1.0, wide) == given
        assert given.toward(0.5, wide).dropped_about == {}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bits": 6, "dropped_about": {"fc": 6}}, "6 of layer 'fc', expected 0 to 5"),
            ({"bits": 6, "dropped_about": {"fc": -1}}, "-1 of layer 'fc', expected 0 to 5"),
            ({"bits": {"a": 6}, "dropped_about": {"fc": 1}}, "layer 'fc' has no bits to drop"),
            ({"bits": 17, "dropped_about": {"fc": 1}}, "no lookup takes the 17 bits"),
            ({"bits": 6, "dropped_about": {"fc": 1}, "budget": "signed"}, "budget 'span'"),
            ({"bits": 6, "dropped_about": {"fc": 1.5}}, "expected Mapping"),
            ({"bits": 6, "dropped_about": 1}, "expected Mapping"),
        ],
    )
    def test_that_cannot_be(self, options, message):
        with pytest.raises(OptionError, match=message):
            Accumulator(**options)

    def test_of_a_layer_that_is_none(self):
        with pytest.raises(UnknownLayerError, match="no layer is named 'nothing'"):
            apply_strategy(problem(layer([[1]])), Accumulator(bits=6, dropped_about={"nothing": 1}))


@pytest.mark.parametrize("most", [1, 2, 3, 5, 7, 55, 255, 1000, 2**16 - 3, 2**16 - 1, 2**31 - 1])
def test_a_span_is_a_whole_width_of_costs_times_its_factor(most):
    factor, bits = Span(most).budget
    assert bits <= 62
    for cost in (0, 1, most - 1, most, most + 1, most + 2, 2 * most, 2**32):
        assert (cost <= most) == (factor * cost <= 2**bits - 1)
