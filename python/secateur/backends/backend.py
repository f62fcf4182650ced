"""What a backend is: one value that traces, compiles, exports, and serves its circuits.

Every backend traces a Python function to a graph of nodes (`networkx` under `graph.graph`),
assigns widths to the nodes from ranges written into it, and gives circuits with the same
methods. Everything else of the lowering is written once, for graphs of any of them.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Protocol

from secateur.backends.estimates import Lookups
from secateur.errors import ArgumentError, BackendError
from secateur.network import Integers, Shape

#: The widest accumulator that a table lookup takes, in either backend.
WIDTH_LIMIT = 16


class BackendCircuit(Protocol):
    """The part of the backends' own circuits that is used here; alike in both."""

    @property
    def complexity(self) -> float: ...
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


@dataclass(frozen=True)
class Exported:
    """A compiled circuit as text.

    Args:
        mlir: the program, from which a server compiles it again.
        options: what the backend was told about how to compile it; JSON values.
        specs: what a client has to know to make keys and ciphertexts.
    """

    mlir: str
    options: Mapping[str, Any]
    specs: bytes


@dataclass(frozen=True)
class Specs:
    """What the specs of a circuit say: shapes, and sizes as they are sent, headers left out.

    Args:
        input_shape, output_shape: of one sample and of its decrypted accumulators.
        secret_key_bytes: what a client keeps.
        bootstrap_key_bytes, keyswitch_key_bytes: what it sends to a server once.
        input_bytes, output_bytes: the ciphertexts of one inference.
    """

    input_shape: Shape
    output_shape: Shape
    secret_key_bytes: int
    bootstrap_key_bytes: int
    keyswitch_key_bytes: int
    input_bytes: int
    output_bytes: int

    @property
    def evaluation_key_bytes(self) -> int:
        """Both kinds of keys that a server computes with."""
        return self.bootstrap_key_bytes + self.keyswitch_key_bytes


class BackendServer(Protocol):
    """A circuit in a server's process."""

    @property
    def specs(self) -> bytes:
        """The specs of what was compiled."""

    def keys(self, payload: bytes) -> Any:
        """Return the evaluation keys that a client serialised."""

    def run(self, payload: bytes, keys: Any) -> bytes:
        """Return the serialised result for a serialised input."""


class BackendClient(Protocol):
    """A circuit in a client's process; holds the secret keys, once they are made."""

    def keygen(self) -> None:
        """Make the keys, unless there are some."""

    def fresh_keys(self) -> bytes:
        """Make new keys and return all of them, the secret ones too, in the clear."""

    def restore(self, keys: bytes) -> None:
        """Use the keys that `fresh_keys` returned once."""

    def evaluation_keys(self) -> bytes:
        """Return the serialised evaluation keys."""

    def encrypt(self, x: Integers) -> bytes:
        """Return one sample as serialised ciphertext."""

    def decrypt(self, payload: bytes) -> Any:
        """Return the integers of a serialised result."""


