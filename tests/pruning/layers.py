"""Layers and problems written down in one line, for the tests of strategies."""

import numpy as np
from hypothesis import strategies as st

from secateur.pruning.problem import PrunableLayer, PruningProblem


def layer(codes, low=0, high=3, *, name="fc", weight=None, bias=None, mask=None, **rest):
    """A layer of these codes; the codes are its weights too where no others are given."""
    codes = np.asarray(codes)
    return PrunableLayer(
        name=name,
        weight=codes.astype(np.float64) if weight is None else np.asarray(weight, np.float64),
        codes=codes,
        low=np.asarray(low),
        high=np.asarray(high),
        bias=np.zeros(len(codes), np.int64) if bias is None else np.asarray(bias),
        mask=np.ones(codes.shape, bool) if mask is None else np.asarray(mask, bool),
        **rest,
    )


def problem(*layers, **rest):
    return PruningProblem(layers, **rest)


@st.composite
def small_layers(draw, most_inputs=7):
    """One to three channels of a few codes, with whole-numbered weights and any ranges."""
    out, fan_in = draw(st.integers(1, 3)), draw(st.integers(1, most_inputs))

    def integers(low, high, *shape):
        size = int(np.prod(shape))
        drawn = draw(st.lists(st.integers(low, high), min_size=size, max_size=size))
        return np.array(drawn).reshape(shape)

    low = integers(-4, 3, 1, fan_in)
    return layer(
        integers(-7, 7, out, fan_in),
        low,
        low + integers(0, 5, 1, fan_in),
        weight=integers(-9, 9, out, fan_in),
        bias=integers(-20, 20, out),
        mask=integers(0, 5, out, fan_in) > 0,
    )
