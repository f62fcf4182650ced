"""Values of one value: what depends, element by element, on one earlier element alone.

x**2 − x is a sum of two lookups for a compiler, and the box of both is wider than the
parabola. Where every element is made of the same element of one earlier value (its root), it
is evaluated on all integers that the root may be, and its range is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.circuits.rules import Traced, is_constant
from secateur.network import Integers
from secateur.ranges import Ranges

#: Integers that a root may be, and values of one node on all of them; more make it a root.
_INTEGERS, _VALUES = 1 << 9, 1 << 14

#: Operations of single elements, besides the lookups.
_ELEMENTWISE = {
    "add",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "equal",
    "greater",
    "greater_equal",
    "left_shift",
    "less",
    "less_equal",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "not_equal",
    "right_shift",
    "subtract",
    "where",
}


class Single:
    """What is known of the nodes of one graph as values of one value; filled by the proof."""

    def __init__(self) -> None:
        # Node → its root, and its values [integers of the root, *shape].
        self._values: dict[Any, tuple[Any, Integers]] = {}

    def tighten(self, traced: Traced, ranges: Ranges) -> Ranges:
        """Return the range of one operation, no wider than `ranges`."""
        found = self._of(traced)
        if found is None:
            return ranges
        root, values = found
        self._values[traced.node] = found
        source = traced.proved[root]
        numbers = np.arange(source.hull().low, source.hull().high + 1)
        here = source.contains(numbers.reshape(-1, *(1,) * len(source.shape)))
        least, most = np.iinfo(np.int64).min, np.iinfo(np.int64).max
        exact = Ranges(
            np.where(here, values, most).min(axis=0), np.where(here, values, least).max(axis=0)
        )
        return ranges.intersection(exact)

    def _of(self, traced: Traced) -> tuple[Any, Integers] | None:
        variables = [pred for pred in traced.preds if not is_constant(pred)]
        lookup = traced.node.converted_to_table_lookup and len(variables) == 1
        if not variables or not (lookup or traced.name in _ELEMENTWISE):
            return None
        roots = {self._values[pred][0] if pred in self._values else pred for pred in variables}
        (root, *others) = roots
        shape, source = traced.node.output.shape, traced.proved[root]
        if others or source.shape != shape or not source.low.size:
            return None
        if any(traced.proved[pred].shape != shape for pred in variables):
            return None
        hull = source.hull()
        if hull.span >= min(_INTEGERS, _VALUES // source.low.size):
            return None
        values = []
        for place, number in enumerate(range(hull.low, hull.high + 1)):
            operands = [
                pred()
                if is_constant(pred)
                else self._values[pred][1][place]
                if pred in self._values
                else np.full(shape, number)
                for pred in traced.preds
            ]
            try:
                values.append(np.broadcast_to(traced(*operands), shape))
            except Exception:  # no value for what some other element may be
                return None
        return root, np.stack(values)
