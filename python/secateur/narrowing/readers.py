"""Changing the unit of a node: what its readers must do so that no result changes.

Narrowing makes a node yield v′ in place of v = factor · v′ + offset. The readers undo it
where that costs no accumulator width: a lookup inside its table, an affine operation or a
residual add inside its bias, the output after decryption. Reshapes, pools and concats hand
the change on to their own readers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from secateur.narrowing.widths import circuit_bits
from secateur.network import (
    Add,
    Concat,
    Conv,
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
from secateur.network.tables import Integers
from secateur.ranges import Ranges


class _CannotUndoError(Exception):
    """A reader has no place to undo the change; never leaves this module."""


@dataclass(frozen=True, eq=False)
class Change:
    """v = factor · v′ + offset, element by element.

    Args:
        factor: int64 [*shape of the node], positive.
        offset: int64 [*shape of the node].
    """

    factor: Integers
    offset: Integers

    @classmethod
    def per_channel(cls, factor: Integers, offset: Integers, shape: Shape) -> Change:
        """The change of whole channels, factor and offset int64 [channels]."""
        column = (-1, *(1,) * (len(shape) - 1))
        return cls(
            np.broadcast_to(factor.reshape(column), shape),
            np.broadcast_to(offset.reshape(column), shape),
        )

    def of(self, ranges: Ranges) -> Ranges:
        """The range of v′ for a v in `ranges`."""
        low, high = ((side - self.offset) // self.factor for side in (ranges.low, ranges.high))
        return Ranges(low, high)

    def map(self, view: Callable[[Integers], Integers]) -> Change:
        """The change with both arrays seen through `view`."""
        return Change(view(self.factor), view(self.offset))

    @property
    def channels(self) -> tuple[Integers, Integers]:
        """Factor and offset int64 [channels], where they are the same all over a channel."""
        factor, offset = (side.reshape(len(side), -1) for side in (self.factor, self.offset))
        if (factor != factor[:, :1]).any() or (offset != offset[:, :1]).any():
            raise _CannotUndoError
        return factor[:, 0], offset[:, 0]

    @property
    def channel_offsets(self) -> Integers:
        """The offset int64 [channels] of a change that is no more than an offset."""
        factor, offset = self.channels
        if (factor != 1).any():
            raise _CannotUndoError
        return offset


def undone_by_readers(
    network: Network, ranges: Mapping[str, Ranges], name: str, factor: Integers, offset: Integers
) -> tuple[Network, Mapping[str, Ranges]] | None:
    """Return `network` for a node `name` that yields v′ where it yielded factor · v′ + offset.

    The arguments and the result are those of `moved_by_readers`; None also where the change
    would make a node wider.
    """
    moved = moved_by_readers(network, ranges, name, factor, offset)
    if moved is None or any(
        circuit_bits(moved[1][node]) > circuit_bits(before) for node, before in ranges.items()
    ):
        # A concat of this node, moved to start at zero, and of another, still negative.
        return None
    return moved


def moved_by_readers(
    network: Network, ranges: Mapping[str, Ranges], name: str, factor: Integers, offset: Integers
) -> tuple[Network, Mapping[str, Ranges]] | None:
    """Return `network` for a node `name` that yields v′ where it yielded factor · v′ + offset.

    The node itself is as it was: the caller changes it. The network returned is then equal
    to the one given, on every input.

    Args:
        network: the network.
        ranges: name → proved range of every node of `network`.
        name: name of the node whose readers are to undo the change.
        factor: int64 [channels], positive.
        offset: int64 [channels].

    Returns:
        The network with the readers changed, and the ranges of its nodes; or None where a
        reader cannot undo the change.
    """
    changes = {name: Change.per_channel(factor, offset, network.shapes[name])}
    operations: list[Operation] = []
    try:
        for operation in network.operations:
            if changes.keys() & set(operation.sources):
                operation, passed_on = _read(operation, network.shapes, changes)
                if passed_on is not None:
                    changes[operation.name] = passed_on
            operations.append(operation)
        output = network.output
        if output.source in changes:
            factor, offset = changes[output.source].channels
            output = replace(
                output,
                factor=output.factor * factor,
                offset=output.factor * offset + output.offset,
            )
    except _CannotUndoError:
        return None
    changed = {node: change.of(ranges[node]) for node, change in changes.items()}
    return replace(network, operations=tuple(operations), output=output), {**ranges, **changed}


def _read(
    operation: Operation, shapes: Mapping[str, Shape], changes: Mapping[str, Change]
) -> tuple[Operation, Change | None]:
    """Return the operation for changed sources, and how its own value changes, if it does."""
    sources = [
        changes.get(s) or Change.per_channel(np.ones(1, np.int64), np.zeros(1, np.int64), shapes[s])
        for s in operation.sources
    ]
    shape = shapes[operation.name]
    match operation:
        case Lookup():
            return _lookup(operation, *sources[0].channels), None
        case Linear():
            extra = operation.codes.astype(np.int64) @ sources[0].channel_offsets
            return replace(operation, bias=_plus(operation.bias, extra)), None
        case Conv():
            extra = _through_conv(operation, sources[0].channel_offsets)
            return replace(operation, bias=_plus(operation.bias, extra)), None
        case Add():
            extra = np.sum([s.channel_offsets for s in sources], axis=0)
            return replace(operation, bias=_plus(operation.bias, extra)), None
        case Reshape():
            return operation, sources[0].map(lambda side: side.reshape(operation.to))
        case Transpose():
            return operation, sources[0].map(lambda side: side.transpose(operation.axes))
        case Concat():
            return operation, Change(
                np.concatenate([s.factor for s in sources], axis=operation.axis),
                np.concatenate([s.offset for s in sources], axis=operation.axis),
            )
        case MaxPool():
            return operation, Change.per_channel(*sources[0].channels, shape)
        case SumPool():
            factor, offset = sources[0].channels
            if np.any(operation.padding) and offset.any():
                # A window at the border sums fewer offsets than one inside.
                raise _CannotUndoError
            return operation, Change.per_channel(
                factor, offset * math.prod(operation.kernel), shape
            )
    raise _CannotUndoError


def _plus(bias: Integers | None, extra: Integers) -> Integers:
    return extra if bias is None else bias + extra


def _lookup(lookup: Lookup, factor: Integers, offset: Integers) -> Lookup:
    if lookup.rounding_bits and (
        (factor != 1).any() or (offset % (1 << lookup.rounding_bits)).any()
    ):
        # Rounding comes before the table, and commutes with no other change.
        raise _CannotUndoError
    inner_factor = np.ones(1, np.int64) if lookup.factor is None else lookup.factor
    inner_offset = np.zeros(1, np.int64) if lookup.offset is None else lookup.offset
    return replace(
        lookup,
        factor=inner_factor * factor,
        offset=inner_factor * offset + inner_offset,
    )


def _through_conv(conv: Conv, offset: Integers) -> Integers:
    """Return what constant channels `offset` add to each output channel, int64 [out]."""
    if not offset.any():
        return np.zeros(len(conv.codes), np.int64)
    if np.any(conv.padding):
        # Padding stays zero: the constant would be missing at the borders.
        raise _CannotUndoError
    taps = conv.codes.astype(np.int64).reshape(conv.groups, -1, *conv.codes.shape[1:])
    taps = taps.sum(axis=tuple(range(3, taps.ndim)))  # [groups, out / groups, in / groups]
    added: Integers = np.einsum("goi,gi->go", taps, offset.reshape(conv.groups, -1)).ravel()
    return added
