"""A circuit as a client has it: keys, what goes in and what comes out, but no codes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from numpy.typing import ArrayLike

from secateur.backends import BackendClient, Specs, backend_named
from secateur.circuits.interface import Interface
from secateur.circuits.storage import read_part
from secateur.deployment.messages import Message, check_keys, reading, sha256
from secateur.deployment.vault import read_keys, write_keys
from secateur.errors import ArgumentError
from secateur.network import Floats, Integers
from secateur.show.progress import waiting

if TYPE_CHECKING:
    from secateur.deployment.connection import Connection


@dataclass(frozen=True, eq=False)
class Client:
    """A circuit as a client has it.

    The keys are made when they are first needed and live as long as the client does. They are
    written nowhere, unless a file and a passphrase are given to `load`. Another client of the
    same part has other keys.

    Args:
        circuit: which circuit it is.
        interface: what the network takes, and how its accumulators are read.
        specs: sizes of keys and ciphertexts.
        backend: the backend's side of it.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur.circuits.circuit import compile
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> compile(network).save(folder.name + "/circuit")
        >>> client = Client.load(folder.name + "/circuit/client")
        >>> client.interface.input.shape, client.interface.shape
        ((3,), (1,))
        >>> message = client.encrypt([3, 0, 3])  # makes keys  # doctest: +SKIP
    """

    circuit: str
    interface: Interface
    specs: Specs
    backend: BackendClient = field(repr=False)

    @classmethod
    def load(
        cls,
        directory: str | os.PathLike[str],
        keys: str | os.PathLike[str] | None = None,
        passphrase: str | None = None,
    ) -> Client:
        """Return the client of the part saved in `directory`.

        Args:
            directory: the client part of a saved circuit.
            keys: the file of its keys, encrypted; made now where there is none. Without it
                the client has no keys yet, and they end with it.
            passphrase: what opens that file.

        Raises:
            FileFormatError: there is no client part, or a file of it was altered.
            FileVersionError: the part was saved by another version.
            ArgumentError: a file of keys without a passphrase, or the other way round.
            PassphraseError: the passphrase is another, or the file of keys was altered.
            MismatchError: the keys are another circuit's.
            MissingExtraError: cryptography is not installed.
        """
        part = read_part(directory, "client")
        part.json("specs.json")  # no JSON at all would be too much for some backends
        with part.reading("interface.json"):
            interface = Interface.from_json(part["interface.json"])
        with part.reading("specs.json"):
            compiler = backend_named(part.backend)
            backend = compiler.client(part["specs.json"])
            specs = compiler.read(part["specs.json"])
        with part.reading("interface.json"):
            _check_shapes(interface, specs)
        if (keys is None) != (not passphrase):
            raise ArgumentError(
                "a file of keys needs a passphrase, and a passphrase a file",
                argument="passphrase" if keys else "keys",
                expected="both or neither",
            )
        if keys is not None and passphrase:
            path = Path(keys)
            if path.exists():
                backend.restore(read_keys(path, part.circuit, passphrase))
            else:
                write_keys(path, backend.fresh_keys(), part.circuit, passphrase)
        return cls(part.circuit, interface, specs, backend)

    def connect(
        self,
        url: str,
        token: str | None = None,
        *,
        timeout_s: float = 60,
        verify: str | bool = True,
    ) -> Connection:
        """Return a connection to the server of `secateur serve` at `url`.

        Args:
            url: of the server, "https://…".
            token: what the server knows this client by.
            timeout_s: of one request.
            verify: a file of certificates to trust in place of the system's.

        Raises:
            MissingExtraError: httpx is not installed.
            MismatchError: the server has another circuit.
            ServiceError: nobody answers there, or not as a server of ours.
        """
        from secateur.deployment.connection import Connection

        return Connection.open(self, url, token, timeout_s, verify)

    def keygen(self) -> None:
        """Make the keys now, unless there are some."""
        with waiting("making keys"):
            self.backend.keygen()

    @cached_property
    def key_id(self) -> str:
        """The name of the keys: the hash of the evaluation keys."""
        return sha256(self.backend.evaluation_keys())

    def evaluation_keys(self) -> bytes:
        """Return the message that gives a server the keys to compute with."""
        return Message(
            "evaluation keys", self.circuit, self.key_id, self.backend.evaluation_keys()
        ).seal()

    def encrypt(self, x: ArrayLike) -> bytes:
        """Return the message that asks a server about one sample, integers [*input.shape].

        Raises:
            ShapeError, DtypeError, InputRangeError: `x` is not what the proof was made for.
        """
        payload = self.backend.encrypt(self.interface.sample(x))
        return Message("input", self.circuit, self.key_id, payload).seal()

    def decrypt(self, message: bytes) -> Integers:
        """Return the network's integers, int64 [*output shape], of what `Server.run` gave.

        Raises:
            MessageError: the message is damaged, or holds no result.
            MismatchError: the result is another circuit's.
            ForeignKeysError: the result was computed with another client's keys.
        """
        opened = Message.open(message, "result", self.circuit, self.specs.output_bytes)
        check_keys(self.key_id, opened.keys, "result")
        with reading("result"):
            return self.interface.integers(self.backend.decrypt(opened.payload))

    def quantize(self, x: ArrayLike) -> Integers:
        """Return the codes of one float sample [*input.shape], clipped to the range."""
        return self.interface.codes(x)

    def dequantize(self, integers: Integers) -> Floats:
        """Return the floats that decrypted `integers` [*output shape] stand for."""
        return self.interface.output.dequantize(integers[None])[0]


def _check_shapes(interface: Interface, specs: Specs) -> None:
    given, taken = specs.input_shape, specs.output_shape
    if (interface.input.shape, math.prod(interface.shape)) != (given, math.prod(taken)):
        raise ValueError(
            f"it says {interface.input.shape} to {interface.shape}, the specs {given} to {taken}"
        )
