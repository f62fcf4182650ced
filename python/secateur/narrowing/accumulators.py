"""Narrower accumulators: common factors divided out, ranges moved to start at zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from secateur.narrowing.readers import undone_by_readers
from secateur.narrowing.widths import proved_ranges
from secateur.network import Add, Layer, Lookup, Network
from secateur.network.tables import Integers
from secateur.ranges import Ranges


def divide_common_factors(network: Network) -> Network:
    """Return `network` with the common factor of every channel's codes divided out.

    A channel with codes g · w′ and bias g · b′ + r yields g · v′ + r for v′ = w′ · x + b′. A
    lookup or the output behind it puts g and r back, where they cost no width.
    """
    ranges = proved_ranges(network)
    for layer in network.layers:
        codes = layer.codes.astype(np.int64)
        factor = np.gcd.reduce(codes.reshape(len(codes), -1), axis=1)
        factor = np.maximum(factor, 1)  # 0 where all codes are zero
        if (factor == 1).all():
            continue
        bias = np.zeros(len(codes), np.int64) if layer.bias is None else layer.bias
        quotient, residue = np.divmod(bias, factor)
        undone = undone_by_readers(network, ranges, layer.name, factor, residue)
        if undone is not None:
            network, ranges = undone
            divided = codes // factor.reshape(-1, *(1,) * (codes.ndim - 1))
            network = network.with_operations(
                replace(layer, codes=divided.astype(layer.codes.dtype), bias=quotient)
            )
    return network


def shift_to_zero(network: Network) -> Network:
    """Return `network` with a constant added to accumulators so that their low becomes 0.

    Where the readers can tell channels apart every channel has an offset of its own, else
    the whole node has one; where neither can be undone the node is left alone. Before a
    lookup that rounds, only multiples of its rounding step are added.
    """
    ranges = proved_ranges(network)
    while True:
        given = network
        for operation in given.operations:
            if isinstance(operation, Layer | Add):
                network, ranges = _shifted(network, ranges, operation.name)
        if network is given:
            return network


def _shifted(
    network: Network, ranges: Mapping[str, Ranges], name: str
) -> tuple[Network, Mapping[str, Ranges]]:
    low = ranges[name].low
    low = np.broadcast_to(low.reshape(len(low), -1).min(axis=1), network.shapes[name][:1])
    for offset in _offsets(low, network):
        if offset.any():
            undone = undone_by_readers(network, ranges, name, np.ones_like(offset), offset)
            if undone is not None:
                network, ranges = undone
                operation = network[name]
                bias = operation.bias  # type: ignore[attr-defined]
                shifted = -offset if bias is None else bias - offset
                return network.with_operations(replace(operation, bias=shifted)), ranges  # type: ignore[type-var]
    return network, ranges


def _offsets(low: Integers, network: Network) -> Iterator[Integers]:
    """Offsets int64 [channels] that may be taken out of ranges starting at `low`, best first."""
    steps = {1 << o.rounding_bits for o in network.operations if isinstance(o, Lookup)} | {1}
    for start in (low, np.full_like(low, low.min())):
        for step in sorted(steps):
            yield start // step * step
