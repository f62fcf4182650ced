"""The journal: an append-only file of JSON lines that one process writes.

The first line is the fingerprint of the sweep, every other line a record; each ends with a
checksum of what is before it. A line counts once its newline is there: whoever reads ignores
a torn last line, and the next writer cuts it off. Records are handed to the operating system
one by one, so that a killed process loses nothing that it had recorded.
"""

from __future__ import annotations

import json
import os
import warnings
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from secateur.envelope import Envelope
from secateur.errors import JournalError, JournalLockedError, JournalWriteError
from secateur.files import Lock, try_lock
from secateur.sweeps.points import identity
from secateur.sweeps.provenance import library_version
from secateur.sweeps.records import Record

ENVELOPE = Envelope("journal of a sweep", "secateur-journal", version=2)

Fingerprint = Mapping[str, Any]


@dataclass(frozen=True)
class Recorded:
    """The records in a journal, in the order of writing; it may be growing meanwhile.

    Iterating raises OSError where the file cannot be read, FileFormatError where it is no
    journal, FileVersionError where it is newer than this library, and JournalError where a
    record is damaged.

    Args:
        path: of the journal.

    Example:
        >>> import tempfile
        >>> from secateur.sweeps import grid, sweep
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = folder.name + "/runs.jsonl"
        >>> results = sweep(grid(n=[1, 2]), lambda point: {"square": point["n"] ** 2}, journal=path)
        >>> [record.values["square"] for record in Recorded(path)]
        [1, 4]
    """

    path: str | os.PathLike[str]

    def __iter__(self) -> Iterator[Record]:
        with open(self.path, "rb") as file:
            version, _ = _read_header(file.readline(), self.path)
            for _, record in _read_records(file, self.path, version):
                yield record


class Journal:
    """The journal of a sweep, open for writing and locked against every other writer.

    Args:
        path: the file; made where there is none. The lock is a file of its own beside it.
        fingerprint: of the sweep, of values that come back from JSON as they were.

    Raises:
        JournalLockedError: another process, or another sweep of this one, is writing it.
        FileFormatError, FileVersionError: it is no journal, or newer than this library.
        JournalError: it is of another sweep, or damaged.
        JournalWriteError: it cannot be opened or written.
    """

    def __init__(self, path: str | os.PathLike[str], fingerprint: Fingerprint) -> None:
        self.path = Path(path)
        self._lock, self._file = _open_locked(self.path)
        self._reader = self.path.open("rb")
        try:
            self._resume(fingerprint)
        except BaseException:
            self.close()
            raise

    def _resume(self, fingerprint: Fingerprint) -> None:
        """Check the first line, or write it, and note where the records are."""
        header = _seal(json.dumps(ENVELOPE.seal({"sweep": fingerprint})))
        hashes, offsets = array("Q"), array("Q")
        first = self._reader.readline()
        self._version = ENVELOPE.version
        if header.startswith(first) and not first.endswith(b"\n"):
            self._file.truncate(0)
            self._write(header)
        else:
            self._version, there = _read_header(first, self.path)
            _same_sweep(there, fingerprint, self.path)
            end = len(first)
            made_by: Counter[str] = Counter()
            for offset, record in _read_records(self._reader, self.path, self._version):
                hashes.append(_hash(record.key))
                offsets.append(offset)
                made_by[record.provenance.get("secateur", "")] += 1
                end = self._reader.tell()
            self._file.truncate(end)
            self._tell_of_versions(made_by)
        order = np.argsort(hashes, kind="stable")
        self._hashes = np.array(hashes)[order]
        self._offsets = np.array(offsets)[order]

    def _tell_of_versions(self, made_by: Counter[str]) -> None:
        """Warn where records are of another version of this library; they count all the same."""
        del made_by[library_version()], made_by[""]
        if made_by:
            there = ", ".join(f"{count} of secateur {name}" for name, count in made_by.items())
            warnings.warn(
                f"journal {self.path} holds records of another version ({there}; this is "
                f"{library_version()}); they are kept, and each says its version",
                stacklevel=2,
            )

    def find(self, key: str) -> Record | None:
        """Return the last record of `key` among those there when the journal was opened."""
        last = int(np.searchsorted(self._hashes, np.uint64(_hash(key)), side="right")) - 1
        if last < 0 or int(self._hashes[last]) != _hash(key):
            return None
        self._reader.seek(int(self._offsets[last]))
        # Its checksum was checked when the journal was opened.
        record = Record.from_json(self._reader.readline())
        if self._version == 1:
            record = replace(record, key=identity(record.point))
        return record if record.key == key else None

    def append(self, record: Record) -> None:
        """Write `record` through to the operating system.

        Raises:
            JournalWriteError: it cannot; nothing of the record is left in the file.
        """
        self._write(_seal(record.to_json()))

    def _write(self, rest: bytes) -> None:
        end = self._file.seek(0, os.SEEK_END)
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
        """Close the file and let go of the lock."""
        self._file.close()
        self._reader.close()
        self._lock.release()


