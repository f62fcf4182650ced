"""What an emitted circuit decrypts to: its own program, computed modulo its own widths.

A backend's simulation evaluates the function's graph, and cannot see a width that is too
narrow. This interpreter runs the MLIR that the compiler takes, on the numbers that
ciphertexts hold once their noise is gone:

- an encrypted integer of p bits is a point of the torus, the integer times 2^(63 - p) modulo
  2^64: one bit of padding stands above the p bits of the message, and whatever leaves them
  wraps;
- a lookup is negacyclic: in the upper half of the torus, where the padding bit is set, it
  gives the negated entry of the lower half;
- above some width values are held by their remainders, and everything is computed modulo the
  product of the moduli.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from secateur.errors import AccumulatorOverflowError, UnprovableError

Values = NDArray[Any]


@dataclass(frozen=True)
class Kind:
    """The type of a value of the program.

    Args:
        shape: () for a scalar.
        bits: the width of the message, or of a clear integer.
        encrypted, signed: what it says.
    """

    shape: tuple[int, ...]
    bits: int
    encrypted: bool
    signed: bool

    @classmethod
    def parse(cls, text: str) -> Kind:
        """Read what MLIR prints: tensor<2x3x!FHE.esint<7>>, i8, tensor<4xindex> …"""
        match = re.fullmatch(r"(?:tensor<((?:\d+x)*))?(!FHE\.e(s?)int<(\d+)>|i(\d+)|index)>?", text)
        if match is None:
            raise UnprovableError(f"no circuit is emulated that has values of type {text}")
        axes, name, sign, encrypted_bits, clear_bits = match.groups()
        shape = tuple(int(n) for n in (axes or "").split("x")[:-1])
        encrypted = encrypted_bits is not None
        bits = int(encrypted_bits or clear_bits or 64)
        return cls(shape, bits, encrypted, bool(sign) or (not encrypted and name != "index"))


class Ring(Protocol):
    """The numbers that ciphertexts hold."""

    def modulus(self, bits: int) -> int:
        """Return what messages of `bits` bits are computed modulo."""

    def encode(self, values: Values, bits: int) -> Values:
        """Return the numbers for integers of `bits` bits; negative ones wrap."""

    def message(self, numbers: Values, bits: int) -> Values:
        """Return the integers in [0, modulus) that numbers stand for, int64."""

    def factor(self, values: Values) -> Values:
        """Return clear integers to multiply numbers by."""

    def reduce(self, numbers: Values) -> Values:
        """Return numbers after sums and products of them."""

    def keys(self, numbers: Values, bits: int, signed: bool) -> tuple[Values, Values]:
        """Return where a lookup reads, in [0, 2^bits), and whether it negates what it reads."""


@dataclass(frozen=True)
class Torus:
    """Integers of p bits below one bit of padding, at the upper end of 64 bits."""

    def modulus(self, bits: int) -> int:
        return 2 << bits

    def encode(self, values: Values, bits: int) -> Values:
        return self.factor(values) << np.uint64(63 - bits)

    def message(self, numbers: Values, bits: int) -> Values:
        # To the nearest: where precision was reinterpreted, fractions are left over.
        rounded = numbers + np.uint64((1 << (63 - bits)) >> 1)
        return (rounded >> np.uint64(63 - bits)).astype(np.int64)

    def factor(self, values: Values) -> Values:
        return values.astype(np.int64).astype(np.uint64)

    def reduce(self, numbers: Values) -> Values:
        return numbers

    def keys(self, numbers: Values, bits: int, signed: bool) -> tuple[Values, Values]:
        # A signed value is moved up by half of the table, which is stored rotated by as much.
        half = 1 << (bits - 1) if signed else 0
        moved = (self.message(numbers, bits) + half) % (2 << bits)
        return (moved - half) % (1 << bits), moved >= 1 << bits


@dataclass(frozen=True)
class Remainders:
    """Integers modulo the product of `moduli`, whatever their width."""

    moduli: tuple[int, ...]

    def modulus(self, bits: int) -> int:
        return prod(self.moduli)

    def encode(self, values: Values, bits: int) -> Values:
        return values.astype(np.int64) % prod(self.moduli)

    def message(self, numbers: Values, bits: int) -> Values:
        return numbers

    def factor(self, values: Values) -> Values:
        return values.astype(np.int64)

    def reduce(self, numbers: Values) -> Values:
        return numbers % prod(self.moduli)

    def keys(self, numbers: Values, bits: int, signed: bool) -> tuple[Values, Values]:
        values = centred(numbers, prod(self.moduli)) if signed else numbers
        low = -(1 << (bits - 1)) if signed else 0
        if ((values < low) | (values >= low + (1 << bits))).any():
            raise AccumulatorOverflowError(
                f"a lookup of {bits} bits reads [{values.min()}, {values.max()}]",
                low=int(values.min()),
                high=int(values.max()),
            )
        return values % (1 << bits), np.zeros(values.shape, dtype=bool)


def centred(messages: Values, modulus: int) -> Values:
    """Return messages in [0, modulus) as the integers around zero that they stand for."""
    return np.where(messages < modulus // 2, messages, messages - modulus)


@dataclass(frozen=True)
class Instruction:
    """One operation of the program.

    Args:
        name: without its dialect.
        sources: the values that it reads, by their places.
        kinds: their types.
        result: the type of what it gives.
        options: attribute → text.
        blocks: the blocks that it runs.
    """

    name: str
    sources: tuple[int, ...]
    kinds: tuple[Kind, ...]
    result: Kind
    options: Mapping[str, str]
    blocks: tuple[Block, ...] = ()

    def integers(self, option: str) -> tuple[int, ...]:
        """Return all integers of an option, in order; none where it is missing."""
        text = self.options.get(option, "").partition(" : ")[0]
        return tuple(int(n) for n in re.findall(r"(?<![\w])-?\d+", text.partition(":")[2] or text))


@dataclass(frozen=True)
class Block:
    """Operations one after the other; a program is one, and a branch within it is another.

    Args:
        inputs: the places of its arguments.
        steps: what it computes, and where to.
        outputs: the places of its results.
    """

    inputs: tuple[int, ...]
    steps: tuple[tuple[int, Instruction], ...]
    outputs: tuple[int, ...]


class Program:
    """An emitted circuit that can be run in the clear.

    Args:
        mlir: the program.
        ring: the numbers that its ciphertexts hold.
    """

    def __init__(self, mlir: str, ring: Ring) -> None:
        # Both backends bring these bindings; nothing else needs them.
        from concrete import lang
        from mlir.ir import Context, Module

        self.ring = ring
        self.constants: dict[int, Values] = {}
        with Context() as context:
            lang.register_dialects(context)
            module = Module.parse(mlir)  # held: its operations do not keep it alive
            (main,) = module.body.operations
            (block,) = main.regions[0].blocks
            *_, last = block.operations
            self.inputs = [Kind.parse(str(a.type)) for a in block.arguments]
            self.output_kinds = [Kind.parse(str(o.type)) for o in last.operands]
            self.main = self._block(block, {})

    def _block(self, block: Any, places: dict[Any, int]) -> Block:
        for argument in block.arguments:
            places[argument] = len(places)
        inputs = tuple(places[argument] for argument in block.arguments)
        steps: list[tuple[int, Instruction]] = []
        outputs: tuple[int, ...] = ()
        for operation in block.operations:
            name = operation.operation.name.partition(".")[2]
            if name in {"return", "yield"}:
                outputs = tuple(places[o] for o in operation.operands)
            elif len(operation.results):  # what gives nothing checks an index, which is proved
                steps += self._read(operation.operation, name, places)
        return Block(inputs, tuple(steps), outputs)

    def _read(
        self, operation: Any, name: str, places: dict[Any, int]
    ) -> list[tuple[int, Instruction]]:
        sources = tuple(places[o] for o in operation.operands)
        (result,) = operation.results
        place = len(places)
        places[result] = place
        kind = Kind.parse(str(result.type))
        if name == "constant":
            self.constants[place] = _dense(str(operation.attributes["value"]), kind)
            return []
        if name not in _OPERATIONS and name not in _BRANCHING:
            raise UnprovableError(
                f"no circuit is emulated that computes {operation.name}",
                operation=operation.name,
            )
        kinds = tuple(Kind.parse(str(o.type)) for o in operation.operands)
        options = {a.name: str(a.attr) for a in operation.attributes}
        blocks = tuple(self._block(b, places) for region in operation.regions for b in region)
        return [(place, Instruction(name, sources, kinds, kind, options, blocks))]

    def __call__(self, *arguments: Values) -> list[Values]:
        """Return the numbers of the outputs for the numbers of the inputs."""
        with np.errstate(over="ignore"):  # the torus wraps
            return self._run(self.main, arguments, dict(self.constants))

    def _run(
        self, block: Block, arguments: Sequence[Values], values: dict[int, Values]
    ) -> list[Values]:
        values.update(zip(block.inputs, arguments, strict=True))
        for place, step in block.steps:
            operands = [values[source] for source in step.sources]
            if step.name in _BRANCHING:
                run = partial(self._run, values=values)
                result = _BRANCHING[step.name](step, run, *operands)
            else:
                result = np.asarray(_OPERATIONS[step.name](self.ring, step, *operands))
            values[place] = result.reshape(step.result.shape)
        return [values[place] for place in block.outputs]


def _dense(text: str, kind: Kind) -> Values:
    """Read the value of a constant: 3 : i8, dense<[[1, -2]]> : …, dense<"0x0A00…"> : …"""
    numbers: Values
    stored = re.search(r'"0x([0-9A-F]*)"', text)
    if stored is None:
        body = text.replace("true", "1").replace("false", "0").partition(" : ")[0]
        numbers = np.array([int(n) for n in re.findall(r"-?\d+", body)], dtype=np.int64)
    else:
        size = (kind.bits + 7) // 8
        raw = bytes.fromhex(stored[1])
        parts = [raw[i : i + size] for i in range(0, len(raw), size)]
        numbers = np.array([int.from_bytes(p, "little") for p in parts], dtype=np.uint64)
        numbers = numbers.view(np.int64)
        if kind.bits < 64:
            numbers = np.where(numbers < 1 << (kind.bits - 1), numbers, numbers - (1 << kind.bits))
    if numbers.size == 1:
        return np.broadcast_to(numbers[0], kind.shape)
    return numbers.reshape(kind.shape)


def _zero(ring: Ring, step: Instruction) -> Values:
    return ring.encode(np.zeros(step.result.shape, dtype=np.int64), step.result.bits)


def _clear_added(combine: Callable[..., Values]) -> Callable[..., Values]:
    """Of a sum or difference, one operand may be clear: it is encoded in the result's width."""

    def operation(ring: Ring, step: Instruction, *operands: Values) -> Values:
        numbers = [
            value if kind.encrypted else ring.encode(value, step.result.bits)
            for value, kind in zip(operands, step.kinds, strict=True)
        ]
        return ring.reduce(combine(*numbers))

    return operation


