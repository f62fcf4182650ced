"""Shrinking: channels that do nothing are removed, so that the circuit looks fewer up.

A channel does nothing where nothing reads it, or where it is constant and what it adds to
its readers goes into their biases: a neuron without weights still yields its table's value
at its bias. `network(x)` stays the same, integer for integer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.analysis import NodeRange, RangeReport, analyze
from secateur.network import Network
from secateur.operations import (
    Add,
    Affine,
    Concat,
    Conv,
    Linear,
    Lookup,
    MaxPool,
    Operation,
    Reshape,
    SumPool,
    Transpose,
)
from secateur.pruning.problem import Integers, Mask
from secateur.tables import Affine as Rescaling
from secateur.tables import ExplicitTable, FunctionTable, Table

#: Node name → bool [channels], the channels that stay.
Kept = dict[str, Mask]


def shrink(network: Network) -> Network:
    """Return `network` without the channels that do nothing; `network(x)` is unchanged.

    Every node keeps at least one channel, the input and the output all of theirs.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Output
        >>> from secateur.tables import Quantize
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((2,), np.array(0), np.array(3)),
        ...     (
        ...         Linear("hidden", "input", np.array([[1, 1], [0, 0]]), np.array([0, 2])),
        ...         Lookup("relu", "hidden", FunctionTable((), Quantize(1.0, 0, 3))),
        ...         Linear("head", "relu", np.array([[1, 3]])),
        ...     ),
        ...     Output("head", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> small = shrink(network)
        >>> small["hidden"].codes, small["head"].codes, small["head"].bias
        (array([[1, 1]]), array([[1]]), array([6]))
        >>> small(np.array([3, 1])) == network(np.array([3, 1]))
        array([ True])
    """
    report = analyze(network)
    kept = _kept(network, report)
    return replace(
        network, operations=tuple(_cut(o, network, kept, report) for o in network.operations)
    )


def _kept(network: Network, report: RangeReport) -> Kept:
    """The least channels that satisfy every operation, found by growing them to a fixed point."""
    kept = {name: np.zeros(shape[0], bool) for name, shape in network.shapes.items()}
    kept[network.input.name][:] = True
    kept[network.output.source][:] = True
    _grow(network, report, kept)
    for channels in kept.values():
        channels[0] |= not channels.any()
    _grow(network, report, kept)
    return kept


def _grow(network: Network, report: RangeReport, kept: Kept) -> None:
    before = -1
    while before != (before := sum(int(channels.sum()) for channels in kept.values())):
        for operation in reversed(network.operations):
            for name, channels in _demands(operation, network, kept, report):
                kept[name] |= channels


def _demands(
    operation: Operation, network: Network, kept: Kept, report: RangeReport
) -> Iterator[tuple[str, Mask]]:
    """Yield which channels of its sources, and of its own, an operation needs kept."""
    own = kept[operation.name]
    match operation:
        case Linear() | Conv(groups=1):
            (source,) = operation.sources
            reads = (operation.codes[own] != 0).any(axis=(0, *range(2, operation.codes.ndim)))
            yield source, reads & ~_foldable(operation, report[source])
        case Concat(axis=0):
            ends = np.cumsum([network.shapes[s][0] for s in operation.sources])
            yield from zip(operation.sources, np.split(own, ends[:-1]), strict=True)
            yield operation.name, np.concatenate([kept[s] for s in operation.sources])
        case Reshape(to=(_,)):
            (source,) = operation.sources
            elements = own.reshape(len(kept[source]), -1)
            yield source, elements.any(axis=1)
            yield operation.name, np.repeat(kept[source], elements.shape[1])
        case Lookup() | SumPool() | MaxPool() | Add() | Concat() | Transpose(axes=(0, *_)):
            # Channel for channel the same in all of them.
            alike = np.logical_or.reduce([own, *(kept[s] for s in operation.sources)])
            for name in (operation.name, *operation.sources):
                yield name, alike
        case _:
            for name in (operation.name, *operation.sources):
                yield name, np.ones(len(kept[name]), bool)


def _foldable(operation: Affine, source: NodeRange) -> Mask:
    """The input channels whose constant can go into the bias: bool [in]."""
    low, high = (
        np.broadcast_to(side, source.shape).reshape(source.shape[0], -1)
        for side in (source.ranges.low, source.ranges.high)
    )
    constant: Mask = (low == low[:, :1]).all(axis=1) & (high == low).all(axis=1)
    if isinstance(operation, Conv) and any(max(pads) for pads in operation.padding):
        # A window at the border adds fewer constants than one inside.
        constant &= low[:, 0] == 0
    return constant


def _cut(operation: Operation, network: Network, kept: Kept, report: RangeReport) -> Operation:
    own = kept[operation.name]
    match operation:
        case Linear() | Conv(groups=1):
            (source,) = operation.sources
            columns = kept[source]
            codes = operation.codes[own]
            bias = None if operation.bias is None else operation.bias[own]
            if not columns.all():
                folded = _folded(codes[:, ~columns], report[source], columns)
                bias = folded if bias is None else bias + folded
            return replace(operation, codes=codes[:, columns], bias=bias)
        case Lookup():
            return replace(
                operation,
                table=_cut_table(operation.table, own),
                factor=_rows(operation.factor, own),
                offset=_rows(operation.offset, own),
            )
        case Add():
            return replace(operation, bias=_rows(operation.bias, own))
        case Reshape(to=(_,)):
            return replace(operation, to=(int(own.sum()),))
        case _:
            return operation


def _folded(codes: NDArray[Any], source: NodeRange, columns: Mask) -> Integers:
    """What the removed columns add to every accumulator: int64 [out]."""
    constants = np.broadcast_to(source.ranges.low, source.shape)[~columns]
    per_channel = constants.reshape(len(constants), -1)[:, 0]
    per_column = codes.astype(np.int64).reshape(*codes.shape[:2], -1).sum(axis=2)
    return per_column @ per_channel


def _rows(values: NDArray[Any] | None, own: Mask) -> Any:
    """The channels of `values` [channels] or [1, …] that stay; one for all stays as it is."""
    return values if values is None or len(values) == 1 else values[own]


def _cut_table(table: Table, own: Mask) -> Table:
    if isinstance(table, ExplicitTable):
        return ExplicitTable(_rows(table.values, own), _rows(table.start, own))
    return FunctionTable(
        tuple(
            Rescaling(_rows(step.scale, own), _rows(step.offset, own))
            if isinstance(step, Rescaling)
            else step
            for step in table.steps
        ),
        table.quantize,
    )
