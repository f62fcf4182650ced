"""Networks as files: safetensors for the arrays, a versioned JSON header for the graph.

Nothing in a file is ever executed: operations, tables and activations are named by the
registry below, and a name that is not in it is refused. The header carries a hash of
everything else in the file.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.envelope import Envelope
from secateur.errors import NetworkError
from secateur.extras import needed_for
from secateur.files import write_whole
from secateur.network import tables
from secateur.network.ends import Input, Output, Ranking
from secateur.network.graph import Network
from secateur.network.kinds import OPERATIONS

ENVELOPE = Envelope("network", "secateur-network", version=1)

#: Name in a file → class. Names are part of the format: never change one.
_KINDS: Mapping[str, type] = {
    "network": Network,
    "input": Input,
    "output": Output,
    "ranking": Ranking,
    **{operation.kind: operation for operation in OPERATIONS},
    "function-table": tables.FunctionTable,
    "explicit-table": tables.ExplicitTable,
    "affine": tables.Affine,
    "activation": tables.Activation,
    "bend": tables.Bend,
    "combine": tables.Combine,
    "count": tables.Count,
    "quantize": tables.Quantize,
}
_NAMES = {kind: name for name, kind in _KINDS.items()}

Tensors = dict[str, NDArray[Any]]


def save(network: Network, path: str | os.PathLike[str]) -> None:
    """Write `network` to `path` as safetensors; the file appears whole or not at all.

    Raises:
        MissingExtraError: safetensors is not installed.
        NetworkError: an operation or table that is not of this library.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile, numpy as np
        >>> from secateur.network import Input, Network, Output
        >>> from secateur.network import Linear
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((2,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[1, -2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     save(network, f"{directory}/net.safetensors")
        ...     again = load(f"{directory}/net.safetensors")
        >>> again["fc"].codes, again(np.array([3, 1]))
        (array([[ 1, -2]], dtype=int8), array([1]))
    """
    numpy_io = _safetensors()
    tensors: Tensors = {}
    header = ENVELOPE.seal({"network": _encode(network, "network", tensors)})
    header["sha256"] = _hash(header, tensors)
    write_whole(path, numpy_io.save(tensors, metadata={"secateur": _canonical(header)}))


def load(path: str | os.PathLike[str]) -> Network:
    """Return the network that `save` wrote to `path`.

    Raises:
        MissingExtraError: safetensors is not installed.
        FileFormatError: the file is not a network, is truncated, or was altered.
        FileVersionError: a later version of this library wrote it.
        OSError: the file cannot be read.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> import tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = folder.name + "/network.safetensors"
        >>> save(network, path)
        >>> load(path)["fc"].codes
        array([[ 3, -1,  2]], dtype=int8)
    """
    numpy_io = _safetensors()
    if Path(path).is_dir():
        circuit = any(Path(path).glob("*/manifest.json"))
        saved = " that holds a saved circuit; Circuit.load(directory) reads it" * circuit
        raise ENVELOPE.refused(path, f"is a directory{saved}")
    content = Path(path).read_bytes()
    with ENVELOPE.reading(path):
        header, tensors = _read(content, numpy_io)
        ENVELOPE.open(header, path)
        if header.pop("sha256", None) != _hash(header, tensors):
            raise ENVELOPE.refused(path, "does not match its hash: it was altered or damaged")
        network = _decode(header["network"], tensors)
        if not isinstance(network, Network):
            raise TypeError(f"it holds a {type(network).__name__}")
        return network


def fingerprint(network: Network) -> str:
    """Return the SHA-256 of all that makes up `network`, 64 hexadecimal digits.

    It does not depend on the version of the library that computes it or wrote the network.
    """
    tensors: Tensors = {}
    return _hash(_encode(network, "network", tensors), tensors)


def digest(**arrays: NDArray[Any] | None) -> str:
    """Return the SHA-256 of named arrays, their dtypes and shapes; None where there is none."""
    return _hash(None, {name: array for name, array in arrays.items() if array is not None})


def portable(value: Any) -> Any:
    """Return a part of a network as JSON alone, its arrays as lists."""
    tensors: Tensors = {}
    encoded = _encode(value, "part", tensors)
    arrays = {n: {"dtype": str(t.dtype), "values": t.tolist()} for n, t in tensors.items()}
    return {"value": encoded, "arrays": arrays}


def from_portable(content: Any) -> Any:
    """Return what `portable` was given; raises whatever comes of what it never gives."""
    arrays = content["arrays"].items()
    kinds = {"int64": np.int64, "float64": np.float64}
    tensors = {name: np.array(own["values"], kinds[own["dtype"]]) for name, own in arrays}
    return _decode(content["value"], tensors)


def _safetensors() -> Any:
    with needed_for("a network's file"):
        import safetensors.numpy
    return safetensors.numpy


def _read(content: bytes, numpy_io: Any) -> tuple[Any, Tensors]:
    """Return header and arrays of a file's bytes, whatever they are."""
    tensors = numpy_io.load(content)
    # The library reads metadata from named files only; the layout is 8 bytes of
    # little-endian length, then that much JSON.
    length = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    if "secateur" not in metadata:
        return None, {}
    return json.loads(metadata["secateur"]), tensors


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _hash(value: Any, tensors: Tensors) -> str:
    digest = hashlib.sha256(_canonical(value).encode())
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        shape = list(tensors[name].shape)  # of a single number, which has no axis here, too
        digest.update(_canonical([name, little.dtype.str, shape]).encode())
        if little.size:
            digest.update(little.data.cast("B"))
    return digest.hexdigest()


def _encode(value: Any, where: str, tensors: Tensors) -> Any:
    """Return `value` as JSON; its arrays go to `tensors` under names that start with `where`."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int | np.integer):
        return int(value)
    if isinstance(value, float | np.floating):
        return float(value)
    if isinstance(value, np.ndarray):
        tensors[where] = value
        return {"$tensor": where}
    if isinstance(value, tuple):
        return [_encode(v, f"{where}.{i}", tensors) for i, v in enumerate(value)]
    if isinstance(value, Mapping):
        return {str(k): _encode(v, f"{where}.{k}", tensors) for k, v in value.items()}
    if type(value) not in _NAMES or not is_dataclass(value):
        raise NetworkError(
            f"{where} is a {type(value).__qualname__}, which no file format names; "
            f"known are {', '.join(_KINDS)}",
            operation=type(value).__qualname__,
        )
    encoded = {
        f.name: _encode(getattr(value, f.name), f"{where}.{f.name}", tensors)
        for f in fields(value)
        if f.init
    }
    return {"$kind": _NAMES[type(value)], **encoded}


def _decode(value: Any, tensors: Tensors) -> Any:
    """Return what `_encode` was given; raises whatever comes of what it never gives."""
    if isinstance(value, list):
        return tuple(_decode(v, tensors) for v in value)
    if not isinstance(value, dict):
        return value
    if "$tensor" in value:
        return tensors[value["$tensor"]]
    decoded = {k: _decode(v, tensors) for k, v in value.items() if k != "$kind"}
    return _KINDS[value["$kind"]](**decoded) if "$kind" in value else decoded
