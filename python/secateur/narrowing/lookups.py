"""Fewer lookups: those that change nothing over the proved range are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from secateur import exact
from secateur.analysis import RangeReport
from secateur.errors import AccumulatorOverflowError
from secateur.narrowing.readers import proved_ranges, undone_by_readers
from secateur.network import LARGEST_TABLE, Box, Integers, Lookup, Network, tabulate
from secateur.ranges import Ranges


def skip_identities(report: RangeReport) -> Network:
    """Return the network without the lookups that add at most a constant to what they read.

    What counts is the proved range of the accumulator: a rectifier of what is never negative
    is an identity. The constant of each channel goes where its readers can undo it.
    """
    network, ranges = report.network, proved_ranges(report)
    for name in [o.name for o in network.operations]:
        operation = network[name]  # an earlier skip may have changed what it reads
        if isinstance(operation, Lookup) and not operation.rounding_bits:
            added = _added_constant(operation, network, ranges)
            if added is not None and added.any():
                undone = undone_by_readers(network, ranges, name, np.ones_like(added), added)
                if undone is not None:
                    network, ranges = undone
                    network = _without(network, operation)
            elif added is not None:
                network = _without(network, operation)
    return network


def _added_constant(
    lookup: Lookup, network: Network, ranges: Mapping[str, Ranges]
) -> Integers | None:
    """Return int64 [channels] with table(v) = v + constant over the proved range, or None."""
    source = Box(network.shapes[lookup.source], ranges[lookup.source]).channels
    widest = int(source.span.max())
    if widest > lookup.table.codomain.span or widest >= LARGEST_TABLE:
        return None  # two accumulators share a code, or no circuit has room for the table
    entries = tabulate(lookup.rule, source.low, source.high)
    domain = tabulate(lambda v: v, source.low, source.high)
    try:
        added = exact.subtract(entries, domain)
    except AccumulatorOverflowError:
        return None
    return None if (added != added[:, :1]).any() else added[:, 0]


def _without(network: Network, lookup: Lookup) -> Network:
    def instead(name: str) -> str:
        return lookup.source if name == lookup.name else name

    operations = tuple(
        o.reading_from(tuple(map(instead, o.sources)))
        for o in network.operations
        if o.name != lookup.name
    )
    output = replace(network.output, source=instead(network.output.source))
    return replace(network, operations=operations, output=output)
