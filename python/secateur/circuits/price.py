"""Price: what a circuit costs, known from compiling alone, before any key is made."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from secateur.backends import Backend, BackendCircuit
from secateur.backends.estimates import Lookups
from secateur.network import Lookup, Network, Operation
from secateur.show.tables import Displayed, Table


@dataclass(frozen=True)
class LayerPrice:
    """What one operation of a circuit takes part in.

    Args:
        name, kind: of the operation.
        bits: width of its encrypted result; None where it is part of a table.
        elements: how many values go through its table; 0 where it is no lookup.
        rounding_bits: how many low bits of what it looks up the network drops.
        estimate: about what its lookups add to the complexity, by `Backend.estimate`.
    """

    name: str
    kind: str
    bits: int | None
    elements: int
    rounding_bits: int
    estimate: float


@dataclass(frozen=True)
class Price(Displayed):
    """The price of one inference and of its keys.

    Args:
        backend: name of what compiled it.
        complexity: the backend's own estimate of one inference; ratios matter, not its unit.
        p_error, global_p_error: the probabilities that the circuit was made for, as the backend
            says: that one lookup goes wrong, and that any of an inference does.
        layers: the operations of the narrowed network, in order.
        lookups: number of table lookups (bootstraps) of one inference, those that drop bits
            included.
        secret_key_bytes: what the client keeps.
        bootstrap_key_bytes, keyswitch_key_bytes: what the client sends to a server once.
        input_bytes, output_bytes: the ciphertexts of one inference.
    """

    backend: str
    complexity: float
    p_error: float
    global_p_error: float
    layers: tuple[LayerPrice, ...]
    lookups: int
    secret_key_bytes: int
    bootstrap_key_bytes: int
    keyswitch_key_bytes: int
    input_bytes: int
    output_bytes: int

    @property
    def bits(self) -> Mapping[str, int]:
        """Operation name → width of its encrypted result."""
        return {layer.name: layer.bits for layer in self.layers if layer.bits is not None}

    @property
    def widest(self) -> int:
        """The width of the widest operation."""
        return max(self.bits.values())

    @property
    def evaluation_key_bytes(self) -> int:
        """What a server has to have."""
        return self.bootstrap_key_bytes + self.keyswitch_key_bytes

    def to_json(self) -> str:
        """Return all of it as a JSON object."""
        return json.dumps(asdict(self))

    def display(self) -> tuple[Table, str]:
        """One row per operation, and the totals."""
        rows = [
            (
                p.name,
                p.kind,
                p.bits,
                p.elements or None,
                p.rounding_bits or None,
                f"{p.estimate:.1e}" if p.elements else None,
            )
            for p in self.layers
        ]
        table = Table(("node", "kind", "bits", "lookups", "bits dropped", "about"), rows)
        return table, self.summary

    @property
    def summary(self) -> str:
        """The totals in one line."""
        return (
            f"{self.widest} bits, {self.lookups} lookups, complexity {self.complexity:.2e} at "
            f"p_error {self.p_error:.1e} ({self.global_p_error:.1e} overall), "
            f"evaluation keys {self.evaluation_key_bytes / 1e6:.1f} MB, ciphertexts "
            f"{self.input_bytes / 1e3:.0f} kB in and {self.output_bytes / 1e3:.0f} kB out"
        )


def price_of(
    network: Network,
    backend: Backend,
    graph: Any,
    nodes: Mapping[str, Any],
    compiled: BackendCircuit,
) -> Price:
    """Return the price of a compiled circuit.

    Args:
        network: the narrowed network that was lowered.
        backend: what compiled it.
        graph: its traced graph.
        nodes: operation name → node of the graph.
        compiled: the backend's circuit.
    """
    widths = backend.widths(graph)
    # Not the circuit's own figures of sizes, which count bootstrap keys more than once.
    sizes = backend.read(backend.export(compiled).specs)
    p_error = float(compiled.p_error)

    def layer(operation: Operation) -> LayerPrice:
        bits = widths.get(nodes[operation.name])
        if not isinstance(operation, Lookup):
            return LayerPrice(operation.name, operation.kind, bits, 0, 0, 0.0)
        elements, dropped = math.prod(network.shapes[operation.name]), operation.rounding_bits
        # What the network's input feeds has no node of its own here.
        width = widths.get(nodes.get(operation.source), bits or 0)
        lookups = Lookups(elements, width, dropped, backend.approximate)
        about = backend.estimate([lookups], 0, p_error)
        return LayerPrice(operation.name, operation.kind, bits, elements, dropped, about)

    layers = tuple(map(layer, network.operations))
    return Price(
        backend=backend.name,
        complexity=compiled.complexity,
        p_error=p_error,
        global_p_error=float(compiled.global_p_error),
        layers=layers,
        lookups=backend.lookups(graph, compiled),
        secret_key_bytes=sizes.secret_key_bytes,
        bootstrap_key_bytes=sizes.bootstrap_key_bytes,
        keyswitch_key_bytes=sizes.keyswitch_key_bytes,
        input_bytes=sizes.input_bytes,
        output_bytes=sizes.output_bytes,
    )