def _open_locked(path: Path) -> tuple[Lock, Any]:
    try:
        file = open(path, "ab+", buffering=0)  # noqa: SIM115
        lock = try_lock(path)
    except OSError as error:
        raise JournalWriteError(
            f"journal {path} cannot be opened for writing: {error.strerror}; "
            "give a file in a directory that exists and can be written",
            path=str(path),
        ) from error
    if lock is None:
        file.close()
        raise JournalLockedError(
            f"journal {path} is being written by another sweep; "
            "wait for it to end, or give this one a journal of its own",
            path=str(path),
        )
    return lock, file


def _hash(key: str) -> int:
    return int(key[:16], 16)


# The last member of every line is the checksum of the bytes before it.
_BEFORE_SUM, _SUM_DIGITS, _END = b', "sum": "', 16, b'"}\n'
_SEALED = len(_BEFORE_SUM) + _SUM_DIGITS + len(_END)


def _sum(content: bytes) -> bytes:
    return blake2b(content, digest_size=_SUM_DIGITS // 2).hexdigest().encode()


def _seal(text: str) -> bytes:
    """Return a JSON object as a line of the journal."""
    content = text.encode()[:-1]
    return content + _BEFORE_SUM + _sum(content) + _END


def _check_seal(line: bytes) -> None:
    """Raise ValueError unless the line ends as `_seal` makes it."""
    content = line[:-_SEALED]
    if line[-_SEALED:] != _BEFORE_SUM + _sum(content) + _END:
        raise ValueError("it does not match its checksum")


def _read_header(line: bytes, path: str | os.PathLike[str]) -> tuple[int, Fingerprint]:
    """Return the format's version, and the fingerprint of the sweep."""
    with ENVELOPE.reading(path):
        if not line.endswith(b"\n"):
            raise ValueError(f"its first line is {line[:80]!r}")
        header = json.loads(line)
        # Version 1 had no checksums and named itself in another way.
        if isinstance(header, dict) and header.get("journal") == "secateur sweep":
            header |= {"format": ENVELOPE.format, "version": header.get("format")}
        ENVELOPE.open(header, path)
        if header["version"] > 1:
            _check_seal(line)
        return header["version"], dict(header["sweep"])


def _read_record(line: bytes, version: int) -> Record:
    """Return the record in a line; raises ValueError, TypeError or LookupError for no record."""
    if version > 1 or line[-_SEALED:].startswith(_BEFORE_SUM):
        _check_seal(line)
        record = Record.from_json(line)
        if record.key != identity(record.point):
            raise ValueError("its key is not that of its point")
        return record
    # The keys of version 1 held the version of the library.
    return replace(record := Record.from_json(line), key=identity(record.point))


def _read_records(
    file: Any, path: str | os.PathLike[str], version: int
) -> Iterator[tuple[int, Record]]:
    """Yield (offset, record) for every complete line from here on."""
    offset = file.tell()
    for number, line in enumerate(file, start=2):
        try:
            if not line.endswith(b"\n"):
                if _is_record(line[:-1] + b"\n", version):
                    raise ValueError("its newline is")
                return
            record = _read_record(line, version)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            raise JournalError(
                f"journal {os.fspath(path)}: line {number} is damaged ({error}); "
                "delete that line, and its point is evaluated again",
                path=os.fspath(path),
                line=number,
            ) from error
        yield offset, record
        offset += len(line)


def _is_record(line: bytes, version: int) -> bool:
    try:
        _read_record(line, version)
    except (ValueError, LookupError, TypeError, RecursionError):
        return False
    return True


def _same_sweep(there: Fingerprint, here: Fingerprint, path: Path) -> None:
    here = json.loads(json.dumps(here))
    # Version 1 had the library's version here, which may differ.
    differing = [n for n in sorted({*there, *here} - {"secateur"}) if there.get(n) != here.get(n)]
    if differing:
        difference = "; ".join(f"{n} was {there.get(n)!r}, is {here.get(n)!r}" for n in differing)
        raise JournalError(
            f"journal {path} is of another sweep: {difference}; "
            "give this sweep a journal of its own",
            path=str(path),
            line=1,
            difference=difference,
        )
