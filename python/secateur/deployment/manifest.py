"""The manifest: what belongs to a saved circuit, file by file, by hash.

Every part carries a copy of the one manifest, so that a part proves its own files, and two
parts are of one circuit exactly where their manifests are the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from secateur.backends.backend import backend_named
from secateur.envelope import Envelope
from secateur.errors import FileVersionError
from secateur.files import whole_directory

_ENVELOPE = Envelope("part of a circuit", "secateur-circuit", version=1)
_NAME = "manifest.json"


@dataclass(frozen=True)
class Part:
    """One part of a saved circuit, its files read and their hashes checked.

    Args:
        circuit: hash of the manifest, which names the circuit.
        backend: name of the backend that compiled it.
        files: file name → content.
    """

    circuit: str
    backend: str
    files: Mapping[str, bytes]


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
            (unfinished / part / _NAME).write_text(json.dumps(manifest, indent=1, sort_keys=True))
            for name, content in files.items():
                (unfinished / part / name).write_bytes(content)


def read_part(directory: str | os.PathLike[str], part: str) -> Part:
    """Return the part called `part` that was saved in `directory`.

    Raises:
        FileFormatError: there is no such part, or a file of it is missing or was altered.
        FileVersionError: it was saved by a later version of this library, or compiled by a
            version of the backend that is not the one installed.
        MissingExtraError: the backend that it was compiled by is not installed.
    """
    directory = Path(directory)
    path = directory / _NAME
    if not path.is_file():
        below = " (its parts are directories of their own below it)" * (directory / part).is_dir()
        raise _ENVELOPE.refused(directory, f"holds no part of a circuit{below}")
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
    if part not in hashes or not all((directory / name).is_file() for name in hashes[part]):
        raise _ENVELOPE.refused(
            directory, f"is not the {part} part of a circuit, or files of it are missing"
        )
    files = {name: (directory / name).read_bytes() for name in hashes[part]}
    for name, found in files.items():
        if hashlib.sha256(found).hexdigest() != hashes[part][name]:
            raise _ENVELOPE.refused(
                directory / name, "does not match its hash: it was altered or damaged"
            )
    return Part(hashlib.sha256(content).hexdigest(), backend.name, files)
