"""Proved compilation of functions that users wrote for concrete-numpy or concrete-python.

    circuit = secateur.concrete.compile(function, {"x": Range(0, 15)}, shapes={"x": (8,)})

takes the place of `Compiler(function, {"x": "encrypted"}).compile(inputset)`: the widths
follow from the declared ranges of the inputs, not from samples of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from secateur.backends import Backend, Tracing, backend_named
from secateur.circuits.checks import at_line, check_widths
from secateur.circuits.proof import Proof, declare, prove
from secateur.errors import ShapeError
from secateur.ranges import Range, Ranges


def compile(
    function: Callable[..., Any],
    inputs: Mapping[str, Range | Ranges],
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    backend: str | None = None,
    **configuration: Any,
) -> Any:
    """Return the backend's own circuit of `function`, with widths that are proved.

    Args:
        function: of encrypted values, as the backend's `Compiler` takes it.
        inputs: parameter name → its range; `Ranges` give every element one of its own.
        shapes: parameter name → its shape; a parameter that is left out is a scalar, or has
            the shape of its `Ranges`.
        backend: "concrete-numpy" or "concrete-python"; None takes what is installed.
        configuration: options of the backend's `Configuration`, p_error for example.

    Returns:
        `concrete.numpy.Circuit` or `concrete.fhe.Circuit`, right for every input in range.
        Its own `encrypt` does not check the ranges that the proof assumes, only their width.

    Raises:
        UnprovableError: an operation whose range is not known; names it and its line.
        WidthError: a value of more bits than a lookup takes; names its line.
        ShapeError: parameters, ranges and shapes that do not go together.
        AccumulatorOverflowError: a value that 64 bits do not hold.
        BackendError: the backend refuses for reasons of its own.
        MissingExtraError: the backend is not installed.

    Example:
        >>> def line(x):
        ...     return 3 * x + 1
        >>> circuit = compile(line, {"x": Range(0, 5)})
        >>> int(circuit.graph(5)), circuit.graph.output_nodes[0].output.dtype.bit_width
        (16, 5)
    """
    target = backend_named(backend)
    tracing, proof = _prove(target, function, inputs, shapes or {})
    declared = declare(tracing.graph, proof)
    check_widths(declared, at_line)
    return target.compile(tracing, declared, configuration)


def _prove(
    backend: Backend,
    function: Callable[..., Any],
    inputs: Mapping[str, Range | Ranges],
    shapes: Mapping[str, tuple[int, ...]],
) -> tuple[Tracing, Proof]:
    parameters = list(inspect.signature(function).parameters)
    if set(parameters) != set(inputs) or not set(shapes) <= set(inputs):
        raise ShapeError(
            f"the function takes {', '.join(parameters)}, but ranges are given for "
            f"{', '.join(inputs) or 'none'} and shapes for {', '.join(shapes) or 'none'}",
            argument="inputs",
            expected=tuple(parameters),
        )
    boxes = {name: _box(inputs[name], shapes.get(name), name) for name in parameters}
    # Any value in range will do for a sample: its type and shape are all that it gives.
    tracing = backend.trace(function, {name: box.low for name, box in boxes.items()})
    return tracing, prove(tracing.graph, boxes)


def _box(given: Range | Ranges, shape: tuple[int, ...] | None, name: str) -> Ranges:
    low, high = np.asarray(given.low), np.asarray(given.high)
    try:
        shape = low.shape if shape is None else shape
        return Ranges(np.broadcast_to(low, shape), np.broadcast_to(high, shape))
    except ValueError:
        raise ShapeError(
            f"parameter {name!r} has shape {shape}, but its ranges have shape {low.shape}",
            argument=name,
            shape=low.shape,
            expected=shape,
        ) from None
