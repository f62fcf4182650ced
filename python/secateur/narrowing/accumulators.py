"""Narrower accumulators: common factors divided out, ranges moved to start at zero."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from secateur.analysis import RangeReport
from secateur.errors import AccumulatorOverflowError
from secateur.narrowing.readers import proved_ranges, undone_by_readers
from secateur.network import Integers, Lookup, Network
from secateur.ranges import Ranges


def divide_common_factors(report: RangeReport) -> Network:
    """Return the network with the common factor of every channel's codes divided out.

    A channel with codes g · w′ and bias g · b′ + r yields g · v′ + r for v′ = w′ · x + b′. A
    lookup or the output behind it puts g and r back, where they cost no width.
    """
    network, ranges = report.network, proved_ranges(report)
    for layer in network.layers:
        # In Python's integers a code of −2^63 has its own magnitude.
        rows = layer.codes.reshape(len(layer.codes), -1)
        wide = rows.astype(object) if rows.min() == np.iinfo(np.int64).min else rows
        factor = np.maximum(np.gcd.reduce(wide, axis=1), 1)  # 0 where all codes are zero
        if (factor == 1).all() or factor.max() > np.iinfo(np.int64).max:
            continue
        factor = factor.astype(np.int64)
        bias = np.zeros(len(factor), np.int64) if layer.bias is None else layer.bias
        quotient, residue = np.divmod(bias, factor)
        undone = undone_by_readers(network, ranges, layer.name, factor, residue)
        if undone is not None:
            network, ranges = undone
            divided = layer.codes // factor.reshape(-1, *(1,) * (layer.codes.ndim - 1))
            network = network.with_operations(
                replace(layer, codes=divided.astype(layer.codes.dtype), bias=quotient)
            )
    return network


def shift_to_zero(report: RangeReport) -> Network:
    """Return the network with a constant added to accumulators so that their low becomes 0.

    Where the readers can tell channels apart every channel has an offset of its own, else
    the whole node has one; where neither can be undone the node is left alone. Before a
    lookup that rounds, only multiples of its rounding step are added.
    """
    network, ranges = report.network, proved_ranges(report)
    while True:
        given = network
        for operation in given.operations:
            channels = given.shapes[operation.name][:1]
            if operation.shifted(np.zeros(channels, np.int64)) is not None:
                network, ranges = _shifted(network, ranges, operation.name)
        if network is given:
            return network


def _shifted(
    network: Network, ranges: Mapping[str, Ranges], name: str
) -> tuple[Network, Mapping[str, Ranges]]:
    channels = ranges[name].hull_over(range(1, ranges[name].low.ndim))
    low = channels.broadcast_to(network.shapes[name][:1]).low
    for offset in _offsets(low, network):
        # A bias holds −offset, which of −2^63 is none.
        if offset.any() and offset.min() > np.iinfo(np.int64).min:
            undone = undone_by_readers(network, ranges, name, np.ones_like(offset), offset)
            if undone is not None:
                try:
                    moved = undone[0][name].shifted(-offset)
                except AccumulatorOverflowError:  # a bias that int64 does not hold
                    continue
                network, ranges = undone
                return network.with_operations(moved) if moved else network, ranges
    return network, ranges


def _offsets(low: Integers, network: Network) -> Iterator[Integers]:
    """Offsets int64 [channels] that may be taken out of ranges starting at `low`, best first."""
    steps = {1 << o.rounding_bits for o in network.operations if isinstance(o, Lookup)} | {1}
    for start in (low, np.full_like(low, low.min())):
        for step in sorted(steps):
            yield start // step * step
