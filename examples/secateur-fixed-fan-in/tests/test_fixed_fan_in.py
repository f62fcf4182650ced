"""The conformance kit of Secateur, and what only this strategy can promise."""

import pytest
from secateur_fixed_fan_in import FixedFanIn, Relative

from secateur.pruning.apply import apply_strategy
from secateur.testing import parametrize_checks, problems


@parametrize_checks(FixedFanIn(fan_in=3, saliency=Relative()))
def test_conformance(check):
    check()


@parametrize_checks(FixedFanIn(fan_in=5, bits=4, saliency="relative"))
def test_conformance_with_a_width(check):
    check()


@pytest.mark.parametrize("world", problems())
def test_every_channel_keeps_the_same_number_where_it_has_as_many(world):
    problem = problems()[world]
    masks = apply_strategy(problem, FixedFanIn(fan_in=2))
    for layer in problem.layers:
        before, after = (m.reshape(len(m), -1).sum(axis=1) for m in (layer.mask, masks[layer.name]))
        assert (after == before.clip(max=2)).all()
