"""The optimiser's cache: parameters depend on it, and every compiler of the family shares it.

All keep it in one place below the directory for temporary files. Where concrete-numpy and
concrete-python, or another version or another user of one of them, such as Concrete ML, have
run, each would read what the others wrote, choose other parameters than elsewhere, and refuse to
serve what was compiled with them.
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
def own_cache(compiler: str) -> Iterator[None]:
    """Let `compiler`, a distribution's name, find a cache that this version of it alone writes."""
    user = os.getuid() if hasattr(os, "getuid") else "user"
    place = Path(tempfile.gettempdir(), f"secateur-{compiler}-{version(compiler)}-{user}")
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
