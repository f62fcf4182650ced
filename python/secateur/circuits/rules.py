"""Rules: the range of one node of a traced graph from the ranges of what it reads.

A rule is sound for every input, and exact over the box of its operands unless it says
otherwise. `RULES` names the operations that have one of their own; a univariate operation
(what a backend turns into a table) needs none, since it is evaluated on every integer of
its input's range, and nothing is assumed of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur import bounds
from secateur.backends import WIDTH_LIMIT
from secateur.errors import AccumulatorOverflowError, UnprovableError, WidthError
from secateur.network import Integers
from secateur.ranges import Ranges, int64


@dataclass(frozen=True, eq=False)
class Traced:
    """One operation on its way to be proved.

    Args:
        node: the backend's node, neither input nor constant.
        preds_of: node ↦ the nodes that it reads, in order.
        proved: node → range, low and high int64 of the node's shape, of all earlier nodes.
        truths: the nodes that NumPy computes as truth values, 0 and 1 in a circuit.
    """

    node: Any
    preds_of: Callable[[Any], list[Any]]
    proved: Mapping[Any, Ranges]
    truths: Collection[Any] = ()

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
        # Of single numbers NumPy warns where arrays wrap; a value that is asked for fits.
        with np.errstate(all="ignore"):
            value = np.asarray(self.node(*map(self.typed, operands, self.preds)))
        if value.dtype.kind == "b":
            return value.astype(np.int64)
        if value.dtype.kind not in "iu":
            raise self.refuse(
                f"gives {value.dtype} numbers; a function is encrypted in integers: say how to "
                "make them with .astype(np.int64)"
            )
        return int64(value, self.name)

    def typed(self, value: Any, pred: Any) -> Any:
        """Return an operand as NumPy has it: `~(x < y)` is no `~1`. A table's key is an integer."""
        if pred not in self.truths:
            return value
        return np.asarray(value).astype(np.int64 if self.name == "tlu" else np.bool_)

    def refuse(self, why: str) -> UnprovableError:
        """An error that names the operation and its line in the user's source."""
        return UnprovableError(
            f"operation {self.name!r} at {self.node.location} {why}; nothing was compiled",
            operation=self.name,
            location=self.node.location,
        )


Rule = Callable[[Traced], Ranges]


def is_constant(node: Any) -> bool:
    """Say whether a node is a constant of the traced function."""
    return bool(node.operation.value == "constant")


def is_encrypted(node: Any) -> bool:
    """Say whether what a node gives is encrypted."""
    return bool(node.output.is_encrypted)


def range_of(traced: Traced) -> Ranges:
    """Return the range of one operation.

    Raises:
        UnprovableError: no rule is known for it.
        AccumulatorOverflowError: a value that 64 bits do not hold.
        WidthError: a lookup of more bits than there are.
    """
    try:
        if traced.node.properties.get("attributes", {}).get("is_multivariate"):
            return _tabulated(traced)
        if traced.name in RULES:
            return RULES[traced.name](traced)
        if traced.node.converted_to_table_lookup:
            return _tabulated(traced)
    except AccumulatorOverflowError as error:
        raise AccumulatorOverflowError(
            f"operation {traced.name!r} at {traced.node.location}: {error}; nothing was compiled",
            low=error.low,  # type: ignore[attr-defined]
            high=error.high,  # type: ignore[attr-defined]
        ) from error
    raise traced.refuse("has no rule that proves its range")


def _growing(traced: Traced) -> Ranges:
    """Never falls where an operand grows, so that its ends are those of the ends.

    Moving elements about is of this kind. Copies, because an assignment writes in place.
    """
    return Ranges(
        traced(*(r.low.copy() for r in traced.operands)),
        traced(*(r.high.copy() for r in traced.operands)),
    )


def _rounded(traced: Traced) -> Ranges:
    dropped = traced.options["lsbs_to_remove"]
    if not 0 <= dropped < 63:
        raise traced.refuse(f"drops {dropped} bits, expected 0 to 62")
    return _growing(traced)


def _sum(traced: Traced) -> Ranges:
    (source,) = traced.operands
    axis = traced.options.get("axis")
    axes = range(len(source.shape)) if axis is None else np.atleast_1d(axis).tolist()
    total = source.sum([a % len(source.shape) for a in axes])
    return total.moved(lambda side: side.reshape(traced.node.output.shape))


def _negative(traced: Traced) -> Ranges:
    (source,) = traced.operands
    return -source


def _subtract(traced: Traced) -> Ranges:
    a, b = traced.operands
    return a - b


