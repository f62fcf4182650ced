"""The conformance kit: the checks that every strategy has to pass, ours and everyone's.

    from secateur.testing import parametrize_checks

    @parametrize_checks(KeepLargest(keep=3))
    def test_conformance(check):
        check()

or all at once, without pytest: `check_strategy(KeepLargest(keep=3))`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import ConformanceError, InfeasibleError, OptionError, SecateurError
from secateur.pruning.apply import AppliedMasks, apply_steps, apply_strategy, steps_of
from secateur.pruning.options import describe
from secateur.pruning.problem import Coupling, Floats, Geometry, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Strategy, method_of
from secateur.ranges import Ranges


@dataclass(frozen=True)
class Check:
    """One check of one strategy; calling it raises `ConformanceError` where it fails.

    Args:
        name: what is checked.
        strategy: of what.
        run: the check itself.

    Example:
        >>> from secateur.pruning import Accumulator
        >>> check = checks(Accumulator(bits=6))[0]
        >>> check()  # nothing is wrong
        >>> print(check)
        accumulator-masks_fit_and_keep_the_promise
    """

    name: str
    strategy: Strategy
    run: Callable[[Check], None]

    def __call__(self) -> None:
        self.run(self)

    def __str__(self) -> str:
        return f"{self.strategy.name}-{self.name}"

    def apply(
        self, world: str, problem: PruningProblem, strategy: Strategy | None = None
    ) -> AppliedMasks:
        """Return the masks of the strategy, or of another, checked and proved by the host."""
        try:
            return apply_strategy(problem, self.strategy if strategy is None else strategy)
        except SecateurError as error:
            raise self.failure(f"{type(error).__name__}: {error}", world) from error

    def failure(self, message: str, world: str | None = None) -> ConformanceError:
        """Return the error to raise: what failed, in which problem of the kit."""
        where = f" on the problem {world!r}" if world else ""
        return ConformanceError(
            f"strategy {self.strategy.name!r} fails {self.name!r}{where}: {message}",
            strategy=self.strategy.name,
            check=self.name,
            problem=world,
        )


def check_strategy(strategy: Strategy, /) -> None:
    """Raise unless `strategy` passes every check.

    Raises:
        SpecificationError: it is no strategy.
        ConformanceError: the first check that fails.

    Example:
        >>> from secateur.pruning import Accumulator
        >>> check_strategy(Accumulator(bits=6))
    """
    for check in checks(strategy):
        check()


def checks(strategy: Strategy, /) -> tuple[Check, ...]:
    """Return the checks of `strategy`, in the order in which they explain most.

    Raises:
        SpecificationError: it is no strategy; says what it lacks.

    Example:
        >>> from secateur.pruning import Accumulator
        >>> for check in checks(Accumulator(bits=6)):
        ...     print(check.name)
        masks_fit_and_keep_the_promise
        same_masks_under_the_same_seed
        nothing_given_is_changed
        part_of_the_way_leads_to_the_whole
        fitted_scales_are_scales
        options_are_documented
        options_are_checked
    """
    (step,) = steps_of([strategy], {})
    return tuple(Check(run.__name__.strip("_"), step.strategy, run) for run in _CHECKS)


def parametrize_checks(strategy: Strategy, /) -> Any:
    """Return a pytest mark that runs a test function once for every check, as `check`.

    Args:
        strategy: what is checked.

    Raises:
        SpecificationError: it is no strategy; says what it lacks.

    Example:
        >>> from secateur.pruning import Accumulator
        >>> @parametrize_checks(Accumulator(bits=6))
        ... def test_strategy(check):
        ...     check()
    """
    import pytest

    return pytest.mark.parametrize("check", checks(strategy), ids=str)


# The problems of the kit: small, and each awkward in its own way.


def problems() -> Mapping[str, PruningProblem]:
    """Return name → problem for all that the checks run on; the same at every call.

    Example:
        >>> sorted(problems())[:3]
        ['a sum pool', 'all removed', 'chosen scales']
    """
    return {name: build(np.random.default_rng(7)) for name, build in _PROBLEMS.items()}


def _layer(
    random: np.random.Generator,
    name: str,
    *shape: int,
    low: int = 0,
    high: int = 3,
    magnitude: int = 3,
    **rest: Any,
) -> PrunableLayer:
    weight = random.normal(size=shape)
    scale = np.abs(weight).max() / magnitude
    codes = np.rint(weight / scale).astype(np.int8)
    return PrunableLayer(
        name=name,
        weight=weight,
        codes=codes,
        low=np.array(low),
        high=np.array(high),
        # −1 and 0 are the biases that leave a signed accumulator of one bit its room.
        bias=-random.integers(0, 2, shape[0]),
        mask=rest.pop("mask", np.ones(shape, bool)),
        **rest,
    )


def _problem(
    random: np.random.Generator, *layers: PrunableLayer, couplings: tuple[Coupling, ...] = ()
) -> PruningProblem:
    """A problem with activations and gradients, made up once so that they do not change."""
    activations = {
        x.name: random.integers(0, 4, (5, x.shape[1] * x.groups, *(4,) * len(x.kernel))).astype(
            np.float64
        )
        for x in layers
    }
    gradients = {x.name: random.normal(size=(5, *x.shape)) for x in layers}
    return PruningProblem(layers, couplings, 3, lambda: activations, lambda: gradients)


def _perceptron(random: np.random.Generator) -> PruningProblem:
    pairs = np.stack([np.arange(6), np.arange(6)], axis=1)
    return _problem(
        random,
        _layer(random, "hidden", 6, 8),
        _layer(random, "head", 3, 6),
        couplings=(Coupling("hidden", "head", pairs, np.ones(6, bool)),),
    )


def _convolutions(random: np.random.Generator) -> PruningProblem:
    geometry = Geometry((2, 4, 4), np.array(0), np.array(3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    pairs = np.stack([np.arange(4), np.arange(4)], axis=1)
    return _problem(
        random,
        _layer(random, "padded", 4, 2, 3, 3, geometry=geometry),
        _layer(random, "depthwise", 4, 1, 3, 3, groups=4),
        couplings=(Coupling("padded", "depthwise", pairs, np.ones(4, bool)),),
    )


def _half_removed(random: np.random.Generator) -> PruningProblem:
    return _problem(random, _layer(random, "half", 5, 7, mask=random.random((5, 7)) < 0.5))


_PROBLEMS: Mapping[str, Callable[[np.random.Generator], PruningProblem]] = {
    "perceptron": _perceptron,
    "convolutions": _convolutions,
    "half removed": _half_removed,
    "all removed": lambda r: _problem(r, _layer(r, "gone", 3, 4, mask=np.zeros((3, 4), bool))),
    "signed inputs": lambda r: _problem(r, _layer(r, "signed", 4, 9, low=-4, high=3)),
    "inputs away from zero": lambda r: _problem(r, _layer(r, "away", 4, 9, low=2, high=5)),
    "wide codes": lambda r: _problem(r, _layer(r, "wide", 3, 40, high=255, magnitude=127)),
    "constant inputs": lambda r: _problem(r, _layer(r, "constant", 3, 4, low=1, high=1)),
    "chosen scales": lambda r: _problem(
        r, _layer(r, "settable", 4, 9, scale=np.full(4, 0.4), code_range=(-3, 3))
    ),
    "a sum pool": lambda r: replace(
        _problem(r, _layer(r, "pooled", 3, 4)), fixed={"pool": Ranges([0], [1])}
    ),
    "one weight": lambda r: _problem(r, _layer(r, "one", 1, 1)),
    "one channel wide": lambda r: _problem(r, _layer(r, "narrow", 1, 6), _layer(r, "next", 2, 1)),
}


# The checks. Shape, dtype, names, the mask before and the widths are the host's own, and run
# with every application.


def _masks_fit_and_keep_the_promise(check: Check) -> None:
    for world, problem in problems().items():
        check.apply(world, problem)


def _same_masks_under_the_same_seed(check: Check) -> None:
    for world, first in problems().items():
        again = problems()[world]
        if not _same(check.apply(world, first), check.apply(world, again)):
            raise check.failure("the masks differ; draw from problem.random alone", world)


def _nothing_given_is_changed(check: Check) -> None:
    for world, problem in problems().items():
        before = [array.copy() for array in _arrays(problem)]
        check.apply(world, problem)
        if any(not np.array_equal(a, b) for a, b in zip(before, _arrays(problem), strict=True)):
            raise check.failure("an array that it was given has changed", world)


def _part_of_the_way_leads_to_the_whole(check: Check) -> None:
    """Where it can go gradually: every part conforms, and the last part is the strategy."""
    if method_of(check.strategy, "toward") is None:
        return
    for world, problem in problems().items():
        (step,) = steps_of(check.strategy, {})
        for fraction in (0.0, 0.3, 1.0):
            part = step.call("toward", fraction, problem)
            masks = check.apply(world, problem, part)
            if fraction == 1.0 and not _same(masks, check.apply(world, problem)):
                raise check.failure("toward(1.0) has other masks than the strategy itself", world)


def _fitted_scales_are_scales(check: Check) -> None:
    """Where it fits scales: one for each channel of layers that have some, finite, above 0."""
    if method_of(check.strategy, "fitted_scales") is None:
        return
    for world, problem in problems().items():
        try:
            apply_steps(problem, steps_of(check.strategy, {}), rescale=_rescaled)
        except SecateurError as error:
            raise check.failure(f"{type(error).__name__}: {error}", world) from error


def _options_are_documented(check: Check) -> None:
    for option in describe(type(check.strategy)):
        if not option.doc:
            raise check.failure(f'option {option.name!r} has no metadata={{"doc": ...}}')


_ABSURD: tuple[Any, ...] = (-(10**9), 10**9, np.nan, np.inf, "", "no such thing", None, {})


def _options_are_checked(check: Check) -> None:
    """Absurd options are refused, or give masks that fit; they never make the strategy raise."""
    problem = problems()["perceptron"]
    for option in describe(type(check.strategy)):
        for absurd in _ABSURD:
            try:
                changed = dataclasses.replace(check.strategy, **{option.name: absurd})  # type: ignore[type-var]
            except (TypeError, ValueError):
                continue
            try:
                apply_strategy(problem, changed)
            except (OptionError, LookupError, InfeasibleError):
                continue
            except SecateurError as error:
                raise check.failure(
                    f"option {option.name!r} accepts {absurd!r}, but then {error}", "perceptron"
                ) from error


_CHECKS: tuple[Callable[[Check], None], ...] = (
    _masks_fit_and_keep_the_promise,
    _same_masks_under_the_same_seed,
    _nothing_given_is_changed,
    _part_of_the_way_leads_to_the_whole,
    _fitted_scales_are_scales,
    _options_are_documented,
    _options_are_checked,
)


def _same(one: AppliedMasks, other: AppliedMasks) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[n], other[n]) for n in one)


def _rescaled(problem: PruningProblem, scales: Mapping[str, Floats]) -> PruningProblem:
    """Round the weights of a problem at other scales."""
    layers = []
    for x in problem.layers:
        if x.name in scales and x.code_range is not None:
            column = scales[x.name].reshape(-1, *(1,) * (x.weight.ndim - 1))
            codes = np.rint(x.weight / column).clip(*x.code_range).astype(np.int8)
            x = replace(x, codes=codes, scale=scales[x.name])
        layers.append(x)
    return replace(problem, layers=tuple(layers))


def _arrays(problem: PruningProblem) -> Iterator[NDArray[Any]]:
    for layer in problem.layers:
        yield from (layer.weight, layer.codes, layer.low, layer.high, layer.bias, layer.mask)
    yield from problem.activations.values()
    yield from problem.gradients.values()
