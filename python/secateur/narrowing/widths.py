"""What the steps of narrowing know of a network: proved ranges, and the widths they take."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from secateur.analysis import RangeReport, analyze
from secateur.network import Network
from secateur.ranges import Range, Ranges


@lru_cache(maxsize=1)
def report_of(network: Network) -> RangeReport:
    """Return `analyze(network)`, once for all steps that look at the same network in turn."""
    return analyze(network)


def proved_ranges(network: Network) -> Mapping[str, Ranges]:
    """Return name → proved range of every node."""
    return {node.name: node.ranges for node in report_of(network)}


def circuit_bits(ranges: Ranges) -> int:
    """Return the width of an integer type that holds every value of a node in `ranges`.

    A node that is never negative is unsigned; one type serves all its channels.
    """
    hull = Range(int(ranges.low.min()), int(ranges.high.max()))
    return hull.bits("signed" if hull.low < 0 else "unsigned")
