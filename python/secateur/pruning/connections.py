"""Concrete ML's rule: at most Ω connections per neuron. The baseline to beat.

Ω = ⌊(2^P − 1) / ((2^w − 1)(2^a − 1))⌋ takes every kept weight and every input at its largest
magnitude; what the codes really are is left out of account.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.pruning.nm import keep_n_of_m
from secateur.pruning.problem import Floats, Mask, Masks, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Promise, StrategySpec
from secateur.ranges import Range


@dataclass(frozen=True)
class ConnectionsOptions:
    """P, w and a of the rule."""

    bits: int = field(default=8, metadata={"doc": "width of the accumulator, 1 to 63"})
    weight_bits: int | None = field(
        default=None, metadata={"doc": "width of a code; None = as the layer's codes need"}
    )
    activation_bits: int | None = field(
        default=None, metadata={"doc": "width of an input; None = as the layer's ranges need"}
    )

    def __post_init__(self) -> None:
        for name, least in (("bits", 1), ("weight_bits", 1), ("activation_bits", 0)):
            value = getattr(self, name)
            if value is not None and not least <= value <= 63:
                raise ValueError(f"{name} is {value}, expected {least} to 63")


def most_connections(bits: int, weight_bits: int, activation_bits: int) -> int | None:
    """Return Ω, or None where inputs of no width make every number of connections fit.

    Example:
        >>> most_connections(8, 3, 3)
        5
    """
    each = (2**weight_bits - 1) * (2**activation_bits - 1)
    return (2**bits - 1) // each if each else None


def apply(problem: PruningProblem, options: ConnectionsOptions) -> Masks:
    """Return masks that keep the Ω largest weights of every output channel."""
    scores = problem.saliency("magnitude")
    return {x.name: _keep(x, scores[x.name], options) for x in problem.layers}


def _keep(layer: PrunableLayer, scores: Floats, options: ConnectionsOptions) -> Mask:
    weight_bits, activation_bits = options.weight_bits, options.activation_bits
    if weight_bits is None:
        weight_bits = Range(int(layer.codes.min()), int(layer.codes.max())).bits("signed")
    if activation_bits is None:
        activation_bits = int((layer.high - layer.low).max()).bit_length()
    most = most_connections(options.bits, weight_bits, activation_bits)
    fan_in = layer.mask[0].size
    if most is None or most >= fan_in:
        return layer.mask
    rows = (len(layer.mask), fan_in)
    kept = keep_n_of_m(scores.reshape(rows), layer.mask.reshape(rows), most, fan_in)
    return kept.reshape(layer.shape)


CONNECTIONS = StrategySpec(
    name="connections",
    summary="keeps at most Concrete ML's number of connections per neuron (baseline)",
    options=ConnectionsOptions,
    apply=apply,
    promises=Promise(accumulator_bits=lambda options: options.bits, idempotent=True),
)
