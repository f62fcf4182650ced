"""Deployment with concrete-numpy 0.11."""

from __future__ import annotations

from typing import Any

import concrete.numpy as cnp

from secateur.backends.host import ClientHost, Exported, ServerHost
from secateur.network import Integers

_OPTIONS = (
    "p_error",
    "global_p_error",
    "loop_parallelize",
    "dataflow_parallelize",
    "auto_parallelize",
)


class ConcreteNumpyHost:
    """The host for Python 3.10."""

    def export(self, compiled: Any) -> Exported:
        options = {name: getattr(compiled.configuration, name) for name in _OPTIONS}
        return Exported(compiled.mlir, options, compiled.client.specs.serialize().encode())

    def server(self, exported: Exported) -> ServerHost:
        return _Server(exported)

    def client(self, specs: bytes) -> ClientHost:
        return _Client(specs)


class _Server:
    def __init__(self, exported: Exported) -> None:
        signs = cnp.ClientSpecs.unserialize(exported.specs.decode())
        self._server = cnp.Server.create(
            exported.mlir,
            signs.input_signs,
            signs.output_signs,
            cnp.Configuration(**exported.options),
        )

    @property
    def specs(self) -> bytes:
        return bytes(self._server.client_specs.serialize().encode())

    def keys(self, payload: bytes) -> Any:
        return cnp.EvaluationKeys.unserialize(payload)

    def run(self, payload: bytes, keys: Any) -> bytes:
        specs = self._server.client_specs
        result = self._server.run(specs.unserialize_public_args(payload), keys)
        return bytes(specs.serialize_public_result(result))


class _Client:
    def __init__(self, specs: bytes) -> None:
        self._client = cnp.Client(cnp.ClientSpecs.unserialize(specs.decode()))

    def keygen(self) -> None:
        self._client.keygen()

    def evaluation_keys(self) -> bytes:
        return bytes(self._client.evaluation_keys.serialize())

    def encrypt(self, x: Integers) -> bytes:
        return bytes(self._client.specs.serialize_public_args(self._client.encrypt(x)))

    def decrypt(self, payload: bytes) -> Any:
        return self._client.decrypt(self._client.specs.unserialize_public_result(payload))
