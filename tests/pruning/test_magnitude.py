"""Magnitude pruning: how many go, which, and compared with what."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from layers import layer, problem

from secateur.errors import OptionError
from secateur.pruning.apply import apply_strategy
from secateur.pruning.magnitude import keep_largest

SCORES = st.lists(st.integers(0, 9), min_size=1, max_size=20).map(lambda s: np.array(s, float))


@given(scores=SCORES, sparsity=st.floats(0, 1), data=st.data())
def test_as_many_are_removed_as_asked_and_none_is_worth_more_than_one_kept(scores, sparsity, data):
    size = len(scores)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=size, max_size=size)))
    kept = keep_largest(scores, mask, sparsity)
    assert not (kept & ~mask).any()
    assert (~kept).sum() == max(round(sparsity * size), (~mask).sum())
    removed = mask & ~kept
    if removed.any() and kept.any():
        assert scores[removed].max() <= scores[kept].min()


def test_equal_scores_go_from_the_end():
    assert keep_largest(np.ones(4), np.ones(4, bool), 0.5).tolist() == [True, True, False, False]


TWO = problem(layer([[1, 2, 3, 4]], name="small"), layer([[10, -20], [30, -40]], name="large"))


def test_the_fraction_holds_in_every_layer():
    masks = apply_strategy(TWO, "magnitude", sparsity=0.5)
    assert masks["small"].tolist() == [[False, False, True, True]]
    assert masks["large"].tolist() == [[False, False], [True, True]]


def test_or_over_all_layers_together():
    masks = apply_strategy(TWO, "magnitude", sparsity=0.5, scope="global")
    assert not masks["small"].any()
    assert masks["large"].all()


def test_weights_count_and_not_their_codes():
    rounded = layer([[1, 1, 1]], weight=[[0.6, 1.4, 1.0]])
    masks = apply_strategy(problem(rounded), "magnitude", sparsity=0.34)
    assert masks["fc"].tolist() == [[False, True, True]]


@pytest.mark.parametrize("sparsity", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize("strategy", ["magnitude", "random", "structured"])
def test_a_fraction_is_0_to_1(strategy, sparsity):
    with pytest.raises(OptionError, match="expected 0 to 1"):
        apply_strategy(TWO, strategy, sparsity=sparsity)
