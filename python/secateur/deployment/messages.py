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
        keys = _checked(line, sha256(payload), len(payload), kind, circuit, size)
        return cls(kind, circuit, keys, payload)


class Arriving:
    """A message that comes in pieces, and is checked without being kept.

    Args:
        kind, circuit, size: as `Message.open` takes them.
    """

    def __init__(self, kind: Kind, circuit: str, size: int) -> None:
        self._expected = kind, circuit, size
        self._line, self._whole = b"", False
        self._hash, self._length = hashlib.sha256(), 0

    def take(self, piece: bytes) -> None:
        """Take the next piece.

        Raises:
            MessageError: its first line does not end.
        """
        if not self._whole:
            self._line, end, piece = (self._line + piece).partition(b"\n")
            self._whole = bool(end)
            if len(self._line) > LONGEST_LINE:
                raise refused(self._expected[0], "its beginning is missing")
        self._hash.update(piece)
        self._length += len(piece)

    def end(self) -> str:
        """Return the keys that the message goes with, now that it is there; raises as `open`."""
        return _checked(self._line, self._hash.hexdigest(), self._length, *self._expected)


def _checked(line: bytes, digest: str, length: int, kind: Kind, circuit: str, size: int) -> str:
    """Return the keys that a message's line names, if the line and what follows are as expected.

    Args:
        line: the first line.
        digest, length: of the payload.
        kind, circuit, size: as `Message.open` takes them.
    """
    try:
        if len(line) > LONGEST_LINE:
            raise ValueError
        says = json.loads(line)
        found, whose, keys = (str(says[name]) for name in ("kind", "circuit", "keys"))
        whole = says["version"] == VERSION and says["payload"] == digest
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
    if not size <= length < size + LONGEST_HEADER:
        raise refused(kind, f"it has {length} bytes, the circuit's specs say {size}")
    if kind == "evaluation keys":
        check_keys(digest, keys, kind)
    return keys


def sha256(content: bytes) -> str:
    """Return the hash of `content`, 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def check_keys(expected: str, found: str, kind: Kind) -> None:
    """Raise `ForeignKeysError` unless a message of this kind goes with the keys `expected`."""
    if found != expected:
        raise ForeignKeysError(
            f"the {kind} goes with keys {found[:12]}…, these are {expected[:12]}…; "
            "each client's ciphertexts need that client's keys",
            expected=expected,
            found=found,
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
