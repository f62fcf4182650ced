"""Fewer lookups: those that change nothing over the proved range are skipped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from secateur.narrowing.readers import undone_by_readers
from secateur.narrowing.widths import proved_ranges
from secateur.network import Add, Concat, Lookup, Network, Operation
from secateur.network.tables import Integers, tabulate
from secateur.ranges import Ranges


def skip_identities(network: Network) -> Network:
    """Return `network` without the lookups that add at most a constant to what they read.

    What counts is the proved range of the accumulator: a rectifier of what is never negative
    is an identity. The constant of each channel goes where its readers can undo it.
    """
    ranges = proved_ranges(network)
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
    channels = network.shapes[lookup.source][:1]
    source = ranges[lookup.source]
    low = np.broadcast_to(source.low.reshape(len(source.low), -1).min(axis=1), channels)
    high = np.broadcast_to(source.high.reshape(len(source.high), -1).max(axis=1), channels)
    codomain = lookup.table.codomain
    if (high - low).max() > codomain.high - codomain.low:
        return None  # two accumulators share a code; known without listing the table
    entries = tabulate(lookup.evaluate, low, high)
    domain = np.minimum(low[:, None] + np.arange(entries.shape[1]), high[:, None])
    added = entries - domain
    return None if (added != added[:, :1]).any() else added[:, 0]


def _without(network: Network, lookup: Lookup) -> Network:
    operations = tuple(
        _reading(o, lookup.name, lookup.source) for o in network.operations if o.name != lookup.name
    )
    output = network.output
    if output.source == lookup.name:
        output = replace(output, source=lookup.source)
    return replace(network, operations=operations, output=output)


def _reading(operation: Operation, old: str, new: str) -> Operation:
    """Return the operation with `new` in place of its source `old`."""
    sources = tuple(new if s == old else s for s in operation.sources)
    if sources == operation.sources:
        return operation
    if isinstance(operation, Add | Concat):
        return replace(operation, sources=sources)
    return replace(operation, source=sources[0])  # type: ignore[type-var]