def _multiply(ring: Ring, step: Instruction, number: Values, factor: Values) -> Values:
    return ring.reduce(number * ring.factor(factor))


def _squares(ring: Ring, step: Instruction, a: Values, b: Values) -> Values:
    """A product of encrypted values: (a + b)²/4 - (a - b)²/4, two lookups."""
    bits, signed = step.kinds[0].bits, step.kinds[0].signed
    whole = _quarter_squares(ring, step, ring.reduce(a + b), bits, signed)
    return ring.reduce(whole - _quarter_squares(ring, step, ring.reduce(a - b), bits, True))


def _quarter_squares(ring: Ring, step: Instruction, x: Values, bits: int, signed: bool) -> Values:
    keys = np.arange(1 << bits)
    if signed:
        keys = np.where(keys < 1 << (bits - 1), keys, keys - (1 << bits))
    return _look_up(ring, x, keys * keys // 4, bits, signed, step.result.bits)


def _product(ring: Ring, step: Instruction, a: Values, b: Values) -> Values:
    """A dot product or matmul, of which at most one operand is clear."""
    if all(kind.encrypted for kind in step.kinds):
        return _encrypted_product(ring, step, a, b)
    numbers = [
        value if kind.encrypted else ring.factor(value)
        for value, kind in zip((a, b), step.kinds, strict=True)
    ]
    return ring.reduce(np.matmul(*numbers))


def _encrypted_product(ring: Ring, step: Instruction, a: Values, b: Values) -> Values:
    rows = a[None] if a.ndim == 1 else a
    columns = b[:, None] if b.ndim == 1 else b
    products = _squares(ring, step, rows[..., :, :, None], columns[..., None, :, :])
    return ring.reduce(products.sum(axis=-2, dtype=products.dtype))


def _sum(ring: Ring, step: Instruction, x: Values) -> Values:
    axes = step.integers("axes") or tuple(range(x.ndim))
    keep = step.options.get("keep_dims") == "true"
    return ring.reduce(x.sum(axis=axes, keepdims=keep, dtype=x.dtype))


def _transpose(ring: Ring, step: Instruction, x: Values) -> Values:
    return np.transpose(x, step.integers("axes") or None)


def _concat(ring: Ring, step: Instruction, *parts: Values) -> Values:
    return np.concatenate(parts, axis=step.integers("axis")[0])


def _conv(ring: Ring, step: Instruction, x: Values, weight: Values, *bias: Values) -> Values:
    """A convolution of [batch, channels, height, width]."""
    pads = step.integers("padding") or (0, 0, 0, 0)
    if len(pads) == 1:
        pads *= 4
    strides, dilations = (
        values * 2 if len(values) == 1 else values
        for values in (step.integers(name) or (1,) for name in ("strides", "dilations"))
    )
    groups = (step.integers("group") or (1,))[0]
    x = np.pad(x, ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3])))
    factors = ring.factor(weight)
    height, width = step.result.shape[2:]
    total = np.zeros(step.result.shape, dtype=x.dtype)
    per_group = weight.shape[0] // groups
    for out in range(weight.shape[0]):
        first = out // per_group * weight.shape[1]
        for channel, i, j in np.ndindex(weight.shape[1:]):
            top, left = i * dilations[0], j * dilations[1]
            taps = x[
                :,
                first + channel,
                top : top + (height - 1) * strides[0] + 1 : strides[0],
                left : left + (width - 1) * strides[1] + 1 : strides[1],
            ]
            total[:, out] = ring.reduce(total[:, out] + taps * factors[out, channel, i, j])
    if bias:
        total = total + ring.encode(bias[0], step.result.bits).reshape(1, -1, 1, 1)
    return ring.reduce(total)


