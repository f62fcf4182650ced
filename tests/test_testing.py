"""The conformance kit: ours pass it, and every fault that it looks for is found."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from secateur.errors import ConformanceError
from secateur.pruning.magnitude import MAGNITUDE
from secateur.pruning.plugins import STRATEGIES
from secateur.pruning.strategy import Promise, StrategySpec
from secateur.testing import check_strategy, checks, parametrize_checks, problems

ALL = [check for spec in STRATEGIES for check in checks(spec)]
MORE = [
    check
    for name, options in [
        ("accumulator", {"bits": 3}),
        ("accumulator", {"bits": 4, "budget": "signed"}),
        ("accumulator", {"bits": {}}),
        ("accumulator", {"bits": 5, "saliency": "activation"}),
        ("connections", {"bits": 5}),
        ("l1-ball", {"bits": 6}),
        ("magnitude", {"scope": "global", "saliency": "fisher"}),
        ("nm", {"n": 1, "m": 3, "saliency": "gradient"}),
        ("structured", {"scope": "global", "norm": 1.0, "sparsity": 0.8}),
    ]
    for check in checks(next(s for s in STRATEGIES if s.name == name), **options)
]


@pytest.mark.parametrize("check", ALL, ids=str)
def test_built_in_strategies_conform_with_their_defaults(check):
    check()


@pytest.mark.parametrize("check", MORE, ids=lambda c: f"{c}-{dict(c.options)}")
def test_and_with_other_options(check):
    check()


@parametrize_checks(MAGNITUDE, sparsity=0.9)
def test_the_checks_parametrize_a_test(check):
    check()


@dataclass(frozen=True)
class Options:
    share: float = field(default=0.5, metadata={"doc": "of something"})


def keep_all(problem, options):
    return {layer.name: layer.mask for layer in problem.layers}


def faulty(apply=keep_all, options=Options, **promises):
    return StrategySpec("faulty", "fails", options, apply, Promise(**promises))


def unseeded(problem, options):
    random = np.random.default_rng()
    return {x.name: x.mask & (random.random(x.shape) < 0.5) for x in problem.layers}


def halving(problem, options):
    """Removes the first half of what is left, at every application."""
    masks = {}
    for x in problem.layers:
        left = np.flatnonzero(x.mask)
        mask = x.mask.copy()
        mask.flat[left[: len(left) // 2]] = False
        masks[x.name] = mask
    return masks


def by_memory(problem, options):
    return {
        x.name: x.mask if x.weight.flags.c_contiguous else np.zeros(x.shape, bool)
        for x in problem.layers
    }


def resurrecting(problem, options):
    return {x.name: np.ones(x.shape, bool) for x in problem.layers}


def scribbling(problem, options):
    problem.activations[problem.layers[0].name][...] = 0
    return keep_all(problem, options)


def assuming_two_axes(problem, options):
    return {x.name: x.mask & (x.weight @ np.ones(x.shape[1]) > 0)[:, None] for x in problem.layers}


def failing_on_its_options(problem, options):
    return {x.name: x.mask.reshape(x.shape)[: int(options.share * 2)] for x in problem.layers}


@dataclass(frozen=True)
class Undocumented:
    share: float = 0.5


@pytest.mark.parametrize(
    ("spec", "check", "message"),
    [
        (faulty(resurrecting), "masks_fit", "'half removed'.*kept again"),
        (faulty(assuming_two_axes), "masks_fit", "'convolutions'.*raised"),
        (faulty(accumulator_bits=lambda options: 4), "masks_fit", "promised 4 span bits"),
        (faulty(unseeded), "same_masks", "draw from problem.random"),
        (faulty(halving, idempotent=True), "own_masks", "removes more"),
        (faulty(by_memory), "memory_layout", "not contiguous"),
        (faulty(scribbling), "nothing_given", "has changed"),
        (faulty(options=Undocumented), "options_are_documented", "'share' has no metadata"),
        (faulty(failing_on_its_options), "options_are_checked", "accepts -1000000000, but then"),
    ],
)
def test_each_fault_is_found_by_its_check(spec, check, message):
    (fitting,) = [c for c in checks(spec) if c.name.startswith(check)]
    with pytest.raises(ConformanceError, match=message) as caught:
        fitting()
    assert (caught.value.strategy, caught.value.check) == ("faulty", fitting.name)
    with pytest.raises(ConformanceError):
        check_strategy(spec)


def test_what_is_not_promised_is_not_asked_for():
    check_strategy(replace(faulty(halving), options=Options))


def test_problems_are_the_same_at_every_call():
    one, two = problems(), problems()
    assert one.keys() == two.keys()
    for name in one:
        for a, b in zip(one[name].layers, two[name].layers, strict=True):
            assert (a.weight == b.weight).all()
            assert (a.mask == b.mask).all()
