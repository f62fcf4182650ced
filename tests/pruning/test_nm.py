"""N of M: every block of neighbours holds its largest few."""

import numpy as np
import pytest
from hypothesis import given, strategies as st
from layers import layer, problem

from secateur.errors import OptionError
from secateur.pruning.apply import apply_strategy
from secateur.pruning.nm import keep_n_of_m


@given(fan_in=st.integers(1, 11), m=st.integers(1, 5), data=st.data())
def test_each_block_keeps_its_best_n(fan_in, m, data):
    n = data.draw(st.integers(0, m))
    scores = np.array(data.draw(st.lists(st.integers(0, 9), min_size=fan_in, max_size=fan_in)))
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=fan_in, max_size=fan_in)))
    kept = keep_n_of_m(scores[None].astype(float), mask[None], n, m)[0]
    assert not (kept & ~mask).any()
    for start in range(0, fan_in, m):
        block = slice(start, start + m)
        assert kept[block].sum() == min(n, mask[block].sum())
        out = mask[block] & ~kept[block]
        if out.any() and kept[block].any():
            assert scores[block][out].max() <= scores[block][kept[block]].min()


def test_neighbours_of_a_convolution_are_input_channels():
    codes = np.arange(1, 9).reshape(1, 4, 2)
    kept = apply_strategy(problem(layer(codes)), "nm", n=1, m=2)["fc"]
    assert kept.tolist() == [[[False, False], [True, True]] * 2]


@pytest.mark.parametrize("pattern", [{"n": 3, "m": 2}, {"n": -1}, {"n": 0, "m": 0}])
def test_a_pattern_keeps_n_of_at_least_as_many(pattern):
    with pytest.raises(OptionError, match="expected 0 <= n <= m"):
        apply_strategy(problem(layer([[1, 2]])), "nm", **pattern)
