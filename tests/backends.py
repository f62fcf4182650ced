"""The backends that this environment has; every test of circuits runs on each."""

from __future__ import annotations

import pytest

from secateur.backends import BACKENDS as NAMES, Backend, backend_named
from secateur.errors import MissingExtraError


def _installed() -> list[Backend]:
    found = []
    for name in NAMES:
        try:
            found.append(backend_named(name))
        except MissingExtraError:
            continue
    return found


BACKENDS = _installed()

on_each_backend = pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.name)
