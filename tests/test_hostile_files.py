"""Whatever the bytes of a file are, a loader gives what it holds or one of the documented errors.

Every kind of file is mutated: its bytes anyhow, and what its JSON says, with checksums and hashes
made true again. A few hundred mutants of each kind here; SECATEUR_MUTANTS says how many.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from networks import EXAMPLES, example
from secateur.circuits import certificate
from secateur.circuits.certificate import Certificate
from secateur.errors import (
    AccumulatorOverflowError,
    FileFormatError,
    FileVersionError,
    JournalError,
    MissingExtraError,
    NetworkError,
    NotFiniteError,
    ShapeError,
    UnsupportedOperatorError,
)
from secateur.network import storage
from secateur.sweeps import Recorded, Results, grid, sweep
from secateur.sweeps.journal import _seal

pytest.importorskip("safetensors")

MUTANTS = int(os.environ.get("SECATEUR_MUTANTS", "300"))
OURS = (FileFormatError, FileVersionError, JournalError, MissingExtraError)
#: What `read_onnx` documents: an ONNX file may be whole, and mean no network.
FOREIGN = (
    FileFormatError,
    UnsupportedOperatorError,
    NotFiniteError,
    NetworkError,
    ShapeError,
    AccumulatorOverflowError,
)
HOSTILE = (
    None,
    True,
    -1,
    0,
    1,
    2**31,
    2**63,
    -(2**70),
    10**400,
    0.5,
    1e308,
    float("nan"),
    "",
    "\x00",
    "\ud800",
    "../../etc/passwd",
    "long" * 500,
    "linear",
    [],
    [[]],
    [1] * 40,
    {},
    {"$kind": "network"},
    {"$tensor": "network"},
    {"format": 1},
)


def mutated_bytes(whole: bytes, source: random.Random) -> bytes:
    """Return `whole` with one to three changes of any kind."""
    damaged = bytearray(whole)
    for _ in range(source.randint(1, 3)):
        at, length = source.randrange(len(damaged) + 1), source.choice((1, 1, 2, 8, 64))
        match source.randrange(6):
            case 0 if at < len(damaged):
                damaged[at] ^= 1 << source.randrange(8)
            case 1:
                del damaged[at : at + length]
            case 2:
                damaged[at:at] = source.randbytes(length)
            case 3:
                damaged[at:at] = damaged[at : at + length] * source.choice((1, 2, 500))
            case 4:
                damaged[at : at + length] = source.choice(
                    (b"\xff" * length, b"\x00" * length, b"9" * 50, b"[" * 3000, b'{"a":' * 3000)
                )
            case _:
                del damaged[at:]
    return bytes(damaged)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield (container, key) of everything inside a JSON value."""
    keys = value if isinstance(value, dict) else range(len(value))
    for key in list(keys):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from places(value[key])


def mutated_json(text: str | bytes, source: random.Random) -> Any:
    """Return a JSON value with one to three parts of it replaced, dropped or exchanged."""
    value = json.loads(text)
    for _ in range(source.randint(1, 3)):
        found = list(places(value))
        if not found:
            break
        container, key = source.choice(found)
        other, other_key = source.choice(found)
        match source.randrange(4):
            case 0:
                del container[key]
            case 1:
                container[key] = json.loads(json.dumps(other[other_key]))
            case _:
                container[key] = deepcopy(source.choice(HOSTILE))
    return value


# One kind of file each: (folder) → the file, how it is loaded, and a forger of true checksums.
Forger = Callable[[random.Random], bytes]
Kind = tuple[Path, Callable[[Path], object], Forger]


def network_file(folder: Path) -> Kind:
    path = folder / "network.safetensors"
    wholes = []
    for name in sorted(EXAMPLES):
        storage.save(example(name), path)
        wholes.append(path.read_bytes())

    def forged(source: random.Random) -> bytes:
        content = source.choice(wholes)
        length = int.from_bytes(content[:8], "little")
        outer = json.loads(content[8 : 8 + length])
        header = mutated_json(outer["__metadata__"]["secateur"], source)
        if isinstance(header, dict):
            header.pop("sha256", None)
            _, tensors = storage._read(content, storage._safetensors())
            header["sha256"] = storage._hash(header, tensors)
        outer["__metadata__"]["secateur"] = json.dumps(header)
        packed = json.dumps(outer).encode()
        return len(packed).to_bytes(8, "little") + packed + content[8 + length :]

    return path, storage.load, forged


def certificate_file(folder: Path) -> Kind:
    if not hasattr(certificate, "_hash"):
        pytest.skip("certificates carry no hash yet")
    path = folder / "certificate.json"
    Certificate.of(example("mlp")).save(path)
    whole = path.read_bytes()

    def forged(source: random.Random) -> bytes:
        value = mutated_json(whole, source)
        if isinstance(value, dict):
            value.pop("sha256", None)
            value["sha256"] = certificate._hash(value)
        return json.dumps(value).encode()

    return path, Certificate.load, forged


def evaluate(point: Any) -> dict[str, float]:
    if point["n"] == 1:
        raise ValueError("no ones")
    return {"accuracy": point["n"] / 4}


