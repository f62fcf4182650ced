"""From a user's function to its circuit: trace, prove, repair, declare, compile."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Collection, Mapping
from inspect import unwrap
from pathlib import Path
from typing import Any

import numpy as np

from secateur.backends import Backend, Tracing, backend_named
from secateur.circuits.affine import Forms
from secateur.circuits.checks import at_line, check_widths
from secateur.circuits.proof import declare, prove, truth_values
from secateur.circuits.single import Single
from secateur.concrete.circuit import FunctionCircuit
from secateur.concrete.parameters import Interval, Parameters, read_parameters
from secateur.concrete.repairs import repair
from secateur.errors import BackendError, SecateurError, UnprovableError
from secateur.network import Integers


def compile(
    function: Callable[..., Any],
    inputs: Mapping[str, Interval] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    *,
    clear: Collection[str] = (),
    backend: str | None = None,
    configuration: Any = None,
    artifacts: Any = None,
    **options: Any,
) -> FunctionCircuit:
    """Return the circuit of `function`, with widths that are proved.

    Args:
        function: of encrypted values, as the backend's `Compiler` takes it, or as one of its
            decorators made it.
        inputs: parameter name → its range: `Range(0, 7)`, `(0, 7)` or `range(8)`; `Ranges`
            give every element one of its own. A parameter that is left out keeps its default,
            or has the range and shape of the backend's type that it is annotated with.
        shapes: parameter name → its shape; a parameter that is left out is a scalar, or has
            the shape of its `Ranges`.
        clear: the parameters that are not encrypted.
        backend: "concrete-numpy" or "concrete-python"; None takes what is installed.
        configuration: the backend's own `Configuration`.
        artifacts: the backend's own `DebugArtifacts`, which take what is compiled.
        options: options of the `Configuration` to overwrite, p_error for example.

    Returns:
        The circuit, right for every input in range. It has all that the backend's own circuit
        has, refuses inputs out of range, and can be emulated.

    Raises:
        UnprovableError: an operation whose range is not known, or that gives no integers;
            names it and its line.
        WidthError: a lookup of more bits than the backend has; names its line.
        ShapeError: parameters, ranges and shapes that do not go together.
        EmptyRangeError, ArgumentError: a range that holds nothing, or is none.
        AccumulatorOverflowError: a value that 64 bits do not hold.
        BackendError: the backend refuses for reasons of its own.
        MissingExtraError: the backend is not installed.

    Example:
        >>> from secateur import Range
        >>> def line(x):
        ...     return 3 * x + 1
        >>> circuit = compile(line, {"x": Range(0, 5)})
        >>> int(circuit.emulate(5)), circuit.output.hull().bits("unsigned")
        (16, 5)
    """
    target = backend_named(backend)
    parameters = read_parameters(function, inputs or {}, shapes or {}, clear)
    settings = {"configuration": configuration, "artifacts": artifacts}
    given = {name: value for name, value in settings.items() if value is not None}
    given.update(options)
    target.prepare(parameters.function, parameters.samples(), given)
    tracing = _trace(target, parameters)
    _check_traced(tracing.graph, parameters)
    truths = truth_values(tracing.graph, parameters.sample)
    forms, single = Forms(), Single()
    proof = prove(
        tracing.graph,
        parameters.ranges,
        tighten=lambda step, ranges: forms.tighten(step, single.tighten(step, ranges)),
        truths=truths,
    )
    outputs = tuple(proof[node] for _, node in sorted(tracing.graph.output_nodes.items()))
    if len(outputs) > 1 and not target.several:
        raise UnprovableError(
            f"the function returns {len(outputs)} values, and {target.name} compiles functions "
            "of one; concatenate them",
            operation="return",
            location=tracing.graph.output_nodes[0].location,
        )
    declared = declare(tracing.graph, repair(tracing.graph, proof, truths, target))
    check_widths(declared, at_line)
    compiled = target.compile(tracing, declared, given)
    return FunctionCircuit(
        compiled, target, parameters.ranges, outputs if len(outputs) > 1 else outputs[0]
    )


def circuit(
    inputs: Mapping[str, Interval] | None = None,
    shapes: Mapping[str, tuple[int, ...]] | None = None,
    **options: Any,
) -> Callable[[Callable[..., Any]], FunctionCircuit]:
    """Return the decorator that compiles a function; the arguments are those of `compile`.

    Example:
        >>> @circuit({"x": range(8)})
        ... def square(x):
        ...     return x**2
        >>> int(square.emulate(7))
        49
    """
    return lambda function: compile(function, inputs, shapes, **options)


def _trace(backend: Backend, parameters: Parameters) -> Tracing:
    try:
        tracing = backend.trace(parameters.function, parameters.sample, parameters.clear)
    except SecateurError:
        raise
    except Exception as error:
        raise BackendError(
            f"{backend.name} could not trace the function at "
            f"{_line(error, parameters.function)}: {error}",
            backend=backend.name,
            reason=str(error),
        ) from error
    # Parameters, and constants that are returned, seem to be made where tracing began.
    for node in tracing.graph.graph:
        if node.location.startswith(_OURS):
            node.location = _beginning(parameters.function)
    return tracing


def _check_traced(graph: Any, parameters: Parameters) -> None:
    """Raise where the function itself gives something else than what was traced of it.

    Of some inputs; NumPy's views, random numbers and state outside the function do that.
    """
    for sample in parameters.samples(count=2):
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                own = parameters.function(*map(_plain, sample))
                traced = graph(*map(_plain, sample))
        except Exception:  # not for NumPy; and what has no value, the proof refuses
            return
        if _alike(own, traced):
            continue
        raise UnprovableError(
            f"the function at {_beginning(parameters.function)} gives {own} for {sample}, but "
            f"what was traced of it gives {traced}: it writes into a view, or depends on more than "
            "its parameters; copy what is written into; nothing was compiled",
            operation="function",
            location=_beginning(parameters.function),
        )


def _plain(value: Integers) -> Any:
    return value.copy() if value.shape else np.int64(value)


def _alike(own: Any, traced: Any) -> bool:
    if isinstance(own, tuple) and isinstance(traced, tuple):
        return len(own) == len(traced) and all(map(np.array_equal, own, traced))
    return np.array_equal(own, traced)


_OURS = str(Path(__file__).parents[1])


def _line(error: Exception, function: Any) -> str:
    """The last line of the user's own source that an error passed, or where it begins."""
    users = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_OURS, "<")) and "site-packages" not in frame.filename
    ]
    return f"{users[-1].filename}:{users[-1].lineno}" if users else _beginning(function)


def _beginning(function: Any) -> str:
    code = getattr(unwrap(function), "__code__", None)
    return "an unknown line" if code is None else f"{code.co_filename}:{code.co_firstlineno}"
