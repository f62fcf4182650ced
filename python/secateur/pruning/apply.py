"""Applying a strategy: resolve, run, check what came back, prove what was promised."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from secateur.errors import (
    BrokenPromiseError,
    MaskError,
    OptionError,
    SecateurError,
    SpecificationError,
    StrategyFailedError,
)
from secateur.pruning import plugins
from secateur.pruning.options import options_of
from secateur.pruning.problem import Mask, Masks, PruningProblem
from secateur.pruning.strategy import Budget, StrategySpec

#: A strategy by name or by value, or a chain of them, each alone or with its options.
Strategy = (
    str | StrategySpec | Sequence[str | StrategySpec | tuple[str | StrategySpec, Mapping[str, Any]]]
)


@dataclass(frozen=True)
class Step:
    """One strategy with its options, and where it comes from.

    `distribution` and `version` are None for a spec that no installed distribution offers.
    """

    spec: StrategySpec
    options: Any
    distribution: str | None
    version: str | None

    def __str__(self) -> str:
        origin = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f"{self.spec.name!r}{origin}"


class AppliedMasks(Mapping[str, Mask]):
    """Layer name → mask, with the steps that made it and their origins; read-only."""

    def __init__(self, masks: Masks, steps: tuple[Step, ...]) -> None:
        self._masks = dict(masks)
        self.steps = steps

    def __getitem__(self, layer: str) -> Mask:
        return self._masks[layer]

    def __iter__(self) -> Iterator[str]:
        return iter(self._masks)

    def __len__(self) -> int:
        return len(self._masks)

    @property
    def sparsity(self) -> float:
        """The fraction of all weights that is removed."""
        size = sum(mask.size for mask in self.values())
        return 1 - sum(int(mask.sum()) for mask in self.values()) / size if size else 0.0


def apply_strategy(problem: PruningProblem, strategy: Strategy, /, **options: Any) -> AppliedMasks:
    """Return the masks of `strategy` for `problem`, checked, with every promise proved.

    In a chain each step sees the masks of the step before it; the promises of all steps are
    proved on the last masks.

    Args:
        problem: what to prune.
        strategy: a name, a `StrategySpec`, or a chain: a sequence of these, each alone or in a
            pair with a mapping of its options.
        options: those of a single strategy.

    Returns:
        For every layer of the problem a mask, bool, shaped like its weight.

    Raises:
        SpecificationError: neither a strategy nor a chain of them.
        UnknownStrategyError, ClashingStrategyError: no strategy, or more than one, is meant.
        OptionError: an option is unknown, ill-typed or refused.
        StrategyFailedError: the strategy's own code raised.
        MaskError: its masks do not fit the problem.
        BrokenPromiseError: an accumulator is wider than promised; names layer and channel.

    Example:
        >>> import numpy as np
        >>> from secateur.pruning.problem import PrunableLayer
        >>> codes = np.array([[3, -1, 2]])
        >>> layer = PrunableLayer(
        ...     "fc", codes / 4, codes, np.array(0), np.array(3), np.zeros(1, int), codes != 0
        ... )
        >>> masks = apply_strategy(PruningProblem((layer,)), "accumulator", bits=4)
        >>> masks["fc"]
        array([[ True, False,  True]])
    """
    steps = steps_of(strategy, options)
    problem = replace(problem, find_saliency=lambda name: plugins.saliency(name).spec)
    for step in steps if problem.layers else ():
        problem = problem.with_masks(_run(step, problem))
    for step in steps:
        prove(step, problem)
    return AppliedMasks({layer.name: layer.mask for layer in problem.layers}, steps)


def steps_of(strategy: Strategy, options: Mapping[str, Any]) -> tuple[Step, ...]:
    """Return the steps of `strategy`, names resolved and options checked.

    Raises:
        SpecificationError, UnknownStrategyError, ClashingStrategyError, OptionError: see
            `apply_strategy`.
    """
    if isinstance(strategy, str | StrategySpec):
        return (_step(strategy, options),)
    if options:
        raise OptionError(
            f"a chain takes no options of its own, got {', '.join(options)}; they stand beside "
            'their strategy: [("structured", {"sparsity": 0.5}), ("accumulator", {"bits": 6})]',
            option=next(iter(options)),
        )
    if not isinstance(strategy, Sequence):
        raise _no_strategy(strategy)
    return tuple(_link(link) for link in strategy)


def _link(link: Any) -> Step:
    if isinstance(link, str | StrategySpec):
        return _step(link, {})
    match link:
        case (str() | StrategySpec() as strategy, Mapping() as options):
            return _step(strategy, options)
    raise _no_strategy(link)


def _no_strategy(value: Any) -> SpecificationError:
    return SpecificationError(
        f"{value!r} is no strategy; expected a name, a StrategySpec, or a chain of these, each "
        "alone or in a pair with a mapping of its options",
        argument="strategy",
    )


def _step(strategy: str | StrategySpec, options: Mapping[str, Any]) -> Step:
    found = plugins.strategy(strategy) if isinstance(strategy, str) else plugins.origin(strategy)
    return Step(found.spec, options_of(found.spec, options), found.distribution, found.version)


def _run(step: Step, problem: PruningProblem) -> Masks:
    return check_masks(
        step.spec.name, problem, _contained(step, step.spec.apply, problem, step.options)
    )


def _contained(step: Step, function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function of the strategy returns, and name the strategy if it raises."""
    try:
        return function(*arguments)
    except SecateurError:
        raise
    except Exception as error:
        raise StrategyFailedError(
            f"strategy {step} raised {type(error).__name__}: {error}",
            strategy=step.spec.name,
            distribution=step.distribution,
            version=step.version,
        ) from error


