"""Random programs of the backends' operations, for the fuzz."""

from __future__ import annotations

import random

import numpy as np
from functions import Case

SHAPES = [(), (), (2,), (2, 2), (1, 2)]

UNARY = [
    "{a} + {k}", "{k} - {a}", "{a} * {k}", "-{a}", "{a} // {p}", "{a} % {p}", "{a} ** 2",
    "abs({a})", "~{a}", "{a} > {k}", "{a} == {k}", "{k} <= {a}", "np.clip({a}, {k}, {k} + {p})",
    "np.maximum({a}, {k})", "np.minimum({k}, {a})", "np.where({a} < {k}, {p}, 0)",
    "(np.sin({a}) * {p}).astype(np.int64)", "np.rint({a} / {p}).astype(np.int64)",
    "({a} >> {s})", "({a} << {s})", "({a} & {p})", "({a} | {p})", "({a} ^ {p})", "({a} != {k})",
    "ns.univariate(lambda v: (v * v - {k}) % 7)({a})", "ns.round_bit_pattern({a}, {s} + 1)",
    "{a}.astype(np.float64).round().astype(np.int64)", "np.sum({a})",
]  # fmt: skip
SHAPED = [
    "{a}[0]", "{a}[::-1]", "{a}[-1:]", "{a}.T", "{a}.flatten()", "{a}.reshape(-1)",
    "np.sum({a}, axis=0)", "np.sum({a}, axis=-1, keepdims=True)", "np.concatenate(({a}, {a}))",
    "np.expand_dims({a}, axis=0)", "np.broadcast_to({a}, (2, *{a}.shape))",
    "{a} @ (np.arange({a}.shape[-1] * 2).reshape(-1, 2) - {s})", "{a} + np.arange({a}.shape[-1])",
    "{a} > np.arange({a}.shape[-1])", "np.dot(np.arange({a}.shape[0]), {a})",
]  # fmt: skip
BINARY = [
    "{a} + {b}", "{a} - {b}", "{a} < {b}", "{a} <= {b}", "{a} > {b}", "{a} >= {b}", "{a} == {b}",
    "{a} != {b}", "{b} + ns.univariate(lambda v: np.maximum(v, 0))({a} - {b})",
    "{a} - np.maximum({a} - {b}, 0)", "({a} % 8) & ({b} % 8)", "({a} % 4) | ({b} % 8)",
    "({a} % 8) ^ ({b} % 4)", "({a} % 8) >> ({b} % 4)", "({a} % 8) << ({b} % 2)",
    "({a} % 2) & ({b} % 2)", "abs({a} - {b})", "({a} > {k}) * {k} + {b}",
]  # fmt: skip
MODERN_UNARY = ["ns.relu({a})", "ns.identity({a})", "ns.truncate_bit_pattern({a}, 1)"]
MODERN_BINARY = [
    "np.minimum({a}, {b})", "np.maximum({a}, {b})", "({a} % 8) * ({b} % 8)",
    "({a} % 4 - 2) * ({b} % 8)", "np.where({a} < {b}, {a}, {b})",
    "ns.multivariate(lambda v, w: (v * w + v) % 8)({a} % 8, {b} % 4)",
]  # fmt: skip


def program(seed: int, modern: bool) -> tuple[str, Case]:
    """A random program, as text and as a case to compile."""
    chance = random.Random(seed)
    names = ["x", "y"][: chance.choice([1, 2, 2])]
    boxes, lines, known = {}, [], {}
    for name in names:
        low = chance.choice([0, 0, 0, -1, -3, -8, 2])
        boxes[name] = (low, low + chance.choice([0, 1, 3, 5, 7, 12]), chance.choice(SHAPES))
        known[name] = np.ones(boxes[name][2], dtype=np.int64)
    unary = UNARY + (MODERN_UNARY if modern else [])
    binary = BINARY + (MODERN_BINARY if modern else [])
    values = list(names)
    for step in range(chance.randint(1, 6)):
        a, b = chance.choice(values[-3:]), chance.choice(values)
        kind = chance.random()
        pattern = chance.choice(
            binary if kind < 0.45 else SHAPED if kind < 0.6 and known[a].shape else unary
        )
        line = pattern.format(
            a=a, b=b, k=chance.randint(-4, 9), p=chance.randint(1, 6), s=chance.randint(0, 2)
        )
        name = f"v{step}"
        try:  # shapes that do not go together, and -(x > 1), make no program
            value = _example(line, known)
        except Exception:
            continue
        if value.size > 16:
            continue
        known[name] = value
        values.append(name)
        lines.append(f"    {name} = {line}")
    text = "\n".join([f"def program(ns, {', '.join(names)}):", *lines, f"    return {values[-1]}"])
    space = {"np": np}
    exec(compile(text, f"<program {seed}>", "exec"), space)
    return text, Case(f"program {seed}", space["program"], boxes)


class _Stub:
    """Extensions on arrays, for shapes and dtypes."""

    @staticmethod
    def univariate(function):
        return function

    multivariate = univariate
    relu = identity = staticmethod(lambda x: x)

    @staticmethod
    def round_bit_pattern(x, bits):
        if x.dtype == np.bool_:
            raise TypeError("of truth values nothing is rounded")
        return x

    truncate_bit_pattern = round_bit_pattern


def _example(line, known):
    """Ones of the shape and the dtype of a line's value."""
    with np.errstate(all="ignore"):
        return np.ones_like(eval(line, {"np": np, "ns": _Stub, **known}))
