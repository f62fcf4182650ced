"""Points: what a sweep evaluates, and the identity by which one is found again."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from itertools import product
from typing import Any

import numpy as np

from secateur.errors import PointError

_encode = json.JSONEncoder(sort_keys=True, allow_nan=False).encode

#: A mapping of names to plain values, or a frozen dataclass of them.
Point = Any
Plain = dict[str, Any]

# Tuples of types are looked up faster than their unions, for every field of every point.
_EXACT = (bool, int, str)
_SEQUENCES = (list, tuple)


@dataclasses.dataclass(frozen=True)
class Grid:
    """Every combination of the values of some axes, the last axis turning fastest.

    Iterating gives one dict per point and may be repeated; nothing is stored but the axes.

    Example:
        >>> points = Grid({"strategy": ("magnitude",), "sparsity": (0.5, 0.75)})
        >>> len(points), next(iter(points))
        (2, {'strategy': 'magnitude', 'sparsity': 0.5})
    """

    axes: Mapping[str, tuple[Any, ...]]

    def __len__(self) -> int:
        return math.prod(len(values) for values in self.axes.values())

    def __iter__(self) -> Iterator[Plain]:
        for values in product(*self.axes.values()):
            yield dict(zip(self.axes, values, strict=True))


def grid(**axes: Iterable[Any]) -> Grid:
    """Return every combination of the axes' values.

    Args:
        axes: name → the values of that axis; a finite iterable that is no string.

    Raises:
        PointError: an axis is a string or cannot be iterated.

    Example:
        >>> points = grid(bits=[4, 5], seed=range(2))
        >>> len(points), list(points)[1]
        (4, {'bits': 4, 'seed': 1})
    """
    for name, values in axes.items():
        if isinstance(values, str) or not isinstance(values, Iterable):
            raise PointError(
                f"axis {name!r} is {values!r}; an axis lists its values: {name}=[{values!r}]",
                field=name,
                value=values,
            )
    return Grid({name: tuple(values) for name, values in axes.items()})


def plain(point: Point) -> Plain:
    """Return the content of `point` as a dict of what JSON can hold.

    Tuples become lists, NumPy scalars Python's, frozen dataclasses dicts.

    Raises:
        PointError: `point` is no mapping or frozen dataclass, or a field holds a value
            without an identity of its own (an array, a function, NaN); names the field.
    """
    fields = _fields(point)
    if fields is None:
        raise PointError(
            f"a point is a mapping or a frozen dataclass, not {type(point).__name__}: {point!r}",
            point=point,
        )
    return {_name(name, point): _plain(value, name, point) for name, value in fields.items()}


def identity(content: Plain) -> str:
    """Return 32 hex digits that stand for a point, as `plain` gives it, its seed included."""
    text = _encode(content)
    return blake2b(text.encode(), digest_size=16).hexdigest()


def _fields(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        if not value.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise PointError(
                f"{type(value).__name__} can change while it is evaluated; "
                "make it @dataclass(frozen=True)",
                point=value,
            )
        return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    return None


def _name(name: Any, point: Point) -> str:
    if not isinstance(name, str):
        raise PointError(
            f"point {point!r}: field names are strings, not {name!r}", point=point, field=name
        )
    return name


def _plain(value: Any, field: str, point: Point) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, _EXACT):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, _SEQUENCES):
        return [_plain(v, field, point) for v in value]
    fields = _fields(value)
    if fields is not None:
        return {
            _name(name, point): _plain(v, f"{field}.{name}", point) for name, v in fields.items()
        }
    raise PointError(
        f"point {point!r}: field {field!r} is {value!r}, which has no identity across runs; "
        "use numbers, strings, None, lists or mappings of them (a strategy by its name, "
        "data by the name of its file)",
        point=point,
        field=field,
        value=value,
    )
