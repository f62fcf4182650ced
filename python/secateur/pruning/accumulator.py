"""Accumulator pruning: the most saliency that provably fits P bits, channel by channel.

While a model trains, the scales of its weights follow the budget, too: at a scale that suits
only unlimited weights, a few large codes use it up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from secateur import bounds
from secateur.errors import InfeasibleError, SelectionLimitError
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Budget, Promise, StrategySpec


@dataclass(frozen=True)
class AccumulatorOptions:
    """How wide accumulators may be, and which weights are worth keeping."""

    bits: int | Mapping[str, int] = field(
        default=8,
        metadata={"doc": "width that every accumulator fits; or layer name → width"},
    )
    saliency: str = field(
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
        per_layer = self.bits if isinstance(self.bits, Mapping) else {"every layer": self.bits}
        for layer, bits in per_layer.items():
            if not 1 <= bits <= 63:
                raise ValueError(f"bits of {layer} is {bits}, expected 1 to 63")


def apply(problem: PruningProblem, options: AccumulatorOptions) -> Masks:
    """Return masks under which no other mask within the width keeps more saliency.

    Every channel is a 0/1 knapsack of its own: weight i costs |wᵢ|(hᵢ − lᵢ) of the span
    2^P − 1, and the engine solves it exactly.

    Raises:
        InfeasibleError: a signed budget that the bias alone exceeds; names layer and channel.
    """
    scores = problem.saliency(options.saliency)
    bits = options.bits
    if not isinstance(bits, Mapping):
        bits = {layer.name: bits for layer in problem.layers}
    return {
        name: _select(problem[name], scores[name], width, options.budget)
        for name, width in bits.items()
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


ACCUMULATOR = StrategySpec(
    name="accumulator",
    summary="keeps the most saliency whose worst case provably fits the accumulator's bits",
    options=AccumulatorOptions,
    apply=apply,
    promises=Promise(
        accumulator_bits=lambda options: options.bits,
        budget=lambda options: options.budget,
        idempotent=True,
    ),
)
