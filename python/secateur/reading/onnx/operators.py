"""The registry of operators, and what each of them is given.

A new operator is one function and its registration:

    @operator("Relu")
    def relu(call: Call) -> Signal:
        return call.signal(0).then(Activation("relu"), call.name)

Operators are matched by name, whatever domain a file puts them in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.errors import NotFiniteError, SecateurError, UnsupportedOperatorError
from secateur.network import Floats, Integers, Quantize, Ranking, Shape
from secateur.network.ends import Chances
from secateur.reading.onnx.model import LARGEST_FOLDED, LARGEST_TENSOR, Node, Tensor
from secateur.reading.signals import Assembly, Signal

ADVICE = "put a Quant node, or QuantizeLinear and DequantizeLinear, before it"
INPUT_ADVICE = (
    f"{ADVICE}, or say what the codes of the input are: "
    "read_onnx(model, input=Quantize(scale, low, high))"
)


@dataclass(frozen=True, eq=False)
class Constant:
    """A tensor that does not depend on the input.

    Args:
        values: what it holds: float64, int64 or bool.
        codes: where a quantiser made it, int64 of the same shape with values = codes · scale.
        scale: float64 of the same shape, where there are codes.
        kind: the element type that the file gave it; 0 where it was computed.
    """

    values: NDArray[Any]
    codes: Integers | None = None
    scale: Floats | None = None
    kind: int = 0

    @staticmethod
    def of(values: ArrayLike, kind: int = 0) -> Constant:
        """Return the constant of `values`, in the widest type of their kind."""
        array = np.asarray(values)
        wide = {"f": np.float64, "i": np.int64, "u": np.int64}.get(array.dtype.kind, array.dtype)
        return Constant(array.astype(wide), kind=kind)

    @staticmethod
    def quantized(codes: NDArray[Any], scale: ArrayLike) -> Constant:
        """Return the constant of codes times `scale`, which broadcasts to them."""
        whole = codes.astype(np.int64)
        each = np.broadcast_to(np.asarray(scale, np.float64), whole.shape)
        return Constant(whole * each, whole, each)

    def moved(self, move: Callable[[NDArray[Any]], NDArray[Any]]) -> Constant:
        """Return the constant whose elements `move` moves, codes and scales with them."""
        if self.codes is None or self.scale is None:
            return Constant(move(self.values), kind=self.kind)
        return Constant(move(self.values), move(self.codes), move(self.scale), self.kind)


@dataclass(frozen=True, eq=False)
class Tail:
    """Scores on their way out, and what the clear side makes of them.

    Args:
        scores: what is decrypted.
        operator: what made it a tail.
        tail: what makes probabilities of the scores.
        ranking: which channels are named, where any are.
        classes: whether they are named by their numbers; by their floats elsewhere.
    """

    scores: Signal
    operator: str
    tail: Chances | None = None
    ranking: Ranking | None = None
    classes: bool = False


Value = Signal | Constant | Tail


@dataclass(frozen=True, eq=False)
class Call:
    """One node on its way into the network.

    Args:
        node: its operator and attributes.
        inputs: the values that it reads; None where an optional one is left out.
        assembly: what gathers the operations.
        batch: extent of the batch axis in the file.
        opset: version of the standard operators.
        readers: how many nodes read each of its inputs.
        notes: what became of scales, zero points and biases, for the report.
    """

    node: Node
    inputs: tuple[Value | None, ...]
    assembly: Assembly
    batch: int
    opset: int
    readers: tuple[int, ...]
    notes: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.name

    def attribute(self, name: str, default: Any = None) -> Any:
        """Return an attribute, finite, or `default` where it is left out."""
        given = self.node.attributes.get(name)
        if given is None:
            return default
        several = given if isinstance(given, tuple) else (given,)
        if any(isinstance(v, float) and not math.isfinite(v) for v in several):
            raise NotFiniteError(
                f"node {self.name!r} ({self.node.operator}): {name} is {given}, expected a number",
                argument=name,
                layer=self.name,
            )
        return given

    def given(self, index: int) -> bool:
        """Say whether the node has an input of that number."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def value(self, index: int) -> Signal | Constant:
        """Return an input."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise self.refuse(f"has no input {index}", "the operator needs it")
        if isinstance(value, Tail):
            raise self.refuse(
                f"reads what {value.operator} gives, which is known in the clear only",
                "end the model there",
            )
        return value

    def signal(self, index: int) -> Signal:
        """Return an input that depends on the network's; integers of the input as floats."""
        value = self.value(index)
        if isinstance(value, Constant):
            raise self.refuse(
                f"has a constant for input {index}", "fold it: onnxsim or onnxruntime"
            )
        if value.raw and value.range is not None:
            zero = Quantize(1.0, value.range.low, value.range.high)
            return self.assembly.quantize(self.name, value, zero)
        return value

    def constant(self, index: int) -> Constant:
        """Return an input that is the same for every sample."""
        value = self.value(index)
        if isinstance(value, Signal):
            raise self.refuse(
                f"has an input {index} that depends on the data",
                "it has to be a constant: an initialiser, or folded into one",
            )
        return value

    def floats(self, index: int, default: float | None = None) -> Floats:
        """Return a constant input as float64, finite."""
        if default is not None and not self.given(index):
            return np.array(default)
        values = self.constant(index).values.astype(np.float64)
        if not np.isfinite(values).all():
            raise NotFiniteError(
                f"node {self.name!r} ({self.node.operator}): input {index} holds NaN or infinity",
                argument=f"input {index}",
                layer=self.name,
            )
        return values

    def integers(self, index: int) -> list[int]:
        """Return a constant input of whole numbers, as a list."""
        return [int(v) for v in self.whole(self.constant(index)).reshape(-1)]

    def whole(self, constant: Constant) -> NDArray[Any]:
        """Return the values of a constant that have to be integers."""
        with np.errstate(invalid="ignore"):
            if not np.issubdtype(constant.values.dtype, np.integer) and (constant.values % 1).any():
                raise self.refuse("takes integers, and finds other numbers", "check its inputs")
        return constant.values

    def refuse(self, problem: str, remedy: str) -> UnsupportedOperatorError:
        """An error that names the node, its operator and what helps."""
        return refusal(self.node, problem, remedy)

    def note(self, text: str) -> None:
        """Say in the report what became of something."""
        self.notes.append(text)

    def axis(self, given: int, shape: Shape) -> int:
        """Return an axis of the file as one of a sample's, whose `shape` lacks the batch."""
        axis = self.any_axis(given, len(shape) + 1)
        if axis == 0:
            raise self.refuse("works along the batch axis", "samples are read one by one")
        return axis - 1

    def any_axis(self, given: int, rank: int) -> int:
        """Return an axis of `rank` ones, the batch among them, counted from the first."""
        if not -rank <= given < rank:
            raise self.refuse(f"names axis {given} of {rank}", "it has no such axis")
        return given % rank

    def check_size(self, shape: Sequence[int]) -> None:
        """Raise where a tensor of `shape` would be too large to hold."""
        self._check_size(shape, LARGEST_TENSOR)

    def check_folded(self, shape: Sequence[int]) -> None:
        """Raise where a constant of `shape` would be too large to compute."""
        self._check_size(shape, LARGEST_FOLDED)

    def _check_size(self, shape: Sequence[int], largest: int) -> None:
        if math.prod(shape) > largest:
            raise self.refuse(
                f"makes a tensor of shape {tuple(shape)}",
                f"such tensors of up to {largest} elements are read",
            )

    def aligned(self, values: NDArray[Any], shape: Shape) -> NDArray[Any]:
        """Return a constant's values with the axes of a sample of `shape`, for broadcasting.

        Raises:
            UnsupportedOperatorError: they differ between the samples of a batch, or would
                make the sample larger.
        """
        rank = len(shape) + 1
        if values.ndim > rank:
            raise self.refuse(
                f"joins a constant of shape {values.shape} to samples of shape {shape}",
                "the batch axis has to stay the first one",
            )
        full = values.reshape((1,) * (rank - values.ndim) + values.shape)
        if len(full) > 1 and (full != full[:1]).any():
            raise self.refuse("has a constant for every sample of a batch", "samples share them")
        each = full[0]
        if any(a not in (1, b) for a, b in zip(each.shape, shape, strict=True)):
            raise self.refuse(
                f"repeats samples of shape {shape} to match a constant of {values.shape}",
                "expand them in the model before, or drop the constant's axes",
            )
        return each


