"""How far a circuit's integers may lie from the network's where lookups are rounded about."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur import exact
from secateur.analysis import RangeReport, analyze
from secateur.network import (
    LARGEST_TABLE,
    Box,
    Integers,
    Lookup,
    Network,
    Operation,
    Place,
    tabulate,
)
from secateur.ranges import Ranges


def deviation(network: Network) -> Integers:
    """Return how far each channel of the output may lie from `network(x)`, for every input.

    Every lookup with `rounding_bits` may take its accumulator for one of the block next to its
    own, as approximate rounding does; what that changes is followed through all later layers,
    which may go astray themselves. The bound is sound, not exact: it is 0 where nothing is
    rounded, and never more than the span of what is proved.

    Args:
        network: as it is compiled, `circuit.report.network`.

    Returns:
        int64 [output channels], in the network's integers.

    Raises:
        AccumulatorOverflowError: a difference that int64 does not hold.

    Example:
        >>> from secateur.network import ExplicitTable, Input, Linear, Output
        >>> steps = ExplicitTable(np.array([[0, 0, 1, 1, 5, 5, 6, 6]]), np.array([0]))
        >>> network = Network(
        ...     Input((1,), np.array(0), np.array(7)),
        ...     (
        ...         Lookup("step", "input", steps, rounding_bits=1),
        ...         Linear("fc", "step", np.array([[3], [-1]])),
        ...     ),
        ...     Output("fc", np.ones(2, int), np.zeros(2, int), np.ones(2), np.zeros(2)),
        ... )
        >>> deviation(network)
        array([12,  4])
    """
    report = analyze(network)
    found = {network.input.name: np.zeros_like(report[network.input.name].ranges.low)}
    for operation in network.operations:
        sources = [found[source] for source in operation.sources]
        if isinstance(operation, Lookup):
            astray = _of_lookup(operation, sources[0], report)
        else:
            astray = _of_others(operation, sources, report)
        span = np.minimum(report[operation.name].channels.span, np.iinfo(np.int64).max)
        most = span.astype(np.int64).reshape(-1, *(1,) * (astray.ndim - 1))
        found[operation.name] = np.minimum(astray, most)
    output, final = network.output, found[network.output.source]
    # In rows, since `integers` takes a batch; the difference of two has no offset.
    ends = np.stack([np.zeros_like(final), final])
    zero, far = output.integers(ends)
    either = np.maximum(exact.subtract(far, zero), exact.subtract(zero, far))
    reach: Integers = either.reshape(len(final), -1).max(axis=1)
    return reach


def _of_lookup(lookup: Lookup, source: Integers, report: RangeReport) -> Integers:
    """The greatest difference of two entries as far apart as accumulator and block may be."""
    channels = report[lookup.source].channels
    shape = (len(channels.low), *(1,) * (len(report[lookup.source].shape) - 1))
    per_channel = np.broadcast_to(source, (shape[0], *source.shape[1:])).reshape(shape[0], -1)
    block = 1 << lookup.rounding_bits if lookup.rounding_bits else 0
    apart = exact.add(per_channel.max(axis=1), np.array(block))
    if channels.span.max() >= LARGEST_TABLE:
        codes = report[lookup.name].channels
        return np.where(apart > 0, exact.subtract(codes.high, codes.low), 0).reshape(shape)
    table = tabulate(lookup.rule, channels.low, channels.high)
    rows = [
        _greatest_difference(row[: int(span) + 1], int(reach))
        for row, span, reach in zip(table, channels.span, apart, strict=True)
    ]
    return np.array(rows, np.int64).reshape(shape)


def _greatest_difference(entries: Integers, reach: int) -> int:
    """Return max |entries[i] − entries[j]| over |i − j| ≤ reach."""
    reach = min(reach, len(entries) - 1)
    # What lies within `reach` after each entry: windows that double, the last two overlapping.
    high, low, length = entries, entries, 1
    while length < reach + 1:
        step = min(length, reach + 1 - length)
        high = np.maximum(high[:-step], high[step:])
        low = np.minimum(low[:-step], low[step:])
        length += step
    return int(exact.subtract(high, low).max())


def _of_others(operation: Operation, sources: list[Integers], report: RangeReport) -> Integers:
    """The range of the operation over differences; what it adds to any value cancels out."""
    if getattr(operation, "bias", None) is not None:
        operation = replace(operation, bias=None)  # type: ignore[type-var]
    if isinstance(operation, Place):
        operation = replace(operation, fill=0)
    boxes = [
        Box(report[name].shape, Ranges(-astray, astray))
        for name, astray in zip(operation.sources, sources, strict=True)
    ]
    ranges = operation.ranges(*boxes)
    return np.maximum(exact.subtract(np.zeros_like(ranges.low), ranges.low), ranges.high)
