"""A circuit on disk: parts of files, each with the one manifest that knows all by their hashes.

Every part carries a copy of the manifest, so that a part proves its own files, and two parts
are of one circuit exactly where their manifests are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from secateur.backends import backend_named
from secateur.envelope import Envelope
from secateur.errors import FileVersionError
from secateur.files import whole_directory

MANIFEST = "manifest.json"
_ENVELOPE = Envelope("part of a circuit", "secateur-circuit", version=2, oldest=2)

#: More than any manifest has: a few lines for each of about ten files.
_LARGEST_MANIFEST = 1 << 16
_LONGEST_NAME = 64


@dataclass(frozen=True)
class Part:
    """One part of a saved circuit, its files read and their hashes checked.

    Args:
        directory: where it was read.
        circuit: hash of the manifest, which names the circuit.
        backend: name of the backend that compiled it.
        files: file name → content.
    """

    directory: Path = field(compare=False)
    circuit: str
    backend: str
    files: Mapping[str, bytes]

    def __getitem__(self, name: str) -> bytes:
        """Return the content of the file called `name`.

        Raises:
            FileFormatError: the manifest names none.
        """
        if name not in self.files:
            raise _ENVELOPE.refused(self.directory / MANIFEST, f"names no {name}")
        return self.files[name]

    def json(self, name: str) -> Any:
        """Return what the JSON file called `name` holds."""
        with self.reading(name):
            return json.loads(self[name])

    def reading(self, name: str) -> AbstractContextManager[None]:
        """Refuse the file called `name` where anything inside stumbles over what it holds.

        A backend raises anything at all for a file that is not one of its own.
        """
        return _ENVELOPE.reading(self.directory / name)


def write_parts(
    directory: str | os.PathLike[str],
    backend: Mapping[str, str],
    parts: Mapping[str, Mapping[str, bytes]],
) -> None:
    """Write part → file name → content below `directory`, which appears whole or not at all.

    Args:
        directory: where to; must not exist, or be empty.
        backend: name and version of the backend.
        parts: the content.

    Raises:
        FileExistsError: `directory` holds something already.
        OSError: it cannot be written.
    """
    hashes = {
        part: {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
        for part, files in parts.items()
    }
    manifest = _ENVELOPE.seal({"backend": dict(backend), "parts": hashes})
    with whole_directory(directory) as unfinished:
        for part, files in parts.items():
            (unfinished / part).mkdir()
            (unfinished / part / MANIFEST).write_text(
                json.dumps(manifest, indent=1, sort_keys=True)
            )
            for name, content in files.items():
                (unfinished / part / name).write_bytes(content)


def read_part(directory: str | os.PathLike[str], part: str) -> Part:
    """Return the part called `part` that was saved in `directory`.

    Raises:
        FileFormatError: there is no such part, or a file of it is missing, was altered, or
            would lie elsewhere.
        FileVersionError: it was saved by a later version of this library, or compiled by a
            version of the backend that is not the one installed.
        MissingExtraError: the backend that it was compiled by is not installed.
    """
    directory = Path(directory)
    path = directory / MANIFEST
    if not path.is_file():
        below = " (its parts are directories of their own below it)" * is_circuit(directory)
        raise _ENVELOPE.refused(directory, f"holds no part of a circuit{below}")
    if path.stat().st_size > _LARGEST_MANIFEST:
        raise _ENVELOPE.refused(path, "is too large for a manifest")
    content = path.read_bytes()
    manifest = _ENVELOPE.read(content, path)
    with _ENVELOPE.reading(path):
        backend = backend_named(str(manifest["backend"]["name"]))
        compiled_by = manifest["backend"]["version"]
        hashes = {p: dict(files) for p, files in manifest["parts"].items()}
    if compiled_by != backend.version:
        raise FileVersionError(
            f"{path} is of {backend.name} version {compiled_by}, this is version "
            f"{backend.version}; compile and save the circuit again",
            path=str(path),
            version=compiled_by,
            known=backend.version,
        )
    if part not in hashes:
        raise _ENVELOPE.refused(directory, f"is not the {part} part of a circuit")
    files = {name: _read(directory, name, digest) for name, digest in hashes[part].items()}
    return Part(directory, hashlib.sha256(content).hexdigest(), backend.name, files)


def is_circuit(directory: str | os.PathLike[str]) -> bool:
    """Say whether `directory` looks like a saved circuit, parts and all."""
    return any(Path(directory).glob(f"*/{MANIFEST}"))


def _read(directory: Path, name: str, digest: object) -> bytes:
    """Return the content of the file of a part called `name`, which has to be in it."""
    if name in ("", ".", "..") or set(name) & {"/", "\\", "\0"} or len(name) > _LONGEST_NAME:
        raise _ENVELOPE.refused(
            directory / MANIFEST, f"names {name!r}, which is no file of this directory"
        )
    path = directory / name
    if not path.is_file():
        raise _ENVELOPE.refused(path, "is missing")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise _ENVELOPE.refused(path, "does not match its hash: it was altered or damaged")
    return content