def journal_file(folder: Path) -> Kind:
    path = folder / "runs.jsonl"
    sweep(grid(n=range(4), word=["a"]), evaluate, journal=path)
    lines = path.read_bytes().splitlines(keepends=True)

    def forged(source: random.Random) -> bytes:
        forged_lines, at = list(lines), source.randrange(len(lines))
        value = mutated_json(lines[at], source)
        value.pop("sum", None)
        forged_lines[at] = _seal(json.dumps(value))
        return b"".join(forged_lines)

    def load(path: Path) -> object:
        written = list(Recorded(path))
        return len(written), Results.read(path).columns

    return path, load, forged


def circuit_part(folder: Path, name: str) -> Kind:
    pytest.importorskip("concrete")
    from secateur import compile
    from secateur.deployment import Client

    compile(example("mlp")).save(folder / "circuit")
    client = folder / "circuit" / "client"
    manifest = json.loads((client / "manifest.json").read_bytes())
    interface = (client / "interface.json").read_bytes()

    def forged(source: random.Random) -> bytes:
        if name == "manifest.json":
            return json.dumps(mutated_json(json.dumps(manifest), source)).encode()
        content = json.dumps(mutated_json(interface, source)).encode()
        parts = {**manifest["parts"]["client"], name: hashlib.sha256(content).hexdigest()}
        true = {**manifest, "parts": {**manifest["parts"], "client": parts}}
        (client / "manifest.json").write_text(json.dumps(true))
        return content

    return client / name, lambda path: Client.load(path.parent), forged


def onnx_file(folder: Path) -> Kind:
    onnx = pytest.importorskip("onnx")
    from google.protobuf import json_format

    from secateur import read_onnx

    path = folder / "model.onnx"
    path.write_bytes(quantised_model().SerializeToString())
    whole = json_format.MessageToJson(onnx.load(path))

    def forged(source: random.Random) -> bytes:
        """Messages of other content, as protobuf writes them; what it refuses is drawn again."""
        while True:
            try:
                value = json.dumps(mutated_json(whole, source))
                model = json_format.Parse(value, onnx.ModelProto(), ignore_unknown_fields=True)
                return model.SerializeToString()
            except (json_format.ParseError, ValueError, TypeError, AttributeError):
                continue

    return path, read_onnx, forged


def quantised_model() -> Any:
    """A convolution and a dense layer, in QDQ and in QONNX, with the moves between them."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper

    constants, nodes = [], []

    def constant(values: Any, dtype: str) -> str:
        constants.append(numpy_helper.from_array(np.array(values, dtype), f"c{len(constants)}"))
        return constants[-1].name

    def node(operator: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def through(x: str, scale: float, zero: int) -> str:
        grid = constant(scale, "float32"), constant(zero, "uint8")
        return node("DequantizeLinear", node("QuantizeLinear", x, *grid), *grid)

    random_codes = np.random.default_rng(0).integers(-8, 8, (4 * 9 + 10 * 16))
    kernel = constant(random_codes[:36].reshape(4, 1, 3, 3), "int8")
    kernel = node("DequantizeLinear", kernel, constant(0.25, "float32"), constant(0, "int8"))
    x = node("Conv", through("x", 0.5, 3), kernel, pads=[1, 1, 1, 1], strides=[2, 2])
    x = node("MaxPool", node("Relu", x), kernel_shape=[1, 1])
    x = node("Reshape", through(x, 0.5, 0), constant([1, -1], "int64"))
    width = constant(4, "float32"), constant(0, "float32")
    dense = constant(random_codes[36:].reshape(16, 10) / 4, "float32")
    qonnx = {"domain": "qonnx.custom_op.general", "narrow": 0, "signed": 1}
    dense = node("Quant", dense, constant(0.25, "float32"), *reversed(width), **qonnx)
    x = node("Add", node("MatMul", x, dense), constant(np.arange(10), "float32"))
    graph = helper.make_graph(
        [*nodes, helper.make_node("Softmax", [x], ["y"])],
        "hostile",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        constants,
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    return helper.make_model(graph, opset_imports=opsets)


KINDS: dict[str, Callable[[Path], Kind]] = {
    "onnx": onnx_file,
    "network": network_file,
    "certificate": certificate_file,
    "journal": journal_file,
    "manifest": lambda folder: circuit_part(folder, "manifest.json"),
    "interface": lambda folder: circuit_part(folder, "interface.json"),
}


@pytest.mark.parametrize("forging", [False, True], ids=["bytes", "true hashes"])
@pytest.mark.parametrize("kind", KINDS)
def test_only_documented_errors(kind, forging, tmp_path):
    path, load, forged = KINDS[kind](tmp_path)
    whole = path.read_bytes()
    load(path)
    documented = FOREIGN if kind == "onnx" else OURS
    refused = 0
    for seed in range(MUTANTS):
        source = random.Random(seed)
        path.write_bytes(forged(source) if forging else mutated_bytes(whole, source))
        try:
            load(path)
        except documented:
            refused += 1
        except Exception as error:
            raise AssertionError(f"mutant {seed} of the {kind}: {error!r}") from error
    assert refused > MUTANTS / 4
