"""Widths of accumulators, as the strategies that aim at one take them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from secateur.pruning.problem import PruningProblem

#: One width for every accumulator, or the name of a layer → its width.
Bits: TypeAlias = int | Mapping[str, int]


def owned(bits: Bits) -> Bits:
    """Return `bits`, as a copy where its owner could change it."""
    return dict(bits) if isinstance(bits, Mapping) else bits


def of_layers(bits: Bits, problem: PruningProblem) -> dict[str, int]:
    """Return layer name → width, of the layers that have one.

    Raises:
        UnknownLayerError: a width for what is neither a layer nor a fixed accumulator.
    """
    if not isinstance(bits, Mapping):
        return {layer.name: bits for layer in problem.layers}
    return {problem[name].name: b for name, b in bits.items() if name not in problem.fixed}


def of_accumulators(bits: Bits, problem: PruningProblem) -> dict[str, int]:
    """Return name → width of the layers, and of the accumulators that no mask narrows."""
    if isinstance(bits, Mapping):
        return dict(bits)
    return {**of_layers(bits, problem), **dict.fromkeys(problem.fixed, bits)}


def toward(fraction: float, bits: Bits, enough: Mapping[str, int], problem: PruningProblem) -> Bits:
    """Return the widths after `fraction` of the way from what needs no mask to `bits`.

    Args:
        fraction: 0 to 1; 1 gives `bits` themselves.
        bits: the target.
        enough: layer name → the width at which nothing has to go.
        problem: whose layers these are.

    Example:
        >>> toward(0.5, {"fc": 4}, {"fc": 9}, PruningProblem(()))
        {'fc': 7}
    """
    if fraction == 1.0:
        return bits
    target = bits if isinstance(bits, Mapping) else of_layers(bits, problem)
    return {
        name: b + math.ceil((1.0 - fraction) * max(0, min(enough.get(name, b), 63) - b))
        for name, b in target.items()
    }
