"""The graph of an ONNX file: nodes in order, constants decoded, nothing believed of the file.

Declared sizes are compared with the bytes there are before anything is allocated, and no
file outside the model's own directory is opened.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, TensorProto

from secateur.errors import FileFormatError, UnsupportedOperatorError
from secateur.network import Shape

#: Versions of the standard operators that are read: before 7 shapes broadcast otherwise.
OPSETS = range(7, 29)

#: Elements of the largest tensor, constant or computed, that a model may have.
LARGEST_TENSOR = 1 << 27

#: Elements of the largest constant that is computed from others.
LARGEST_FOLDED = 1 << 24

_NEWER = {"UINT4": 21, "INT4": 22, "UINT2": 25, "INT2": 26}

#: Element type → (NumPy's type, bits of an element in raw data, fields that may hold it).
_TYPES: Mapping[int, tuple[str, int, str]] = {
    TensorProto.FLOAT: ("<f4", 32, "float_data"),
    TensorProto.DOUBLE: ("<f8", 64, "double_data"),
    TensorProto.FLOAT16: ("<f2", 16, "int32_data"),
    TensorProto.BFLOAT16: ("<u2", 16, "int32_data"),
    TensorProto.BOOL: ("|b1", 8, "int32_data"),
    TensorProto.INT8: ("|i1", 8, "int32_data"),
    TensorProto.UINT8: ("|u1", 8, "int32_data"),
    TensorProto.INT16: ("<i2", 16, "int32_data"),
    TensorProto.UINT16: ("<u2", 16, "int32_data"),
    TensorProto.INT32: ("<i4", 32, "int32_data"),
    TensorProto.UINT32: ("<u4", 32, "uint64_data"),
    TensorProto.INT64: ("<i8", 64, "int64_data"),
    TensorProto.UINT64: ("<u8", 64, "uint64_data"),
    _NEWER["INT4"]: ("|i1", 4, "int32_data"),
    _NEWER["UINT4"]: ("|u1", 4, "int32_data"),
    _NEWER["INT2"]: ("|i1", 2, "int32_data"),
    _NEWER["UINT2"]: ("|u1", 2, "int32_data"),
}

#: Element type of quantised tensors → (least, greatest).
INTEGERS: Mapping[int, tuple[int, int]] = {
    TensorProto.INT8: (-128, 127),
    TensorProto.UINT8: (0, 255),
    TensorProto.INT16: (-(2**15), 2**15 - 1),
    TensorProto.UINT16: (0, 2**16 - 1),
    _NEWER["INT4"]: (-8, 7),
    _NEWER["UINT4"]: (0, 15),
    _NEWER["INT2"]: (-2, 1),
    _NEWER["UINT2"]: (0, 3),
}
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True, eq=False)
class Tensor:
    """A constant: its values as NumPy has them, and the element type that the file gave it."""

    values: NDArray[Any]
    kind: int


@dataclass(frozen=True, eq=False)
class Node:
    """One node of the graph: its own name, or operator and number where it has none."""

    name: str
    operator: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class Graph:
    """What a model computes.

    Args:
        nodes: in an order in which every tensor comes before its readers.
        constants: tensor name → value, of the initialisers.
        input: name of the one input.
        shape: its shape; axis 0 is the batch, 1 where the model leaves it open.
        kind: its element type.
        outputs: names of its outputs, which are readings of one and the same.
        opset: version of the standard operators.
    """

    nodes: tuple[Node, ...]
    constants: Mapping[str, Tensor]
    input: str
    shape: Shape
    kind: int
    outputs: tuple[str, ...]
    opset: int


def load(source: str | os.PathLike[str] | bytes | ModelProto) -> Graph:
    """Return the graph of an ONNX file, of its bytes, or of a model in memory.

    Raises:
        FileFormatError: it is truncated, damaged or no ONNX model; a tensor that nothing
            gives; a cycle; data outside the model's directory.
        UnsupportedOperatorError: more than one input or output, dynamic shapes, an opset
            out of reach.
        OSError: the file cannot be read.
    """
    if isinstance(source, ModelProto):
        return _Loader("the model", None).graph(source)
    if isinstance(source, bytes):
        return _Loader("the model", None).parse(source)
    path = Path(source)
    return _Loader(str(path), path.resolve().parent).parse(path.read_bytes())


class _Loader:
    def __init__(self, name: str, directory: Path | None) -> None:
        self.name = name
        self.directory = directory

    def damaged(self, problem: str) -> FileFormatError:
        return FileFormatError(f"{self.name} {problem}", path=self.name, problem=problem)

    def refuse(self, node: str, problem: str, remedy: str) -> UnsupportedOperatorError:
        return UnsupportedOperatorError(
            f"{node}: {problem}; {remedy}", node=node, problem=problem, remedy=remedy
        )

    def parse(self, content: bytes) -> Graph:
        try:
            model = onnx.load_model_from_string(content)
        except Exception as error:  # Of the parser behind onnx, whichever it is.
            raise self.damaged(f"is no ONNX model: {error}") from error
        return self.graph(model)

    def graph(self, model: ModelProto) -> Graph:
        graph = model.graph
        if not graph.output and not graph.node:
            raise self.damaged("holds no graph")
        if model.functions:
            functions = ", ".join(f.name for f in model.functions)
            raise self.refuse(
                "the model", f"defines functions ({functions})", "inline them: onnx.inliner"
            )
        for name, count in Counter(t.name for t in graph.initializer).items():
            if count > 1:
                raise self.damaged(f"has more than one tensor called {name!r}")
        constants = {t.name: self.tensor(t) for t in graph.initializer}
        if graph.sparse_initializer:
            raise self.refuse("the model", "has sparse constants", "store them densely")
        inputs = [i for i in graph.input if i.name not in constants]
        outputs = tuple(o.name for o in graph.output)
        if len(inputs) != 1 or not outputs:
            what, some = ("output", ()) if not outputs else ("input", [i.name for i in inputs])
            raise self.refuse("the model", *several(what, some))
        shape, kind = self.shape_of(inputs[0])
        nodes = self.ordered(self.nodes(graph), {*constants, inputs[0].name, ""})
        given = {*constants, inputs[0].name, *(o for n in nodes for o in n.outputs)}
        for output in outputs:
            if output not in given:
                raise self.damaged(f"gives {output!r}, which no node makes")
        return Graph(
            nodes,
            constants,
            inputs[0].name,
            shape,
            kind,
            outputs,
            self.opset(model),
        )

    def opset(self, model: ModelProto) -> int:
        versions = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
        version = versions[0] if versions else 0
        if version not in OPSETS:
            raise self.refuse(
                "the model",
                f"imports opset {version} of the standard operators; read are "
                f"{OPSETS.start} to {OPSETS.stop - 1}",
                "convert it: onnx.version_converter.convert_version",
            )
        return version

    def shape_of(self, given: onnx.ValueInfoProto) -> tuple[Shape, int]:
        if not given.type.HasField("tensor_type"):
            raise self.refuse(f"input {given.name!r}", "is no tensor", "a network takes one")
        tensor = given.type.tensor_type
        if tensor.elem_type not in (*FLOATS, *INTEGERS):
            raise self.refuse(
                f"input {given.name!r}",
                f"has element type {tensor.elem_type}",
                "floats and integers of 2 to 16 bits are read",
            )
        shape = []
        for axis, dim in enumerate(tensor.shape.dim):
            known = dim.HasField("dim_value") and dim.dim_value > 0
            if axis and not known:
                raise self.refuse(
                    f"input {given.name!r}",
                    f"has a dynamic extent ({dim.dim_param or dim.dim_value!r}) at axis {axis}",
                    "fix it: onnx.tools.update_model_dims, or export with a fixed shape",
                )
            shape.append(int(dim.dim_value) if known else 1)
        if len(shape) < 2:
            raise self.refuse(
                f"input {given.name!r}",
                f"has shape {tuple(shape)}",
                "axis 0 is the batch, and at least one more has to follow",
            )
        if math.prod(shape) > LARGEST_TENSOR:
            raise self.refuse(f"input {given.name!r}", f"has shape {tuple(shape)}", _SMALLER)
        return tuple(shape), tensor.elem_type

    def nodes(self, graph: onnx.GraphProto) -> list[Node]:
        names = Counter(n.name for n in graph.node)
        nodes = []
        for index, node in enumerate(graph.node):
            own = node.name if names[node.name] == 1 else ""
            name = own or f"{node.op_type}_{index}"
            attributes = {a.name: self.attribute(name, a) for a in node.attribute}
            inputs, outputs = tuple(node.input), tuple(node.output)
            nodes.append(Node(name, node.op_type, node.domain, inputs, outputs, attributes))
        return nodes

    def attribute(self, node: str, attribute: AttributeProto) -> Any:
        match attribute.type:
            case AttributeProto.FLOAT:
                return attribute.f
            case AttributeProto.INT:
                return attribute.i
            case AttributeProto.STRING:
                return attribute.s.decode(errors="replace")
            case AttributeProto.TENSOR:
                return self.tensor(attribute.t)
            case AttributeProto.FLOATS:
                return tuple(attribute.floats)
            case AttributeProto.INTS:
                return tuple(attribute.ints)
            case AttributeProto.STRINGS:
                return tuple(s.decode(errors="replace") for s in attribute.strings)
        return None  # A subgraph or a sparse tensor, which no operator that is read takes.

    def ordered(self, nodes: list[Node], given: set[str]) -> tuple[Node, ...]:
        """Return `nodes` in the file's order, but each after what it reads."""
        for output, count in Counter(o for n in nodes for o in n.outputs if o).items():
            if count > 1 or output in given:
                raise self.damaged(f"has more than one tensor called {output!r}")
        readers: dict[str, list[int]] = {}
        missing = []
        for index, node in enumerate(nodes):
            absent = set(node.inputs) - given
            missing.append(len(absent))
            for tensor in absent:
                readers.setdefault(tensor, []).append(index)
        ready = [i for i, count in enumerate(missing) if not count]
        ordered = []
        while ready:
            node = nodes[heappop(ready)]
            ordered.append(node)
            for reader in (r for o in node.outputs for r in readers.pop(o, ())):
                missing[reader] -= 1
                if not missing[reader]:
                    heappush(ready, reader)
        if len(ordered) < len(nodes):
            made = {o for n in nodes for o in n.outputs}
            lost = next((tensor for tensor in readers if tensor not in made), None)
            first = next(n for n, count in zip(nodes, missing, strict=True) if count)
            problem = "has a cycle" if lost is None else f"lacks {lost!r}"
            raise self.damaged(f"{problem} before node {first.name!r}")
        return tuple(ordered)

    def tensor(self, tensor: TensorProto) -> Tensor:
        """Return a constant, checked before it is made."""
        name = f"tensor {tensor.name!r}"
        if tensor.data_type not in _TYPES:
            raise self.refuse(
                name, f"has element type {tensor.data_type}", "store it as floats or integers"
            )
        code, bits, field = _TYPES[tensor.data_type]
        shape = tuple(tensor.dims)
        if any(extent < 0 for extent in shape) or math.prod(shape) > LARGEST_TENSOR:
            raise self.damaged(f"declares shape {shape} for {name}")
        count = math.prod(shape)
        if tensor.data_location == TensorProto.EXTERNAL:
            raw: bytes | None = self.external(name, tensor, (count * bits + 7) // 8)
        else:
            raw = tensor.raw_data if tensor.HasField("raw_data") else None
        if tensor.HasField("segment") or (raw is not None and len(getattr(tensor, field))):
            raise self.damaged(f"stores {name} in parts, or twice")
        if raw is None:
            values = np.array(getattr(tensor, field))
            if bits < 8:
                raw = values.astype("<i4").astype("|u1").tobytes()
            elif tensor.data_type in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
                raw = values.astype("<u2").tobytes()
        if raw is not None:
            if len(raw) != (count * bits + 7) // 8:
                raise self.damaged(
                    f"has {len(raw)} bytes for {name} of shape {shape}, "
                    f"which takes {(count * bits + 7) // 8}"
                )
            values = _unpacked(raw, code, bits, count) if bits < 8 else np.frombuffer(raw, code)
        if values.size != count:
            raise self.damaged(f"has {values.size} numbers for {name} of shape {shape}")
        if tensor.data_type == TensorProto.BFLOAT16:
            values = (values.astype("<u4") << 16).view("<f4")
        return Tensor(
            values.astype(values.dtype.newbyteorder("=")).reshape(shape), tensor.data_type
        )

    def external(self, name: str, tensor: TensorProto, size: int) -> bytes:
        """Return the bytes that a tensor keeps in a file beside the model."""
        entries = {e.key: e.value for e in tensor.external_data}
        if self.directory is None:
            raise self.damaged(f"keeps {name} in another file; give the path of the model")
        path = (self.directory / entries.get("location", "")).resolve()
        if not path.is_relative_to(self.directory) or not path.is_file():
            raise self.damaged(
                f"keeps {name} in {entries.get('location')!r}, "
                "which is no file in the model's directory"
            )
        try:
            offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
        except ValueError as error:
            raise self.damaged(f"has an ill-formed place for {name}: {entries}") from error
        if offset < 0 or length != size or offset + size > path.stat().st_size:
            raise self.damaged(f"keeps {name} beyond the end of {path.name}, or cut short")
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(size)


def several(what: str, names: Sequence[str]) -> tuple[str, str]:
    """Return the problem and the remedy where a model has not one input or output."""
    listed = f" ({', '.join(map(repr, names))})" if names else ""
    return (
        f"has {len(names)} {what}s{listed}, and a network has one",
        "cut the part out that has: onnx.utils.extract_model",
    )


_SMALLER = f"tensors of up to {LARGEST_TENSOR} elements are read"


def _unpacked(raw: bytes, code: str, bits: int, count: int) -> NDArray[Any]:
    """Return the elements of fewer than 8 bits in `raw`, the lowest bits of a byte first."""
    octets = np.frombuffer(raw, "|u1")
    fields = (octets[:, None] >> np.arange(0, 8, bits, dtype=np.uint8)) & ((1 << bits) - 1)
    values = fields.reshape(-1)[:count].astype(np.int16)
    if code == "|i1":
        values = np.where(values >= 1 << (bits - 1), values - (1 << bits), values)
    return values.astype(code)
