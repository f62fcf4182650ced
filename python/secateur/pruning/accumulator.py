"""Accumulator pruning: the most saliency that provably fits P bits, channel by channel.

While a model trains, the scales of its weights follow the budget, too: at a scale that suits
only unlimited weights, a few large codes use it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from secateur import bounds
from secateur.errors import InfeasibleError, OptionError, SelectionLimitError
from secateur.pruning import widths
from secateur.pruning.options import check_bits, check_types
from secateur.pruning.problem import (
    Floats,
    Mask,
    Masks,
    PrunableLayer,
    PruningProblem,
    Saliency,
    Span,
)
from secateur.pruning.strategy import Widths
from secateur.ranges import Range

Budget = Literal["span", "signed"]

_WIDEST_LOOKUP = 16


@dataclass(frozen=True)
class Accumulator:
    """Keeps the most saliency whose worst case provably fits the accumulator's bits.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur import prune
        >>> prune(network, Accumulator(bits=4))["fc"].codes  # (3 + 2) · 3 = 2^4 - 1
        array([[3, 0, 2]], dtype=int8)
    """

    name: ClassVar[str] = "accumulator"

    bits: int | Mapping[str, int] = field(
        default=8,
        metadata={"doc": "width that every accumulator fits; or layer name → width"},
    )
    saliency: str | Saliency = field(
        default="magnitude", metadata={"doc": "the score whose kept total is the greatest"}
    )
    budget: Budget = field(
        default="span",
        metadata={"doc": "span: a free offset before the lookup; signed: two's complement"},
    )
    scales: Literal["fitted", "learned"] = field(
        default="fitted",
        metadata={
            "doc": "those of the weights in training: fitted to the span before every "
            "selection; or as the quantiser learns them"
        },
    )
    dropped_about: Mapping[str, int] = field(
        default_factory=dict,
        metadata={
            "doc": "layer name → low bits that its lookups are to drop approximately; half a "
            "block of them stays free at both ends of the width"
        },
    )

    def __post_init__(self) -> None:
        check_bits(self)
        object.__setattr__(self, "bits", widths.owned(self.bits))
        check_types(type(self), {"dropped_about": self.dropped_about})
        object.__setattr__(self, "dropped_about", dict(self.dropped_about))
        for layer, dropped in self.dropped_about.items():
            self._check_dropped(layer, dropped)

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks under which no other mask within the width keeps more saliency.

        Every channel is a 0/1 knapsack of its own: weight i costs |wᵢ|(hᵢ − lᵢ) of the span
        2^P − 1, less 2^r where r bits are to be dropped about, and the engine solves it exactly.

        Raises:
            UnknownLayerError: bits, or bits to be dropped, of no layer.
            InfeasibleError: a signed budget that the bias alone exceeds; names layer and
                channel.
        """
        scores = problem.saliency(self.saliency)
        return {
            name: _select(problem[name], scores[name], width, self.budget)
            for name, width in self._budgets(problem).items()
        }

    def widths(self, problem: PruningProblem) -> Widths:
        """Return the width of every accumulator that has one."""
        bits = widths.of_accumulators(self.bits, problem)
        if self.budget == "span":
            return bits | self._budgets(problem)
        return {name: Range(-(1 << b - 1), (1 << b - 1) - 1) for name, b in bits.items()}

    def toward(self, fraction: float, problem: PruningProblem) -> Accumulator:
        """Return the strategy at widths between what needs no mask and its own."""
        enough = {
            x.name: int(x.ranges(np.ones(x.shape, bool)).bits(self.budget).max())
            for x in problem.layers
        }
        bits = widths.toward(fraction, self.bits, enough, problem)
        # Room between blocks matters to the last widths alone.
        return replace(self, bits=bits, dropped_about=self.dropped_about if fraction == 1 else {})

    def fitted_scales(self, problem: PruningProblem) -> Mapping[str, Floats]:
        """Return the scales at which the codes that fit come nearest to the weights."""
        if self.scales == "learned" or self.budget == "signed":
            return {}
        return {
            name: problem[name].fitted_scales(width)
            for name, width in self._budgets(problem).items()
            if problem[name].code_range is not None
        }

    def _budgets(self, problem: PruningProblem) -> dict[str, int | Span]:
        """Return layer name → its width, or the span that is left of it."""
        dropped = {problem[name].name: r for name, r in self.dropped_about.items() if r}
        return {
            name: Span.beside(bits, dropped[name]) if name in dropped else bits
            for name, bits in widths.of_layers(self.bits, problem).items()
        }

    def _check_dropped(self, layer: str, dropped: int) -> None:
        bits = self.bits.get(layer) if isinstance(self.bits, Mapping) else self.bits
        problem = None
        if bits is None:
            problem = f"layer {layer!r} has no bits to drop any of"
        elif dropped and self.budget == "signed":
            problem = "room around blocks needs a free offset, budget 'span'"
        elif dropped and bits > _WIDEST_LOOKUP:
            problem = f"no lookup takes the {bits} bits of layer {layer!r}"
        elif not 0 <= dropped < bits:
            problem = f"{dropped} of layer {layer!r}, expected 0 to {bits - 1}"
        if problem:
            raise OptionError(
                f"{self.name!r}: dropped_about: {problem}",
                strategy=self.name,
                option="dropped_about",
                value=dict(self.dropped_about),
                accepted="fewer bits than the layer's accumulators have",
            )


def _select(layer: PrunableLayer, scores: Floats, width: int | Span, budget: Budget) -> Mask:
    rows = len(layer.codes)
    low, high, bits = layer.budgeted(width)
    try:
        kept = bounds.select(
            layer.codes.reshape(rows, -1),
            scores.reshape(rows, -1),
            low,
            high,
            bits,
            budget=budget,
            bias=layer.bias,
            mask=layer.mask.reshape(rows, -1),
        )
    except (InfeasibleError, SelectionLimitError) as error:
        raise error.at_layer(layer.name) from None
    return kept.reshape(layer.shape)
