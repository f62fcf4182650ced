"""Messages between client and server: a line of JSON that says what follows, then bytes.

The line holds the kind of the message, the circuit and the keys that it belongs to, and the
hash of the bytes. It guards against mistakes and damage before a backend is given bytes that
it would crash on or decrypt to nonsense. It is no signature: whoever may write to the wire
can write a true line. Keys are called by the hash of their own bytes, so that no other keys
can take their name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Literal

from secateur.errors import ForeignKeysError, MessageError, MismatchError

Kind = Literal["evaluation keys", "input", "result"]
VERSION = 1

#: No line of ours is longer.
LONGEST_LINE = 1024

#: What a backend writes around the numbers of keys and ciphertexts is shorter than this.
LONGEST_HEADER = 4096


@dataclass(frozen=True)
class Message:
    """What one process tells the other.

    Args:
        kind: what `payload` is.
        circuit: hash of the circuit's manifest.
        keys: hash of the evaluation keys that go with it.
        payload: the backend's own bytes.
    """

    kind: Kind
    circuit: str
    keys: str
    payload: bytes

    def seal(self) -> bytes:
        """Return the message as bytes."""
        line = asdict(self) | {"version": VERSION, "payload": sha256(self.payload)}
        return json.dumps(line).encode() + b"\n" + self.payload

    @classmethod
    def open(cls, sealed: bytes, kind: Kind, circuit: str, size: int) -> Message:
        """Return the message in `sealed`, which has to be a `kind` for `circuit`.

        Args:
            sealed: what `seal` returned.
            kind: what it has to be.
            circuit: what it has to belong to.
            size: bytes of the payload, as the circuit's specs say, headers left out.

        Raises:
            MessageError: it is truncated, altered, of another kind, version or length.
            MismatchError: it belongs to another circuit.
            ForeignKeysError: evaluation keys under the name of others.
        """
        line, _, payload = sealed.partition(b"\n")
        try:
            if len(line) > LONGEST_LINE:
                raise ValueError
            says = json.loads(line)
            found, whose, keys = (str(says[name]) for name in ("kind", "circuit", "keys"))
            whole = says["version"] == VERSION and says["payload"] == sha256(payload)
        except (ValueError, KeyError, TypeError, RecursionError):
            raise refused(kind, "it is none of ours, or its beginning is missing") from None
        if not whole:
            raise refused(kind, "it was truncated, altered, or written by another version")
        if found != kind:
            raise refused(kind, f"it is a message of kind {found!r}")
        if whose != circuit:
            raise MismatchError(
                f"the {kind} belongs to circuit {whose[:12]}…, this is {circuit[:12]}…; "
                "load client and server from one saved circuit",
                what=kind,
                expected=circuit,
                found=whose,
            )
        if not size <= len(payload) < size + LONGEST_HEADER:
            raise refused(kind, f"it has {len(payload)} bytes, the circuit's specs say {size}")
        message = cls(kind, whose, keys, payload)
        if kind == "evaluation keys":
            check_keys(sha256(payload), message)
        return message


def sha256(content: bytes) -> str:
    """Return the hash of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check_keys(expected: str, message: Message) -> None:
    """Raise `ForeignKeysError` unless the message goes with the keys `expected`."""
    if message.keys != expected:
        raise ForeignKeysError(
            f"the {message.kind} goes with keys {message.keys[:12]}…, these are {expected[:12]}…; "
            "each client's ciphertexts need that client's keys",
            expected=expected,
            found=message.keys,
        )


@contextmanager
def reading(kind: Kind) -> Iterator[None]:
    """Refuse the message where a backend stumbles over its payload inside, however it does.

    Raises:
        MessageError: in place of what the backend raised, which is its cause.
    """
    try:
        yield
    except Exception as error:
        raise refused(kind, f"the backend makes nothing of it: {error}") from error


def refused(kind: str, problem: str) -> MessageError:
    """Return the error for a message that cannot be read."""
    return MessageError(f"cannot read the {kind}: {problem}", kind=kind, problem=problem)
