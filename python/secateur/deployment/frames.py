"""Frames: what a server and its workers tell each other, as plain bytes.

A worker reads what strangers sent, and may be broken by it. So nothing that it answers is run
or built: a frame is a result, or the name of an error of ours with its message and facts.

    question    {"keys": id, "path": …, "forget": [id, …]} newline message, which may be empty
    answer      b"+" result             or  b"-" {"type": …, "message": …, "facts": {…}}
                or b"!" and the same, from a worker that ends because its backend stumbled
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from secateur import errors
from secateur.errors import SecateurError, WorkerDiedError, told

_RESULT, _ERROR, _LAST = b"+", b"-", b"!"

#: Characters of an error's message that are passed on.
_LONGEST_MESSAGE = 4000

#: Bytes of a frame beside its result; a frame with an error has no more.
LONGEST_ERROR = 1 << 16


@dataclass(frozen=True)
class Question:
    """What a worker is asked.

    Args:
        keys: the name of the evaluation keys.
        path: the file that they lie in.
        forget: names of keys that need not stay in memory.
        message: an encrypted input; empty to have the keys read alone.
    """

    keys: str
    path: Path
    forget: tuple[str, ...] = ()
    message: bytes = b""

    def seal(self) -> bytes:
        """Return the question as a frame."""
        head = {"keys": self.keys, "path": str(self.path), "forget": self.forget}
        return json.dumps(head).encode() + b"\n" + self.message

    @classmethod
    def open(cls, frame: bytes) -> Question:
        """Return the question in a frame that `seal` made."""
        head, _, message = frame.partition(b"\n")
        says = json.loads(head)
        return cls(says["keys"], Path(says["path"]), tuple(says["forget"]), message)


def result_frame(result: bytes) -> bytes:
    """Return the frame that answers with a result, empty where none was asked for."""
    return _RESULT + result


def error_frame(error: Exception, last: bool = False) -> bytes:
    """Return the frame that answers with an error; one that is not ours is told of.

    Args:
        error: what was raised.
        last: whether the worker ends now.

    >>> answer_of(error_frame(errors.MessageError("cut off", kind="input")))
    Traceback (most recent call last):
        ...
    secateur.errors.MessageError: cut off
    """
    if isinstance(error, SecateurError):
        facts = {name: getattr(error, name) for name in error.facts}
        name, message = type(error).__name__, str(error)
    elif isinstance(error, FileNotFoundError):
        name, message, facts = "FileNotFoundError", str(error), {}
    else:
        name, message, facts = "RuntimeError", told(error), {}
    plain = {k: v for k, v in facts.items() if isinstance(v, str | int | float)}
    says = {"type": name, "message": message[:_LONGEST_MESSAGE], "facts": plain}
    frame = (_LAST if last else _ERROR) + json.dumps(says).encode()
    return frame if len(frame) <= LONGEST_ERROR else error_frame(RuntimeError(message), last)


def is_last(frame: bytes) -> bool:
    """Whether the worker that answered so ends."""
    return frame[:1] == _LAST


def answer_of(frame: bytes) -> bytes:
    """Return the result in a frame.

    Raises:
        SecateurError: what the worker answered with, of the class that it named.
        FileNotFoundError: the keys are gone.
        RuntimeError: what was raised there is none of ours.
        WorkerDiedError: the frame is none: what made it is broken, and has to end.
    """
    sort, content = frame[:1], frame[1:]
    if sort == _RESULT:
        return content
    if sort in (_ERROR, _LAST) and len(frame) <= LONGEST_ERROR:
        raise _error_in(content)
    raise WorkerDiedError(f"a worker answered with {len(frame)} bytes that are no answer")


def _error_in(content: bytes) -> Exception:
    try:
        says = json.loads(content)
        name, message = says["type"], says["message"]
        facts = dict(says["facts"])
        if not isinstance(name, str) or not isinstance(message, str):
            raise TypeError
        if name == "FileNotFoundError":
            return FileNotFoundError(message)
        if name == "RuntimeError":
            return RuntimeError(message)
        kind = getattr(errors, name, None)
        if not isinstance(kind, type) or not issubclass(kind, SecateurError):
            raise TypeError
        return kind(message, **facts)
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        raise WorkerDiedError("a worker answered with an error that is none") from problem
