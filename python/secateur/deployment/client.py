"""A circuit as a client has it: keys, what goes in and what comes out, but no codes."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, field
from functools import cached_property

from numpy.typing import ArrayLike

from secateur.backends import BackendClient, Specs, backend_named
from secateur.circuits.interface import Interface
from secateur.circuits.storage import read_part
from secateur.deployment.messages import Message, check_keys, sha256
from secateur.network import Floats, Integers


@dataclass(frozen=True, eq=False)
class Client:
    """A circuit as a client has it.

    The keys are made when they are first needed, live as long as the client does, and are
    never written anywhere. Another client of the same part has other keys.

    Args:
        circuit: which circuit it is.
        interface: what the network takes, and how its accumulators are read.
        backend: the backend's side of it.
    """

    circuit: str
    interface: Interface
    backend: BackendClient = field(repr=False)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Client:
        """Return the client of the part saved in `directory`, still without keys.

        Raises:
            FileFormatError: there is no client part, or a file of it was altered.
            FileVersionError: the part was saved by another version.
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
        return cls(part.circuit, interface, backend)

    def keygen(self) -> None:
        """Make the keys now, unless there are some."""
        self.backend.keygen()

    @cached_property
    def _key_id(self) -> str:
        return sha256(self.backend.evaluation_keys())

    def evaluation_keys(self) -> bytes:
        """Return the message that gives a server the keys to compute with."""
        return Message(
            "evaluation keys", self.circuit, self._key_id, self.backend.evaluation_keys()
        ).seal()

    def encrypt(self, x: ArrayLike) -> bytes:
        """Return the message that asks a server about one sample, integers [*input.shape].

        Raises:
            ShapeError, DtypeError, InputRangeError: `x` is not what the proof was made for.
        """
        payload = self.backend.encrypt(self.interface.sample(x))
        return Message("input", self.circuit, self._key_id, payload).seal()

    def decrypt(self, message: bytes) -> Integers:
        """Return the network's integers, int64 [*output shape], of what `Server.run` gave.

        Raises:
            MessageError: the message is damaged, or holds no result.
            MismatchError: the result is another circuit's.
            ForeignKeysError: the result was computed with another client's keys.
        """
        opened = Message.open(message, "result", self.circuit)
        check_keys(self._key_id, opened)
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
