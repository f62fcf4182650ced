"""The parts of a saved circuit: what a server runs, and what a client asks it with."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from secateur.backends.host import ClientHost, Exported, ServerHost, host_of
from secateur.circuits.certificate import Certificate
from secateur.circuits.circuit import Circuit
from secateur.deployment.manifest import read_part, write_parts
from secateur.deployment.messages import Message, sha256
from secateur.errors import ForeignKeysError, MismatchError, ShapeError
from secateur.network import Floats, Input, Integers, Output, Shape
from secateur.network.storage import save as save_network


def save(circuit: Circuit, directory: str | os.PathLike[str]) -> None:
    """Write `circuit` below `directory`, which appears whole or not at all.

    `server` holds the program, `client` what keys and ciphertexts need, `network` the network
    that was compiled, with its certificate. No part holds a key.

    Raises:
        FileExistsError: `directory` holds something already.
        OSError: it cannot be written.
    """
    network = circuit.report.network
    exported = host_of(circuit.backend.name).export(circuit.compiled)
    with tempfile.TemporaryDirectory() as scratch:
        save_network(network, f"{scratch}/network.safetensors")
        Certificate.of(network).save(f"{scratch}/certificate.json")
        of_network = {path.name: path.read_bytes() for path in Path(scratch).iterdir()}
    shape = network.shapes[network.output.source]
    parts = {
        "server": {
            "circuit.mlir": exported.mlir.encode(),
            "options.json": json.dumps(exported.options).encode(),
            "specs.json": exported.specs,
        },
        "client": {
            "interface.json": _interface(network.input, network.output, shape),
            "specs.json": exported.specs,
        },
        "network": of_network,
    }
    write_parts(
        directory, {"name": circuit.backend.name, "version": circuit.backend.version}, parts
    )


@dataclass(frozen=True, eq=False)
class EvaluationKeys:
    """The keys of one client that a server computes with; they decrypt nothing."""

    id: str
    keys: Any = field(repr=False)


@dataclass(frozen=True, eq=False)
class Server:
    """A circuit as a server has it: it computes on ciphertexts and can read none.

    Args:
        circuit: which circuit it is.
        host: the backend.
    """

    circuit: str
    host: ServerHost = field(repr=False)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Server:
        """Return the server of the part saved in `directory`; compiles the program.

        Raises:
            FileFormatError: there is no server part, or a file of it was altered.
            FileVersionError: the part was saved by another version.
            MismatchError: what compiles here needs other keys than what was saved.
        """
        part = read_part(directory, "server")
        exported = Exported(
            part.files["circuit.mlir"].decode(),
            json.loads(part.files["options.json"]),
            part.files["specs.json"],
        )
        host = host_of(part.backend).server(exported)
        if json.loads(host.specs) != json.loads(exported.specs):
            raise MismatchError(
                f"{directory}: the program compiles to other parameters here than where it was "
                "saved; compile and save the circuit again",
                what="parameters",
                expected=sha256(exported.specs),
                found=sha256(host.specs),
            )
        return cls(part.circuit, host)

    def keys(self, message: bytes) -> EvaluationKeys:
        """Return the evaluation keys in what `Client.evaluation_keys` gave.

        Raises:
            MessageError: the message is damaged, or holds no evaluation keys.
            MismatchError: the keys were made for another circuit.
        """
        opened = Message.open(message, "evaluation keys", self.circuit)
        return EvaluationKeys(opened.keys, self.host.keys(opened.payload))

    def run(self, message: bytes, keys: EvaluationKeys) -> bytes:
        """Return the encrypted result for what `Client.encrypt` gave.

        Raises:
            MessageError: the message is damaged, or holds no input.
            MismatchError: the input was encrypted for another circuit.
            ForeignKeysError: `keys` are not those of the client that encrypted it.
        """
        opened = Message.open(message, "input", self.circuit)
        _check_keys(keys.id, opened)
        result = self.host.run(opened.payload, keys.keys)
        return Message("result", self.circuit, keys.id, result).seal()


@dataclass(frozen=True, eq=False)
class Client:
    """A circuit as a client has it: keys, what goes in and what comes out, but no codes.

    The keys are made when they are first needed, live as long as the client does, and are
    never written anywhere. Another client of the same part has other keys.

    Args:
        circuit: which circuit it is.
        input: what the network takes.
        output: how decrypted accumulators are read.
        shape: shape of the decrypted accumulators of one sample.
        host: the backend.
    """

    circuit: str
    input: Input
    output: Output
    shape: Shape
    host: ClientHost = field(repr=False)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Client:
        """Return the client of the part saved in `directory`, still without keys.

        Raises:
            FileFormatError: there is no client part, or a file of it was altered.
            FileVersionError: the part was saved by another version.
        """
        part = read_part(directory, "client")
        interface = json.loads(part.files["interface.json"])
        given, taken = interface["input"], interface["output"]
        return cls(
            part.circuit,
            Input(
                tuple(given["shape"]),
                np.array(given["low"], np.int64),
                np.array(given["high"], np.int64),
                given["scale"],
                given["name"],
            ),
            Output(
                taken["source"],
                np.array(taken["factor"], np.int64),
                np.array(taken["offset"], np.int64),
                np.array(taken["scale"], np.float64),
                np.array(taken["bias"], np.float64),
            ),
            tuple(taken["shape"]),
            host_of(part.backend).client(part.files["specs.json"]),
        )

    def keygen(self) -> None:
        """Make the keys now, unless there are some."""
        self.host.keygen()

    @cached_property
    def _key_id(self) -> str:
        return sha256(self.host.evaluation_keys())

    def evaluation_keys(self) -> bytes:
        """Return the message that gives a server the keys to compute with."""
        return Message(
            "evaluation keys", self.circuit, self._key_id, self.host.evaluation_keys()
        ).seal()

    def encrypt(self, x: ArrayLike) -> bytes:
        """Return the message that asks a server about one sample, integers [*input.shape].

        Raises:
            ShapeError, DtypeError, InputRangeError: `x` is not what the proof was made for.
        """
        sample = np.asarray(x)
        if sample.shape != self.input.shape:
            raise ShapeError(
                f"encrypt takes one sample of shape {self.input.shape}, got {sample.shape}",
                argument="x",
                shape=sample.shape,
                expected=self.input.shape,
            )
        self.input.check(sample[None])
        payload = self.host.encrypt(sample.astype(np.int64))
        return Message("input", self.circuit, self._key_id, payload).seal()

    def decrypt(self, message: bytes) -> Integers:
        """Return the network's integers, int64 [*output shape], of what `Server.run` gave.

        Raises:
            MessageError: the message is damaged, or holds no result.
            MismatchError: the result is another circuit's.
            ForeignKeysError: the result was computed with another client's keys.
        """
        opened = Message.open(message, "result", self.circuit)
        _check_keys(self._key_id, opened)
        raw = np.asarray(self.host.decrypt(opened.payload)).astype(np.int64)
        return self.output.integers(raw.reshape(1, *self.shape))[0]

    def quantize(self, x: ArrayLike) -> Integers:
        """Return the codes of one float sample [*input.shape], clipped to the range."""
        return self.input.quantize(np.asarray(x)[None])[0]

    def dequantize(self, integers: Integers) -> Floats:
        """Return the floats that decrypted `integers` [*output shape] stand for."""
        return self.output.dequantize(integers[None])[0]


def _check_keys(expected: str, message: Message) -> None:
    if message.keys != expected:
        raise ForeignKeysError(
            f"the {message.kind} goes with keys {message.keys[:12]}…, these are {expected[:12]}…; "
            "each client's ciphertexts need that client's keys",
            expected=expected,
            found=message.keys,
        )


def _interface(source: Input, output: Output, shape: Shape) -> bytes:
    """What a client knows of the network: its two ends."""
    ends = {
        "input": {
            "name": source.name,
            "shape": source.shape,
            "low": source.low.tolist(),
            "high": source.high.tolist(),
            "scale": source.scale,
        },
        "output": {
            "source": output.source,
            "shape": shape,
            "factor": output.factor.tolist(),
            "offset": output.offset.tolist(),
            "scale": output.scale.tolist(),
            "bias": output.bias.tolist(),
        },
    }
    return json.dumps(ends).encode()
