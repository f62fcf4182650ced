"""The keystore: evaluation keys of many clients on a server's disk, capped and forgotten.

Keys are files named by their hash, below a directory of their owner, so that nobody computes
with the keys of others. A key that is used stays; one that is not is forgotten in time.
"""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from secateur.errors import StoreFullError

_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class KeyStore:
    """Evaluation keys by owner and id.

    Args:
        directory: where they lie; others must not be able to write there.
        expiry_s: seconds after their last use when they are forgotten.
        keys_per_owner: how many each owner may keep.
        keys_in_all: how many there may be.
    """

    directory: Path
    expiry_s: float
    keys_per_owner: int
    keys_in_all: int

    def find(self, owner: str, id: str) -> Path | None:
        """Return the file of the keys, which are used now, or None where there are none."""
        path = self._of(owner) / id
        if not _ID.fullmatch(id) or not path.is_file():
            return None
        if time.time() - path.stat().st_mtime > self.expiry_s:
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return path

    @contextmanager
    def adding(self, owner: str, id: str) -> Iterator[BinaryIO]:
        """Give a file to write a message of keys to; they are there once the block ended well.

        Raises:
            StoreFullError: the owner, or all of them, have as many as they may.
        """
        self.forget_expired()
        place = self._of(owner)
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = place / f"{os.urandom(8).hex()}.unfinished"
        self._check_room(len(list(place.iterdir())), self.keys_per_owner)
        self._check_room(len(list(self.directory.glob("*/*"))), self.keys_in_all)
        try:
            with open(unfinished, "xb") as file:
                yield file
            os.replace(unfinished, place / id)
        finally:
            unfinished.unlink(missing_ok=True)

    def remove(self, owner: str, id: str) -> bool:
        """Forget the keys; say whether there were any."""
        path = self.find(owner, id)
        if path is not None:
            path.unlink(missing_ok=True)
        return path is not None

    def forget_expired(self) -> None:
        """Forget all keys that were not used for too long, and what was never finished."""
        for path in self.directory.glob("*/*"):
            try:
                if time.time() - path.stat().st_mtime > self.expiry_s:
                    path.unlink()
            except FileNotFoundError:
                continue  # somebody else was faster

    def __len__(self) -> int:
        return sum(1 for path in self.directory.glob("*/*") if _ID.fullmatch(path.name))

    def _of(self, owner: str) -> Path:
        return self.directory / hashlib.sha256(owner.encode()).hexdigest()[:32]

    def _check_room(self, kept: int, most: int) -> None:
        if kept >= most:
            raise StoreFullError(
                f"{kept} evaluation keys are kept, and no more than {most} may be; "
                "delete some, or wait until they expire",
                kept=kept,
                most=most,
            )
