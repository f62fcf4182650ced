"""Compilers of encrypted circuits: one room for each."""

from secateur.backends.backend import (
    WIDTH_LIMIT as WIDTH_LIMIT,
    Backend as Backend,
    BackendCircuit as BackendCircuit,
    BackendName as BackendName,
    Tracing as Tracing,
    backend_named as backend_named,
    refusal as refusal,
)
