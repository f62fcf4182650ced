"""Which operation is lowered by what: the one line that a new operation adds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from secateur import network
from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.circuits.lowering import layers, lookups, moves, pools
from secateur.errors import NetworkError
from secateur.network import Operation

#: Operation, its traced sources, the ranges of the network, the backend ↦ its traced result.
Lowering = Callable[[Any, list[Any], RangeReport, Backend], Any]

LOWERINGS: Mapping[type, Lowering] = {
    network.Linear: layers.linear,
    network.Conv: layers.conv,
    network.Add: layers.add,
    network.Lookup: lookups.lookup,
    network.SumPool: pools.sum_pool,
    network.MaxPool: pools.max_pool,
    network.Concat: moves.concat,
    network.Reshape: moves.reshape,
    network.Transpose: moves.transpose,
    network.Take: moves.take,
    network.Place: moves.place,
}


def lowering_of(operation: Operation) -> Lowering:
    """Return how `operation` is lowered.

    Raises:
        NetworkError: nobody has said how.
    """
    if type(operation) not in LOWERINGS:
        raise NetworkError(
            f"layer {operation.name!r}: no circuit is known for a {type(operation).__name__}",
            layer=operation.name,
            operation=type(operation).__name__,
        )
    return LOWERINGS[type(operation)]
