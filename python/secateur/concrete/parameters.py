"""The parameters of a function: what they are called, their ranges, and which are clear."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from secateur.errors import ArgumentError, EmptyRangeError, SecateurError, ShapeError
from secateur.network import Integers
from secateur.ranges import Range, Ranges

Interval: TypeAlias = "Range | Ranges | range | tuple[Any, Any]"
"""A range, or what stands for one: `range(8)` is [0, 7], a pair (0, 7) holds both ends."""


@dataclass(frozen=True)
class Parameters:
    """A function with what its arguments may be.

    Args:
        function: of the parameters below, in order, whatever else it was written to take.
        ranges: parameter → range, low and high of its shape.
        clear: the parameters that are not encrypted.
    """

    function: Callable[..., Any]
    ranges: Mapping[str, Ranges]
    clear: frozenset[str]

    @property
    def sample(self) -> Mapping[str, Integers]:
        """Some valid argument for every parameter; functions may write into it."""
        return {name: ranges.low.copy() for name, ranges in self.ranges.items()}

    def samples(self, count: int = 30) -> list[tuple[Integers, ...]]:
        """Both ends of all ranges, and some valid arguments at random, the same every time."""
        random = np.random.default_rng(0)
        ends = [tuple(r.low.copy() for r in self.ranges.values())]
        ends.append(tuple(r.high.copy() for r in self.ranges.values()))
        return ends + [
            tuple(
                np.asarray(random.integers(r.low, r.high, endpoint=True), dtype=np.int64)
                for r in self.ranges.values()
            )
            for _ in range(count)
        ]


def read_parameters(
    function: Callable[..., Any],
    inputs: Mapping[str, Interval],
    shapes: Mapping[str, tuple[int, ...]],
    clear: Collection[str],
) -> Parameters:
    """Return the parameters of a function, or of what a backend's decorator made of it.

    A parameter without a range keeps its default, or has the range of its annotation where
    that is one of the backend's types.

    Raises:
        ShapeError: parameters, ranges and shapes that do not go together.
        ArgumentError: a range that is none, or `clear` names no parameter.
    """
    function = getattr(function, "function", function)
    if not callable(function) or not isinstance(inputs, Mapping):
        several = "; compile its functions one by one" if hasattr(function, "functions") else ""
        raise ArgumentError(
            f"compile takes a function and a mapping of its parameters to ranges, got {function!r} "
            f"and {inputs!r}{several}",
            argument="function" if not callable(function) else "inputs",
            value=inputs if callable(function) else function,
        )
    clear = {clear} if isinstance(clear, str) else clear
    declared = _signature(function).parameters
    for name, parameter in declared.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ArgumentError(
                f"the function takes any number of parameters as {parameter}; a circuit has "
                "those that are named",
                argument="function",
                value=name,
            )
    annotated = {n: a for n, p in declared.items() if (a := _annotation(p)) is not None}
    ranged = [name for name in declared if name in inputs or name in annotated]
    open_ones = [
        name
        for name, parameter in declared.items()
        if name not in ranged and parameter.default is inspect.Parameter.empty
    ]
    if open_ones or not set(inputs) <= set(declared) or not set(shapes) <= set(ranged):
        raise ShapeError(
            f"the function takes {', '.join(declared) or 'nothing'}, but ranges are given for "
            f"{', '.join(inputs) or 'none'} and shapes for {', '.join(shapes) or 'none'}",
            argument="inputs",
            expected=tuple(declared),
        )
    if not set(clear) <= set(ranged):
        raise ArgumentError(
            f"clear names {', '.join(sorted(set(clear) - set(ranged)))}, but the parameters with "
            f"ranges are {', '.join(ranged)}",
            argument="clear",
            value=tuple(clear),
            expected=tuple(ranged),
        )
    ranges = {
        name: _box(inputs[name], shapes.get(name), name) if name in inputs else annotated[name]
        for name in ranged
    }
    for name, box in ranges.items():
        if not box.low.size:
            raise ShapeError(
                f"parameter {name!r} of shape {box.shape} has no elements",
                argument=name,
                shape=box.shape,
            )
    if not set(ranges) - set(clear):
        raise ShapeError("the function has no parameter to encrypt", argument="inputs")
    return Parameters(_of_parameters(function, declared, ranged), ranges, frozenset(clear))


def _signature(function: Callable[..., Any]) -> inspect.Signature:
    try:
        return inspect.signature(function, eval_str=True)
    except Exception:  # annotations may name anything
        pass
    try:
        return inspect.signature(function)
    except (TypeError, ValueError) as error:
        raise ArgumentError(
            f"{function!r} does not say which parameters it takes; wrap it: lambda x: f(x)",
            argument="function",
            value=function,
        ) from error


def _of_parameters(
    function: Callable[..., Any], declared: Mapping[str, inspect.Parameter], names: list[str]
) -> Callable[..., Any]:
    """Return `function` as one of the parameters called `names` alone, in order."""
    signature = inspect.Signature(
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in names]
    )

    def of_parameters(*arguments: Any, **named: Any) -> Any:
        given = signature.bind(*arguments, **named).arguments
        placed = [
            given.pop(name, parameter.default)
            for name, parameter in declared.items()
            if parameter.kind is inspect.Parameter.POSITIONAL_ONLY
        ]
        return function(*placed, **given)

    of_parameters.__name__ = getattr(function, "__name__", "function")
    of_parameters.__signature__ = signature  # type: ignore[attr-defined]
    of_parameters.__wrapped__ = function  # type: ignore[attr-defined]  # whose source is shown
    return of_parameters


def _annotation(parameter: inspect.Parameter) -> Ranges | None:
    """The range of a parameter annotated with a backend's type: uint4, tensor[uint4, 3]."""
    kind: Any = parameter.annotation
    dtype: Any = getattr(kind, "dtype", None)
    if not hasattr(dtype, "is_signed"):
        return None
    shape = getattr(kind, "shape", ())
    return Ranges.full(
        shape if isinstance(shape, tuple) else (), Range(int(dtype.min()), int(dtype.max()))
    )


def _box(given: Interval, shape: tuple[int, ...] | None, name: str) -> Ranges:
    try:
        ranges = _ranges(given)
    except EmptyRangeError as error:
        raise EmptyRangeError(
            f"parameter {name!r}: {error}",
            argument=name,
            index=error.index,  # type: ignore[attr-defined]
            low=error.low,  # type: ignore[attr-defined]
            high=error.high,  # type: ignore[attr-defined]
        ) from None
    except (SecateurError, TypeError, ValueError) as error:
        raise ArgumentError(
            f"parameter {name!r} has the range {given!r}, but that is no Range, no Ranges, no "
            f"pair of integers and no range: {error}",
            argument=name,
            value=given,
        ) from error
    try:
        return ranges if shape is None else ranges.broadcast_to(shape)
    except (ValueError, TypeError):
        raise ShapeError(
            f"parameter {name!r} has shape {shape}, but its ranges have shape {ranges.shape}",
            argument=name,
            shape=ranges.shape,
            expected=shape,
        ) from None


def _ranges(given: Interval) -> Ranges:
    if isinstance(given, Ranges):
        return given
    if isinstance(given, range):
        if not given:
            raise EmptyRangeError(f"{given} is empty", low=given.start, high=given.stop)
        given = (min(given), max(given))
    low, high = (given.low, given.high) if isinstance(given, Range) else given
    return Ranges(np.asarray(low), np.asarray(high))
