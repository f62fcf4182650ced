"""A circuit as a server has it: it computes on ciphertexts and can read none."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from typing import Any

from secateur.backends import BackendServer, Exported, Specs, backend_named
from secateur.circuits.storage import read_part
from secateur.deployment.casing import Casing
from secateur.deployment.messages import Message, check_keys, reading, sha256
from secateur.errors import MismatchError


@dataclass(frozen=True, eq=False)
class EvaluationKeys:
    """The keys of one client that a server computes with; they decrypt nothing.

    Args:
        id: SHA-256 of the keys as they came, hex.
        keys: the backend's own object.

    Example:
        >>> keys = server.keys(client.evaluation_keys())  # doctest: +SKIP
        >>> answer = server.run(client.encrypt(codes), keys)  # doctest: +SKIP
    """

    id: str
    keys: Any = field(repr=False)


@dataclass(frozen=True, eq=False)
class Server:
    """A circuit as a server has it.

    A backend may end the whole process when it is given evaluation keys that another made to
    hurt it; `secateur serve` runs it in processes that may end.

    Args:
        circuit: which circuit it is.
        specs: sizes of keys and ciphertexts.
        casing: what is the same in all of its encrypted inputs.
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
        >>> server = Server.load(folder.name + "/circuit/server")
        >>> server.specs.input_shape
        (3,)
        >>> answer = server.run(message, server.keys(keys))  # doctest: +SKIP
    """

    circuit: str
    specs: Specs
    casing: Casing = field(repr=False)
    backend: BackendServer = field(repr=False)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Server:
        """Return the server of the part saved in `directory`; compiles the program.

        Raises:
            FileFormatError: there is no server part, or a file of it was altered.
            FileVersionError: the part was saved by another version.
            MismatchError: what compiles here needs other keys than what was saved.
        """
        part = read_part(directory, "server")
        specs, options = part.json("specs.json"), part.json("options.json")
        compiler = backend_named(part.backend)
        with part.reading("specs.json"):
            says = compiler.read(part["specs.json"])
            stranger = compiler.client(compiler.keyless(part["specs.json"]))
            casing = Casing.of(stranger, says.input_shape)
        with part.reading("circuit.mlir"):
            exported = Exported(part["circuit.mlir"].decode(), options, part["specs.json"])
            backend = compiler.server(exported)
        if json.loads(backend.specs) != specs:
            raise MismatchError(
                f"{directory}: the program compiles to other parameters here than where it was "
                "saved; compile and save the circuit again",
                what="parameters",
                expected=sha256(part["specs.json"]),
                found=sha256(backend.specs),
            )
        return cls(part.circuit, says, casing, backend)

    def keys(self, message: bytes) -> EvaluationKeys:
        """Return the evaluation keys in what `Client.evaluation_keys` gave.

        Raises:
            MessageError: the message is damaged, or holds no evaluation keys.
            MismatchError: the keys were made for another circuit.
            ForeignKeysError: the keys bear the name of others.
        """
        size = self.specs.evaluation_key_bytes
        opened = Message.open(message, "evaluation keys", self.circuit, size)
        with reading("evaluation keys"):
            return EvaluationKeys(opened.keys, self.backend.keys(opened.payload))

    def run(self, message: bytes, keys: EvaluationKeys) -> bytes:
        """Return the encrypted result for what `Client.encrypt` gave.

        Raises:
            MessageError: the message is damaged, or holds no input of this circuit.
            MismatchError: the input was encrypted for another circuit.
            ForeignKeysError: `keys` are not those of the client that encrypted it.
        """
        opened = Message.open(message, "input", self.circuit, self.specs.input_bytes)
        check_keys(keys.id, opened.keys, "input")
        self.casing.check(opened.payload)
        with reading("input"):
            result = self.backend.run(opened.payload, keys.keys)
        return Message("result", self.circuit, keys.id, result).seal()
