"""A cache of files by content: what equal inputs make is made once, whoever asks."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from secateur.files import lock, write_whole


@dataclass(frozen=True)
class Cache:
    """A directory of files, each named by the hash of what it was made from.

    It may be shared by any number of processes, and removed at any time.
    """

    directory: str | os.PathLike[str]

    def get(self, content: Mapping[str, Any], make: Callable[[], bytes]) -> bytes:
        """Return what `make` gives for `content`, made now or by whoever asked first.

        Whoever asks meanwhile waits, and does not make it a second time. If `make` raises, or
        its process dies, the next one tries.

        Args:
            content: all that the result depends on, plain values that JSON can hold.
            make: makes it.

        Raises:
            MissingExtraError: filelock is not installed.
        """
        text = json.dumps(content, sort_keys=True)
        key = blake2b(text.encode(), digest_size=16).hexdigest()
        directory = Path(self.directory)
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / key
        held = lock(path)
        try:
            if not path.exists():
                write_whole(path, make())
            return path.read_bytes()
        finally:
            held.release()
