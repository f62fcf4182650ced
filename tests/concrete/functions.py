"""Functions that people compile: what the backends' own suites try, as a table of our own.

Each is (function of the backend's module and the parameters, parameter → (low, high, shape)).
A parameter whose name begins with "c" is clear. What only concrete-python has is marked.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.ranges import Range, Ranges


@dataclass(frozen=True)
class Case:
    """A function with the boxes of its parameters."""

    name: str
    function: Callable[..., Any]
    boxes: dict[str, tuple[int, int, tuple[int, ...]]]
    modern: bool = False

    def of(self, namespace):
        """The function of its parameters alone, for one backend's module."""
        function, names = self.function, list(self.boxes)
        source = f"lambda {', '.join(names)}: function(namespace, {', '.join(names)})"
        return eval(source, {"function": function, "namespace": namespace})

    @property
    def ranges(self):
        return {n: Ranges.full(shape, Range(a, b)) for n, (a, b, shape) in self.boxes.items()}

    @property
    def clear(self):
        return {name for name in self.boxes if name.startswith("c")}

    def samples(self, limit, seed=0):
        """All inputs where they are at most `limit`, else corners and random ones."""
        sizes = [(b - a + 1) ** int(np.prod(shape)) for a, b, shape in self.boxes.values()]
        if np.prod(np.array(sizes, dtype=float)) <= limit:
            axes = [range(a, b + 1) for a, b, s in self.boxes.values() for _ in range(_size(s))]
            return [self._shaped(values) for values in itertools.product(*axes)]
        random = np.random.default_rng(seed)
        corners = [self._draw(lambda a, b, s, i=i: np.full(s, (a, b)[i])) for i in (0, 1)]
        mixed = lambda a, b, s: random.choice([a, b], size=s)  # noqa: E731
        inside = lambda a, b, s: random.integers(a, b + 1, size=s)  # noqa: E731
        half = (limit - 2) // 2
        return corners + [self._draw(d) for d in (mixed, inside) for _ in range(half)]

    def _draw(self, draw):
        return tuple(np.asarray(draw(a, b, s), dtype=np.int64) for a, b, s in self.boxes.values())

    def _shaped(self, values):
        rest = iter(values)
        return tuple(
            np.array([next(rest) for _ in range(_size(s))], dtype=np.int64).reshape(s)
            for _, _, s in self.boxes.values()
        )


def sampled(backend, function, case, limit=600):
    """The backend's own circuit of a case, its widths from samples."""
    statuses = {name: "clear" if name in case.clear else "encrypted" for name in case.boxes}
    samples = [
        tuple(int(v) if v.shape == () else v.copy() for v in sample)
        for sample in case.samples(limit)
    ]
    if len(case.boxes) == 1 and backend.name == "concrete-numpy":
        samples = [sample[0] for sample in samples]
    configuration = backend.namespace.Configuration(dump_artifacts_on_unexpected_failures=False)
    return backend.namespace.Compiler(function, statuses).compile(samples, configuration)


def _size(shape):
    return int(np.prod(shape))


CASES: list[Case] = []


def case(name, function, modern=False, **boxes):
    full = {n: box if len(box) == 3 else (*box, ()) for n, box in boxes.items()}
    CASES.append(Case(name, function, full, modern))


SCALAR, VECTOR, MATRIX = (), (3,), (3, 2)

# Sums, differences and products with constants, clear and encrypted operands.
for name, f in {
    "x + 5": lambda ns, x: x + 5,
    "5 + x": lambda ns, x: 5 + x,
    "x - 5": lambda ns, x: x - 5,
    "5 - x": lambda ns, x: 5 - x,
    "-x": lambda ns, x: -x,
    "+x": lambda ns, x: +x,
    "x * 3": lambda ns, x: x * 3,
    "-2 * x": lambda ns, x: -2 * x,
    "x * 0": lambda ns, x: x * 0,
    "x + x": lambda ns, x: x + x,
    "x - x": lambda ns, x: x - x,
    "7x - 4x + 1": lambda ns, x: 7 * x - 4 * x + 1,
    "negative of negative": lambda ns, x: np.negative(-x),
}.items():
    for kind, shape in {"scalar": SCALAR, "vector": VECTOR}.items():
        case(f"{name}, {kind}", f, x=(-4, 7, shape))
        case(f"{name}, unsigned {kind}", f, x=(0, 7, shape))
