"""What the two backends do for deployment, each in its own way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from secateur.network import Integers


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


class ServerHost(Protocol):
    """The backend in a server process."""

    @property
    def specs(self) -> bytes:
        """The specs of what was compiled."""

    def keys(self, payload: bytes) -> Any:
        """Return the evaluation keys that a client serialised."""

    def run(self, payload: bytes, keys: Any) -> bytes:
        """Return the serialised result for a serialised input."""


class ClientHost(Protocol):
    """The backend in a client process; holds the secret keys, once they are made."""

    def keygen(self) -> None:
        """Make the keys, unless there are some."""

    def evaluation_keys(self) -> bytes:
        """Return the serialised evaluation keys."""

    def encrypt(self, x: Integers) -> bytes:
        """Return one sample as serialised ciphertext."""

    def decrypt(self, payload: bytes) -> Any:
        """Return the integers of a serialised result."""


class Host(Protocol):
    """One backend."""

    def export(self, compiled: Any) -> Exported:
        """Return the backend's own circuit as text."""

    def server(self, exported: Exported) -> ServerHost:
        """Compile an exported circuit for a server."""

    def client(self, specs: bytes) -> ClientHost:
        """Return a client, still without keys."""


def host_of(backend: str) -> Host:
    """Return the host of the backend called `backend`, which has to be installed."""
    if backend == "concrete-numpy":
        from secateur.backends.concrete_numpy.host import ConcreteNumpyHost

        return ConcreteNumpyHost()
    from secateur.backends.concrete_python.host import ConcretePythonHost

    return ConcretePythonHost()
