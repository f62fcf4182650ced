"""Checks a certificate against a network's file; needs nothing but Python.

    python checker.py CERTIFICATE NETWORK

It ends with status 0 where the proof holds, else with 1, and says where it does not. All of it is
computed again in Python's integers, which never overflow: every range from the ranges before it,
the hash of codes and tables, and what the network gives for the witness of each attained end.

What has to be trusted: this file; Python with `json`, `hashlib` and `math`, on a machine whose
float64 is IEEE 754 and whose bytes are little-endian. What is not checked: that the network is
the one you mean (compare its fingerprint), and what becomes of its integers after decryption.
"""

from __future__ import annotations

import hashlib
import json
import math
import sys
from array import array
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, product
from operator import add, mul, truediv as div
from typing import Any

_DTYPES = {"I8": "b|i1", "U8": "B|u1", "I16": "h<i2", "I32": "i<i4", "I64": "q<i8", "F64": "d<f8"}
_WINDOWED = ("conv", "sum-pool", "max-pool")
_ORDERLY = ["relu", "hardsigmoid", "hardtanh", "leaky_relu", "affine", "quantize", "count", "bend"]
_LARGEST_TABLE = 1 << 16
_Tensor = namedtuple("_Tensor", ["shape", "values", "dtype", "content"])

_Row = tuple[int, Sequence[int], Sequence[int]]  # bias, coefficients, elements of the sources
_Made = tuple[list[int], Callable[[int], _Row]]