def _add(traced: Traced) -> Ranges:
    a, b = traced.operands
    maximum = _maximum(traced)
    return a + b if maximum is None else maximum


def _maximum(traced: Traced) -> Ranges | None:
    """The range of b + relu(a − b), which is max(a, b); None where the sum is something else.

    A maximum of encrypted values is written so, of tensors of any size where networks pool.
    As a sum of intervals it would come out up to a bit too wide, since relu(a − b) is large
    only where b is small.
    """
    for table, b in (traced.preds, traced.preds[::-1]):
        if _operation(table) != "tlu":
            continue
        (difference,) = traced.preds_of(table)
        entries = table.properties["kwargs"]["table"]
        if _operation(difference) != "subtract" or entries.dtype == object:
            continue
        a, subtracted = traced.preds_of(difference)
        keys = traced.proved[difference].hull()
        domain = np.arange(keys.low, keys.high + 1)
        if subtracted is b and (entries[domain] == np.maximum(domain, 0)).all():
            ends = traced.proved[a], traced.proved[b]
            return Ranges(np.maximum(*(r.low for r in ends)), np.maximum(*(r.high for r in ends)))
    return None


def _operation(node: Any) -> str | None:
    return node.properties["name"] if node.operation.value == "generic" else None


def _multiply(traced: Traced) -> Ranges:
    a, b = traced.operands
    if traced.preds[0] is traced.preds[1]:
        squares = [Ranges.point(end) * end for end in (a.low, a.high)]
        square = squares[0].union(squares[1])
        return Ranges(np.where(a.contains(0), 0, square.low), square.high)
    return a * b


def _shift(traced: Traced) -> Ranges:
    a, b = traced.operands
    if b.low.min() < 0 or b.high.max() > 62:
        raise traced.refuse(f"shifts by [{b.low.min()}, {b.high.max()}] bits")
    if traced.name == "left_shift":
        return a * b.moved(lambda side: np.int64(1) << side)
    # Shifting further moves towards 0 or -1, whichever is nearer: extremes at corners.
    corners = [traced(x, y) for x in (a.low, a.high) for y in (b.low, b.high)]
    return Ranges.point(corners[0]).union(*corners[1:])


def _ordered(traced: Traced) -> Ranges:
    """A comparison is monotone in each operand while the other stands still."""
    a, b = traced.operands
    corners = [traced(x, y) for x, y in ((a.low, b.high), (a.high, b.low))]
    return Ranges.point(corners[0]).union(corners[1])


def _equal(traced: Traced) -> Ranges:
    a, b = traced.operands
    may = (a.low <= b.high) & (b.low <= a.high)
    must = a.is_point & b.is_point & may
    low, high = (must, may) if traced.name == "equal" else (~may, ~must)
    return Ranges(low.astype(np.int64), high.astype(np.int64))


def _bitwise(traced: Traced) -> Ranges:
    if len(_variables(traced)) < 2:
        return _tabulated(traced)
    a, b = traced.operands
    if a.low.min() < 0 or b.low.min() < 0:
        raise traced.refuse("mixes the bits of encrypted values that may be negative")
    operation = _BITS[traced.name]
    ends = np.frompyfunc(lambda *box: _bit_extremes(operation, *map(int, box)), 4, 2)
    low, high = ends(a.low, a.high, b.low, b.high)
    return Ranges(np.asarray(low, dtype=np.int64), np.asarray(high, dtype=np.int64))


_BITS: Mapping[str, str] = {"bitwise_and": "0001", "bitwise_or": "0111", "bitwise_xor": "0110"}


@lru_cache(maxsize=4096)
def _bit_extremes(truth: str, a_low: int, a_high: int, b_low: int, b_high: int) -> tuple[int, int]:
    """The least and greatest value of a bitwise operation over a box, exactly.

    Bit after bit from the top, among all prefixes of operands that stay within the box:
    an upper bit of the result outweighs all lower ones, so that taking the best is best.
    A prefix is known by which of the four ends it still agrees with.
    """
    ends = []
    for best in (min, max):
        states, value = {(True, True, True, True)}, 0
        for i in reversed(range(max(a_high, b_high).bit_length())):
            at = [end >> i & 1 for end in (a_low, a_high, b_low, b_high)]
            reached: dict[int, set[tuple[bool, ...]]] = {}
            for state, x, y in itertools.product(states, (0, 1), (0, 1)):
                tight_low, tight_high, low_too, high_too = state
                if (tight_low and x < at[0]) or (tight_high and x > at[1]):
                    continue
                if (low_too and y < at[2]) or (high_too and y > at[3]):
                    continue
                agrees = (x == at[0], x == at[1], y == at[2], y == at[3])
                following = tuple(s and now for s, now in zip(state, agrees, strict=True))
                reached.setdefault(int(truth[2 * x + y]), set()).add(following)
            bit = best(reached)
            value, states = 2 * value + bit, reached[bit]  # type: ignore[assignment]
        ends.append(value)
    return ends[0], ends[1]


