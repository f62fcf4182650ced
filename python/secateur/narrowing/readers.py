"""Readers: what a node yields in other integers, undone by all that reads it.

A lookup undoes a change inside its table, an affine operation or a residual add inside its bias,
the output after decryption. Reshapes, pools and concats hand the change on to their own readers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secateur.analysis import RangeReport
from secateur.errors import AccumulatorOverflowError
from secateur.network import CannotUndoError, Change, Integers, Network, Operation
from secateur.network.change import undone
from secateur.ranges import Ranges


def proved_ranges(report: RangeReport) -> Mapping[str, Ranges]:
    """Return name → proved range of every node."""
    return {node.name: node.ranges for node in report}


def undone_by_readers(
    network: Network, ranges: Mapping[str, Ranges], name: str, factor: Integers, offset: Integers
) -> tuple[Network, Mapping[str, Ranges]] | None:
    """Return `network` for a node `name` that yields v′ where it yielded factor · v′ + offset.

    The arguments and the result are those of `moved_by_readers`; None also where the change
    would make a node wider.
    """
    moved = moved_by_readers(network, ranges, name, factor, offset)
    if moved is None or any(
        _bits(moved[1][node]) > _bits(before) for node, before in ranges.items()
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
        reader cannot undo the change, or int64 would not hold what undoes it.
    """
    changes = {name: Change.per_channel(factor, offset, network.shapes[name])}
    try:
        operations = tuple(_read(o, network, changes) for o in network.operations)
        output = network.output
        if output.source in changes:
            new = undone(output.factor, output.offset, *changes[output.source].channels)
            output = replace(output, factor=new[0], offset=new[1])
        changed = {node: change.of(ranges[node]) for node, change in changes.items()}
    except (CannotUndoError, AccumulatorOverflowError):
        return None
    return replace(network, operations=operations, output=output), {**ranges, **changed}


def _read(operation: Operation, network: Network, changes: dict[str, Change]) -> Operation:
    """Return the operation for changed sources; its own change, if any, goes to `changes`."""
    if not changes.keys() & set(operation.sources):
        return operation
    sources = [changes.get(s) or Change.none(network.shapes[s]) for s in operation.sources]
    read, passed_on = operation.reading(network.shapes[operation.name], sources)
    if passed_on is not None:
        changes[operation.name] = passed_on
    return read


def _bits(ranges: Ranges) -> int:
    return ranges.hull().bits("integer")
