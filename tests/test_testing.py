"""The conformance kit: ours pass it, and every fault that it looks for is found."""

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pytest

from secateur.errors import ConformanceError, SpecificationError
from secateur.pruning import NM, Accumulator, Connections, L1Ball, Magnitude, Structured
from secateur.pruning.plugins import STRATEGIES
from secateur.testing import check_strategy, checks, parametrize_checks, problems

ALL = [check for cls in STRATEGIES for check in checks(cls())]
MORE = [
    check
    for strategy in (
        Accumulator(bits=3),
        Accumulator(bits=4, budget="signed"),
        Accumulator(bits={}),
        Accumulator(bits=5, saliency="activation", scales="learned"),
        Connections(bits=5),
        L1Ball(bits=6),
        Magnitude(scope="global", saliency="fisher"),
        NM(n=1, m=3, saliency="gradient"),
        Structured(scope="global", norm=1.0, sparsity=0.8),
    )
    for check in checks(strategy)
]


@pytest.mark.parametrize("check", ALL, ids=str)
def test_built_in_strategies_conform_with_their_defaults(check):
    check()


@pytest.mark.parametrize("check", MORE, ids=lambda c: f"{c.name}-{c.strategy}")
def test_and_with_other_options(check):
    check()


@parametrize_checks(Magnitude(sparsity=0.9))
def test_the_checks_parametrize_a_test(check):
    check()


def keep_all(strategy, problem):
    return {layer.name: layer.mask for layer in problem.layers}


@dataclass(frozen=True)
class Faulty:
    """Fails."""

    name: ClassVar[str] = "faulty"
    share: float = field(default=0.5, metadata={"doc": "of something"})

    masks = keep_all


def faulty(masks=keep_all, **methods):
    return dataclass(frozen=True)(
        type("Worse", (Faulty,), {"__doc__": "Fails.", "masks": masks, **methods})
    )()


def unseeded(strategy, problem):
    random = np.random.default_rng()
    return {x.name: x.mask & (random.random(x.shape) < 0.5) for x in problem.layers}


def four_bits(strategy, problem):
    return {layer.name: 4 for layer in problem.layers}


def negative(strategy, problem):
    return {x.name: -x.scale for x in problem.layers if x.scale is not None}


def resurrecting(strategy, problem):
    return {x.name: np.ones(x.shape, bool) for x in problem.layers}


def scribbling(strategy, problem):
    problem.activations[problem.layers[0].name][...] = 0
    return keep_all(strategy, problem)


def assuming_two_axes(strategy, problem):
    return {x.name: x.mask & (x.weight @ np.ones(x.shape[1]) > 0)[:, None] for x in problem.layers}


def failing_on_its_options(strategy, problem):
    return {x.name: x.mask.reshape(x.shape)[: int(strategy.share * 2)] for x in problem.layers}


@dataclass(frozen=True)
class Undocumented(Faulty):
    """Says nothing about its option."""

    share: float = 0.5


@pytest.mark.parametrize(
    ("strategy", "check", "message"),
    [
        (faulty(resurrecting), "masks_fit", "'half removed'.*kept again"),
        (faulty(assuming_two_axes), "masks_fit", "'convolutions'.*raised"),
        (faulty(widths=four_bits), "masks_fit", "promised 4 span bits"),
        (faulty(unseeded), "same_masks", "draw from problem.random"),
        (faulty(scribbling), "masks_fit", "copy what a strategy is given"),
        (faulty(toward=lambda s, f, p: Magnitude(0.5)), "part_of_the_way", "has other masks"),
        (faulty(toward=lambda s, f, p: f), "part_of_the_way", "0.0 is no strategy"),
        (
            faulty(fitted_scales=lambda s, p: {p.layers[0].name: 1.0}),
            "fitted",
            "none can be chosen",
        ),
        (faulty(fitted_scales=negative), "fitted", "above 0"),
        (Undocumented(), "options_are_documented", "'share' has no metadata"),
        (faulty(failing_on_its_options), "options_are_checked", "accepts -1000000000, but then"),
    ],
)
def test_each_fault_is_found_by_its_check(strategy, check, message):
    (fitting,) = [c for c in checks(strategy) if c.name.startswith(check)]
    with pytest.raises(ConformanceError, match=message) as caught:
        fitting()
    assert (caught.value.strategy, caught.value.check) == ("faulty", fitting.name)
    with pytest.raises(ConformanceError):
        check_strategy(strategy)


def test_what_can_do_no_more_than_masks_conforms():
    check_strategy(Faulty())


def test_a_class_is_not_what_is_checked():
    with pytest.raises(SpecificationError, match="Faulty"):
        check_strategy(Faulty)


def test_problems_are_the_same_at_every_call():
    one, two = problems(), problems()
    assert one.keys() == two.keys()
    for name in one:
        for a, b in zip(one[name].layers, two[name].layers, strict=True):
            assert (a.weight == b.weight).all()
            assert (a.mask == b.mask).all()
