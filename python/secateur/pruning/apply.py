"""Applying a strategy: resolve, run, check what came back, prove what was promised."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from secateur.errors import (
    BrokenPromiseError,
    InfeasibleError,
    MaskError,
    OptionError,
    SecateurError,
    SpecificationError,
    StrategyFailedError,
    UnknownLayerError,
    told,
)
from secateur.pruning import plugins
from secateur.pruning.options import check_types, made, options_of
from secateur.pruning.problem import Floats, Mask, Masks, PruningProblem, Saliency, Span
from secateur.pruning.strategy import Promise, Strategy, Widths, check_class, method_of
from secateur.ranges import Range, Ranges

Link: TypeAlias = Strategy | str | tuple[str, Mapping[str, Any]]

#: A strategy by value or by name, or a chain of them; a name may be paired with its options.
Strategies: TypeAlias = Strategy | str | Sequence[Link]

#: Gives a problem whose weights are rounded at these scales, by layer name.
Rescale: TypeAlias = Callable[[PruningProblem, Mapping[str, Floats]], PruningProblem]


@dataclass(frozen=True)
class Offered:
    """One strategy, and the distribution that offers it, None where none is known to."""

    strategy: Strategy
    distribution: str | None
    version: str | None

    def __str__(self) -> str:
        origin = f" ({self.distribution} {self.version})" if self.distribution else ""
        return f"{self.strategy.name!r}{origin}"

    def call(self, name: str, *arguments: Any) -> Any:
        """Return what a method of the strategy returns; None where it has no such method.

        Raises:
            StrategyFailedError: it raised; names strategy and distribution, chains the cause.
        """
        method = method_of(self.strategy, name)
        if method is None:
            return None
        try:
            return method(*arguments)
        except (SecateurError, KeyboardInterrupt):
            raise
        # Nothing that other people's code raises, not even SystemExit, ends its host.
        except BaseException as error:
            hint = "; copy what a strategy is given before writing into it: layer.mask.copy()"
            raise StrategyFailedError(
                f"strategy {self} raised {told(error)}"
                + (hint if "read-only" in told(error) else ""),
                strategy=self.strategy.name,
                distribution=self.distribution,
                version=self.version,
            ) from error


class AppliedMasks(Mapping[str, Mask]):
    """Layer name → mask, with the steps that made it and their origins; read-only."""

    def __init__(self, masks: Masks, steps: tuple[Offered, ...]) -> None:
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


def apply_strategy(
    problem: PruningProblem, strategy: Strategies, /, **options: Any
) -> AppliedMasks:
    """Return the masks of `strategy` for `problem`, checked, with every width proved.

    In a chain each step sees the masks of the step before it; the widths of all steps are
    proved on the last masks.

    Args:
        problem: what to prune.
        strategy: a strategy, its name, or a chain: a sequence of these, where a name may stand
            in a pair with a mapping of its options.
        options: those of a single name.

    Returns:
        For every layer of the problem a mask, bool, shaped like its weight.

    Raises:
        SpecificationError: neither a strategy nor a chain of them.
        UnknownStrategyError, ClashingStrategyError: no strategy, or more than one, is meant.
        OptionError: an option is unknown, ill-typed or refused.
        StrategyFailedError: the strategy's own code raised.
        MaskError: its masks do not fit the problem.
        BrokenPromiseError: an accumulator is wider than promised; names layer and channel.
        InfeasibleError: wider than promised is one that no mask narrows; names it.

    Example:
        >>> import numpy as np
        >>> from secateur.pruning import Accumulator
        >>> from secateur.pruning.problem import PrunableLayer
        >>> codes = np.array([[3, -1, 2]])
        >>> layer = PrunableLayer(
        ...     "fc", codes / 4, codes, np.array(0), np.array(3), np.zeros(1, int), codes != 0
        ... )
        >>> masks = apply_strategy(PruningProblem((layer,)), Accumulator(bits=4))
        >>> masks["fc"]
        array([[ True, False,  True]])
    """
    steps = steps_of(strategy, options)
    return AppliedMasks(masks_of(apply_steps(problem, steps)), steps)


def apply_steps(
    problem: PruningProblem, steps: tuple[Offered, ...], rescale: Rescale | None = None
) -> PruningProblem:
    """Return `problem` under the masks of `steps`, proved; `rescale` where scales can move."""
    problem = replace(problem, find_saliency=saliency_named)
    for step in steps if problem.layers else ():
        if rescale is not None:
            scales = _check_scales(step, problem, step.call("fitted_scales", problem))
            problem = rescale(problem, scales) if scales else problem
        masks = check_masks(step.strategy.name, problem, step.call("masks", problem))
        problem = problem.with_masks(masks)
    prove(steps, problem)
    return problem


def masks_of(problem: PruningProblem) -> Masks:
    """Return layer name → the mask that it has."""
    return {layer.name: layer.mask for layer in problem.layers}


def saliency_named(name: str) -> Saliency:
    """Return the saliency called `name`, with its defaults.

    Raises:
        UnknownSaliencyError, ClashingStrategyError, OptionError: see `plugins.saliency`.
    """
    saliency: Saliency = made(plugins.saliency(name).cls, {})
    return saliency


def steps_of(strategy: Strategies, options: Mapping[str, Any]) -> tuple[Offered, ...]:
    """Return the steps of `strategy`, names resolved and options checked.

    Raises:
        SpecificationError, UnknownStrategyError, ClashingStrategyError, OptionError: see
            `apply_strategy`.
    """
    if isinstance(strategy, str):
        return (_named(strategy, options),)
    if options:
        raise OptionError(
            f"options stand in the strategy itself, or beside its name; got {', '.join(options)} "
            "for what is no name: [Structured(sparsity=0.5), Accumulator(bits=6)], or "
            '[("structured", {"sparsity": 0.5}), ("accumulator", {"bits": 6})]',
            option=next(iter(options)),
        )
    if isinstance(strategy, Sequence):
        return tuple(_step(link) for link in strategy)
    return (_step(strategy),)


def _step(link: Any) -> Offered:
    match link:
        case str():
            return _named(link, {})
        case (str() as name, Mapping() as options):
            return _named(name, options)
        case type():
            raise SpecificationError(
                f"{link.__name__} is a class; give a strategy: {link.__name__}(...)",
                argument="strategy",
            )
    if not isinstance(link, Strategy):
        raise SpecificationError(
            f"{link!r} is no strategy; expected one, such as Accumulator(bits=6), its name, or a "
            "chain of these, where a name may stand in a pair with a mapping of its options",
            argument="strategy",
        )
    check_class("strategy", type(link))
    check_types(type(link), options_of(link))
    found = plugins.origin(link)
    return Offered(link, found.distribution, found.version)


def _named(name: str, options: Mapping[str, Any]) -> Offered:
    found = plugins.strategy(name)
    return Offered(made(found.cls, options), found.distribution, found.version)


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


def _check_scales(step: Offered, problem: PruningProblem, scales: Any) -> Mapping[str, Floats]:
    """Return `scales`, none where the strategy fits none, if they fit `problem`."""
    if scales is None:
        return {}
    if not isinstance(scales, Mapping):
        raise _ill_made(step, "fitted_scales", f"{scales!r}, expected {{layer name: scales}}")
    checked = {name: np.asarray(s, np.float64) for name, s in scales.items()}
    for name, values in checked.items():
        layer = problem[name]
        if layer.code_range is None:
            raise _ill_made(
                step, "fitted_scales", f"scales for layer {name!r}, where none can be chosen"
            )
        if values.shape != layer.bias.shape or not (np.isfinite(values) & (values > 0)).all():
            raise _ill_made(
                step,
                "fitted_scales",
                f"{values} for layer {name!r}, expected {layer.bias.shape} finite ones above 0",
            )
    return checked


@dataclass(frozen=True)
class Miss:
    """Accumulators of one name that are wider than a strategy promised.

    Args:
        step: whose promise it is.
        name: of the layer, or of the accumulators that no mask narrows.
        width: what was promised: span bits, a span, or a range.
        channel: the widest; its range is [low, high].
        too_wide: bool [channels].
        fixed: whether no mask narrows them.
    """

    step: Offered
    name: str
    width: Promise
    channel: int
    low: int
    high: int
    too_wide: Mask
    fixed: bool

    @property
    def bits(self) -> int:
        """What the widest channel needs: span bits, or signed ones where a range is promised."""
        return Range(self.low, self.high).bits("signed" if self._ranged else "span")

    @property
    def excess(self) -> int:
        """By how much the widest channel's span, or the worse of its ends, lies beyond."""
        if isinstance(self.width, Range):
            return max(self.width.low - self.low, self.high - self.width.high)
        return Range(self.low, self.high).span - _most(self.width)

    @property
    def _ranged(self) -> bool:
        return isinstance(self.width, Range)

    def __str__(self) -> str:
        needs = f"needs {self.bits} bits"
        match self.width:
            case Range(low, high):
                promised = f"values from {low} to {high}"
            case Span(most):
                promised = f"a span of at most {most}"
                needs = f"spans {Range(self.low, self.high).span}"
            case bits:
                promised = f"{bits} span bits"
        return (
            f"strategy {self.step} promised {promised}, but layer {self.name!r}, channel "
            f"{self.channel} reaches [{self.low}, {self.high}] and {needs}; "
            f"{int(self.too_wide.sum())} of {len(self.too_wide)} channels are too wide"
        )

    def error(self) -> BrokenPromiseError | InfeasibleError:
        """Return the error to raise."""
        if self.fixed:
            return InfeasibleError(
                f"{self}. It adds up activations, and masks do not narrow it: quantise them to "
                "fewer bits, or pool less; or name the layers that are to fit, bits={layer: ...}, "
                "and it may be as wide as it is",
                layer=self.name,
                channel=self.channel,
                bits=self.width,
                needed_bits=self.bits,
            )
        return BrokenPromiseError(
            str(self),
            strategy=self.step.strategy.name,
            layer=self.name,
            channel=self.channel,
            low=self.low,
            high=self.high,
            bits=self.bits,
            promised=self.width,
        )


