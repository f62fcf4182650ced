"""One attempt at one point: runs in the worker and always comes back with an outcome."""

from __future__ import annotations

import math
import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from secateur.errors import ResultError
from secateur.sweeps.points import Point, plain
from secateur.sweeps.records import VALUES, Failure, Outcome, Value

Evaluate = Callable[[Any], Mapping[str, Any]]


def attempt(evaluate: Evaluate, point: Point) -> Outcome | ResultError:
    """Return what `evaluate(point)` comes to.

    An exception of evaluate's, also SystemExit and what else is none of `Exception`'s, becomes
    a `Failure` of plain strings here, in the worker, so that it comes back whatever it holds;
    KeyboardInterrupt alone goes on. A result of the wrong form is the fault of
    the function, not of the point, and comes back as the error that ends the sweep.
    """
    start = time.perf_counter()
    try:
        result = evaluate(point)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return Outcome({}, time.perf_counter() - start, _failure(error))
    wall_s = time.perf_counter() - start
    try:
        return Outcome(_values(result, point), wall_s)
    except ResultError as error:
        return error


def _failure(error: BaseException) -> Failure:
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    return Failure(name, _message(error), "".join(traceback.format_exception(error)))


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as second:
        return f"its message cannot be read: {type(second).__name__}"


def _values(result: Any, point: Point) -> dict[str, Value]:
    if not isinstance(result, Mapping):
        raise ResultError(
            f"evaluate gave {type(result).__name__} for point {point!r}; "
            "it gives a mapping of names to numbers and strings, such as {'accuracy': 0.97}",
            point=point,
            value=repr(result),
        )
    content = plain(point)
    values = {}
    for name, value in result.items():
        if isinstance(value, np.generic):
            value = value.item()
        if not isinstance(name, str) or not isinstance(value, VALUES):
            raise ResultError(
                f"evaluate gave {name!r}: {value!r} ({type(value).__name__}) for point "
                f"{point!r}; names are strings, values numbers or strings: take "
                "float(value), or one name per element",
                point=point,
                name=repr(name),
                value=repr(value),
            )
        if name in content:
            if _same(value, content[name]):
                continue
            raise ResultError(
                f"evaluate gave {name!r}: {value!r} for point {point!r}, which has a field of "
                "that name with another value; give the result another name",
                point=point,
                name=name,
                value=value,
            )
        values[name] = value
    return values


def _same(value: Value, field: Any) -> bool:
    nan = isinstance(value, float) and math.isnan(value)
    return not nan and type(value) is type(field) and value == field