def _look_up(
    ring: Ring, x: Values, table: Values, bits: int, signed: bool, result_bits: int
) -> Values:
    keys, negated = ring.keys(x, bits, signed)
    entries = ring.encode(table[keys], result_bits)
    return np.where(negated, ring.reduce(np.negative(entries)), entries)


def _table(ring: Ring, step: Instruction, x: Values, table: Values) -> Values:
    kind = step.kinds[0]
    return _look_up(ring, x, table, kind.bits, kind.signed, step.result.bits)


def _tables(ring: Ring, step: Instruction, x: Values, tables: Values, *where: Values) -> Values:
    """One table for every element: by a map of them, or in the element's own place."""
    kind = step.kinds[0]
    keys, negated = ring.keys(x, kind.bits, kind.signed)
    if where:
        chosen = tables[np.broadcast_to(where[0], keys.shape), keys]
    else:
        own = np.broadcast_to(tables, (*keys.shape, tables.shape[-1]))
        chosen = np.take_along_axis(own, keys[..., None], axis=-1)[..., 0]
    entries = ring.encode(chosen, step.result.bits)
    return np.where(negated, ring.reduce(np.negative(entries)), entries)


def _maximum(ring: Ring, step: Instruction, a: Values, b: Values) -> Values:
    bits = step.kinds[0].bits
    keys = np.arange(1 << bits)
    positive = np.where(keys < 1 << (bits - 1), keys, 0)
    return ring.reduce(b + _look_up(ring, ring.reduce(a - b), positive, bits, True, bits))


