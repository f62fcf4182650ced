"""Files and directories that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_whole(path: str | os.PathLike[str], content: bytes) -> None:
    """Write `content` to `path`; whoever looks sees the old file or the whole new one.

    Raises:
        OSError: the file cannot be written; nothing is left behind.
    """
    path = Path(path)
    unfinished = _beside(path)
    try:
        with open(unfinished, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise


@contextmanager
def whole_directory(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Give a directory to fill, which becomes `path` once the block has ended well.

    Raises:
        FileExistsError: there is something at `path` already, other than an empty directory.
        OSError: the directory cannot be written; nothing is left behind.
    """
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists already; choose another place or remove it first")
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _beside(path)
    unfinished.mkdir()
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def _beside(path: Path) -> Path:
    """A name of this call's own in the same directory, since renaming is whole only there."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