def refusal(node: Node, problem: str, remedy: str) -> UnsupportedOperatorError:
    """Return the error that refuses a node."""
    return UnsupportedOperatorError(
        f"node {node.name!r} ({node.operator}): {problem}; {remedy}",
        node=node.name,
        operator=node.operator,
        problem=problem,
        remedy=remedy,
    )


Result = Value | tuple[Value | None, ...]
Reads = Callable[[Call], Result]
_Function = TypeVar("_Function", bound=Reads)

#: Operator → the function that reads it.
OPERATORS: dict[str, Reads] = {}


def operator(*names: str) -> Callable[[_Function], _Function]:
    """Register the function below as what reads the operators called `names`."""

    def register(function: _Function) -> _Function:
        for name in names:
            OPERATORS[name] = function
        return function

    return register


#: Operator → what it makes of constants alone, with NumPy.
FOLDS: dict[str, Callable[..., Any]] = {}


def read(call: Call) -> tuple[Value | None, ...]:
    """Return what one node gives.

    Raises:
        UnsupportedOperatorError: no network has the like, or the node is ill-formed.
        SecateurError: what it would become is refused by the network.
    """
    name = call.node.operator
    constant = all(v is None or isinstance(v, Constant) for v in call.inputs)
    try:
        with np.errstate(all="ignore"):
            if constant and name in FOLDS:
                return (_folded(call, FOLDS[name]),)
            if name not in OPERATORS:
                raise call.refuse(
                    "no network has this operator", "take it out of the model, or rewrite it"
                )
            result = OPERATORS[name](call)
    except SecateurError as error:
        if repr(call.name) in str(error) or "layer" not in error.facts:
            raise
        raise error.at_layer(call.name) from None
    except MemoryError as error:
        raise call.refuse("needs more memory than there is", "make its tensors smaller") from error
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise call.refuse(f"is ill-formed ({error})", "check it with onnx.checker") from error
    return result if isinstance(result, tuple) else (result,)


def _folded(call: Call, function: Callable[..., Any]) -> Constant:
    values = [call.constant(i).values for i in range(len(call.inputs))]
    call.check_folded(np.broadcast_shapes(*(v.shape for v in values)))
    return Constant.of(function(*values))


def tensor(value: Tensor) -> Constant:
    """Return a decoded constant of the file."""
    return Constant.of(value.values, value.kind)


def per_axis(values: Mapping[int, int] | Sequence[int], axes: int, default: int) -> Shape:
    """Return a geometry attribute with one integer for every spatial axis."""
    given = tuple(int(v) for v in values) or (default,) * axes
    if len(given) != axes:
        raise ValueError(f"{given} does not match {axes} spatial axes")
    return given
