"""concrete-python 2: widths may differ within a circuit; linear operations share theirs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType
from typing import Any, ClassVar

import networkx as nx
import numpy as np
from concrete import fhe
from concrete.fhe.dtypes import Integer
from concrete.fhe.extensions.tag import tag_context
from concrete.fhe.mlir import converter, utils
from concrete.fhe.mlir.processors.assign_bit_widths import AdditionalConstraints
from concrete.fhe.representation import GraphProcessor

from secateur.backends.backend import (
    Backend,
    BackendCircuit,
    BackendClient,
    BackendServer,
    Exported,
    Specs,
    Tracing,
    refusal,
)
from secateur.backends.cache import own_cache
from secateur.backends.concrete_python import ends, prices
from secateur.backends.concrete_python.emulation import emulator
from secateur.backends.conversion import quick_tables
from secateur.backends.estimates import Lookups
from secateur.network import Integers

#: Operations that give their elements on with the type that they have.
_MOVING = {
    "broadcast_to",
    "copy",
    "expand_dims",
    "index_dynamic",
    "index_static",
    "reshape",
    "squeeze",
    "transpose",
}


def _as_wide_as_indexed(self: Any, node: Any, preds: Sequence[Any]) -> None:
    """Constrain the widths of `tensor[index]`: what is taken out of a tensor is as wide."""
    self.constraint(node, self.bit_widths[preds[0]] == self.bit_widths[node])


# Of static indices it knows this; of clear ones it fails where the widths come out different.
AdditionalConstraints.index_dynamic = _as_wide_as_indexed


class _Share(GraphProcessor):  # type: ignore[misc]
    """Give every clear constant the type that costs it no width, before widths are assigned."""

    def apply(self, graph: Any) -> None:
        for node in graph.graph.nodes:
            if node.operation.value == "constant":
                # It shares the width of what it is combined with, and is encoded in one more.
                bits = Integer.that_can_represent(node(), force_signed=True).bit_width
                node.output.dtype = Integer(is_signed=False, bit_width=max(bits - 1, 1))


def _signed_alike(
    graph: Any, declared: Mapping[Any, tuple[int, int]]
) -> dict[Any, tuple[int, int]]:
    """Return `declared` with every moved value signed where what it is taken from is.

    A slice may be known to be positive in a tensor that is not; its type is the tensor's.
    """
    alike: dict[Any, tuple[int, int]] = {}
    for node in nx.topological_sort(graph.graph):
        low, high = declared[node]
        if node.operation.value == "generic" and node.properties["name"] in _MOVING:
            moved, *_ = graph.ordered_preds_of(node)
            low = min(low, max(alike[moved][0], -1))
        alike[node] = (low, high)
    return alike


class _Encode(GraphProcessor):  # type: ignore[misc]
    """Give every clear constant the type that holds it, after widths are assigned.

    Two bits at least: the compiler takes the only negative integer of one bit for 1.
    """

    def apply(self, graph: Any) -> None:
        for node in graph.graph.nodes:
            if node.operation.value == "constant":
                dtype = Integer.that_can_represent(node(), force_signed=True)
                dtype.bit_width = max(dtype.bit_width, 2)
                node.output.dtype = dtype


@dataclass(frozen=True)
class ConcretePython:
    """The backend for Python 3.11 and 3.12."""

    approximate: bool = False
    several: ClassVar[bool] = True
    name: ClassVar[str] = "concrete-python"
    namespace: ClassVar[ModuleType] = fhe

    @property
    def version(self) -> str:
        return version("concrete-python")

    def conv(self, x: Any, weight: Integers, bias: Integers | None, **options: Any) -> Any:
        return fhe.conv(x, weight, bias, **options)

    def approximating(self) -> Backend:
        return ConcretePython(approximate=True)

    def drop_bits(self, x: Any, bits: int, approximately: bool) -> Any:
        if not approximately:
            return fhe.truncate_bit_pattern(x, bits)
        # It rounds to the nearest, by adding this half again.
        half = 1 << bits - 1
        return fhe.round_bit_pattern(x - half, bits, exactness=fhe.Exactness.APPROXIMATE)

    def estimate(self, lookups: Sequence[Lookups], output_bits: int, p_error: float) -> float:
        return prices.estimate(lookups, output_bits, p_error)

    def prepare(
        self,
        function: Callable[..., Any],
        samples: Sequence[tuple[Integers, ...]],
        options: Mapping[str, Any],
    ) -> None:
        given = dict(options)
        given.pop("artifacts", None)
        configuration = ends.configuration(given)
        if configuration.auto_adjust_rounders:
            fhe.AutoRounder.adjust(function, samples)
        if configuration.auto_adjust_truncators:
            fhe.AutoTruncator.adjust(function, samples)

    def trace(
        self,
        function: Callable[..., Any],
        sample: Mapping[str, Integers],
        clear: Collection[str] = (),
    ) -> Tracing:
        # The package sets this up for the one thread that imported it; dask's workers trace
        # in others.
        vars(tag_context).setdefault("stack", [])
        compiler = fhe.Compiler(
            function, {name: "clear" if name in clear else "encrypted" for name in sample}
        )
        # Its public method evaluates the graph as well, which fails without naming a line.
        definition = compiler._func_def
        definition.trace(tuple(sample.values()))
        definition.inputset.append(tuple(sample.values()))
        return Tracing(definition.graph, compiler)

    def least_bits(self, operation: str) -> int:
        return 0

    def compile(
        self, tracing: Tracing, declared: Mapping[Any, tuple[int, int]], options: Mapping[str, Any]
    ) -> BackendCircuit:
        bounds = {
            node: {"min": np.int64(low), "max": np.int64(high)}
            for node, (low, high) in _signed_alike(tracing.graph, declared).items()
        }
        # Its compiler asks the graph to measure the bounds, and shows what it makes of them.
        tracing.graph.measure_bounds = lambda inputset: bounds
        given = dict(options)
        artifacts = given.pop("artifacts", None)
        theirs = given.get("configuration") or fhe.Configuration()
        configuration = ends.configuration(
            given,
            additional_pre_processors=[_Share(), *theirs.additional_pre_processors],
            additional_post_processors=[_Encode(), *theirs.additional_post_processors],
        )
        try:
            with quick_tables(converter, utils), own_cache(self.name):
                circuit: BackendCircuit = tracing.compiler.compile([], configuration, artifacts)
        except Exception as error:
            raise refusal(self.name, error) from error
        return circuit

    def simulate(self, circuit: Any, x: Integers) -> Any:
        circuit.enable_fhe_simulation()
        return circuit.simulate(x)

    def emulator(self, circuit: BackendCircuit) -> Callable[..., Any]:
        return emulator(circuit)

    def lookups(self, graph: Any, circuit: Any) -> int:
        return int(circuit.programmable_bootstrap_count)

    def widths(self, graph: Any) -> Mapping[Any, int]:
        return {n: n.output.dtype.bit_width for n in graph.graph.nodes if n.output.is_encrypted}

    def export(self, circuit: Any) -> Exported:
        return ends.export(circuit)

    def read(self, specs: bytes) -> Specs:
        return ends.read(specs)

    def keyless(self, specs: bytes) -> bytes:
        return ends.keyless(specs)

    def server(self, exported: Exported) -> BackendServer:
        return ends.Server(exported)

    def client(self, specs: bytes) -> BackendClient:
        return ends.Client(specs)
