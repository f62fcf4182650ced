"""Rules: the range of one node of a traced graph from the ranges of what it reads.

A rule is sound for every input, and exact over the box of its operands unless it says
otherwise. `RULES` names the operations that have one of their own; a univariate operation
(what a backend turns into a table) needs none, since it is evaluated on every integer of
its input's range, and nothing is assumed of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur import bounds
from secateur.backends.backend import WIDTH_LIMIT
from secateur.errors import AccumulatorOverflowError, UnprovableError, WidthError
from secateur.network import Integers
from secateur.ranges import Range, Ranges


@dataclass(frozen=True, eq=False)
class Step:
    """One operation on its way to be proved.

    Args:
        node: the backend's node, neither input nor constant.
        preds_of: node ↦ the nodes that it reads, in order.
        proved: node → range, low and high int64 of the node's shape, of all earlier nodes.
    """

    node: Any
    preds_of: Callable[[Any], list[Any]]
    proved: Mapping[Any, Ranges]

    @property
    def preds(self) -> list[Any]:
        """The nodes that it reads, in order."""
        return self.preds_of(self.node)

    @property
    def operands(self) -> list[Ranges]:
        """The ranges of what it reads, in order."""
        return [self.proved[pred] for pred in self.preds]

    @property
    def name(self) -> str:
        """The operation's name in the backend."""
        name: str = self.node.properties["name"]
        return name

    @property
    def options(self) -> Mapping[str, Any]:
        """The keyword arguments that it was traced with."""
        options: Mapping[str, Any] = self.node.properties["kwargs"]
        return options

    def __call__(self, *operands: Any) -> Integers:
        """Return the operation's value for these operands, computed by the backend's node."""
        return np.asarray(self.node(*operands)).astype(np.int64)

    def refuse(self, why: str) -> UnprovableError:
        """An error that names the operation and its line in the user's source."""
        return UnprovableError(
            f"operation {self.name!r} at {self.node.location} {why}; nothing was compiled",
            operation=self.name,
            location=self.node.location,
        )

    def check_fits(self, magnitude: int) -> None:
        """Raise unless 64 bits hold every value up to `magnitude`, a Python integer."""
        if magnitude >= 1 << 63:
            raise AccumulatorOverflowError(
                f"operation {self.name!r} at {self.node.location} may reach ±{magnitude}, "
                "which 64 bits do not hold",
                low=-magnitude,
                high=magnitude,
            )


Rule = Callable[[Step], Ranges]


def point(value: NDArray[Any]) -> Ranges:
    """Return the range that holds `value` alone."""
    exact = np.asarray(value, dtype=np.int64)
    return Ranges(exact, exact)


def is_constant(node: Any) -> bool:
    """Say whether a node is a constant of the traced function."""
    return bool(node.operation.value == "constant")


def range_of(step: Step) -> Ranges:
    """Return the range of one operation.

    Raises:
        UnprovableError: no rule is known for it.
        AccumulatorOverflowError: a value that 64 bits do not hold.
    """
    if step.name in RULES:
        return RULES[step.name](step)
    if step.node.converted_to_table_lookup:
        return _univariate(step)
    raise step.refuse("has no rule that proves its range")


def _magnitude(ranges: Ranges) -> int:
    """The greatest absolute value in `ranges`, a Python integer."""
    ends = [int(e) for s in (ranges.low, ranges.high) if s.size for e in (s.min(), s.max())]
    return max(map(abs, ends), default=0)


def _growing(step: Step) -> Ranges:
    """Never falls where an operand grows, so that its ends are those of the ends.

    Moving elements about is of this kind. Copies, because an assignment writes in place.
    """
    return Ranges(
        step(*(r.low.copy() for r in step.operands)), step(*(r.high.copy() for r in step.operands))
    )


def _sum(step: Step) -> Ranges:
    (source,) = step.operands
    step.check_fits(_magnitude(source) * source.low.size)
    return _growing(step)


def _negative(step: Step) -> Ranges:
    (source,) = step.operands
    return Ranges(-source.high, -source.low)


def _subtract(step: Step) -> Ranges:
    a, b = step.operands
    step.check_fits(_magnitude(a) + _magnitude(b))
    return Ranges(a.low - b.high, a.high - b.low)


def _add(step: Step) -> Ranges:
    a, b = step.operands
    step.check_fits(_magnitude(a) + _magnitude(b))
    return _maximum(step) or Ranges(a.low + b.low, a.high + b.high)


def _maximum(step: Step) -> Ranges | None:
    """The range of b + relu(a − b), which is max(a, b); None where the sum is something else.

    A maximum of encrypted values is written so. As a sum of intervals it would come out up
    to a bit too wide, since relu(a − b) is large only where b is small.
    """
    for table, b in (step.preds, step.preds[::-1]):
        if _operation(table) != "tlu":
            continue
        (difference,) = step.preds_of(table)
        entries = table.properties["kwargs"]["table"]
        if _operation(difference) != "subtract" or entries.dtype == object:
            continue
        a, subtracted = step.preds_of(difference)
        keys = step.proved[difference]
        domain = np.arange(keys.low.min(), keys.high.max() + 1)
        if subtracted is b and (entries[domain] == np.maximum(domain, 0)).all():
            ends = step.proved[a], step.proved[b]
            return Ranges(np.maximum(*(r.low for r in ends)), np.maximum(*(r.high for r in ends)))
    return None