@dataclass(frozen=True)
class _Part:
    """A part of the network's description, an operation for example, and the file's arrays."""

    fields: dict[str, Any]
    tensors: dict[str, _Tensor]

    def __getitem__(self, field: str) -> Any:
        if not isinstance(value := self.fields[field], dict):
            return value
        return self.tensors[value["$tensor"]] if "$tensor" in value else _Part(value, self.tensors)

    def of(self, field: str, channel: int, default: int = 0) -> Any:  # of [channels] or [1]
        found = self[field]
        return default if found is None else found.values[channel if len(found.values) > 1 else 0]

    def broadcast(self, field: str, shape: list[int]) -> list[int]:
        tensor = self[field]
        own = [1] * (len(shape) - len(tensor.shape)) + list(tensor.shape)
        steps = [math.prod(own[a + 1 :]) * (n > 1) for a, n in enumerate(own)]
        return [tensor.values[sum(map(mul, at, steps))] for at in product(*map(range, shape))]

    def windows(self, source: list[int]) -> _Made:  # also of layers without axes, and of pools
        codes = self["codes"] if "codes" in self.fields else None
        out, inputs, *kernel = codes.shape if codes else (source[0], 1, *self["kernel"])
        groups, axes = self.fields.get("groups", 1) if codes else out, range(len(kernel))
        gaps = self.fields.get("dilation") or [1 for _ in axes]
        stride, pads = self.fields.get("stride", []), self.fields.get("padding", [])
        extents, size = source[1:], math.prod(source[1:])
        if source[0] != inputs * groups or out % groups or len(extents) != len(kernel):
            raise ValueError(f"layer {self['name']!r} does not take {source}")
        reach = [extents[a] + sum(pads[a]) - gaps[a] * (kernel[a] - 1) - 1 for a in axes]
        counts = [reach[a] // stride[a] + 1 for a in axes]
        under = []
        for place in product(*map(range, counts)):
            taps = []
            for tap, index in enumerate(product(*map(range, kernel))):
                at = [place[a] * stride[a] - pads[a][0] + index[a] * gaps[a] for a in axes]
                if all(0 <= at[a] < extents[a] for a in axes):
                    taps.append((tap, sum(at[a] * math.prod(extents[a + 1 :]) for a in axes)))
            under.append(taps)

        def row(element: int) -> _Row:
            channel, position = divmod(element, len(under))
            first, taps = channel // (out // groups) * inputs, math.prod(kernel)
            at = [(first + c) * size + e for c in range(inputs) for _, e in under[position]]
            if codes is None:
                return 0, [1] * len(at), at
            rows = range(channel * inputs * taps, (channel + 1) * inputs * taps, taps)
            own = [codes.values[start + tap] for start in rows for tap, _ in under[position]]
            return self.of("bias", channel), own, at

        return [out, *counts], row

    def add(self, *sources: list[int]) -> _Made:
        size, inner = math.prod(sources[0]), math.prod(sources[0][1:])
        ones, end = [1] * len(sources), len(sources) * size
        return sources[0], lambda e: (self.of("bias", e // inner), ones, range(e, end, size))

    def transpose(self, source: list[int]) -> _Made:
        shape = [source[a] for a in self["axes"]]
        steps = [math.prod(source[a + 1 :]) for a in self["axes"]]
        return _moved(shape, [sum(map(mul, at, steps)) for at in product(*map(range, shape))])

    def concat(self, *sources: list[int]) -> _Made:
        axis, elements = self["axis"], list[int]()
        starts = accumulate(map(math.prod, sources), initial=0)
        runs = [*zip(starts, (math.prod(s[axis:]) for s in sources), strict=False)]
        for outer, (start, run) in product(range(math.prod(sources[0][:axis])), runs):
            elements += range(start + outer * run, start + (outer + 1) * run)
        joined = sum(s[axis] for s in sources)
        return _moved([*sources[0][:axis], joined, *sources[0][axis + 1 :]], elements)

    def taken(self, source: list[int]) -> _Made:
        axis, indices, fill = self["axis"], self["indices"].values, self.fields.get("fill", 0)
        run, inner = math.prod(source[axis:]), math.prod(source[axis + 1 :])
        rows: list[_Row] = []
        for outer, i, at in product(range(math.prod(source[:axis])), indices, range(inner)):
            rows.append((0, (1,), (outer * run + i * inner + at,)) if i >= 0 else (fill, (), ()))
        return [*source[:axis], len(indices), *source[axis + 1 :]], rows.__getitem__

    def rounded(self, x: float) -> int:
        scaled = x / self["scale"] + self["zero_point"]
        if math.isinf(scaled):
            return int(self["high"] if scaled > 0 else self["low"])
        rounded = _ROUNDINGS[self["rounding"]](scaled) - self["zero_point"]
        return int(min(max(rounded, self["low"]), self["high"]))

    def code_of(self, channel: int, v: int, bits: int) -> int:
        table = self["table"]
        v = (v >> bits << bits) * self.of("factor", channel, 1) + self.of("offset", channel)
        if table["$kind"] == "explicit-table":
            rows, entries = table["values"].shape
            at = v - table.of("start", channel)
            if not 0 <= at < entries:
                raise ValueError(f"{self['name']!r} has no entry for {v} in channel {channel}")
            return int(table["values"].values[(channel if rows > 1 else 0) * entries + at])
        return table["quantize"].rounded(self.after(table["steps"], float(v), channel))

    def after(self, steps: list[Any], x: float, channel: int) -> float:
        for step in (_Part(fields, self.tensors) for fields in steps):
            if step["$kind"] == "affine":
                x = x * step.of("scale", channel) + step.of("offset", channel)
            elif step["$kind"] == "quantize":
                x = step.rounded(x) * step["scale"]
            elif step["$kind"] == "bend":
                x = x if x >= 0 else x * step.of("slope", channel)
            elif step["$kind"] == "count":
                (rows, n), values = step["thresholds"].shape, step["thresholds"].values
                x = float(sum(x >= t for t in values[channel * n * (rows > 1) :][:n]))
            elif step["$kind"] == "combine":
                sides = (self.after(step[side], x, channel) for side in ("left", "right"))
                x = _BOTH[step["function"]](*sides)
            else:
                x = _ACTIVATIONS[step["name"]](x, **step.fields["parameters"])
        return x

    def orderly(self) -> bool:  # a step that never turns an order of values around
        slopes = self["slope"].values if "slope" in self.fields else ()
        slopes = slopes or [self.fields.get("parameters", {}).get("negative_slope", 0)]
        return min(slopes) >= 0 and self.fields.get("name", self["$kind"]) in _ORDERLY

    def codes(self, channel: int, low: int, high: int, wide: Any) -> tuple[int, int]:
        table, bits = self["table"].fields, self["rounding_bits"]
        if "steps" in table and all(_Part(s, self.tensors).orderly() for s in table["steps"]):
            codes = [self.code_of(channel, v, bits) for v in (low, high)]
        elif not wide:
            codes = [self.code_of(channel, v, bits) for v in range(low, high + 1)]
        else:
            grid = table.get("quantize")
            codes = [grid["low"], grid["high"]] if grid else [*self["table"]["values"].values]
        return min(codes), max(codes)


@dataclass(frozen=True)
class _Node:
    """An operation: the range of each element, in row-major order, and how it comes about."""

    part: _Part
    kind: str
    shape: list[int]
    sources: list[_Node]
    row: Callable[[int], _Row]
    low: list[int]
    high: list[int]

    @cached_property
    def flat(self) -> list[tuple[_Node, int]]:  # the elements of the sources, counted through
        return [(source, e) for source in self.sources for e in range(len(source.low))]

    @property
    def size(self) -> int:  # of a channel
        return math.prod(self.shape[1:])

    def hulls(self) -> list[tuple[int, int]]:
        parts = [slice(at, at + self.size) for at in range(0, len(self.low), self.size)]
        return [(min(self.low[p]), max(self.high[p])) for p in parts]

    def unpacked(self, packed: Any) -> list[int]:
        x: list[int] = packed
        if isinstance(packed, str):
            bits = f"{int('1' + packed, 16):b}"[1 : 1 + len(self.low)]
            x = [(n, h)[bit == "1"] for n, h, bit in zip(self.low, self.high, bits, strict=True)]
        for low, value, high in zip(self.low, x, self.high, strict=True):
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"a witness is no input: {value} is not in [{low}, {high}]")
        return x

    def fill(self) -> None:
        low = [end for source in self.sources for end in source.low]
        high = [end for source in self.sources for end in source.high]
        channel = [c for s in self.sources for c in range(s.shape[0]) for _ in range(s.size)]
        alike = len({*zip(channel, low, high, strict=True)}) == self.sources[0].shape[0]
        wide = max(map(int.__sub__, high, low)) >= _LARGEST_TABLE
        known: dict[Any, tuple[int, int]] = {}
        for element in range(math.prod(self.shape)):
            row, key = self.row(element), tuple[int, ...]((element,))
            if self.kind == "lookup":
                key = element // self.size, low[element], high[element]
            elif self.kind in _WINDOWED and alike:
                key = element // self.size, *row[1], *(channel[e] for e in row[2])
            if key not in known:
                below, above = [low[e] for e in row[2]], [high[e] for e in row[2]]
                known[key] = self.ends(element, row, below, above, wide)
            self.low.append(known[key][0])
            self.high.append(known[key][1])
        if self.kind in _WINDOWED:
            hulls = self.hulls()
            self.low[:] = [low for low, _ in hulls for _ in range(self.size)]
            self.high[:] = [high for _, high in hulls for _ in range(self.size)]

    def ends(self, element: int, row: _Row, low: Any, high: Any, wide: Any = 0) -> tuple[int, int]:
        if self.kind == "lookup":
            return self.part.codes(element // self.size, low[0], high[0], wide)
        if self.kind == "max-pool":
            return max(low), max(high)
        ends = list(zip(row[1], low, high, strict=True))
        least = row[0] + sum(c * (n if c > 0 else h) for c, n, h in ends)
        return least, row[0] + sum(c * (h if c > 0 else n) for c, n, h in ends)

    def facts(self, said: dict[str, Any]) -> Iterator[str]:
        name, (low, high) = said["name"], zip(*self.hulls(), strict=True)
        least, most = min(low), max(high)
        bits = (least < 0) + max((~e if e < 0 else e).bit_length() for e in (least, most))
        dropped = self.part.fields.get("rounding_bits", 0)
        own = self.kind, self.shape, [*low], [*high], bits, dropped, self.harmless(dropped)
        facts = ("kind", "shape", "low", "high", "bits", "rounding_bits", "harmless")
        for fact, value in zip(facts, own, strict=True):
            if said[fact] != value:
                yield f"node {name!r}: {fact} is certified as {said[fact]}, but is {value}"

    def harmless(self, dropped: int) -> bool:  # whether a lookup's codes are those without rounding
        hulls, code = self.sources[0].hulls() if dropped else [], self.part.code_of
        values = ((c, v) for c, (low, high) in enumerate(hulls) for v in range(low, high + 1))
        try:
            listed = all(high - low < _LARGEST_TABLE for low, high in hulls)
            return listed and all(code(c, v, dropped) == code(c, v, 0) for c, v in values)
        except ValueError:
            return False

    def witnesses(self, said: dict[str, Any], inputs: list[Any], memo: Any) -> Iterator[str]:
        for channel, pair in enumerate(said["witnesses"]):
            elements = range(channel * self.size, (channel + 1) * self.size)
            for which, end, extreme in zip(pair, ("low", "high"), (min, max), strict=True):
                if which is not None:
                    x = inputs[which]
                    reached = extreme(self.value(e, x, which, memo) for e in elements)
                    if reached != said[end][channel]:
                        what = f"{end} is {said[end][channel]}, its witness reaches {reached}"
                        yield f"node {said['name']!r}, channel {channel}: {what}"

    def value(self, element: int, x: list[int], which: int, memo: dict[Any, int]) -> int:
        if self.kind == "input":
            return x[element]
        key = which, self.part["name"], element
        if key not in memo:
            row, flat = self.row(element), self.flat
            used = zip(row[1], (flat[e] for e in row[2]), strict=True)
            values = [n.value(e, x, which, memo) if c else 0 for c, (n, e) in used]
            memo[key] = self.ends(element, row, values, values)[0]
        return memo[key]


def check(certificate: str, network: str) -> list[str]:
    """Return a line for each fact of a certificate's file that is not so of a network's file."""
    try:
        graph, problems = _read_network(network)
        with open(certificate, "rb") as file:
            certified = json.loads(file.read())
        if (certified["format"], certified["version"]) != ("secateur-certificate", 2):
            raise ValueError(f"{certificate} is no certificate of version 2")
        own = certified.pop("sha256")
        if own != hashlib.sha256(json.dumps(certified, sort_keys=True).encode()).hexdigest():
            problems.append("the certificate's own hash is wrong")
        if certified["network"] != _hash(graph.fields, graph.tensors):
            problems.append(f"the certificate is of another network, {certified['network']}")
        nodes, memo = _nodes(graph), dict[Any, int]()
        given = nodes[graph["input"]["name"]]
        inputs = [given.unpacked(packed) for packed in certified["witnesses"]]
        names = [said["name"] for said in certified["nodes"]]
        if names != list(nodes):
            problems.append(f"the certificate is about {names}, the network has {list(nodes)}")
        for said in certified["nodes"]:
            if node := nodes.get(said["name"]):
                problems += node.facts(said)
                problems += node.witnesses(said, inputs, memo)
    except Exception as error:  # whatever a damaged or forged file leads to
        return [f"a file is damaged, or of another version: {type(error).__name__}: {error}"]
    return problems


def _read_network(path: str) -> tuple[_Part, list[str]]:
    with open(path, "rb") as file:
        content = file.read()
    start = 8 + int.from_bytes(content[:8], "little")
    layout = json.loads(content[8:start])
    header = json.loads(layout.pop("__metadata__")["secateur"])
    if (header["format"], header["version"]) != ("secateur-network", 1):
        raise ValueError(f"{path} is no network of version 1")
    tensors = {}
    for name, entry in layout.items():
        first, last = (start + offset for offset in entry["data_offsets"])
        dtype = _DTYPES[entry["dtype"]]
        values = array(dtype[0], content[first:last])
        tensors[name] = _Tensor(entry["shape"], values, dtype[1:], content[first:last])
    right = header.pop("sha256") == _hash(header, tensors)
    return _Part(header["network"], tensors), [] if right else ["the network's own hash is wrong"]


def _hash(value: Any, tensors: dict[str, _Tensor]) -> str:
    digest = hashlib.sha256()
    parts = [([n, t.dtype, t.shape], t.content) for n, t in sorted(tensors.items())]
    for part, content in [(value, b""), *parts]:
        digest.update(json.dumps(part, sort_keys=True, separators=(",", ":")).encode() + content)
    return digest.hexdigest()


def _nodes(graph: _Part) -> dict[str, _Node]:
    given = graph["input"]
    ends = [given.broadcast(end, given["shape"]) for end in ("low", "high")]
    nodes = {given["name"]: _Node(given, "input", given["shape"], [], lambda e: (e, (), ()), *ends)}
    for fields in graph["operations"]:
        part, kind = _Part(fields, graph.tensors), fields["$kind"]
        sources = [nodes[s] for s in fields.get("sources") or [fields["source"]]]
        shape, row = _OPERATIONS[kind](part, *(s.shape for s in sources))
        if min(shape) < 1 or part["name"] in nodes:
            raise ValueError(f"node {part['name']!r} has the shape {shape}, or is there twice")
        nodes[part["name"]] = _Node(part, kind, shape, sources, row, [], [])
        nodes[part["name"]].fill()
    return nodes


def _moved(shape: list[int], elements: Sequence[int]) -> _Made:
    return shape, lambda e: (0, (1,), (elements[e],))


_OPERATIONS: dict[str, Callable[..., _Made]] = {
    **dict.fromkeys(("linear", "conv", "sum-pool", "max-pool"), _Part.windows),
    **dict.fromkeys(("take", "place"), _Part.taken),
    "add": _Part.add,
    "lookup": lambda part, source: _moved(source, range(math.prod(source))),
    "reshape": lambda part, source: _moved(part["to"], range(math.prod(source))),
    "transpose": _Part.transpose,
    "concat": _Part.concat,
}
_GELU = math.sqrt(2 / math.pi)
_BOTH: dict[str, Any] = {"add": add, "multiply": mul, "divide": div, "minimum": min, "maximum": max}
_ACTIVATIONS: dict[str, Any] = {"abs": abs, "erf": math.erf, "tanh": math.tanh} | {
    "celu": lambda x, alpha: x if x > 0 else alpha * math.expm1(x / alpha),
    "elu": lambda x, alpha: x if x > 0 else alpha * math.expm1(x),
    "exp": lambda x: math.exp(x) if x <= math.log(sys.float_info.max) else math.inf,
    "gelu": lambda x: 0.5 * x * (1 + math.erf(x * math.sqrt(0.5))),
    "gelu_tanh": lambda x: 0.5 * x * (1 + math.tanh(_GELU * (x + 0.044715 * x * x * x))),
    "hardsigmoid": lambda x: min(max(x + 3, 0.0), 6.0) / 6,
    "hardswish": lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    "hardtanh": lambda x, min_val, max_val: min(max(x, min_val), max_val),
    "leaky_relu": lambda x, negative_slope: x if x >= 0 else negative_slope * x,
    "logsigmoid": lambda x: -_ACTIVATIONS["softplus"](-x),
    "mish": lambda x: x * math.tanh(_ACTIVATIONS["softplus"](x)),
    "relu": lambda x: max(x, 0.0),
    "selu": lambda x: 1.0507009873554805 * (x if x > 0 else 1.6732632423543772 * math.expm1(x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x)),
    "silu": lambda x: x * _ACTIVATIONS["sigmoid"](x),
    "softplus": lambda x: max(x, 0.0) + math.log1p(math.exp(-abs(x))),
    "square": lambda x: x * x,
    "softsign": lambda x: x / (1 + abs(x)),
}
_ROUNDINGS: dict[str, Any] = {"half_even": round, "floor": math.floor} | {
    "down": math.trunc,
    "ceil": math.ceil,
    "half_up": lambda x: math.copysign(abs(x) // 1 + (abs(x) % 1 >= 0.5), x),
    "half_down": lambda x: math.copysign(abs(x) // 1 + (abs(x) % 1 > 0.5), x),
    "up": lambda x: math.copysign(math.ceil(abs(x)), x),
    "sign": lambda x: 1 if x >= 0 else -1,
}


if __name__ == "__main__":
    usage = "usage: checker.py CERTIFICATE NETWORK"
    found = check(*sys.argv[1:]) if len(sys.argv) == 3 else [usage]
    print("\n".join(found) or "the proof holds")
    sys.exit(bool(found))