def _where(traced: Traced) -> Ranges:
    """One of two values, or both where the condition is not known."""
    if len(_variables(traced)) < 2:
        return _tabulated(traced)
    if (extreme := _chosen_extreme(traced)) is not None:
        sides = [traced.proved[pred] for pred in traced.preds[1:]]
        return Ranges(extreme(*(r.low for r in sides)), extreme(*(r.high for r in sides)))
    condition, a, b = (r.broadcast_to(traced.node.output.shape) for r in traced.operands)
    never = condition.is_point & (condition.low == 0)
    always = (condition.low > 0) | (condition.high < 0)
    either = a.union(b)
    return Ranges(
        np.where(always, a.low, np.where(never, b.low, either.low)),
        np.where(always, a.high, np.where(never, b.high, either.high)),
    )


def _chosen_extreme(traced: Traced) -> Callable[..., Integers] | None:
    """Return the minimum or maximum that a choice is: where(a < b, a, b); else None."""
    condition, *chosen = traced.preds
    compared = traced.preds_of(condition)
    name = _operation(condition)
    if name is None or not name.startswith(("less", "greater")):
        return None
    if chosen == compared:
        return np.minimum if name.startswith("less") else np.maximum
    if chosen == compared[::-1]:
        return np.maximum if name.startswith("less") else np.minimum
    return None


def _filled(traced: Traced) -> Ranges:
    return Ranges.point(traced())


def _contract(traced: Traced) -> Ranges:
    """Dot and matmul: one affine operation for every row or column that is encrypted."""
    a, b = traced.operands
    if not a.shape or not b.shape:
        return a * b
    constant_a, constant_b = map(is_constant, traced.preds)
    if traced.name == "dot" and max(len(a.shape), len(b.shape)) > 2:
        raise traced.refuse("is a dot product of more than two axes; write it as a matmul")
    x = a.moved(lambda s: s[None] if s.ndim == 1 else s)
    w = b.moved(lambda s: s[:, None] if s.ndim == 1 else s)
    if not (constant_a or constant_b):
        products = x.moved(lambda s: s[..., :, :, None]) * w.moved(lambda s: s[..., None, :, :])
        product = products.sum([len(products.shape) - 2])
        return product.moved(lambda s: s.reshape(traced.node.output.shape))
    batch = np.broadcast_shapes(x.shape[:-2], w.shape[:-2])
    x = x.broadcast_to(batch + x.shape[-2:])
    w = w.broadcast_to(batch + w.shape[-2:])
    low = np.empty((*batch, x.shape[-2], w.shape[-1]), np.int64)
    high = np.empty_like(low)
    for at in np.ndindex(batch):
        if constant_b:
            codes = np.ascontiguousarray(w.low[at].T)
            for row in range(low.shape[-2]):
                r = bounds.linear(codes, x.low[at][row], x.high[at][row])
                low[at][row], high[at][row] = r.low, r.high
        else:
            for column in range(low.shape[-1]):
                r = bounds.linear(x.low[at], w.low[at][:, column], w.high[at][:, column])
                low[at][:, column], high[at][:, column] = r.low, r.high
    shape = traced.node.output.shape
    return Ranges(low.reshape(shape), high.reshape(shape))


def _conv(traced: Traced) -> Ranges:
    """Convolution of [batch, channels, *spatial] with constant weights, position by position."""
    source, weight, *bias = traced.operands
    if not all(map(is_constant, traced.preds[1:])):
        raise traced.refuse("convolves with weights that are no constants")
    options = traced.options
    axes = len(weight.shape) - 2
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


def _table(traced: Traced) -> Ranges:
    """A lookup: the extremes of the entries from low to high, element by element."""
    (keys,) = traced.operands
    table = (
        np.broadcast_to(traced.options["table"], keys.shape)
        if (traced.options["table"].dtype == object)
        else None
    )
    low, high = np.empty_like(keys.low), np.empty_like(keys.high)
    known: dict[tuple[int, int, int], tuple[int, int]] = {}
    for at in np.ndindex(keys.shape):
        entries = traced.options["table"] if table is None else table[at].table
        first, last = int(keys.low[at]), int(keys.high[at])
        case = (id(entries), first, last)
        if case not in known:
            if first < -len(entries) or last >= len(entries):
                raise traced.refuse(
                    f"looks up [{first}, {last}] in a table of {len(entries)} entries"
                )
            # A key below zero counts from the end of the table, as in the clear.
            values = entries[np.arange(first, last + 1)]
            known[case] = int(values.min()), int(values.max())
        low[at], high[at] = known[case]
    return Ranges(low, high)