for name, f in {
    "x + y": lambda ns, x, y: x + y,
    "x - y": lambda ns, x, y: x - y,
    "2x - 3y": lambda ns, x, y: 2 * x - 3 * y,
}.items():
    for a, b in [(SCALAR, SCALAR), (VECTOR, SCALAR), (SCALAR, MATRIX), (MATRIX, (2,))]:
        case(f"{name}, {a} and {b}", f, x=(0, 7, a), y=(-3, 4, b))
for name, f in {
    "x + c": lambda ns, x, c: x + c,
    "c + x": lambda ns, x, c: c + x,
    "x - c": lambda ns, x, c: x - c,
    "c - x": lambda ns, x, c: c - x,
    "x * c": lambda ns, x, c: x * c,
    "c * x": lambda ns, x, c: c * x,
}.items():
    for a, b in [(SCALAR, SCALAR), (VECTOR, VECTOR), (VECTOR, SCALAR)]:
        case(f"{name}, {a} and {b}", f, x=(0, 7, a), c=(0, 3, b))
case("x @ c", lambda ns, x, c: x @ c, x=(0, 3, (2, 3)), c=(0, 2, (3, 2)))
case("dot(x, c)", lambda ns, x, c: np.dot(x, c), x=(0, 3, (3,)), c=(0, 2, (3,)))
case("x + [1, 2, 3]", lambda ns, x: x + np.array([1, 2, 3]), x=(0, 7, VECTOR))
case("x * [[1], [-2]]", lambda ns, x: x * np.array([[1], [-2]]), x=(0, 7, VECTOR))
case("scalar + vector", lambda ns, x: x + np.array([1, 2, 3]), x=(0, 7))

