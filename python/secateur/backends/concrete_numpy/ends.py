"""The two ends of a circuit of concrete-numpy 0.11: a server's and a client's."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZipFile

import concrete.numpy as cnp

from secateur.backends.backend import Exported, Specs, configured
from secateur.backends.cache import own_cache
from secateur.network import Integers

_OPTIONS = (
    "p_error",
    "global_p_error",
    "loop_parallelize",
    "dataflow_parallelize",
    "auto_parallelize",
)


def configuration(options: Mapping[str, Any]) -> cnp.Configuration:
    """Return the backend's configuration, that of "configuration" overwritten, if there is one."""
    given = dict(options)
    base = given.pop("configuration", None) or cnp.Configuration(
        dump_artifacts_on_unexpected_failures=False
    )
    return configured(base.fork, "concrete-numpy", given)


def export(circuit: Any) -> Exported:
    """Return the backend's circuit as text."""
    options = {name: getattr(circuit.configuration, name) for name in _OPTIONS}
    return Exported(circuit.mlir, options, circuit.client.specs.serialize().encode())


def read(specs: bytes) -> Specs:
    """Return what exported specs say; a key's and a ciphertext's words have 8 bytes."""
    says = json.loads(specs)["client_parameters"]
    secret = {name: int(key["dimension"]) for name, key in says["secretKeys"].items()}
    bootstrap = keyswitch = 0
    for key in says["bootstrapKeys"].values():
        # The key that comes out is a polynomial of `degree` coefficients per GLWE dimension.
        degree = secret[key["outputSecretKeyID"]] // key["glweDimension"]
        rows = secret[key["inputSecretKeyID"]] * key["level"] * (key["glweDimension"] + 1)
        bootstrap += 8 * rows * (key["glweDimension"] + 1) * degree
    for key in says["keyswitchKeys"].values():
        rows = secret[key["inputSecretKeyID"]] * key["level"]
        keyswitch += 8 * rows * (secret[key["outputSecretKeyID"]] + 1)
    (given,), (taken,) = says["inputs"], says["outputs"]
    return Specs(
        input_shape=_dimensions(given),
        output_shape=_dimensions(taken),
        secret_key_bytes=8 * sum(secret.values()),
        bootstrap_key_bytes=bootstrap,
        keyswitch_key_bytes=keyswitch,
        input_bytes=8 * math.prod(_dimensions(given)) * (secret[_key_of(given)] + 1),
        output_bytes=8 * math.prod(_dimensions(taken)) * (secret[_key_of(taken)] + 1),
    )


def keyless(specs: bytes) -> bytes:
    """Return the same specs without evaluation keys."""
    says = json.loads(specs)
    says["client_parameters"] |= {"bootstrapKeys": {}, "keyswitchKeys": {}, "packingKeys": {}}
    return json.dumps(says).encode()


def _dimensions(gate: Mapping[str, Any]) -> tuple[int, ...]:
    return tuple(map(int, gate["shape"]["dimensions"]))


def _key_of(gate: Mapping[str, Any]) -> str:
    return str(gate["encryption"]["secretKeyID"])


class Server:
    """A circuit in a server's process."""

    def __init__(self, exported: Exported) -> None:
        signs = cnp.ClientSpecs.unserialize(exported.specs.decode())
        with own_cache("concrete-numpy"):
            self._server = cnp.Server.create(
                exported.mlir,
                signs.input_signs,
                signs.output_signs,
                configuration(exported.options),
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


class Client:
    """A circuit in a client's process."""

    def __init__(self, specs: bytes) -> None:
        self._specs = cnp.ClientSpecs.unserialize(specs.decode())
        self._client = cnp.Client(self._specs)

    def keygen(self) -> None:
        self._client.keygen()

    def fresh_keys(self) -> bytes:
        archive = BytesIO()
        with TemporaryDirectory(dir=_memory()) as cache:
            self._keygen_in(cache)
            with ZipFile(archive, "w") as files:
                for path in Path(cache).rglob("*"):
                    files.write(path, path.relative_to(cache))
        return archive.getvalue()

    def restore(self, keys: bytes) -> None:
        with TemporaryDirectory(dir=_memory()) as cache:
            ZipFile(BytesIO(keys)).extractall(cache)
            self._keygen_in(cache)

    def _keygen_in(self, cache: str) -> None:
        # The one way in and out of its keys is its cache of them.
        self._client = cnp.Client(self._specs, cache)
        self._client.keygen()

    def evaluation_keys(self) -> bytes:
        return bytes(self._client.evaluation_keys.serialize())

    def encrypt(self, x: Integers) -> bytes:
        return bytes(self._client.specs.serialize_public_args(self._client.encrypt(x)))

    def decrypt(self, payload: bytes) -> Any:
        return self._client.decrypt(self._client.specs.unserialize_public_result(payload))


def _memory() -> str | None:
    """A place for files that no disk sees, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
