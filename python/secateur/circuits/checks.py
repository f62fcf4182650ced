"""What has to hold before a traced graph is compiled, a network's or a user's own function's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from secateur.analysis import RangeReport, analyze
from secateur.backends import WIDTH_LIMIT
from secateur.circuits.proof import Proof
from secateur.errors import ProofMismatchError, WidthError
from secateur.network import Network
from secateur.ranges import Range, Ranges

#: A node that is too wide, its range, its width ↦ the error that says where that is.
Blame = Callable[[Any, Range, int], WidthError]


def check_agreement(report: RangeReport, nodes: Mapping[str, Any], proof: Proof) -> None:
    """Raise `ProofMismatchError` unless graph and network have the same ranges, all of them.

    The analysis knows operations, the proof knows what they became in the traced graph: a
    second pair of eyes.

    Args:
        report: the analysis of the network.
        nodes: operation name → node that holds its result.
        proof: node → range; a node may have been fused into a later table.
    """
    for name, node in nodes.items():
        if node not in proof:
            continue
        traced, shape = proof[node], report[name].shape
        known = report[name].ranges
        analysed = Ranges(*(np.broadcast_to(side, shape) for side in (known.low, known.high)))
        differs = (traced.low != analysed.low) | (traced.high != analysed.high)
        if differs.any():
            at = tuple(int(i) for i in np.argwhere(differs)[0])
            raise ProofMismatchError(
                f"layer {name!r}, channel {at[0]}: the traced graph has {traced[at]}, "
                f"the network {analysed[at]}; this is a defect, please report it",
                layer=name,
                channel=at[0],
                graph=traced[at],
                network=analysed[at],
            )


def check_widths(declared: Mapping[Any, tuple[int, int]], blame: Blame) -> None:
    """Raise `WidthError` where there are lookups and a node is wider than they take.

    Args:
        declared: node → range that the backend is to give it a width for, in order.
        blame: makes the error for the first node that is too wide.
    """
    if not any(node.converted_to_table_lookup for node in declared):
        return
    for node, (low, high) in declared.items():
        needed = Range(low, high)
        bits = needed.bits("signed" if low < 0 else "unsigned")
        if bits > WIDTH_LIMIT:
            raise blame(node, needed, bits)


def at_line(node: Any, needed: Range, bits: int) -> WidthError:
    """Blame the line of the user's function that made the node."""
    return WidthError(
        f"the value at {node.location} lies in [{needed.low}, {needed.high}], which takes "
        f"{bits} bits, {bits - WIDTH_LIMIT} more than the {WIDTH_LIMIT} of a lookup; "
        "nothing was compiled",
        bits=bits,
        limit=WIDTH_LIMIT,
    )


def at_layer(network: Network) -> Blame:
    """Blame the operation that made a node: every node is tagged with its name.

    Args:
        network: as the caller knows it, not narrowed: its channels are the ones to blame.
    """

    def blame(node: Any, needed: Range, bits: int) -> WidthError:
        # Narrowing widens no channel, so that the wide ones were wide before.
        channels = analyze(network)[node.tag].channels
        over = np.flatnonzero(channels.bits("span") > WIDTH_LIMIT).tolist()
        return WidthError(
            f"layer {node.tag!r} needs {bits} bits, {bits - WIDTH_LIMIT} more than the "
            f"{WIDTH_LIMIT} of a lookup, for channels {_listed(over)}; nothing was compiled; "
            f'secateur.prune(network, "accumulator", bits={WIDTH_LIMIT}) makes it fit',
            layer=node.tag,
            channels=tuple(over),
            bits=bits,
            limit=WIDTH_LIMIT,
        )

    return blame


def _listed(channels: list[int], most: int = 8) -> str:
    shown = ", ".join(map(str, channels[:most]))
    return f"{shown} and {len(channels) - most} more" if len(channels) > most else shown
