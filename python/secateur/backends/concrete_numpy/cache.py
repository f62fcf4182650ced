"""The optimiser's cache: parameters depend on it, and concrete-python's has the same names.

Both keep theirs below the directory for temporary files. Where both have run, concrete-numpy
would read what the other wrote, choose other parameters than elsewhere, and refuse to serve what
was compiled with them.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

# What is set for a moment is the whole process's.
_SETTING = threading.RLock()


@contextmanager
def own_cache() -> Iterator[None]:
    """Let the compiler find a cache that concrete-numpy alone writes to."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    place = Path(tempfile.gettempdir(), f"concrete-numpy-{version('concrete-numpy')}-{user}")
    place.mkdir(mode=0o700, exist_ok=True)
    with _SETTING:
        before = os.environ.get("TMPDIR")
        os.environ["TMPDIR"] = str(place)
        try:
            yield
        finally:
            if before is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = before