def _operation(node: Any) -> str | None:
    return node.properties["name"] if node.operation.value == "generic" else None


def _corners(step: Step) -> Ranges:
    """Of two operands, monotone in each while the other stands still: extremes at corners.

    Sound always; exact unless the operands depend on each other.
    """
    a, b = step.operands
    values = [step(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Ranges(np.minimum.reduce(values), np.maximum.reduce(values))


def _multiply(step: Step) -> Ranges:
    a, b = step.operands
    step.check_fits(_magnitude(a) * _magnitude(b))
    return _corners(step)


def _shift(step: Step) -> Ranges:
    a, b = step.operands
    if b.low.min() < 0 or b.high.max() > 62:
        raise step.refuse(f"shifts by [{b.low.min()}, {b.high.max()}] bits")
    step.check_fits(_magnitude(a) << int(b.high.max()) if step.name == "left_shift" else 0)
    return _corners(step)


def _bitwise(step: Step) -> Ranges:
    """Sound: and ≤ either operand, or and xor < the power of two above both. Not exact,
    unless one of them is a constant: then it is a table.
    """
    if any(map(is_constant, step.preds)):
        return _univariate(step)
    a, b = step.operands
    if a.low.min() < 0 or b.low.min() < 0:
        raise step.refuse("mixes the bits of encrypted values that may be negative")
    if step.name == "bitwise_and":
        high = np.minimum(a.high, b.high)
    else:
        most = np.maximum(a.high, b.high)
        high = np.frompyfunc(lambda v: (1 << int(v).bit_length()) - 1, 1, 1)(most).astype(np.int64)
    low = np.maximum(a.low, b.low) if step.name == "bitwise_or" else np.zeros_like(high)
    return Ranges(low, high)


def _equal(step: Step) -> Ranges:
    a, b = step.operands
    may = (a.low <= b.high) & (b.low <= a.high)
    must = (a.low == a.high) & (b.low == b.high) & may
    low, high = (must, may) if step.name == "equal" else (~may, ~must)
    return Ranges(low.astype(np.int64), high.astype(np.int64))


def _filled(step: Step) -> Ranges:
    return point(step())


def _contract(step: Step) -> Ranges:
    """Dot and matmul: one affine operation for every row or column that is encrypted."""
    a, b = step.operands
    if a.low.ndim == 0 or b.low.ndim == 0:
        return _multiply(step)
    constant_a, constant_b = map(is_constant, step.preds)
    if step.name == "dot" and max(a.low.ndim, b.low.ndim) > 2:
        raise step.refuse("is a dot product of more than two axes; write it as a matmul")
    left = Ranges(*(s[None] if s.ndim == 1 else s for s in (a.low, a.high)))
    right = Ranges(*(s[:, None] if s.ndim == 1 else s for s in (b.low, b.high)))
    batch = np.broadcast_shapes(left.low.shape[:-2], right.low.shape[:-2])
    x = Ranges(*(np.broadcast_to(s, batch + s.shape[-2:]) for s in (left.low, left.high)))
    w = Ranges(*(np.broadcast_to(s, batch + s.shape[-2:]) for s in (right.low, right.high)))
    low = np.empty((*batch, x.low.shape[-2], w.low.shape[-1]), np.int64)
    high = np.empty_like(low)
    for at in np.ndindex(batch):
        if constant_b:
            for row in range(low.shape[-2]):
                r = bounds.linear(
                    np.ascontiguousarray(w.low[at].T), x.low[at][row], x.high[at][row]
                )
                low[at][row], high[at][row] = r.low, r.high
        elif constant_a:
            for column in range(low.shape[-1]):
                r = bounds.linear(x.low[at], w.low[at][:, column], w.high[at][:, column])
                low[at][:, column], high[at][:, column] = r.low, r.high
        else:
            step.check_fits(_magnitude(x) * _magnitude(w) * x.low.shape[-1])
            corners = [
                p[at][:, :, None] * q[at][None] for p in (x.low, x.high) for q in (w.low, w.high)
            ]
            low[at] = np.minimum.reduce(corners).sum(axis=1)
            high[at] = np.maximum.reduce(corners).sum(axis=1)
    shape = step.node.output.shape
    return Ranges(low.reshape(shape), high.reshape(shape))


def _conv(step: Step) -> Ranges:
    """Convolution of [batch, channels, *spatial] with constant weights, position by position."""
    source, weight, *bias = step.operands
    if not all(map(is_constant, step.preds[1:])):
        raise step.refuse("convolves with weights that are no constants")
    options = step.options
    axes = weight.low.ndim - 2
    pads = options["pads"]
    images = [
        bounds.conv(
            weight.low,
            low,
            high,
            bias[0].low if bias else None,
            input_shape=low.shape,
            stride=tuple(options["strides"]),
            padding=tuple(zip(pads[:axes], pads[axes:], strict=True)),
            dilation=tuple(options["dilations"]),
            groups=options["group"],
            positions=True,
        )
        for low, high in zip(source.low, source.high, strict=True)
    ]
    return Ranges(np.stack([r.low for r in images]), np.stack([r.high for r in images]))


def _table(step: Step) -> Ranges:
    """A lookup: the extremes of the entries from low to high, element by element."""
    (keys,) = step.operands
    table = (
        np.broadcast_to(step.options["table"], keys.low.shape)
        if (step.options["table"].dtype == object)
        else None
    )
    low, high = np.empty_like(keys.low), np.empty_like(keys.high)
    known: dict[tuple[int, int, int], tuple[int, int]] = {}
    for at in np.ndindex(keys.low.shape):
        entries = step.options["table"] if table is None else table[at].table
        first, last = int(keys.low[at]), int(keys.high[at])
        case = (id(entries), first, last)
        if case not in known:
            if first < -len(entries) or last >= len(entries):
                raise step.refuse(
                    f"looks up [{first}, {last}] in a table of {len(entries)} entries"
                )
            # A key below zero counts from the end of the table, as in the clear.
            values = entries[np.arange(first, last + 1)]
            known[case] = int(values.min()), int(values.max())
        low[at], high[at] = known[case]
    return Ranges(low, high)


def _univariate(step: Step) -> Ranges:
    """Any function of single elements: evaluated on every integer that an element may be."""
    variables = [i for i, pred in enumerate(step.preds) if not is_constant(pred)]
    shape = step.node.output.shape
    if len(variables) != 1 or shape != np.broadcast_shapes(*(r.shape for r in step.operands)):
        raise step.refuse("is no function of the single elements of one value")
    (at,) = variables
    source = step.operands[at]
    operands: list[Any] = [pred() if is_constant(pred) else None for pred in step.preds]
    first, last = int(source.low.min()), int(source.high.max())
    if last - first >= 1 << WIDTH_LIMIT:
        bits = Range(first, last).bits()
        raise WidthError(
            f"operation {step.name!r} at {step.node.location} looks up [{first}, {last}], which "
            f"takes {bits} bits, {bits - WIDTH_LIMIT} more than a lookup has; nothing was compiled",
            bits=bits,
            limit=WIDTH_LIMIT,
        )
    low = np.full(shape, np.iinfo(np.int64).max)
    high = np.full(shape, np.iinfo(np.int64).min)
    for value in range(first, last + 1):
        here = np.broadcast_to((source.low <= value) & (value <= source.high), shape)
        if not here.any():
            continue
        operands[at] = np.full(source.low.shape, value)
        try:
            result = step(*operands)
        except (ValueError, IndexError, ArithmeticError, RuntimeError) as error:
            raise step.refuse(f"has no value for input {value} ({_root(error)})") from error
        low = np.where(here, np.minimum(low, result), low)
        high = np.where(here, np.maximum(high, result), high)
    return Ranges(low, high)


def _root(error: BaseException) -> BaseException:
    """What went wrong first, in the user's function, under the backend's own errors."""
    return error if error.__cause__ is None else _root(error.__cause__)


#: Operation → rule. The two backends differ in how they spell indexing.
RULES: Mapping[str, Rule] = {
    "add": _add,
    "amax": _growing,
    "amin": _growing,
    "array": _growing,
    "assign.static": _growing,
    "assign_static": _growing,
    "bitwise_and": _bitwise,
    "bitwise_or": _bitwise,
    "bitwise_xor": _bitwise,
    "broadcast_to": _growing,
    "concatenate": _growing,
    "conv1d": _conv,
    "conv2d": _conv,
    "conv3d": _conv,
    "copy": _growing,
    "dot": _contract,
    "equal": _equal,
    "expand_dims": _growing,
    "greater": _corners,
    "greater_equal": _corners,
    "index.static": _growing,
    "index_static": _growing,
    "left_shift": _shift,
    "less": _corners,
    "less_equal": _corners,
    "matmul": _contract,
    "max": _growing,
    "maximum": _growing,
    "maxpool": _growing,
    "maxpool1d": _growing,
    "maxpool2d": _growing,
    "maxpool3d": _growing,
    "min": _growing,
    "minimum": _growing,
    "multiply": _multiply,
    "negative": _negative,
    "not_equal": _equal,
    "ones": _filled,
    "reshape": _growing,
    "right_shift": _shift,
    "squeeze": _growing,
    "subtract": _subtract,
    "sum": _sum,
    "tlu": _table,
    "transpose": _growing,
    "zeros": _filled,
}