def misses(steps: Iterable[Offered], problem: PruningProblem) -> Iterator[Miss]:
    """Yield what of the promises of `steps` the layers' own masks do not keep, as is proved.

    Raises:
        UnknownLayerError, SpecificationError, StrategyFailedError: a promise is ill-made.
    """
    for step in steps:
        for name, width in promised(step, problem).items():
            fixed = name in problem.fixed
            ranges = problem.fixed[name] if fixed else problem[name].ranges()
            if miss := _miss(step, name, width, ranges, fixed):
                yield miss


def prove(steps: Iterable[Offered], problem: PruningProblem) -> None:
    """Raise unless the layers' own masks keep what `steps` promise, as the engine proves.

    Raises:
        BrokenPromiseError: an accumulator is wider than promised; names layer and channel.
        InfeasibleError: so is one that no mask narrows; names it.
        UnknownLayerError, SpecificationError, StrategyFailedError: a promise is ill-made.
    """
    for miss in misses(steps, problem):
        raise miss.error()


def promised(step: Offered, problem: PruningProblem) -> Widths:
    """Return name → what `step` promises the accumulators of that name to fit.

    Raises:
        UnknownLayerError: for what is neither a layer nor a fixed accumulator.
        SpecificationError, StrategyFailedError: the promise itself is ill-made.
    """
    widths = step.call("widths", problem)
    if widths is None:
        return {}
    if not isinstance(widths, Mapping):
        raise _ill_made(step, "widths", f"{widths!r}, expected {{layer name: span bits}}")
    known = [*(layer.name for layer in problem.layers), *problem.fixed]
    for name, width in widths.items():
        if name not in known:
            raise UnknownLayerError(
                f"strategy {step} promises a width for {name!r}; there are {', '.join(known)}",
                layer=name,
                known=known,
            )
        if isinstance(width, bool) or not isinstance(width, int | np.integer | Range | Span):
            raise _ill_made(
                step, "widths", f"{width!r} for layer {name!r}, expected an integer or a Range"
            )
    return {name: w if isinstance(w, Range | Span) else int(w) for name, w in widths.items()}


def _ill_made(step: Offered, argument: str, problem: str) -> SpecificationError:
    return SpecificationError(
        f"strategy {step}: {argument}() gave {problem}",
        name=step.strategy.name,
        argument=argument,
    )


def _most(width: int | Span) -> int:
    """Return the greatest span that `width` allows."""
    return width.most if isinstance(width, Span) else (1 << max(0, width)) - 1


def _miss(step: Offered, name: str, width: Promise, ranges: Ranges, fixed: bool) -> Miss | None:
    if isinstance(width, Range):
        too_wide = (ranges.low < width.low) | (ranges.high > width.high)
    elif isinstance(width, Span):
        too_wide = ranges.span > width.most
    else:
        too_wide = ranges.bits("span") > max(-1, min(width, 64))
    if not too_wide.any():
        return None
    if isinstance(width, Span):
        channel = int(ranges.span.argmax())
    else:
        bits = ranges.bits("signed" if isinstance(width, Range) else "span").astype(np.int64)
        channel = int(np.where(too_wide, bits, -1).argmax())
    low, high = int(ranges.low[channel]), int(ranges.high[channel])
    return Miss(step, name, width, channel, low, high, too_wide, fixed)
