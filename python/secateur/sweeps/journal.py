"""The journal: an append-only file of JSON lines that one process writes.

The first line is the fingerprint of the sweep, every other line a record. A line counts
once its newline is there: whoever reads ignores a torn last line, and the next writer cuts
it off. Records are handed to the operating system one by one, so that a killed process
loses nothing that it had recorded.
"""

from __future__ import annotations

import fcntl
import json
import os
import weakref
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import JournalError, JournalLockedError, JournalWriteError
from secateur.sweeps.records import Record

#: The form of the lines; a reader refuses a greater one.
FORMAT = 1
_KIND = "secateur sweep"

Fingerprint = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """The records in a journal, in the order of writing; it may be growing meanwhile.

    Iterating raises OSError where the file cannot be read, and JournalError where it is no
    journal, newer than this library, or damaged.
    """

    path: str | os.PathLike[str]

    def __iter__(self) -> Iterator[Record]:
        with open(self.path, "rb") as file:
            _read_fingerprint(file.readline(), self.path)
            for _, record in _read_records(file, self.path):
                yield record


class Journal:
    """The journal of a sweep, open for writing and locked against every other writer.

    Args:
        path: the file; made where there is none.
        fingerprint: of the sweep, of values that come back from JSON as they were.

    Raises:
        JournalLockedError: another process, or another sweep of this one, is writing it.
        JournalError: it is of another sweep, newer than this library, or damaged.
        JournalWriteError: it cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint) -> None:
        self.path = Path(path)
        self._file = _open_locked(self.path)
        self._reader = self.path.open("rb")
        _OPEN.add(self)
        try:
            self._resume(fingerprint)
        except BaseException:
            self.close()
            raise

    def _resume(self, fingerprint: Fingerprint) -> None:
        """Check the first line, or write it, and note where the records are."""
        header = json.dumps({"journal": _KIND, "format": FORMAT, "sweep": fingerprint}) + "\n"
        hashes, offsets = array("Q"), array("Q")
        first = self._reader.readline()
        if header.startswith(first.decode(errors="replace")) and not first.endswith(b"\n"):
            self._file.truncate(0)
            self._write(header)
        else:
            _same_sweep(_read_fingerprint(first, self.path), fingerprint, self.path)
            end = len(first)
            for offset, record in _read_records(self._reader, self.path):
                hashes.append(_hash(record.key))
                offsets.append(offset)
                end = self._reader.tell()
            self._file.truncate(end)
        order = np.argsort(hashes, kind="stable")
        self._hashes = np.array(hashes)[order]
        self._offsets = np.array(offsets)[order]

    def find(self, key: str) -> Record | None:
        """Return the last record of `key` among those there when the journal was opened."""
        last = int(np.searchsorted(self._hashes, np.uint64(_hash(key)), side="right")) - 1
        if last < 0 or int(self._hashes[last]) != _hash(key):
            return None
        self._reader.seek(int(self._offsets[last]))
        record = Record.from_json(self._reader.readline())
        return record if record.key == key else None

    def append(self, record: Record) -> None:
        """Write `record` through to the operating system.

        Raises:
            JournalWriteError: it cannot; nothing of the record is left in the file.
        """
        self._write(record.to_json())

    def _write(self, line: str) -> None:
        end = self._file.seek(0, os.SEEK_END)
        rest = line.encode()
        try:
            # Unbuffered: a disk that ends within the line gives a short count, then an error.
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self._file.truncate(end)
            raise JournalWriteError(
                f"journal {self.path} cannot be written: {error.strerror}; every record in it "
                "is whole: make room and run the same sweep again",
                path=str(self.path),
            ) from error

    def close(self) -> None:
        """Let go of the lock and close the file."""
        fcntl.flock(self._file, fcntl.LOCK_UN)
        self._close()

    def _close(self) -> None:
        self._file.close()
        self._reader.close()


# The lock belongs to the open file, which a forked worker inherits: if the worker did not
# close it, it would keep the journal of a killed driver locked for as long as it lives.
_OPEN: weakref.WeakSet[Journal] = weakref.WeakSet()


def _close_in_child() -> None:
    for journal in _OPEN:
        journal._close()


os.register_at_fork(after_in_child=_close_in_child)


def _open_locked(path: Path) -> Any:
    try:
        file = open(path, "ab+", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise JournalWriteError(
            f"journal {path} cannot be opened for writing: {error.strerror}; "
            "give a file in a directory that exists and can be written",
            path=str(path),
        ) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise JournalLockedError(
            f"journal {path} is being written by another sweep; "
            "wait for it to end, or give this one a journal of its own",
            path=str(path),
        ) from None
    return file


def _hash(key: str) -> int:
    return int(key[:16], 16)


def _read_fingerprint(line: bytes, path: str | os.PathLike[str]) -> Fingerprint:
    try:
        header = json.loads(line)
        if not line.endswith(b"\n") or header["journal"] != _KIND:
            raise ValueError
        form, fingerprint = int(header["format"]), dict(header["sweep"])
    except (ValueError, KeyError, TypeError):
        raise JournalError(
            f"{os.fspath(path)} is no journal of a sweep: its first line is {line[:80]!r}; "
            "give a journal, or a file that is not there yet",
            path=os.fspath(path),
            line=1,
        ) from None
    if form > FORMAT:
        raise JournalError(
            f"journal {os.fspath(path)} is of format {form}; this library reads up to "
            f"{FORMAT}: upgrade secateur",
            path=os.fspath(path),
            line=1,
        )
    return fingerprint


def _read_records(file: Any, path: str | os.PathLike[str]) -> Iterator[tuple[int, Record]]:
    """Yield (offset, record) for every complete line from here on."""
    offset = file.tell()
    for number, line in enumerate(file, start=2):
        if not line.endswith(b"\n"):
            return
        try:
            record = Record.from_json(line)
        except (ValueError, KeyError, TypeError) as error:
            raise JournalError(
                f"journal {os.fspath(path)}: line {number} is damaged ({error}); "
                "delete that line, and its point is evaluated again",
                path=os.fspath(path),
                line=number,
            ) from error
        yield offset, record
        offset += len(line)


def _same_sweep(there: Fingerprint, here: Fingerprint, path: Path) -> None:
    here = json.loads(json.dumps(here))
    differing = [n for n in sorted({*there, *here}) if there.get(n) != here.get(n)]
    if differing:
        difference = "; ".join(f"{n} was {there.get(n)!r}, is {here.get(n)!r}" for n in differing)
        raise JournalError(
            f"journal {path} is of another sweep: {difference}; "
            "give this sweep a journal of its own",
            path=str(path),
            line=1,
            difference=difference,
        )