def _max_pool(ring: Ring, step: Instruction, x: Values) -> Values:
    shape = step.integers("shape")
    strides, dilations = (
        values * 2 if len(values) == 1 else values
        for values in (step.integers(name) or (1,) for name in ("strides", "dilations"))
    )
    height, width = step.result.shape[2:]
    windows = [
        x[
            :,
            :,
            i * dilations[0] : i * dilations[0] + (height - 1) * strides[0] + 1 : strides[0],
            j * dilations[1] : j * dilations[1] + (width - 1) * strides[1] + 1 : strides[1],
        ]
        for i, j in np.ndindex(*shape)
    ]
    result = windows[0]
    for window in windows[1:]:
        result = _maximum(ring, step, result, window)
    return result


def _round(ring: Ring, step: Instruction, x: Values) -> Values:
    """Keep the upper bits, to the nearest; ties go up, and may go into the padding bit."""
    message = _torus(ring, step).message(x, step.result.bits)
    return ring.encode(message, step.result.bits)


def _lowest_bit(ring: Ring, step: Instruction, x: Values) -> Values:
    message = _torus(ring, step).message(x, step.kinds[0].bits)
    return ring.encode(message & 1, step.result.bits)


def _reinterpret(ring: Ring, step: Instruction, x: Values) -> Values:
    if step.kinds[0].bits != step.result.bits:
        _torus(ring, step)
    return x


def _torus(ring: Ring, step: Instruction) -> Torus:
    if not isinstance(ring, Torus):
        raise UnprovableError(
            f"no circuit of remainders is emulated that computes {step.name}", operation=step.name
        )
    return ring


def _same(ring: Ring, step: Instruction, x: Values) -> Values:
    return x


def _broadcast(ring: Ring, step: Instruction, x: Values) -> Values:
    return np.broadcast_to(x, step.result.shape)


def _elements(ring: Ring, step: Instruction, *elements: Values) -> Values:
    return np.array(elements)