class Backend(Protocol):
    """One compiler of encrypted circuits."""

    @property
    def name(self) -> str:
        """Its name as a package."""

    @property
    def version(self) -> str:
        """The installed version of that package."""

    @property
    def namespace(self) -> ModuleType:
        """Its module of extensions: zeros, conv, LookupTable, tag …, named alike in both."""

    def conv(self, x: Any, weight: Integers, bias: Integers | None, **options: Any) -> Any:
        """Trace a convolution of `x` [1, channels, height, width]."""

    @property
    def approximate(self) -> bool:
        """Whether it may drop bits about: for less, but a value near a step may go astray."""

    @property
    def several(self) -> bool:
        """Whether circuits may have several outputs, and their inputs be encrypted one by one."""

    def approximating(self) -> Backend:
        """Return the backend that may drop bits about.

        Raises:
            BackendError: it knows no such thing.
        """

    def drop_bits(self, x: Any, bits: int, approximately: bool) -> Any:
        """Return `x` with its lowest `bits` dropped, ⌊x / 2^bits⌋ · 2^bits."""

    def estimate(self, lookups: Sequence[Lookups], output_bits: int, p_error: float) -> float:
        """Return about the complexity of a circuit, without compiling it.

        Args:
            lookups: those of every accumulator, in the order of the data.
            output_bits: width of what is decrypted.
            p_error: that one lookup goes wrong.
        """

    def prepare(
        self,
        function: Callable[..., Any],
        samples: Sequence[tuple[Integers, ...]],
        options: Mapping[str, Any],
    ) -> None:
        """Adjust the rounders of a function to samples of its arguments, if options ask for it.

        How much is rounded off is a choice; ranges and widths are proved for what is chosen.
        """

    def trace(
        self,
        function: Callable[..., Any],
        sample: Mapping[str, Integers],
        clear: Collection[str] = (),
    ) -> Tracing:
        """Trace `function`; `sample` holds a valid value for every parameter, in order.

        The parameters named in `clear` are not encrypted.
        """

    def least_bits(self, operation: str) -> int:
        """Return the width below which the backend's own lowering of an operation fails."""

    def compile(
        self, tracing: Tracing, declared: Mapping[Any, tuple[int, int]], options: Mapping[str, Any]
    ) -> BackendCircuit:
        """Compile with the range `declared` for every node.

        `options` are those of the backend's `Configuration`, as they are or as JSON values.

        Under "configuration" they may hold such an object, which the others overwrite, and
        under "artifacts" the backend's object that takes what is compiled.

        Raises:
            ArgumentError: an option that the backend has not.
            BackendError: the backend refuses; no parameters are wide enough, for example.
        """

    def simulate(self, circuit: BackendCircuit, x: Integers) -> Any:
        """Return what the circuit decrypts to for one sample, computed in the clear."""

    def emulator(self, circuit: BackendCircuit) -> Callable[..., Any]:
        """Return the function from arguments to what the circuit decrypts to; see `emulation`."""

    def lookups(self, graph: Any, circuit: BackendCircuit) -> int:
        """Return how many table lookups one run of the circuit of `graph` makes."""

    def widths(self, graph: Any) -> Mapping[Any, int]:
        """Return node → width of every encrypted node of a graph that has been compiled."""

    def export(self, circuit: Any) -> Exported:
        """Return one of its own circuits as text."""

    def read(self, specs: bytes) -> Specs:
        """Return what exported specs say; raises anything at all for what are none."""

    def keyless(self, specs: bytes) -> bytes:
        """Return exported specs without evaluation keys: a client of theirs makes keys at once.

        It can encrypt and decrypt, but nobody can compute with what it encrypts.
        """

    def server(self, exported: Exported) -> BackendServer:
        """Compile an exported circuit for a server."""

    def client(self, specs: bytes) -> BackendClient:
        """Return a client, still without keys."""


def configured(make: Callable[..., Any], name: str, options: Mapping[str, Any], **ours: Any) -> Any:
    """Return a backend's configuration, made from the caller's options and from ours.

    Raises:
        ArgumentError: an option that the backend has not, or a value that it refuses.
    """
    try:
        return make(**options, **ours)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ArgumentError(
            f"{name} takes no such options: {error}",
            argument="configuration",
            value=dict(options),
        ) from error


def refusal(name: str, error: Exception) -> BackendError:
    """Return the error of our own tree for one that a backend raised while compiling."""
    reason = str(error) or f"it raised {type(error).__name__}{_converted(error)}"
    return BackendError(
        f"{name} compiled nothing, because: {reason}",
        backend=name,
        reason=reason,
    )


def _converted(error: Exception) -> str:
    """The node that a backend was converting when it failed, and the node's line."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    for frame in reversed(frames):
        node: Any = frame.f_locals.get("node")
        if hasattr(node, "location"):
            return f" at operation {node.properties.get('name', 'constant')!r} at {node.location}"
    return ""
