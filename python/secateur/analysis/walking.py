"""The walk: ranges flow from the input to the output, one operation at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod
from time import monotonic
from typing import TypeAlias

import numpy as np

from secateur.analysis.attaining import inputs_attaining
from secateur.analysis.reports import NodeRange, RangeReport
from secateur.errors import (
    AccumulatorOverflowError,
    ArgumentError,
    NetworkError,
    SecateurError,
    ShapeError,
)
from secateur.network import Box, End, Integers, Network, Operation
from secateur.network.operation import ENDS, per_channel
from secateur.network.rearranging import Rearrangement
from secateur.ranges import Ranges

#: What is known of some nodes from elsewhere: their ranges by name, or a function of an operation
#: and the boxes of its sources that gives its range, or None where the operation's own rule holds.
Given: TypeAlias = Mapping[str, Ranges] | Callable[[Operation, Sequence[Box]], Ranges | None]

#: Seconds of search where none are named.
_ENOUGH = 10.0


def analyze(
    network: Network, *, given: Given | None = None, attain: float | bool = False
) -> RangeReport:
    """Return the proved range of every node of `network`.

    Args:
        network: what to analyse.
        given: ranges that hold for other reasons, by node; what reads them follows. A function
            of an operation and the boxes of its sources may give each operation's range, or None
            where its own rule is to be used.
        attain: seconds to spend on a search for inputs that attain the ends which no rule attains;
            True for as many as find nearly all in networks of some thousand codes.

    Raises:
        ArgumentError: `attain` is no number of seconds, or a range given is none.
        AccumulatorOverflowError: an accumulator that 64 bits do not hold; names layer and
            channel.
        ShapeError, NetworkError: given ranges that do not fit their node, or of no node.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> fc = Linear("fc", "input", np.array([[1, -2, 0]], np.int8))
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (fc,),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> report = analyze(network)
        >>> report["fc"].ranges.low, report["fc"].ranges.high, report["fc"].bits()
        (array([-6]), array([3]), 4)
        >>> report.witness("fc", 0)
        array([3, 0, 0])
    """
    seconds = _seconds(attain)
    fixed, by_rule = _given(network, given)
    source = network.input
    free = source.name not in fixed
    nodes = {
        source.name: NodeRange(
            source.shape,
            source.box.ranges if free else fixed[source.name],
            source.name,
            "input",
            np.full((source.shape[0], len(ENDS)), free),
        )
    }
    elements = np.arange(prod(source.shape)).reshape(source.shape)
    boxes = {source.name: elements} if free else {}
    witnesses: dict[tuple[str, int, End], Integers] = {}
    report = RangeReport(network, nodes, boxes, witnesses)
    deadline = monotonic() + seconds
    for at, operation in enumerate(network.operations):
        sources = [nodes[s] for s in operation.sources]
        known = fixed.get(operation.name)
        if known is None and (known := by_rule(operation, sources)) is not None:
            known = _fitted(operation.name, network.shapes[operation.name], known)
        node = nodes[operation.name] = _node(operation, sources, report, known)
        origin = boxes.get(operation.sources[0])
        if known is None and origin is not None and isinstance(operation, Rearrangement):
            boxes[operation.name] = operation.move(origin)
        if seconds and not node.attained.all():
            share = (deadline - monotonic()) / (len(network.operations) - at)
            for (channel, end), x in inputs_attaining(report, node.name, share).items():
                witnesses[node.name, channel, end] = x
                node.attained[channel, ENDS.index(end)] = True
    return report


def _node(
    operation: Operation, sources: Sequence[NodeRange], report: RangeReport, known: Ranges | None
) -> NodeRange:
    """Return the range of one operation."""
    shape = report.network.shapes[operation.name]
    free = len(sources) == 1 and operation.sources[0] in report.boxes
    if known is None:
        try:
            ranges = operation.ranges(*sources)
        except AccumulatorOverflowError as error:
            raise _placed(error, operation.name) from None
        own = Box(shape, ranges)
        attained = operation.attained(own, sources, [s.attained for s in sources], free).copy()
    else:
        # What is given may be wider than what comes of the sources.
        ranges, attained = known, np.zeros((shape[0], len(ENDS)), np.bool_)
    return NodeRange(shape, ranges, operation.name, operation.kind, attained)


def _placed(error: AccumulatorOverflowError, name: str) -> SecateurError:
    """Return the error with layer and channel; where a value is computed the batch comes first."""
    if error.channel is None and error.index:  # type: ignore[attr-defined]
        error.channel = error.index[1]  # type: ignore[attr-defined]
    return error.at_layer(name)


def _seconds(attain: float | bool) -> float:
    if attain is True:
        return _ENOUGH
    if not isinstance(attain, (int, float)) or not attain >= 0:
        raise ArgumentError(
            f"attain is {attain!r}, expected True, False or seconds of search",
            argument="attain",
            value=attain,
            expected="True, False or at least 0 seconds",
        )
    return float(attain)


def _given(
    network: Network, given: Given | None
) -> tuple[Mapping[str, Ranges], Callable[[Operation, Sequence[Box]], Ranges | None]]:
    """Return the ranges that are given by name, and the function that gives others."""
    if callable(given):
        return {}, given
    fixed = {}
    for name, ranges in (given or {}).items():
        if name not in network.shapes:
            raise NetworkError(
                f"a range is given for {name!r}, but the nodes are {', '.join(network.shapes)}",
                operation=name,
            )
        if not isinstance(ranges, Ranges):
            raise ArgumentError(
                f"the range given for {name!r} is {ranges!r}, expected Ranges",
                argument="given",
                value=ranges,
                expected="Ranges by name of node",
            )
        fixed[name] = _fitted(name, network.shapes[name], ranges)
    return fixed, lambda operation, sources: None


def _fitted(name: str, shape: tuple[int, ...], ranges: Ranges) -> Ranges:
    """Return given ranges as a box holds them: [channels] or broadcastable to `shape`."""
    if ranges.shape == shape[:1]:
        return per_channel(ranges, len(shape))
    try:
        ranges.broadcast_to(shape)
    except ValueError:
        raise ShapeError(
            f"layer {name!r}: the ranges given have shape {ranges.shape}, expected {shape[:1]} or "
            f"what broadcasts to {shape}",
            argument="given",
            shape=ranges.shape,
            expected=shape,
            layer=name,
        ) from None
    missing = len(shape) - ranges.low.ndim
    return ranges.moved(lambda side: side.reshape((1,) * missing + side.shape))
