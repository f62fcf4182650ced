"""Messages between client and server: a line of JSON that says what follows, then bytes.

The line holds the kind of the message, the circuit and the keys that it belongs to, and the
hash of the bytes. It guards against mistakes and damage before a backend is given bytes that
it would crash on or decrypt to nonsense. It is no signature: whoever may write to the wire
can write a true line.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

from secateur.errors import ForeignKeysError, MessageError, MismatchError

Kind = Literal["evaluation keys", "input", "result"]
VERSION = 1


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
    def open(cls, sealed: bytes, kind: Kind, circuit: str) -> Message:
        """Return the message in `sealed`, which has to be a `kind` for `circuit`.

        Raises:
            MessageError: it is truncated, altered, or of another kind or version.
            MismatchError: it belongs to another circuit.
        """
        line, _, payload = sealed.partition(b"\n")
        try:
            says = json.loads(line)
            found, whose, keys = (str(says[name]) for name in ("kind", "circuit", "keys"))
            whole = says["version"] == VERSION and says["payload"] == sha256(payload)
        except (ValueError, KeyError, TypeError):
            raise _refused(kind, "it is none of ours, or its beginning is missing") from None
        if not whole:
            raise _refused(kind, "it was truncated, altered, or written by another version")
        if found != kind:
            raise _refused(kind, f"it is a message of kind {found!r}")
        if whose != circuit:
            raise MismatchError(
                f"the {kind} belongs to circuit {whose[:12]}…, this is {circuit[:12]}…; "
                "load client and server from one saved circuit",
                what=kind,
                expected=circuit,
                found=whose,
            )
        return cls(kind, whose, keys, payload)


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


def _refused(kind: Kind, problem: str) -> MessageError:
    return MessageError(f"cannot read the {kind}: {problem}", kind=kind, problem=problem)
