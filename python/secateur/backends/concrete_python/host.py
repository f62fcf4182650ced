"""Deployment with concrete-python 2."""

from __future__ import annotations

from enum import Enum
from typing import Any

from concrete import fhe
from concrete.fhe.compilation.configuration import SecurityLevel

from secateur.backends.host import ClientHost, Exported, ServerHost
from secateur.network import Integers

_OPTIONS = (
    "p_error",
    "global_p_error",
    "loop_parallelize",
    "dataflow_parallelize",
    "auto_parallelize",
    "compress_evaluation_keys",
    "compress_input_ciphertexts",
    "composable",
    "enable_tlu_fusing",
    "parameter_selection_strategy",
    "multi_parameter_strategy",
    "security_level",
)


class ConcretePythonHost:
    """The host for Python 3.11 and 3.12."""

    def export(self, compiled: Any) -> Exported:
        # The circuit keeps its configuration to itself; its server was compiled with it.
        configuration = compiled.server._configuration
        options = {name: getattr(configuration, name) for name in _OPTIONS}
        plain = {n: o.value if isinstance(o, Enum) else o for n, o in options.items()}
        # Without the specs of TFHE-rs values, of which a network has none.
        specs = fhe.ClientSpecs(compiled.client.specs.program_info)
        return Exported(compiled.mlir, plain, bytes(specs.serialize()))

    def server(self, exported: Exported) -> ServerHost:
        return _Server(exported)

    def client(self, specs: bytes) -> ClientHost:
        return _Client(specs)


class _Server:
    def __init__(self, exported: Exported) -> None:
        level = SecurityLevel(exported.options["security_level"])
        options = {**exported.options, "security_level": level}
        self._server = fhe.Server.create(exported.mlir, fhe.Configuration(**options))

    @property
    def specs(self) -> bytes:
        return bytes(self._server.client_specs.serialize())

    def keys(self, payload: bytes) -> Any:
        return fhe.EvaluationKeys.deserialize(payload)

    def run(self, payload: bytes, keys: Any) -> bytes:
        result = self._server.run(fhe.Value.deserialize(payload), evaluation_keys=keys)
        return bytes(result.serialize())


class _Client:
    def __init__(self, specs: bytes) -> None:
        self._client = fhe.Client(fhe.ClientSpecs.deserialize(specs))

    def keygen(self) -> None:
        self._client.keygen()

    def evaluation_keys(self) -> bytes:
        return bytes(self._client.evaluation_keys.serialize())

    def encrypt(self, x: Integers) -> bytes:
        return bytes(self._client.encrypt(x).serialize())

    def decrypt(self, payload: bytes) -> Any:
        return self._client.decrypt(fhe.Value.deserialize(payload))
