"""A2Q's budget as a mask: every channel's codes within an L1 ball.

Colbert et al., "A2Q: Accumulator-Aware Quantization with Guaranteed Overflow Avoidance"
(ICCV 2023), equation 15: ‖w‖₁ ≤ (2^(P−1) − 1) · 2^(s − N) for inputs of N bits, s = 1 where
they are signed. A2Q reaches it by rescaling weights in training; here the largest codes that
still fit are kept as they are, for comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from secateur.pruning import widths
from secateur.pruning.options import check_bits
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Widths
from secateur.ranges import Range


@dataclass(frozen=True)
class L1Ball:
    """Keeps every channel's codes within A2Q's L1 budget (baseline).

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
        >>> prune(network, L1Ball(bits=5))["fc"].codes  # Σ |code| ≤ (2^4 - 1) / 2^2
        array([[3, 0, 0]], dtype=int8)
    """

    name: ClassVar[str] = "l1-ball"

    bits: int | Mapping[str, int] = field(
        default=8,
        metadata={"doc": "width of the accumulator, 1 to 63; or layer name → width"},
    )

    def __post_init__(self) -> None:
        check_bits(self)
        object.__setattr__(self, "bits", widths.owned(self.bits))

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks that take each weight, largest first, if it still fits the ball."""
        return {
            name: _fill(problem[name], np.abs(problem[name].weight), radius(problem[name], bits))
            for name, bits in widths.of_layers(self.bits, problem).items()
        }

    def widths(self, problem: PruningProblem) -> Widths:
        """Return the width of every accumulator that has one."""
        return widths.of_accumulators(self.bits, problem)

    def toward(self, fraction: float, problem: PruningProblem) -> L1Ball:
        """Return the strategy at widths between those whose balls hold all codes and its own."""
        enough = {x.name: _enough(x) for x in problem.layers}
        return replace(self, bits=widths.toward(fraction, self.bits, enough, problem))


def radius(layer: PrunableLayer, bits: int) -> int:
    """Return the greatest whole L1 norm that A2Q grants a channel of `layer`."""
    low, high = int(layer.low.min()), int(layer.high.max())
    signed = low < 0
    inputs = Range(min(low, 0), max(high, 0)).bits("signed" if signed else "unsigned")
    return int((2 ** (bits - 1) - 1) * 2**signed >> inputs)


def _enough(layer: PrunableLayer) -> int:
    norm = max(sum(map(abs, row)) for row in layer.codes.reshape(len(layer.codes), -1).tolist())
    return next((bits for bits in range(1, 63) if radius(layer, bits) >= norm), 63)


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
