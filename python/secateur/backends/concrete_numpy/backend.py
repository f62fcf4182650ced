"""concrete-numpy 0.11: one width rules the whole circuit."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import version
from types import ModuleType
from typing import Any

import concrete.numpy as cnp
import concrete.onnx as connx
import numpy as np
from concrete.numpy.extensions.tag import tag_context
from concrete.numpy.mlir import node_converter, utils
from concrete.numpy.tracing import Tracer

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
from secateur.backends.concrete_numpy import ends, prices
from secateur.backends.concrete_numpy.emulation import emulator
from secateur.backends.conversion import quick_tables
from secateur.backends.estimates import Lookups
from secateur.errors import BackendError
from secateur.network import Integers


def _no_truth(value: Any) -> bool:
    """Raise: Python would take one branch for all inputs at once."""
    raise TypeError(
        "an encrypted value has no truth, so that Python cannot branch on it, compare it in a "
        "chain or look for it in a list; write a lookup, or np.where"
    )


# Any object is true, unless it says otherwise: `1 if x > 2 else 0` would compile to 1.
Tracer.__bool__ = _no_truth

#: Operations of encrypted values that it computes by halves of the circuit's width.
_HALVED = {
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "equal",
    "left_shift",
    "not_equal",
    "right_shift",
}

_ENCRYPTED_COMPARISONS = {"greater", "greater_equal", "less", "less_equal"}


class ConcreteNumpy:
    """The backend for Python 3.10."""

    name: str = "concrete-numpy"
    namespace: ModuleType = cnp
    approximate: bool = False
    several: bool = False

    @property
    def version(self) -> str:
        return version("concrete-numpy")

    def conv(self, x: Any, weight: Integers, bias: Integers | None, **options: Any) -> Any:
        return connx.conv(x, weight, bias, **options)

    def approximating(self) -> Backend:
        raise BackendError(
            "concrete-numpy rounds exactly or not at all; concrete-python, on Python 3.11 and "
            "later, can round approximately",
            backend=self.name,
            reason="no approximate rounding",
        )

    def drop_bits(self, x: Any, bits: int, approximately: bool) -> Any:
        # One more lookup at full width; the table drops them for free.
        return x

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
            cnp.AutoRounder.adjust(function, samples)

    def trace(
        self,
        function: Callable[..., Any],
        sample: Mapping[str, Integers],
        clear: Collection[str] = (),
    ) -> Tracing:
        # The package sets this up for the one thread that imported it; dask's workers trace
        # in others.
        vars(tag_context).setdefault("stack", [])
        compiler = cnp.Compiler(
            function, {name: "clear" if name in clear else "encrypted" for name in sample}
        )
        values = tuple(sample.values())
        only = values if len(values) > 1 else values[0]
        # Its public method evaluates the graph as well, which fails without naming a line.
        compiler._trace(only)
        compiler.inputset.append(only)
        return Tracing(compiler.graph, compiler)

    def least_bits(self, operation: str) -> int:
        return 2 if operation in _HALVED else 0

    def compile(
        self, tracing: Tracing, declared: Mapping[Any, tuple[int, int]], options: Mapping[str, Any]
    ) -> BackendCircuit:
        # NumPy integers, or the library takes the bounds for those of floats.
        bounds = {
            node: {"min": np.int64(low), "max": np.int64(high)}
            for node, (low, high) in declared.items()
        }
        # Its compiler asks the graph to measure the bounds, and shows what it makes of them.
        tracing.graph.measure_bounds = lambda inputset: bounds
        given = dict(options)
        artifacts = given.pop("artifacts", None)
        configuration = ends.configuration(given)
        try:
            with quick_tables(node_converter, utils), own_cache(self.name):
                circuit: BackendCircuit = tracing.compiler.compile(None, configuration, artifacts)
        except Exception as error:
            raise refusal(self.name, error) from error
        return circuit

    def simulate(self, circuit: BackendCircuit, x: Integers) -> Any:
        return circuit.simulate(x)

    def emulator(self, circuit: BackendCircuit) -> Callable[..., Any]:
        return emulator(circuit)

    def lookups(self, graph: Any, circuit: BackendCircuit) -> int:
        looked_up = (n for n in graph.graph.nodes if n.converted_to_table_lookup)
        return sum(math.prod(node.output.shape) for node in looked_up)

    def widths(self, graph: Any) -> Mapping[Any, int]:
        # The rule of GraphConverter: the largest width of any node, clear ones one bit more.
        nodes = list(graph.graph.nodes)
        width = max(n.output.dtype.bit_width - n.output.is_clear for n in nodes)
        if any(
            n.operation.value == "generic"
            and n.properties["name"] in _ENCRYPTED_COMPARISONS
            and not n.converted_to_table_lookup
            for n in nodes
        ):
            width = max(width, 4)
        return {n: width for n in nodes if n.output.is_encrypted}

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