def _extract(ring: Ring, step: Instruction, x: Values, *at: Values) -> Values:
    return np.asarray(x[tuple(int(i) for i in at)])


#: What stands where an offset is an operand.
_OPEN = -(1 << 63)


def _window(step: Instruction, offsets: Sequence[Values]) -> tuple[Values, ...]:
    """The elements under a slice, along every axis; open offsets are taken from `offsets`."""
    given = iter(offsets)
    static, sizes, strides = (
        step.integers(f"static_{name}") for name in ("offsets", "sizes", "strides")
    )
    starts = [int(next(given)) if offset == _OPEN else offset for offset in static]
    axes = zip(starts, sizes, strides, strict=True)
    return np.ix_(*(np.arange(n) * stride + start for start, n, stride in axes))


def _extract_slice(ring: Ring, step: Instruction, x: Values, *offsets: Values) -> Values:
    return np.asarray(x[_window(step, offsets)])


def _insert_slice(
    ring: Ring, step: Instruction, part: Values, x: Values, *offsets: Values
) -> Values:
    result, window = np.array(x), _window(step, offsets)
    result[window] = part.reshape(result[window].shape)
    return result


def _fancy_index(ring: Ring, step: Instruction, x: Values, at: Values) -> Values:
    return np.asarray(x[_places(at, x.ndim)])


def _fancy_assign(ring: Ring, step: Instruction, x: Values, at: Values, values: Values) -> Values:
    result = np.array(x)
    result[_places(at, x.ndim)] = values
    return result


def _places(at: Values, axes: int) -> tuple[Values, ...]:
    return (at,) if axes == 1 else tuple(np.moveaxis(at, -1, 0))


def _add_clear(ring: Ring, step: Instruction, a: Values, b: Values) -> Values:
    return a + b


def _compare(ring: Ring, step: Instruction, a: Values, b: Values) -> Values:
    (predicate,) = step.integers("predicate")
    return _PREDICATES[predicate](a, b).astype(np.int64)


#: In the order of their numbers: eq, ne, slt, sle, sgt, sge.
_PREDICATES = (
    np.equal,
    np.not_equal,
    np.less,
    np.less_equal,
    np.greater,
    np.greater_equal,
)


Run: TypeAlias = "Callable[[Block, Sequence[Values]], list[Values]]"


def _branch(step: Instruction, run: Run, condition: Values) -> Values:
    (result,) = run(step.blocks[0 if condition else 1], ())
    return result


def _generate(step: Instruction, run: Run) -> Values:
    """A tensor, its elements computed one by one from where they are."""
    (block,) = step.blocks
    elements = [run(block, list(map(np.asarray, at)))[0] for at in np.ndindex(step.result.shape)]
    return np.array(elements)


#: Operations that run blocks of their own.
_BRANCHING: Mapping[str, Callable[..., Values]] = {"generate": _generate, "if": _branch}

_OPERATIONS: Mapping[str, Callable[..., Values]] = {
    "addi": _add_clear,
    "add_eint": _clear_added(np.add),
    "add_eint_int": _clear_added(np.add),
    "apply_lookup_table": _table,
    "apply_mapped_lookup_table": _tables,
    "apply_multi_lookup_table": _tables,
    "broadcast": _broadcast,
    "change_partition": _same,
    "cmpi": _compare,
    "collapse_shape": _same,
    "concat": _concat,
    "conv2d": _conv,
    "dot_eint_eint": _product,
    "dot_eint_int": _product,
    "expand_shape": _same,
    "extsi": _same,
    "extract": _extract,
    "extract_slice": _extract_slice,
    "fancy_assign": _fancy_assign,
    "fancy_index": _fancy_index,
    "from_element": _same,
    "from_elements": _elements,
    "index_cast": _same,
    "insert_slice": _insert_slice,
    "lsb": _lowest_bit,
    "matmul_eint_eint": _product,
    "matmul_eint_int": _product,
    "matmul_int_eint": _product,
    "max_eint": _maximum,
    "maxpool2d": _max_pool,
    "mul_eint": _squares,
    "mul_eint_int": _multiply,
    "neg_eint": _clear_added(np.negative),
    "reinterpret_precision": _reinterpret,
    "round": _round,
    "sub_eint": _clear_added(np.subtract),
    "sub_eint_int": _clear_added(np.subtract),
    "sub_int_eint": _clear_added(np.subtract),
    "sum": _sum,
    "to_signed": _same,
    "to_unsigned": _same,
    "transpose": _transpose,
    "zero": _zero,
    "zero_tensor": _zero,
}
