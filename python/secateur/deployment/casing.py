"""The casing: what a backend writes around the numbers of an encrypted input.

A backend believes the shapes and sizes that a message states, and a wrong one can end its
process, fill its memory or damage what it holds. But all honest inputs of a circuit state the
same: so what stands before and behind the numbers is compared with what a client writes, byte
by byte, before the backend sees any. The numbers themselves may be anything.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from secateur.backends import BackendClient
from secateur.deployment.messages import refused
from secateur.network import Shape

#: Encryptions that are compared; two of them share each byte of their numbers by a chance of
#: 1 in 256, and all of them none.
_SAMPLES = 8


@dataclass(frozen=True)
class Casing:
    """What is the same in every encrypted input of a circuit.

    Args:
        head, tail: bytes before and behind the numbers.
        length: bytes of the whole.
    """

    head: bytes
    tail: bytes
    length: int

    @classmethod
    def of(cls, client: BackendClient, shape: Shape) -> Casing:
        """Return the casing of what `client` encrypts, by encrypting zeros.

        Args:
            client: whose keys are cheap to make, and are used for nothing else.
            shape: of one sample.

        Raises:
            ValueError: encryptions of one sample differ in length.
        """
        zeros = np.zeros(shape, np.int64)
        payloads = [client.encrypt(zeros) for _ in range(_SAMPLES)]
        first = payloads[0]
        if any(len(payload) != len(first) for payload in payloads):
            raise ValueError("the lengths of encrypted inputs differ")
        bytes_of = np.stack([np.frombuffer(payload, np.uint8) for payload in payloads])
        differs = np.flatnonzero((bytes_of != bytes_of[0]).any(axis=0))
        if not len(differs):
            raise ValueError("encrypted inputs do not differ")
        return cls(first[: differs[0]], first[differs[-1] + 1 :], len(first))

    def check(self, payload: bytes) -> None:
        """Raise `MessageError` unless an encrypted input has this casing."""
        whole = len(payload) == self.length
        if not (whole and payload.startswith(self.head) and payload.endswith(self.tail)):
            raise refused("input", "it does not state the sizes that this circuit's inputs have")
