"""The two ends of a circuit of concrete-python 2: a server's and a client's."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from enum import Enum
from typing import Any

from concrete import fhe
from concrete.fhe.compilation.configuration import SecurityLevel

from secateur.backends.backend import Exported, Specs, configured
from secateur.backends.cache import own_cache
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


def configuration(options: Mapping[str, Any], **more: Any) -> fhe.Configuration:
    """Return the backend's configuration, that of "configuration" overwritten, if there is one.

    What JSON cannot hold may come as its JSON value.
    """
    options = dict(options)
    base = options.pop("configuration", None) or fhe.Configuration(
        dump_artifacts_on_unexpected_failures=False
    )

    def make(**given: Any) -> Any:
        if "security_level" in given:
            given["security_level"] = SecurityLevel(given["security_level"])
        return base.fork(**given)

    return configured(make, "concrete-python", options, **more)


def export(circuit: Any) -> Exported:
    """Return the backend's circuit as text."""
    # The circuit keeps its configuration to itself; its server was compiled with it.
    given = circuit.server._configuration
    options = {name: getattr(given, name) for name in _OPTIONS}
    plain = {n: o.value if isinstance(o, Enum) else o for n, o in options.items()}
    # Without the specs of TFHE-rs values, of which a network has none.
    specs = fhe.ClientSpecs(circuit.client.specs.program_info)
    return Exported(circuit.mlir, plain, bytes(specs.serialize()))


def read(specs: bytes) -> Specs:
    """Return what exported specs say; a key's and a ciphertext's words have 8 bytes.

    What is compressed holds a seed of 16 bytes in place of the masks.
    """
    says = json.loads(specs)
    keys = says["keyset"]
    bootstrap = keyswitch = 0
    for key in keys["lweBootstrapKeys"]:
        of, masks = key["params"], 0 if _compressed(key) else key["params"]["glweDimension"]
        rows = of["inputLweDimension"] * of["levelCount"] * (of["glweDimension"] + 1)
        bootstrap += 8 * rows * (masks + 1) * of["polynomialSize"]
    for key in keys["lweKeyswitchKeys"]:
        of, masks = key["params"], 0 if _compressed(key) else key["params"]["outputLweDimension"]
        keyswitch += 8 * of["inputLweDimension"] * of["levelCount"] * (masks + 1)
    (circuit,) = says["circuits"]
    (given,), (taken,) = circuit["inputs"], circuit["outputs"]
    return Specs(
        input_shape=_shape(given),
        output_shape=_shape(taken),
        secret_key_bytes=8 * sum(key["params"]["lweDimension"] for key in keys["lweSecretKeys"]),
        bootstrap_key_bytes=bootstrap,
        keyswitch_key_bytes=keyswitch,
        input_bytes=8 * math.prod(_dimensions(given["rawInfo"]["shape"])),
        output_bytes=8 * math.prod(_dimensions(taken["rawInfo"]["shape"])),
    )


def keyless(specs: bytes) -> bytes:
    """Return the same specs without evaluation keys."""
    says = json.loads(specs)
    secret = says["keyset"]["lweSecretKeys"]
    says["keyset"] = {kind: [] for kind in says["keyset"]} | {"lweSecretKeys": secret}
    return json.dumps(says).encode()


def _compressed(key: Mapping[str, Any]) -> bool:
    return bool(key["compression"] != "none")


def _shape(gate: Mapping[str, Any]) -> tuple[int, ...]:
    return _dimensions(gate["typeInfo"]["lweCiphertext"]["abstractShape"])


def _dimensions(shape: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, shape["dimensions"]))


class Server:
    """A circuit in a server's process."""

    def __init__(self, exported: Exported) -> None:
        with own_cache("concrete-python"):
            self._server = fhe.Server.create(exported.mlir, configuration(exported.options))

    @property
    def specs(self) -> bytes:
        return bytes(self._server.client_specs.serialize())

    def keys(self, payload: bytes) -> Any:
        return fhe.EvaluationKeys.deserialize(payload)

    def run(self, payload: bytes, keys: Any) -> bytes:
        result = self._server.run(fhe.Value.deserialize(payload), evaluation_keys=keys)
        return bytes(result.serialize())


class Client:
    """A circuit in a client's process."""

    def __init__(self, specs: bytes) -> None:
        self._client = fhe.Client(fhe.ClientSpecs.deserialize(specs))

    def keygen(self) -> None:
        self._client.keygen()

    def fresh_keys(self) -> bytes:
        self._client.keygen(force=True)
        return bytes(self._client.keys.serialize())

    def restore(self, keys: bytes) -> None:
        self._client.keys.load_from_bytes(keys)

    def evaluation_keys(self) -> bytes:
        return bytes(self._client.evaluation_keys.serialize())

    def encrypt(self, x: Integers) -> bytes:
        return bytes(self._client.encrypt(x).serialize())

    def decrypt(self, payload: bytes) -> Any:
        return self._client.decrypt(fhe.Value.deserialize(payload))
