"""Fewer channels: constants folded into biases, channels that nothing needs dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from secateur.analysis import NodeRange
from secateur.narrowing.widths import report_of
from secateur.network import (
    Add,
    Concat,
    Conv,
    Layer,
    Linear,
    Lookup,
    MaxPool,
    Network,
    Operation,
    Reshape,
    Shape,
    SumPool,
    Transpose,
)
from secateur.network.tables import (
    Affine,
    ExplicitTable,
    Floats,
    FunctionTable,
    Integers,
    Table,
)

Mask = NDArray[np.bool_]
Values = TypeVar("Values", Integers, Floats, Integers | None)


def fold_constants(network: Network) -> Network:
    """Return `network` with the codes of constant inputs zero, their products in the bias.

    An input is constant where its proved range is one point. A convolution that pads keeps
    its constant channels, zeros apart: the constant is missing where the padding is.
    """
    report = report_of(network)
    changed = []
    for layer in network.layers:
        constant, value = _constants(layer, report[layer.source])
        codes = layer.codes.astype(np.int64)
        folded = np.where(_columns(layer, constant), codes, 0)
        if folded.any():
            bias = np.zeros(len(codes), np.int64) if layer.bias is None else layer.bias
            products = folded * _columns(layer, value)
            changed.append(
                replace(
                    layer,
                    codes=(codes - folded).astype(layer.codes.dtype),
                    bias=bias + products.reshape(len(codes), -1).sum(axis=1),
                )
            )
    return network.with_operations(*changed) if changed else network


def _constants(layer: Layer, source: NodeRange) -> tuple[Mask, Integers]:
    """Return which input channels can be folded, bool [in], and their values, int64 [in]."""
    low, high = source.channels.low, source.channels.high
    constant = low == high
    if isinstance(layer, Conv) and np.any(layer.padding):
        constant &= low == 0
    return constant, low


def _columns(layer: Layer, values: NDArray[np.generic]) -> NDArray[np.generic]:
    """Shape `values` [in] to broadcast over the layer's codes [out, in / groups, *kernel]."""
    if isinstance(layer, Linear):
        return values
    per_group = values.reshape(layer.groups, -1)
    rows = np.repeat(per_group, len(layer.codes) // layer.groups, axis=0)
    return rows.reshape(*rows.shape, *(1,) * len(layer.kernel))


def drop_dead_channels(network: Network) -> Network:
    """Return `network` without the operations and channels that no result depends on.

    A channel is dead where all that reads it multiplies it by zero. The network's input and
    output keep their shapes.
    """
    network = _without_unread(network)
    kept = _kept(network)
    if all(mask.all() for mask in kept.values()):
        return network
    operations = tuple(_restrict(o, kept) for o in network.operations)
    return replace(network, operations=operations)


def _without_unread(network: Network) -> Network:
    needed = {network.output.source}
    for operation in reversed(network.operations):
        if operation.name in needed:
            needed.update(operation.sources)
    operations = tuple(o for o in network.operations if o.name in needed)
    if len(operations) == len(network.operations):
        return network
    return replace(network, operations=operations)


def _kept(network: Network) -> Mapping[str, Mask]:
    """Return node → bool [channels], True where the channel has to stay.

    Masks only grow, from what the output needs, until every operation agrees with its
    sources; then each can be restricted to its kept channels by itself. A node of which
    nothing is needed keeps one channel, since no shape may be empty.
    """
    kept = {name: np.zeros(shape[0], np.bool_) for name, shape in network.shapes.items()}
    for whole in (network.input.name, network.output.source):
        kept[whole][:] = True
    while True:
        before = sum(int(mask.sum()) for mask in kept.values())
        for operation in reversed(network.operations):
            _grow(operation, kept, network.shapes)
        if sum(int(mask.sum()) for mask in kept.values()) == before:
            empty = [mask for mask in kept.values() if not mask.any()]
            if not empty:
                return kept
            empty[-1][0] = True


def _grow(operation: Operation, kept: Mapping[str, Mask], shapes: Mapping[str, Shape]) -> None:
    """Keep what `operation` needs of its sources, and what it cannot drop of its own."""
    own = kept[operation.name]
    sources = [kept[s] for s in operation.sources]
    match operation:
        case Linear():
            sources[0] |= operation.codes[own].any(axis=0)
        case Conv(groups=1):
            sources[0] |= operation.codes[own].any(axis=(0, *range(2, operation.codes.ndim)))
        case Conv():
            # A group goes as a whole, inputs and outputs, or stays as a whole.
            groups = own.reshape(operation.groups, -1).any(axis=1)
            groups |= sources[0].reshape(operation.groups, -1).any(axis=1)
            own |= np.repeat(groups, len(own) // operation.groups)
            sources[0] |= np.repeat(groups, len(sources[0]) // operation.groups)
        case Concat(axis=0):
            ends = np.cumsum([len(s) for s in sources])[:-1]
            own |= np.concatenate(sources)
            for source, part in zip(sources, np.split(own, ends), strict=True):
                source |= part
        case Lookup() | MaxPool() | SumPool() | Add() | Concat():
            own |= np.any(sources, axis=0)
            for source in sources:
                source |= own
        case Reshape() | Transpose():
            shape = shapes[operation.source]
            elements = operation.evaluate(_elements(sources[0], shape)[None])[0]
            own |= elements.reshape(len(own), -1).any(axis=1)
            where = operation.evaluate(np.arange(np.prod(shape)).reshape(1, *shape))[0]
            back = where[own].ravel() // (np.prod(shape) // shape[0])
            sources[0][back] = True


def _elements(mask: Mask, shape: Shape) -> Integers:
    column = mask.reshape(-1, *(1,) * (len(shape) - 1))
    return np.broadcast_to(column, shape).astype(np.int64)


def _restrict(operation: Operation, kept: Mapping[str, Mask]) -> Operation:
    """Return the operation on its kept channels, reading its sources' kept channels."""
    own = kept[operation.name]
    match operation:
        case Linear():
            codes = operation.codes[own][:, kept[operation.source]]
            return replace(operation, codes=codes, bias=_pick(operation.bias, own))
        case Conv():
            groups = int(own.reshape(operation.groups, -1).any(axis=1).sum())
            codes = operation.codes[own]
            if operation.groups == 1:
                groups, codes = 1, codes[:, kept[operation.source]]
            return replace(operation, codes=codes, bias=_pick(operation.bias, own), groups=groups)
        case Lookup():
            return replace(
                operation,
                table=_pick_table(operation.table, own),
                factor=_pick(operation.factor, own),
                offset=_pick(operation.offset, own),
            )
        case Add():
            return replace(operation, bias=_pick(operation.bias, own))
        case Reshape():
            return replace(operation, to=(int(own.sum()), *operation.to[1:]))
    return operation


def _pick(values: Values, kept: Mask) -> Values:
    """Return the kept rows of `values` [channels, ...], or the only row of [1, ...]."""
    return values if values is None or len(values) != len(kept) else values[kept]


def _pick_table(table: Table, kept: Mask) -> Table:
    if isinstance(table, ExplicitTable):
        return ExplicitTable(_pick(table.values, kept), _pick(table.start, kept))
    steps = tuple(
        Affine(_pick(step.scale, kept), _pick(step.offset, kept))
        if isinstance(step, Affine)
        else step
        for step in table.steps
    )
    return FunctionTable(steps, table.quantize)
