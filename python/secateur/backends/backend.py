"""What a backend is: the few things in which concrete-numpy and concrete-python differ.

Both trace a Python function to a graph of nodes (`networkx` under `graph.graph`), assign
widths to the nodes from ranges written into it, and give circuits with the same methods.
Everything else of the lowering is written once, for graphs of either.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, Protocol, cast

from secateur.errors import ArgumentError, BackendError, MissingExtraError
from secateur.network.tables import Integers

BackendName = Literal["concrete-numpy", "concrete-python"]

#: The widest accumulator that a table lookup takes, in either backend.
WIDTH_LIMIT = 16


class BackendCircuit(Protocol):
    """The part of the backends' own circuits that is used here; alike in both."""

    @property
    def complexity(self) -> float: ...
    @property
    def size_of_secret_keys(self) -> int: ...
    @property
    def size_of_bootstrap_keys(self) -> int: ...
    @property
    def size_of_keyswitch_keys(self) -> int: ...
    @property
    def size_of_inputs(self) -> int: ...
    @property
    def size_of_outputs(self) -> int: ...
    @property
    def p_error(self) -> float: ...
    @property
    def global_p_error(self) -> float: ...
    def keygen(self, force: bool = False) -> None: ...
    def encrypt(self, *args: Any) -> Any: ...
    def run(self, args: Any) -> Any: ...
    def decrypt(self, result: Any) -> Any: ...
    def simulate(self, *args: Any) -> Any: ...


@dataclass(frozen=True, eq=False)
class Tracing:
    """A function traced to a graph, ready to be compiled once its ranges are known.

    Args:
        graph: the backend's graph, univariate subgraphs fused.
        compiler: the backend's compiler, where compiling goes on from it.
    """

    graph: Any
    compiler: Any


class Backend(Protocol):
    """One compiler of encrypted circuits."""

    @property
    def name(self) -> BackendName:
        """Its name as a package."""

    @property
    def version(self) -> str:
        """The installed version of that package."""

    @property
    def namespace(self) -> ModuleType:
        """Its module of extensions: zeros, conv, LookupTable, tag …, named alike in both."""

    def conv(self, x: Any, weight: Integers, bias: Integers | None, **options: Any) -> Any:
        """Trace a convolution of `x` [1, channels, height, width]."""

    def round_bits(self, x: Any, bits: int, width: int) -> Any:
        """Return `x`, of `width` bits, with its lowest `bits` dropped, or `x` itself.

        Whatever is cheaper: the table that follows drops them in any case.
        """

    def trace(self, function: Callable[..., Any], sample: Mapping[str, Integers]) -> Tracing:
        """Trace `function`; `sample` holds a valid value for every parameter, in order."""

    def compile(
        self, tracing: Tracing, declared: Mapping[Any, tuple[int, int]], options: Mapping[str, Any]
    ) -> BackendCircuit:
        """Compile with the range `declared` for every node; `options` configure the backend.

        Raises:
            BackendError: the backend refuses; no parameters are wide enough, for example.
        """

    def simulate(self, circuit: BackendCircuit, x: Integers) -> Any:
        """Return what the circuit decrypts to for one sample, computed in the clear."""

    def lookups(self, graph: Any, circuit: BackendCircuit) -> int:
        """Return how many table lookups one run of the circuit of `graph` makes."""

    def widths(self, graph: Any) -> Mapping[Any, int]:
        """Return node → width of every encrypted node of a graph that has been compiled."""


def refusal(name: BackendName, error: RuntimeError) -> BackendError:
    """Return the error of our own tree for one that a backend raised while compiling."""
    return BackendError(
        f"{name} compiled nothing, because: {error}",
        backend=name,
        reason=str(error),
    )


def backend_named(name: str | None = None) -> Backend:
    """Return the backend called `name`, or the one that is installed.

    Raises:
        MissingExtraError: it is not installed, or none is.
        ArgumentError: there is no backend of that name.
    """
    known = ("concrete-numpy", "concrete-python")
    if name is not None and name not in known:
        raise ArgumentError(
            f"no backend is named {name!r}; there are {' and '.join(known)}",
            argument="backend",
            value=name,
            expected=known,
        )
    for candidate in known if name is None else (name,):
        try:
            return _load(cast(BackendName, candidate))
        except ImportError as error:
            cause = error
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise MissingExtraError(
        f"{name or 'a backend'} is not installed for Python {version}; "
        'pip install "secateur[fhe]" brings concrete-numpy on 3.10, '
        "concrete-python on 3.11 and 3.12",
        package=name or "concrete-numpy",
        extra="fhe",
        feature="compile",
    ) from cause


def _load(name: BackendName) -> Backend:
    if name == "concrete-numpy":
        from secateur.backends.concrete_numpy.compiler import ConcreteNumpy

        return ConcreteNumpy()
    from secateur.backends.concrete_python.compiler import ConcretePython

    return ConcretePython()
