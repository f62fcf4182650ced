"""The backends that this environment has; every test of circuits runs on each."""

from __future__ import annotations

import pytest

from secateur.backends.backend import Backend, backend_named
from secateur.errors import MissingExtraError


def _installed() -> list[Backend]:
    found = []
    for name in ("concrete-numpy", "concrete-python"):
        try:
            found.append(backend_named(name))
        except MissingExtraError:
            continue
    return found


BACKENDS = _installed()

on_each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