# Univariate functions of integers.
for name, f in {
    "x // 3": lambda x: x // 3,
    "20 // x": lambda x: 20 // x,
    "(x / 3).astype": lambda x: (x / 3).astype(np.int64),
    "x ** 2": lambda x: x**2,
    "2 ** x": lambda x: 2**x,
    "x % 5": lambda x: x % 5,
    "21 % x": lambda x: 21 % x,
    "abs(6 - x)": lambda x: abs(6 - x),
    "~x": lambda x: ~x,
    "x & 10": lambda x: x & 10,
    "5 & x": lambda x: 5 & x,
    "x | 6": lambda x: x | 6,
    "11 | x": lambda x: 11 | x,
    "x ^ 9": lambda x: x ^ 9,
    "13 ^ x": lambda x: 13 ^ x,
    "x << 2": lambda x: x << 2,
    "2 << x": lambda x: 2 << x,
    "x >> 2": lambda x: x >> 2,
    "120 >> x": lambda x: 120 >> x,
    "x > 5": lambda x: x > 5,
    "5 > x": lambda x: x < 5,
    "x < 5": lambda x: x < 5,
    "x >= 5": lambda x: x >= 5,
    "x <= 5": lambda x: x <= 5,
    "x == 5": lambda x: x == 5,
    "5 != x": lambda x: x != 5,
    "x.clip(3, 6)": lambda x: x.clip(3, 6),
    "sin": lambda x: (9 * np.sin(x)).astype(np.int64) + 9,
    "sin² + cos²": lambda x: ((np.sin(x) ** 2) + (np.cos(x) ** 2)).round().astype(np.int64),
    "maximum with constant": lambda x: np.maximum(x, 4),
    "minimum with constants": lambda x: np.minimum(x, np.array([2, 4, 6])),
    "sum of casts": lambda x: ((x + 1).astype(np.float64) + 1.5 + x + 3.4).astype(np.int64),
    "sin of two of it": lambda x: (np.sin(x * 3) ** 2 + np.cos(x * 3 + x // 3)).astype(np.int64),
    "a + a // 3": lambda x: x * 2 + x // 3,
    "round to even": lambda x: np.rint(x * 0.5).astype(np.int64),
    "where over a constant": lambda x: np.where(x < 5, x * 3, x),
    "shape, ndim, size, len": lambda x: x + x.shape[0] + x.ndim + x.size + len(x),
    "ones_like": lambda x: x + np.ones_like(x) + np.zeros_like(x),
    "logical_and": lambda x: np.logical_and(x, 1),
    "copy": lambda x: np.copy(x) + 1,
}.items():
    case(f"{name}", lambda ns, x, f=f: f(x), x=(1, 9, VECTOR))

# NumPy's own functions of one value, rounded.
for function in [
    "absolute", "arctan", "arcsinh", "cbrt", "ceil", "cos", "cosh", "deg2rad", "exp2", "expm1",
    "fabs", "floor", "isfinite", "log", "log10", "log1p", "log2", "logical_not", "negative",
    "positive", "rad2deg", "rint", "sign", "signbit", "sin", "sqrt", "square", "tan", "tanh",
    "trunc", "arccosh", "isnan", "isinf",
]:  # fmt: skip
    ufunc = getattr(np, function)
    case(
        f"np.{function}",
        lambda ns, x, u=ufunc: np.rint(u(x) * 1.5).astype(np.int64),
        x=(1, 6, (2,)),
    )
for function in [
    "arctan2", "copysign", "floor_divide", "fmax", "fmin", "fmod", "gcd", "hypot", "lcm",
    "ldexp", "logaddexp", "maximum", "minimum", "power", "remainder", "true_divide",
    "heaviside", "logical_or", "logical_xor", "nextafter", "float_power",
]:  # fmt: skip
    ufunc = getattr(np, function)
    case(
        f"np.{function} with a constant",
        lambda ns, x, u=ufunc: np.rint(1.0 * u(x, 2)).astype(np.int64),
        x=(1, 6, (2,)),
    )

# Comparisons, bits and shifts of encrypted values.
PAIRS = {
    "unsigned": ((0, 3), (0, 3)),
    "unequal": ((0, 7), (0, 2)),
    "signed": ((-4, 3), (-4, 3)),
    "left signed": ((-3, 1), (0, 4)),
    "right signed": ((0, 6), (-2, 1)),
    "boolean": ((0, 1), (0, 1)),
}
for (name, f), (kind, (a, b)) in itertools.product(
    {
        "==": lambda ns, x, y: x == y,
        "!=": lambda ns, x, y: x != y,
        "<": lambda ns, x, y: x < y,
        "<=": lambda ns, x, y: x <= y,
        ">": lambda ns, x, y: x > y,
        ">=": lambda ns, x, y: x >= y,
    }.items(),
    PAIRS.items(),
):
    case(f"x {name} y, {kind}", f, x=a, y=b)
    case(f"(x {name} y) + 20, {kind}", lambda ns, x, y, f=f: f(ns, x, y) + 20, x=a, y=(*b, (2,)))
for (name, f), (kind, (a, b)) in itertools.product(
    {
        "&": lambda ns, x, y: x & y,
        "|": lambda ns, x, y: x | y,
        "^": lambda ns, x, y: x ^ y,
        "(x & y) + 9": lambda ns, x, y: (x & y) + 9,
    }.items(),
    {k: v for k, v in PAIRS.items() if v[0][0] >= 0 and v[1][0] >= 0}.items(),
):
    case(f"{name}, {kind}", f, x=a, y=b)
    case(f"{name}, {kind} vectors", f, x=(*a, (2,)), y=b)
for name, f in {
    "<<": lambda ns, x, y: x << y,
    ">>": lambda ns, x, y: x >> y,
    "(x >> y) + 9": lambda ns, x, y: (x >> y) + 9,
}.items():
    for kind, (a, b) in {"wide": ((0, 7), (0, 3)), "by a bit": ((0, 5), (0, 1))}.items():
        case(f"{name} {kind}", f, x=a, y=b)
        case(f"{name} {kind}, vectors", f, x=(*a, (2,)), y=b)
    case(f"{name} of bits", f, x=(0, 1), y=(0, 1))

# Moving elements about.
for index in [
    "0", "1", "-1", "-3", "0:1", "1:3", "2:0:-1", "::-1", ":-1", "-2:", "::2",
]:  # fmt: skip
    case(f"x[{index}]", lambda ns, x, i=index: eval(f"x[{i}]"), x=(0, 7, (3,)))
for index in ["0, 0", "0, -1", "-1", ":, 0", "1:3, 1:3", "::-1", "2, ::-1"]:
    case(f"x[{index}] of 3×4", lambda ns, x, i=index: eval(f"x[{i}]"), x=(0, 7, (3, 4)))


def assigning(target, value):
    def assign(ns, x):
        exec(f"x[{target}] = value", {"x": x, "value": value})
        return x

    return assign


for target, value in {
    ":": 5,
    "0": 5,
    "2": np.int64(3),
    "0:3": 5,
    "1:4:2": 5,
    "::2": 5,
    "2:0:-1": 5,
    "4:0:-2": 5,
    "1:4": np.array([1, 2, 3]),
    "4:1:-1": np.array([1, 2, 3]),
    "-1": -20,
}.items():
    case(f"x[{target}] = {value}", assigning(target, value), x=(0, 7, (5,)))
for target, value in {
    "0, 0": 5,
    "3, 1": 5,
    "0": 5,
    "1": np.array([1, 2, 3, 4]),
    ":, 0": np.array([1, 2, 3, 4, 5]),
    "0:3, :": 5,
    "0:3, 1:4": np.arange(9).reshape(3, 3),
    "4:1:-1, 3:0:-1": np.arange(9).reshape(3, 3),
    "3:0:-1, 0": np.array([1, 2, 3]),
    "2:4, 1:3": 6,
}.items():
    case(f"x[{target}] = {value} of 5×4", assigning(target, value), x=(0, 7, (5, 4)))


def copy_and_write(ns, x):
    y = np.copy(x)
    y[1] = np.sum(x)
    return np.concatenate((x, y))


def write_encrypted(ns, x, y):
    x[1:3] = y
    x[0] = y[0] + 1
    return x


case("a copy written into", copy_and_write, modern=True, x=(0, 3, (3,)))
case("encrypted written into encrypted", write_encrypted, x=(0, 3, (4,)), y=(0, 5, (2,)))
for shape in [(6,), (6, 1), (1, 6), (2, 3), (1, 2, 3), (3, 1, 2)]:
    case(f"reshape to {shape}", lambda ns, x, s=shape: np.reshape(x, s), x=(0, 7, (3, 2)))
case("flatten", lambda ns, x: x.flatten(), x=(0, 7, (3, 2)))
case("transpose", lambda ns, x: x.T, x=(0, 7, (3, 2)))
case("transpose axes", lambda ns, x: x.transpose((2, 0, 1)), x=(0, 7, (2, 3, 1)))
case("broadcast", lambda ns, x: np.broadcast_to(x, (2, 3)), x=(0, 7, (3,)))
case("expand", lambda ns, x: np.expand_dims(x, axis=1), x=(0, 7, (3,)))
case("squeeze", lambda ns, x: np.squeeze(x), x=(0, 7, (1, 3, 1)))
case("squeeze to a scalar", lambda ns, x: np.squeeze(x), x=(0, 7, (1, 1)))
for axis in (0, 1, -1, None):
    case(
        f"concatenate along {axis}",
        lambda ns, x, y, a=axis: np.concatenate((x, y), axis=a),
        x=(0, 7, (2, 2)),
        y=(-3, 3, (2, 2)),
    )
for axis, keep in itertools.product((0, 1, -1, (0, 1), None), (False, True)):
    case(
        f"sum over {axis}, keepdims {keep}",
        lambda ns, x, a=axis, k=keep: np.sum(x, axis=a, keepdims=k),
        x=(-2, 7, (3, 2)),
    )
case("array", lambda ns, x, y: ns.array([[x, y], [1, x + y]]), x=(0, 7), y=(0, 3))
case("zeros", lambda ns, x: ns.zeros((2, 3)) + x, x=(0, 7, (3,)))
case("ones", lambda ns, x: ns.ones((2, 3)) + x, x=(0, 7, (3,)))
case("zero and one", lambda ns, x: ns.zero() + ns.one() + x, x=(0, 7))
case("iteration", lambda ns, x: sum((2 * v for v in x), start=1), x=(0, 7, (3,)))

# Products with constant matrices.
for left, right in [((2, 3), (3, 2)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (3,))]:
    codes = np.arange(int(np.prod(right))).reshape(right) - 2
    case(f"x {left} @ constant {right}", lambda ns, x, w=codes: x @ w, x=(-1, 3, left))
    codes = np.arange(int(np.prod(left))).reshape(left) - 2
    case(f"constant {left} @ x {right}", lambda ns, x, w=codes: w @ x, x=(0, 3, right))
case("batched matmul", lambda ns, x: x @ np.arange(12).reshape(2, 3, 2), x=(0, 2, (2, 1, 3)))
case("dot", lambda ns, x: np.dot(x, np.array([3, -1, 2])), x=(-2, 3, (3,)))
case("dot from the left", lambda ns, x: np.dot(np.array([3, -1, 2]), x), x=(-2, 3, (3,)))
case("dot with a scalar", lambda ns, x: np.dot(x, 3), x=(-2, 3, (3,)))
case(
    "matmul, sum and shift",
    lambda ns, x: x @ np.array([[1], [-1], [-2]]) + np.sum(x, axis=1, keepdims=True) + [[11]],
    x=(0, 5, (2, 3)),
)

# Tables.
case("table", lambda ns, x: ns.LookupTable([3, 1, 7, -2])[x], x=(0, 3))
case("table of a vector", lambda ns, x: ns.LookupTable([3, 1, 7, -2])[x], x=(0, 3, VECTOR))
case("table from below", lambda ns, x: ns.LookupTable([3, 1, 7, -2])[x], x=(-2, 1, VECTOR))
case(
    "tables",
    lambda ns, x: ns.LookupTable([ns.LookupTable([3, 1, 7, 2]), ns.LookupTable([0, 5, 5, 2])])[x],
    x=(0, 3, (2,)),
)
case("table of a sum", lambda ns, x, y: ns.LookupTable(range(8))[x + y] * 2, x=(0, 3), y=(0, 4))
case("univariate", lambda ns, x: ns.univariate(lambda v: v**2 + 1)(x), x=(-3, 4, VECTOR))
case("round", lambda ns, x: ns.round_bit_pattern(x, 2), x=(0, 14))
case("round a vector", lambda ns, x: ns.round_bit_pattern(x, 1) + 1, x=(0, 14, VECTOR))
case("round and look up", lambda ns, x: ns.round_bit_pattern(x, 2) // 4, x=(0, 15))
case("round signed", lambda ns, x: abs(ns.round_bit_pattern(x, 1)), x=(-8, 7))

# What only concrete-python has.
for name, f in {
    "x * y": lambda ns, x, y: x * y,
    "minimum": lambda ns, x, y: np.minimum(x, y),
    "maximum": lambda ns, x, y: np.maximum(x, y),
    "multivariate": lambda ns, x, y: ns.multivariate(lambda v, w: v * w + v)(x, y),
    "where": lambda ns, x, y: np.where(x < y, x, y),
    "two results": lambda ns, x, y: (x + y, x - y),
}.items():
    for kind, (a, b) in PAIRS.items():
        case(f"{name}, {kind}", f, modern=True, x=a, y=b)
    case(f"{name} of vectors", f, modern=True, x=(0, 3, (2,)), y=(-2, 1, (2,)))
for axis in (0, 1, None):
    case(f"min over {axis}", lambda ns, x, a=axis: np.min(x, axis=a), True, x=(0, 7, (2, 2)))
    case(f"max over {axis}", lambda ns, x, a=axis: np.max(x, axis=a), True, x=(-3, 3, (2, 2)))
case("x @ y", lambda ns, x, y: x @ y, True, x=(0, 2, (1, 2)), y=(-1, 1, (2, 1)))
case("dot(x, y)", lambda ns, x, y: np.dot(x, y), True, x=(0, 2, (2,)), y=(0, 3, (2,)))
case("square by itself", lambda ns, x: x * x, True, x=(-3, 3))
case("relu", lambda ns, x: ns.relu(x - 3), True, x=(0, 7))
case("bits", lambda ns, x: ns.bits(x)[0] + 2 * ns.bits(x)[2], True, x=(0, 7))
case("bits of signed", lambda ns, x: ns.bits(x)[1:3], True, x=(-4, 3))
case("truncate", lambda ns, x: ns.truncate_bit_pattern(x, 1), True, x=(0, 7))
case("truncate and look up", lambda ns, x: ns.truncate_bit_pattern(x, 1) // 2, True, x=(0, 7))
case("identity", lambda ns, x: ns.identity(x) + 1, True, x=(0, 7))
case("refresh", lambda ns, x: ns.refresh(x) + 1, True, x=(0, 7))
case("fancy index", lambda ns, x: x[[0, 2, 2]], True, x=(0, 7, (3,)))
case("fancy index of 3×2", lambda ns, x: x[[0, 2], [1, 0]], True, x=(0, 7, (3, 2)))
case("fancy assign", assigning("[0, 2]", np.array([7, 9])), True, x=(0, 7, (3,)))
for name, f in {
    "x[c]": lambda ns, x, c: x[c],
    "x[c] + 1": lambda ns, x, c: x[c] + 1,
    "abs(x[c] - 5)": lambda ns, x, c: abs(x[c] - 5),
}.items():
    case(name, f, True, x=(0, 7, (4,)), c=(0, 3))
    case(f"{name}, from the end", f, True, x=(-3, 4, (4,)), c=(-4, 3))
    case(f"{name}, vector", f, True, x=(0, 7, (4,)), c=(-4, 3, (2,)))
case("x[c, 1:]", lambda ns, x, c: x[c, 1:], True, x=(0, 7, (3, 2)), c=(0, 2))
case("x[1:, c]", lambda ns, x, c: x[1:, c], True, x=(0, 7, (3, 2)), c=(-2, 1))
case("x[c] of 3×2", lambda ns, x, c: x[c] * 2, True, x=(0, 7, (3, 2)), c=(0, 2))


def write_at_clear(ns, x, c, y):
    x[c] = y
    return x


case("x[c] = y", write_at_clear, True, x=(0, 3, (3,)), c=(0, 2), y=(-2, 5))
case("x[c] = y, from the end", write_at_clear, True, x=(0, 3, (3,)), c=(-3, 2), y=(-2, 5))
case("x[c] = row", write_at_clear, True, x=(0, 3, (3, 2)), c=(0, 2), y=(0, 5, (2,)))
case("x[c] = y, vector", write_at_clear, True, x=(0, 3, (3,)), c=(0, 2, (2,)), y=(0, 5, (2,)))
case("c[x]", lambda ns, x, c: c[x], True, x=(0, 3), c=(0, 7, (4,)))
case("c[x] of signed entries", lambda ns, x, c: c[x], True, x=(0, 2), c=(-4, 3, (4,)))
case("c[x] of a vector", lambda ns, x, c: c[x] + 1, True, x=(0, 3, (2,)), c=(0, 7, (4,)))
case("hint", lambda ns, x: ns.hint(x, bit_width=5) + 1, True, x=(0, 7))
case("constant", lambda ns, x: ns.constant(3) + x, True, x=(0, 7))
