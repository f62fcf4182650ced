"""Compilers of encrypted circuits: one room for each, one value for all that it does."""

from secateur.backends.backend import (
    WIDTH_LIMIT as WIDTH_LIMIT,
    Backend as Backend,
    BackendCircuit as BackendCircuit,
    BackendClient as BackendClient,
    BackendServer as BackendServer,
    Exported as Exported,
    Specs as Specs,
    Tracing as Tracing,
)
from secateur.backends.registry import BACKENDS as BACKENDS, backend_named as backend_named
