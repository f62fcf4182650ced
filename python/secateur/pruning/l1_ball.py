"""A2Q's budget as a mask: every channel's codes within an L1 ball.

Colbert et al., "A2Q: Accumulator-Aware Quantization with Guaranteed Overflow Avoidance"
(ICCV 2023), equation 15: ‖w‖₁ ≤ (2^(P−1) − 1) · 2^(s − N) for inputs of N bits, s = 1 where
they are signed. A2Q reaches it by rescaling weights in training; here the largest codes that
still fit are kept as they are, for comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Promise, StrategySpec
from secateur.ranges import Range


@dataclass(frozen=True)
class L1BallOptions:
    """P of the budget."""

    bits: int = field(default=8, metadata={"doc": "width of the accumulator, 1 to 63"})

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 63:
            raise ValueError(f"bits is {self.bits}, expected 1 to 63")


def radius(layer: PrunableLayer, bits: int) -> int:
    """Return the greatest whole L1 norm that A2Q grants a channel of `layer`."""
    low, high = int(layer.low.min()), int(layer.high.max())
    signed = low < 0
    inputs = Range(min(low, 0), max(high, 0)).bits("signed" if signed else "unsigned")
    return int((2 ** (bits - 1) - 1) * 2**signed >> inputs)


def apply(problem: PruningProblem, options: L1BallOptions) -> Masks:
    """Return masks that take each weight, largest first, if it still fits the ball."""
    scores = problem.saliency("magnitude")
    return {x.name: _fill(x, scores[x.name], radius(x, options.bits)) for x in problem.layers}


def _fill(layer: PrunableLayer, scores: Floats, most: int) -> Mask:
    rows = (len(layer.mask), layer.mask[0].size)
    codes = np.abs(layer.codes.astype(np.int64)).reshape(rows)
    kept = layer.mask.reshape(rows).copy()
    order = np.argsort(-scores.reshape(rows), axis=1, kind="stable")
    left = np.full(rows[0], most)
    each = np.arange(rows[0])
    for column in order.T:
        kept[each, column] &= codes[each, column] <= left
        left = left - np.where(kept[each, column], codes[each, column], 0)
    return kept.reshape(layer.shape)


L1_BALL = StrategySpec(
    name="l1-ball",
    summary="keeps every channel's codes within A2Q's L1 budget (baseline)",
    options=L1BallOptions,
    apply=apply,
    promises=Promise(accumulator_bits=lambda options: options.bits, idempotent=True),
)
