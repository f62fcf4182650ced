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
from secateur.errors import InfeasibleError, SelectionLimitError
from secateur.pruning import widths
from secateur.pruning.options import check_bits
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem, Saliency
from secateur.pruning.strategy import Widths
from secateur.ranges import Range

Budget = Literal["span", "signed"]


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

    def __post_init__(self) -> None:
        check_bits(self)
        object.__setattr__(self, "bits", widths.owned(self.bits))

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks under which no other mask within the width keeps more saliency.

        Every channel is a 0/1 knapsack of its own: weight i costs |wᵢ|(hᵢ − lᵢ) of the span
        2^P − 1, and the engine solves it exactly.

        Raises:
            InfeasibleError: a signed budget that the bias alone exceeds; names layer and
                channel.
        """
        scores = problem.saliency(self.saliency)
        return {
            name: _select(problem[name], scores[name], bits, self.budget)
            for name, bits in widths.of_layers(self.bits, problem).items()
        }

    def widths(self, problem: PruningProblem) -> Widths:
        """Return the width of every accumulator that has one."""
        bits = widths.of_accumulators(self.bits, problem)
        if self.budget == "span":
            return bits
        return {name: Range(-(1 << b - 1), (1 << b - 1) - 1) for name, b in bits.items()}

    def toward(self, fraction: float, problem: PruningProblem) -> Accumulator:
        """Return the strategy at widths between what needs no mask and its own."""
        enough = {
            x.name: int(x.ranges(np.ones(x.shape, bool)).bits(self.budget).max())
            for x in problem.layers
        }
        return replace(self, bits=widths.toward(fraction, self.bits, enough, problem))

    def fitted_scales(self, problem: PruningProblem) -> Mapping[str, Floats]:
        """Return the scales at which the codes that fit come nearest to the weights."""
        if self.scales == "learned" or self.budget == "signed":
            return {}
        return {
            name: problem[name].fitted_scales(bits)
            for name, bits in widths.of_layers(self.bits, problem).items()
            if problem[name].code_range is not None
        }


def _select(layer: PrunableLayer, scores: Floats, bits: int, budget: Budget) -> Mask:
    rows = len(layer.codes)
    try:
        kept = bounds.select(
            layer.codes.reshape(rows, -1),
            scores.reshape(rows, -1),
            layer.per_row(layer.low),
            layer.per_row(layer.high),
            bits,
            budget=budget,
            bias=layer.bias,
            mask=layer.mask.reshape(rows, -1),
        )
    except (InfeasibleError, SelectionLimitError) as error:
        raise error.at_layer(layer.name) from None
    return kept.reshape(layer.shape)
