"""Affine forms: values of a traced graph as integer combinations of earlier ones.

An interval forgets where a value came from: 300·x − 200·x seems to reach as far as 500·x.
Beside its interval a value therefore keeps, element by element, the integer combination of
earlier values (its atoms) that it is; both hold, and so does where they meet. An atom is
whatever is no combination: an input, a lookup, a product of encrypted values.

A lookup whose entries bend only upwards (a relu, an absolute value) is the greatest of a few
affine functions, and so is what it is added to: b + relu(a − b) is max(a, b), however it is
written. One that bends only downwards is the least of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.circuits.rules import Traced, is_constant, values_of
from secateur.errors import AccumulatorOverflowError
from secateur.network import Integers
from secateur.ranges import Ranges

#: Coefficients that one value may have, all of its elements together; more make it an atom.
_COEFFICIENTS = 1 << 16

#: Values of all elements that a lookup is asked for its bends, and how many bends it may have.
_ENTRIES, _PIECES = 1 << 14, 4

#: Coefficients stay below this, so that int64 holds each of them.
_MAGNITUDE = 1 << 62

#: Operations that move elements about.
_MOVES = {
    "array",
    "assign.static",
    "assign_static",
    "broadcast_to",
    "concatenate",
    "copy",
    "expand_dims",
    "identity",
    "index.static",
    "index_static",
    "reshape",
    "squeeze",
    "transpose",
}


@dataclass(frozen=True, eq=False)
class Form:
    """offset + Σ coefficients · atom, for every element of a value.

    Args:
        coefficients: atom ↦ int64 [*shape, elements of the atom].
        offset: int64 [*shape].
        magnitude: no coefficient or offset is greater.
    """

    coefficients: Mapping[Any, Integers]
    offset: Integers
    magnitude: int

    def range(self, proved: Mapping[Any, Ranges]) -> Ranges:
        """Return its range over the box of its atoms.

        Raises:
            AccumulatorOverflowError: a partial sum that 64 bits do not hold.
        """
        total = Ranges.point(self.offset)
        for atom, block in self.coefficients.items():
            box = proved[atom].moved(lambda side: side.reshape(-1))
            terms = Ranges.point(block) * box
            total = total + terms.sum([block.ndim - 1])
        return total

    def row(self, at: tuple[int, ...]) -> Form:
        """Return the form of one element, of shape ()."""
        return Form(
            {atom: block[at] for atom, block in self.coefficients.items() if block[at].any()},
            self.offset[at],
            self.magnitude,
        )

    def without(self, atom: Any) -> Form:
        """Return the form without what one atom adds to it."""
        rest = {a: block for a, block in self.coefficients.items() if a is not atom}
        return Form(rest, self.offset, self.magnitude)

    def plus(self, factor: int, other: Form, constant: int = 0) -> Form | None:
        """Return self + factor · other + constant; None where it grows out of bounds."""
        magnitude = self.magnitude + abs(factor) * other.magnitude + abs(constant)
        if magnitude >= _MAGNITUDE:
            return None
        blocks = dict(self.coefficients)
        for atom, block in other.coefficients.items():
            blocks[atom] = blocks.get(atom, 0) + factor * block
        return Form(blocks, self.offset + factor * other.offset + constant, magnitude)


class Forms:
    """The affine forms of the nodes of one graph; filled in the order of the proof."""

    def __init__(self) -> None:
        self._forms: dict[Any, Form] = {}
        self._traced: dict[Any, Traced] = {}

    def tighten(self, traced: Traced, ranges: Ranges) -> Ranges:
        """Return the range of one operation, no wider than `ranges`, and remember its form."""
        self._traced[traced.node] = traced
        form = self._form(traced)
        if form is None:
            return ranges
        try:
            met = ranges.intersection(form.range(traced.proved))
            bent = self._bent(traced, form, met)
        except AccumulatorOverflowError:
            return ranges  # on the way to a range that is known to fit
        if bent == met:
            self._forms[traced.node] = form
        # Otherwise it is an atom: its form does not know what was found out.
        return bent

    def _of(self, node: Any, proved: Mapping[Any, Ranges]) -> Form | None:
        if node not in self._forms:
            ranges = proved[node]
            shape, size = ranges.shape, ranges.low.size
            if is_constant(node) or ranges.is_point.all():
                self._forms[node] = Form({}, ranges.low, ranges.magnitude)
            elif size * size > _COEFFICIENTS:
                return None
            else:
                own = np.eye(size, dtype=np.int64).reshape(*shape, size)
                self._forms[node] = Form({node: own}, np.zeros(shape, dtype=np.int64), 1)
        return self._forms[node]

    def _form(self, traced: Traced) -> Form | None:
        """Return the form of an operation that is affine in what it reads, or None."""
        if traced.name in {"ones", "zeros"} or not _is_affine(traced):
            return None
        operands = [self._of(pred, traced.proved) for pred in traced.preds]
        if any(form is None for form in operands):
            return None
        forms: list[Form] = [form for form in operands if form is not None]
        magnitude = _growth(traced, forms)
        atoms = dict.fromkeys(atom for form in forms for atom in form.coefficients)
        size = int(np.prod(traced.node.output.shape))
        columns = sum(traced.proved[atom].low.size for atom in atoms)
        if not atoms or magnitude >= _MAGNITUDE or size * columns > _COEFFICIENTS:
            return None
        # Affine in its operands together: a coefficient is how much a unit adds to the offset.
        # Both may wrap on the way; their difference is right modulo 2^64, and fits.
        offset = traced(*(form.offset.copy() for form in forms))
        blocks = {}
        for atom in atoms:
            width = traced.proved[atom].low.size
            moved = [
                form.offset[..., None] + form.coefficients[atom]
                if atom in form.coefficients
                else np.broadcast_to(form.offset[..., None], (*form.offset.shape, width))
                for form in forms
            ]
            units = [traced(*(m[..., j].copy() for m in moved)) for j in range(width)]
            blocks[atom] = np.stack(units, axis=-1) - offset[..., None]
        return Form({a: block for a, block in blocks.items() if block.any()}, offset, magnitude)

    def _bent(self, traced: Traced, form: Form, ranges: Ranges) -> Ranges:
        """Return `ranges`, narrowed where lookups that bend one way meet what they are made of."""
        low, high = ranges.low.copy(), ranges.high.copy()
        for atom, block in form.coefficients.items():
            lookup = self._traced.get(atom)
            if lookup is None or not _is_lookup(lookup):
                continue
            (source,) = (p for p in lookup.preds if not is_constant(p))
            inner = self._of(source, traced.proved)
            if inner is None or not inner.coefficients.keys() & form.coefficients.keys():
                continue
            bends = _Bends(lookup)
            for at in np.ndindex(form.offset.shape):
                (used,) = np.nonzero(block[at])
                if len(used) != 1:
                    continue
                index = np.unravel_index(int(used[0]), inner.offset.shape)
                where = tuple(int(i) for i in index)
                found = _extreme(
                    form.row(at).without(atom),
                    int(block[at][used[0]]),
                    bends.at(where),
                    inner.row(where),
                    traced.proved,
                )
                if found is not None:
                    low[at], high[at] = max(low[at], found[0]), min(high[at], found[1])
        return Ranges(low, high)


def _extreme(
    rest: Form,
    factor: int,
    pieces: tuple[int, list[tuple[int, int]]] | None,
    inner: Form,
    proved: Mapping[Any, Ranges],
) -> tuple[int, int] | None:
    """The range of rest + factor · lookup(inner), the extreme of one affine form per piece."""
    if pieces is None:
        return None
    bend, lines = pieces
    ends = []
    for slope, constant in lines:
        form = rest.plus(factor * slope, inner, factor * constant)
        if form is None:
            return None
        ends.append(form.range(proved)[()])
    best = max if bend * factor >= 0 else min
    return best(r.low for r in ends), best(r.high for r in ends)


class _Bends:
    """The affine pieces of a lookup, element by element."""

    def __init__(self, traced: Traced) -> None:
        (source,) = (traced.proved[p] for p in traced.preds if not is_constant(p))
        self._source = source
        hull = source.hull()
        self._first = hull.low
        self._entries: NDArray[np.int64] | None = None
        if (hull.span + 1) * source.low.size <= _ENTRIES:
            blank = np.zeros(traced.node.output.shape, dtype=np.int64)
            entries = [blank] * (hull.span + 1)
            known = iter(values_of(traced))
            for i in range(hull.span + 1):
                if source.contains(hull.low + i).any():
                    entries[i] = next(known)[1]
            self._entries = np.stack(entries, axis=-1)

    def at(self, where: tuple[int, ...]) -> tuple[int, list[tuple[int, int]]] | None:
        """Return 1 or -1, whether it bends up or down, and (slope, constant) of every piece.

        None where it bends both ways, or too often.
        """
        if self._entries is None:
            return None
        low, high = int(self._source.low[where]), int(self._source.high[where])
        entries = self._entries[where][low - self._first : high - self._first + 1]
        if len(entries) < 3 or np.abs(entries).max() >= _MAGNITUDE >> 2:
            return None
        slopes = np.diff(entries)
        bends = np.diff(slopes)
        if ((bends > 0).any() and (bends < 0).any()) or np.count_nonzero(bends) >= _PIECES:
            return None
        starts = [0, *(np.flatnonzero(bends) + 1).tolist()]
        lines = [(int(slopes[i]), int(entries[i]) - int(slopes[i]) * (low + i)) for i in starts]
        return (-1 if (bends < 0).any() else 1), lines


def _is_lookup(traced: Traced) -> bool:
    variables = [pred for pred in traced.preds if not is_constant(pred)]
    univariate = traced.node.converted_to_table_lookup and len(variables) == 1
    return bool(univariate and traced.node.output.shape == variables[0].output.shape)


def _is_affine(traced: Traced) -> bool:
    if traced.name in {"add", "subtract", "negative", "sum"} or traced.name in _MOVES:
        return True
    variables = [pred for pred in traced.preds if not is_constant(pred)]
    return traced.name in {"multiply", "matmul", "dot"} and len(variables) == 1


def _growth(traced: Traced, forms: list[Form]) -> int:
    """A bound of the coefficients and offsets of an affine operation's form."""
    if traced.name in {"add", "subtract"}:
        return sum(form.magnitude for form in forms)
    if traced.name == "sum":
        return forms[0].magnitude * forms[0].offset.size
    if traced.name in {"multiply", "matmul", "dot"}:
        terms = 1 if traced.name == "multiply" else max(form.offset.size for form in forms)
        return reduce(lambda a, b: a * b, (form.magnitude for form in forms)) * terms
    return max(form.magnitude for form in forms)