def _clear_table(traced: Traced) -> Ranges:
    """A lookup in a table that is a clear value: of all entries that the keys may name."""
    keys, table = traced.operands
    hull, length = keys.hull(), table.low.size
    if len(table.shape) != 1 or length < 2 or length & (length - 1):
        raise traced.refuse(
            f"looks up in clear values of shape {table.shape}, expected one axis of 2, 4, 8 or "
            "another power of two of them; fill them up"
        )
    if hull.low < 0 or hull.high >= length:
        raise traced.refuse(
            f"looks up [{hull.low}, {hull.high}] in {length} clear values, expected keys in "
            f"[0, {length - 1}]"
        )
    low, high = np.empty_like(keys.low), np.empty_like(keys.high)
    for at in np.ndindex(keys.shape):
        named = slice(int(keys.low[at]), int(keys.high[at]) + 1)
        low[at], high[at] = table.low[named].min(), table.high[named].max()
    return Ranges(low, high)


def _at_clear_places(traced: Traced) -> Ranges:
    """Indexing by clear values: whatever is at a place that they may name.

    What is read at one place depends on no other element of an index, so that indices may be
    the same in all their elements.
    """
    source, *indices = traced.operands
    return _over_places(
        traced, indices, lambda *at: (traced(source.low, *at), traced(source.high, *at))
    )


def _written_at_clear_places(traced: Traced) -> Ranges:
    """Assignment to what clear values name: there may be the old element or the new one."""
    source, *indices, value = traced.operands

    def ends(*at: Integers) -> tuple[Integers, Integers]:
        return traced(source.low.copy(), *at, value.low), traced(
            source.high.copy(), *at, value.high
        )

    written = _over_places(traced, indices, ends)
    if any(index.shape for index in indices):  # which of the values goes where is not followed
        return source.union(value.hull().low, value.hull().high)
    return written


def _over_places(
    traced: Traced, indices: list[Ranges], ends: Callable[..., tuple[Integers, Integers]]
) -> Ranges:
    """Return the union over all that clear indices may be, every one alike in its elements."""
    hulls = [index.hull() for index in indices]
    named = " and ".join(f"[{hull.low}, {hull.high}]" for hull in hulls)
    count = prod(hull.span + 1 for hull in hulls)
    if count > 1 << WIDTH_LIMIT:
        raise traced.refuse(f"may index {count} places, {named}; declare narrower ranges of them")
    found: Ranges | None = None
    for values in itertools.product(*(range(hull.low, hull.high + 1) for hull in hulls)):
        at = [np.full(index.shape, value) for index, value in zip(indices, values, strict=True)]
        try:
            there = Ranges(*ends(*at))
        except IndexError as error:
            raise traced.refuse(f"indexes {named} ({error})") from error
        found = there if found is None else found.union(there)
    assert found is not None  # no range is empty
    return found


def _of_tfhers(traced: Traced) -> Ranges:
    raise traced.refuse(
        "converts ciphertexts of TFHE-rs, which hold an integer in several parts; compile what "
        "lies between such conversions"
    )


def _variables(traced: Traced) -> list[int]:
    """Which operands are no constants."""
    return [i for i, pred in enumerate(traced.preds) if not is_constant(pred)]


def _tabulated(traced: Traced) -> Ranges:
    """Any function of single elements: evaluated on all integers that its elements may be."""
    low: Integers | None = None
    high: Integers | None = None
    for here, result in values_of(traced):
        if low is None or high is None:
            low = np.full(result.shape, np.iinfo(np.int64).max)
            high = np.full(result.shape, np.iinfo(np.int64).min)
        low = np.where(here, np.minimum(low, result), low)
        high = np.where(here, np.maximum(high, result), high)
    if low is None or high is None:
        raise traced.refuse("reads a tensor without elements")
    return Ranges(low, high)


