"""The best mask within a width, held against every mask there is."""

import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st
from layers import layer, problem, small_layers

from networks import EXAMPLES, example
from secateur.errors import InfeasibleError, OptionError, UnknownLayerError, UnknownSaliencyError
from secateur.pruning import Accumulator
from secateur.pruning.apply import apply_strategy
from secateur.pruning.plugins import strategies
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
