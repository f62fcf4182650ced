"""Cost: what a circuit costs, known from compiling alone, before any key is made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secateur.backends import Backend, BackendCircuit


@dataclass(frozen=True)
class Cost:
    """The price of one inference and of its keys.

    Args:
        complexity: the backend's own estimate of one inference; ratios matter, not its unit.
        bits: operation name → width of its encrypted result.
        lookups: number of table lookups (bootstraps) of one inference.
        secret_key_bytes: what the client keeps.
        bootstrap_key_bytes, keyswitch_key_bytes: what the client sends to a server once.
        input_bytes, output_bytes: the ciphertexts of one inference.
    """

    complexity: float
    bits: Mapping[str, int]
    lookups: int
    secret_key_bytes: int
    bootstrap_key_bytes: int
    keyswitch_key_bytes: int
    input_bytes: int
    output_bytes: int

    @property
    def widest(self) -> int:
        """The width of the widest operation, which rules the price of a lookup."""
        return max(self.bits.values())

    @property
    def evaluation_key_bytes(self) -> int:
        """What a server has to have."""
        return self.bootstrap_key_bytes + self.keyswitch_key_bytes

    def __str__(self) -> str:
        return (
            f"{self.widest} bits, {self.lookups} lookups, complexity {self.complexity:.2e}, "
            f"evaluation keys {self.evaluation_key_bytes / 1e6:.1f} MB, ciphertexts "
            f"{self.input_bytes / 1e3:.0f} kB in and {self.output_bytes / 1e3:.0f} kB out"
        )


def cost_of(
    backend: Backend, graph: Any, nodes: Mapping[str, Any], compiled: BackendCircuit
) -> Cost:
    """Return the cost of a compiled circuit.

    Args:
        backend: what compiled it.
        graph: its traced graph.
        nodes: operation name → node of the graph.
        compiled: the backend's circuit.
    """
    widths = backend.widths(graph)
    # Not the circuit's own figures of sizes, which count bootstrap keys more than once.
    sizes = backend.read(backend.export(compiled).specs)
    return Cost(
        complexity=compiled.complexity,
        bits={name: widths[node] for name, node in nodes.items() if node in widths},
        lookups=backend.lookups(graph, compiled),
        secret_key_bytes=sizes.secret_key_bytes,
        bootstrap_key_bytes=sizes.bootstrap_key_bytes,
        keyswitch_key_bytes=sizes.keyswitch_key_bytes,
        input_bytes=sizes.input_bytes,
        output_bytes=sizes.output_bytes,
    )