def values_of(traced: Traced) -> Iterator[tuple[NDArray[np.bool_], Integers]]:
    """Yield a function of single elements on every integer, or pair of them, of its operands.

    Yields:
        Where the elements may be these integers, bool of the node's shape, and its values
        there, int64 of the same shape. Beyond a first failure nothing is yielded.

    Raises:
        UnprovableError: it is no function of single elements, or has no value somewhere.
        WidthError: more integers than a lookup has room for.
    """
    variables = _variables(traced)
    shape = traced.node.output.shape
    multivariate = traced.node.properties.get("attributes", {}).get("is_multivariate")
    if len(variables) != 1 and not multivariate:
        raise traced.refuse("is no function of the single elements of one value")
    if shape != np.broadcast_shapes(*(r.shape for r in traced.operands)):
        raise traced.refuse("is no function of the single elements of one value")
    sources = [traced.operands[i] for i in variables]
    hulls = [source.hull() for source in sources]
    if prod(hull.span + 1 for hull in hulls) > 1 << WIDTH_LIMIT:
        bits = sum(hull.bits() for hull in hulls)
        raise WidthError(
            f"operation {traced.name!r} at {traced.node.location} looks up "
            f"{' and '.join(f'[{hull.low}, {hull.high}]' for hull in hulls)}, which takes {bits} "
            f"bits, {bits - WIDTH_LIMIT} more than a lookup has; nothing was compiled",
            bits=bits,
            limit=WIDTH_LIMIT,
        )
    operands: list[Any] = [pred() if is_constant(pred) else None for pred in traced.preds]
    for values in itertools.product(*(range(hull.low, hull.high + 1) for hull in hulls)):
        here = np.ones(shape, dtype=bool)
        for source, value in zip(sources, values, strict=True):
            here &= source.contains(value)
        if not here.any():
            continue
        for i, source, value in zip(variables, sources, values, strict=True):
            operands[i] = np.full(source.shape, value)
        try:
            result = traced(*operands)
            _check_wraps(traced, operands)
        except (ValueError, IndexError, ArithmeticError, RuntimeError, TypeError) as error:
            if isinstance(error, UnprovableError | AccumulatorOverflowError):
                raise
            asked = values[0] if len(values) == 1 else values
            raise traced.refuse(f"has no value for input {asked} ({_root(error)})") from error
        yield here, np.broadcast_to(result, shape)


#: Operations of integers that NumPy lets wrap, as they are among real numbers.
_WRAPPING: Mapping[str, Callable[..., Any]] = {
    "add": np.add,
    "left_shift": np.ldexp,
    "multiply": np.multiply,
    "power": np.float_power,
    "square": np.square,
    "subtract": np.subtract,
}


def _check_wraps(traced: Traced, operands: list[Any]) -> None:
    """Raise where a lookup computes an integer that 64 bits do not hold: NumPy lets it wrap."""
    if traced.name in _WRAPPING:
        _check_wrap(traced, traced.name, operands)
    if (inner := traced.options.get("subgraph")) is None:
        return
    if not any(_operation(node) in _WRAPPING for node in inner.graph):
        return
    (key,) = (o for o, pred in zip(operands, traced.preds, strict=True) if not is_constant(pred))
    with np.errstate(all="ignore"):
        values = inner.evaluate(key)
    for node in inner.graph:
        if (name := _operation(node)) in _WRAPPING:
            _check_wrap(traced, str(name), [values[p] for p in inner.ordered_preds_of(node)])


def _check_wrap(traced: Traced, name: str, operands: list[Any]) -> None:
    arrays = [np.asarray(operand) for operand in operands]
    if any(array.dtype.kind not in "iu" for array in arrays):
        return
    exponent = arrays[1:] if name == "left_shift" else [a.astype(np.float64) for a in arrays[1:]]
    with np.errstate(all="ignore"):
        size = np.abs(_WRAPPING[name](arrays[0].astype(np.float64), *exponent)).max()
    if size >= 2.0**63:
        raise AccumulatorOverflowError(
            f"{name} gives about {size:.3g} on the way", low=0, high=int(min(size, 1e300))
        )


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
    "assign_dynamic": _written_at_clear_places,
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
    "dynamic_tlu": _clear_table,
    "equal": _equal,
    "expand_dims": _growing,
    "greater": _ordered,
    "greater_equal": _ordered,
    "identity": _growing,
    "index.static": _growing,
    "index_dynamic": _at_clear_places,
    "index_static": _growing,
    "left_shift": _shift,
    "less": _ordered,
    "less_equal": _ordered,
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
    "relu": _growing,
    "reshape": _growing,
    "right_shift": _shift,
    "round_bit_pattern": _rounded,
    "squeeze": _growing,
    "subtract": _subtract,
    "sum": _sum,
    "tfhers_from_native": _of_tfhers,
    "tfhers_to_native": _of_tfhers,
    "tlu": _table,
    "transpose": _growing,
    "truncate_bit_pattern": _rounded,
    "where": _where,
    "zeros": _filled,
}
