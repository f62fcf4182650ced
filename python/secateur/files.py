"""Files and directories that appear whole or not at all, and locks between processes."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from secateur.extras import needed_for


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
    check_new_directory(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = _beside(path)
    unfinished.mkdir()
    try:
        yield unfinished
        os.replace(unfinished, path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def check_new_directory(path: Path) -> None:
    """Raise FileExistsError where there is something at `path`, an empty directory apart."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise FileExistsError(f"{path} exists already; choose another place or remove it first")


class Lock(Protocol):
    """A lock that is held; it goes with its process, so that a killed one leaves none behind."""

    def release(self) -> None:
        """Let go of it."""


def try_lock(path: str | os.PathLike[str]) -> Lock | None:
    """Return the lock of `path`, a file `.lock` beside it, or None where someone holds it.

    Raises:
        MissingExtraError: filelock is not installed.
        OSError: the lock's file cannot be written.
    """
    return _lock(path, 0)


def lock(path: str | os.PathLike[str]) -> Lock:
    """Return the lock of `path` as soon as nobody else holds it; see `try_lock`."""
    held = _lock(path, -1)
    assert held is not None
    return held


def _lock(path: str | os.PathLike[str], timeout_s: float) -> Lock | None:
    with needed_for("a lock"):
        import filelock
    found = filelock.FileLock(f"{os.fspath(path)}.lock", timeout_s, thread_local=False)
    try:
        found.acquire()
    except filelock.Timeout:
        return None
    return found


def _beside(path: Path) -> Path:
    """A name of this call's own in the same directory, since renaming is whole only there."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex}.unfinished")