def check_masks(strategy: str, problem: PruningProblem, masks: Any) -> Masks:
    """Return `masks` if they fit `problem`.

    Raises:
        MaskError: not a mapping, a name that is no layer, another shape or dtype than the
            layer's mask, or a weight brought back that was removed before.
    """

    def refuse(problem_text: str, **facts: Any) -> MaskError:
        return MaskError(f"strategy {strategy!r}: {problem_text}", strategy=strategy, **facts)

    if not isinstance(masks, Mapping):
        raise refuse(f"gave back a {type(masks).__name__}, expected {{layer name: mask}}")
    layers = {layer.name: layer for layer in problem.layers}
    for name, mask in masks.items():
        if name not in layers:
            raise refuse(
                f"a mask for {name!r}, which is no layer; there are {', '.join(layers)}",
                layer=name,
                expected=tuple(layers),
            )
        before = layers[name].mask
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            kind = getattr(mask, "dtype", type(mask).__name__)
            raise refuse(
                f"the mask of layer {name!r} is {kind}, expected an array of bool",
                layer=name,
                dtype=kind,
                expected="bool",
            )
        if mask.shape != before.shape:
            raise refuse(
                f"the mask of layer {name!r} has shape {mask.shape}, expected {before.shape}",
                layer=name,
                shape=mask.shape,
                expected=before.shape,
            )
        returned = mask & ~before
        if returned.any():
            back = np.argwhere(returned)
            raise refuse(
                f"layer {name!r}, channel {back[0][0]}: weight {tuple(back[0].tolist())} and "
                f"{len(back) - 1} more were removed before and are kept again",
                layer=name,
            )
    return masks


def prove(step: Step, problem: PruningProblem) -> None:
    """Raise unless the layers' own masks keep what `step` promises, as the engine proves.

    Raises:
        BrokenPromiseError: an accumulator is wider than promised; names layer and channel.
        SpecificationError, StrategyFailedError: the promise itself is ill-made.
    """
    budget, promised_bits = promised(step, problem)
    for name, bits in promised_bits.items():
        ranges = problem[name].ranges()
        widths = ranges.bits(budget)
        over = np.flatnonzero(widths > bits)
        if len(over):
            worst = int(over[widths[over].argmax()])
            low, high = int(ranges.low[worst]), int(ranges.high[worst])
            raise BrokenPromiseError(
                f"strategy {step} promised {bits} {budget} bits, but layer {name!r}, "
                f"channel {worst} reaches [{low}, {high}] and needs {int(widths[worst])}; "
                f"{len(over)} of {len(widths)} channels are too wide",
                strategy=step.spec.name,
                layer=name,
                channel=worst,
                low=low,
                high=high,
                bits=int(widths[worst]),
                promised_bits=bits,
            )


def promised(step: Step, problem: PruningProblem) -> tuple[Budget, Mapping[str, int]]:
    """Return the budget, and layer name → the width that `step` promises accumulators there.

    Raises:
        SpecificationError, StrategyFailedError: the promise itself is ill-made.
    """
    budget = _contained(step, step.spec.promises.budget, step.options)
    widths = _contained(step, step.spec.promises.accumulator_bits, step.options)
    if widths is None:
        return budget, {}
    if not isinstance(widths, Mapping):
        widths = {layer.name: widths for layer in problem.layers}
    for name, bits in widths.items():
        if not isinstance(bits, int):
            raise SpecificationError(
                f"strategy {step} promises {bits!r} bits for layer {name!r}, expected an integer",
                name=step.spec.name,
                argument="promises",
            )
    return budget, widths
