"""Concrete ML's rule: at most Ω connections per neuron. The baseline to beat.

Ω = ⌊(2^P − 1) / ((2^w − 1)(2^a − 1))⌋ takes every kept weight and every input at its largest
magnitude; what the codes really are is left out of account.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from secateur.pruning import widths
from secateur.pruning.nm import keep_n_of_m
from secateur.pruning.options import check_bits
from secateur.pruning.problem import Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Widths
from secateur.ranges import Range, Ranges


@dataclass(frozen=True)
class Connections:
    """Keeps at most Concrete ML's number of connections per neuron (baseline).

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
        >>> rule = Connections(bits=4, weight_bits=2, activation_bits=2)  # ⌊15 / (3 · 3)⌋ = 1
        >>> prune(network, rule)["fc"].codes
        array([[3, 0, 0]], dtype=int8)
    """

    name: ClassVar[str] = "connections"

    bits: int | Mapping[str, int] = field(
        default=8,
        metadata={"doc": "width of the accumulator, 1 to 63; or layer name → width"},
    )
    weight_bits: int | None = field(
        default=None, metadata={"doc": "width of a code; None = as the layer's codes need"}
    )
    activation_bits: int | None = field(
        default=None, metadata={"doc": "width of an input; None = as the layer's ranges need"}
    )

    def __post_init__(self) -> None:
        check_bits(self)
        check_bits(self, "weight_bits")
        check_bits(self, "activation_bits", least=0)
        object.__setattr__(self, "bits", widths.owned(self.bits))

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks that keep the Ω largest weights of every output channel."""
        return {
            name: self._keep(problem[name], bits)
            for name, bits in widths.of_layers(self.bits, problem).items()
        }

    def widths(self, problem: PruningProblem) -> Widths:
        """Return the width of every accumulator that has one."""
        return widths.of_accumulators(self.bits, problem)

    def toward(self, fraction: float, problem: PruningProblem) -> Connections:
        """Return the strategy at widths between those that need no mask and its own."""
        enough = {x.name: self._enough(x) for x in problem.layers}
        return replace(self, bits=widths.toward(fraction, self.bits, enough, problem))

    def _keep(self, layer: PrunableLayer, bits: int) -> Mask:
        most = self._most(layer, bits)
        fan_in = layer.mask[0].size
        if most is None or most >= fan_in:
            return layer.mask
        rows = (len(layer.mask), fan_in)
        scores = np.abs(layer.weight).reshape(rows)
        return keep_n_of_m(scores, layer.mask.reshape(rows), most, fan_in).reshape(layer.shape)

    def _most(self, layer: PrunableLayer, bits: int) -> int | None:
        weight_bits, activation_bits = self.weight_bits, self.activation_bits
        if weight_bits is None:
            weight_bits = Range(int(layer.codes.min()), int(layer.codes.max())).bits("signed")
        if activation_bits is None:
            activation_bits = int(Ranges(layer.low, layer.high).bits("span").max())
        return most_connections(bits, weight_bits, activation_bits)

    def _enough(self, layer: PrunableLayer) -> int:
        fan_in = layer.mask[0].size
        most = ((bits, self._most(layer, bits)) for bits in range(1, 63))
        return next((bits for bits, m in most if m is None or m >= fan_in), 63)


def most_connections(bits: int, weight_bits: int, activation_bits: int) -> int | None:
    """Return Ω, or None where inputs of no width make every number of connections fit.

    Example:
        >>> most_connections(8, 3, 3)
        5
    """
    each = (2**weight_bits - 1) * (2**activation_bits - 1)
    return (2**bits - 1) // each if each else None
