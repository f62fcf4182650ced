"""Envelopes: what every file of this library says of itself before its content.

The name and the version of its format, and the version of the library that wrote it. Whatever
the bytes are that are read, what comes of them is the content or one of two errors.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from secateur.errors import FileFormatError, FileVersionError, MissingExtraError

_Path = str | os.PathLike[str]


@dataclass(frozen=True)
class Envelope:
    """The format of one kind of file.

    Args:
        noun: what such a file is, for messages: "network".
        format: its name in the file.
        version: that is written.
        oldest: version that is read still.
    """

    noun: str
    format: str
    version: int
    oldest: int = 1

    def seal(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return `content` with what the file says of itself before it."""
        return {
            "format": self.format,
            "version": self.version,
            "secateur": version("secateur"),
            **content,
        }

    def open(self, found: Any, path: _Path) -> dict[str, Any]:
        """Return `found`, the outermost value of the file at `path`, if it is of this format.

        Raises:
            FileFormatError: it is of no format, or of another.
            FileVersionError: it is of a version that this library does not read.
        """
        if not isinstance(found, dict) or found.get("format") != self.format:
            raise self.refused(path, f"is no {self.noun} of this library")
        known = found.get("version")
        if type(known) is not int or not self.oldest <= known <= self.version:
            readable = f"{self.oldest} to {self.version}"
            raise FileVersionError(
                f"{os.fspath(path)} has format version {known!r}, written by secateur "
                f"{found.get('secateur')!r}; this one, {version('secateur')}, reads version "
                f"{self.version if self.oldest == self.version else readable}; "
                "upgrade secateur, or save it again with this one",
                path=os.fspath(path),
                version=known,
                known=self.version,
            )
        return found

    def read(self, content: bytes, path: _Path) -> dict[str, Any]:
        """Return the JSON object in `content`, the bytes of the file at `path`.

        Raises:
            FileFormatError, FileVersionError: see `open`.
        """
        with self.reading(path):
            return self.open(json.loads(content, parse_constant=_no_number), path)

    @contextmanager
    def reading(self, path: _Path) -> Iterator[None]:
        """Refuse the file at `path` where anything inside stumbles over what it holds.

        Raises:
            FileFormatError: in place of what was raised, which is its cause.
        """
        try:
            yield
        except (FileFormatError, FileVersionError, MissingExtraError, OSError):
            raise
        except Exception as error:
            what = str(error) or type(error).__name__
            raise self.refused(
                path, f"is truncated or holds no valid {self.noun}: {what}"
            ) from error

    def refused(self, path: _Path, problem: str) -> FileFormatError:
        """Return the error that says what is wrong with the file at `path`."""
        return FileFormatError(
            f"{os.fspath(path)} {problem}", path=os.fspath(path), problem=problem
        )


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
