"""Which backends there are: each a room of its own, imported when it is first asked for."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib import import_module

from secateur.backends.backend import Backend
from secateur.errors import ArgumentError, MissingExtraError

#: Name → where its value is; of those that are installed the first is the default.
BACKENDS: Mapping[str, tuple[str, str]] = {
    "concrete-numpy": ("secateur.backends.concrete_numpy.backend", "ConcreteNumpy"),
    "concrete-python": ("secateur.backends.concrete_python.backend", "ConcretePython"),
}


def backend_named(name: str | None = None) -> Backend:
    """Return the backend called `name`, or the one that is installed.

    Raises:
        MissingExtraError: it is not installed, or none is.
        ArgumentError: there is no backend of that name.
    """
    if name is not None and name not in BACKENDS:
        raise ArgumentError(
            f"no backend is named {name!r}; there are {' and '.join(BACKENDS)}",
            argument="backend",
            value=name,
            expected=tuple(BACKENDS),
        )
    for candidate in BACKENDS if name is None else (name,):
        module, value = BACKENDS[candidate]
        try:
            backend: Backend = getattr(import_module(module), value)()
            return backend
        except ImportError as error:
            cause = error
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    raise MissingExtraError(
        f"{name or 'a backend'} is not installed for Python {version}; "
        'pip install "secateur[fhe]" brings concrete-numpy on 3.10, '
        "concrete-python on 3.11 and 3.12",
        package=name or "concrete-numpy",
        extra="fhe",
        feature="compile",
    ) from cause
