"""A network as a function for a backend to trace.

One sample goes in, without a batch axis; what comes out is the accumulator that the
network's output reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.circuits.lowering.registry import lowering_of


@dataclass(eq=False)
class Lowered:
    """A network as a function for a backend to trace.

    Args:
        report: the network and the ranges that its tables are made for.
        backend: the backend whose extensions it is written in.
        nodes: operation name → the traced node that holds its result; filled by tracing.
    """

    report: RangeReport
    backend: Backend
    nodes: dict[str, Any] = field(default_factory=dict)

    def function(self) -> Callable[[Any], Any]:
        """Return the function of one sample; its only parameter is called `x`."""

        def network(x: Any) -> Any:
            values = {self.report.network.input.name: x}
            for operation in self.report.network.operations:
                lower = lowering_of(operation)
                sources = [values[s] for s in operation.sources]
                with self.backend.namespace.tag(operation.name):
                    value = lower(operation, sources, self.report, self.backend)
                values[operation.name] = value
                self.nodes[operation.name] = value.computation
            return values[self.report.network.output.source]

        return network

    @property
    def joined(self) -> set[Any]:
        """The nodes of which `analyze` keeps one range per channel, not one per position."""
        return {
            self.nodes[node.name]
            for node in self.report
            if node.name in self.nodes
            and node.ranges.shape[1:] == (1,) * len(node.shape[1:]) != node.shape[1:]
        }
