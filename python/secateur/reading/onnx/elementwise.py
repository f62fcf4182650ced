"""Elementwise arithmetic and functions: what waits on a signal for its next table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from secateur import exact
from secateur.network import Activation, Floats, Quantize
from secateur.reading.onnx.operators import FOLDS, Call, Constant, operator
from secateur.reading.signals import Scaling, Signal, Sloping

_LARGEST_EXPONENT = 8

FOLDS.update(
    {
        "Abs": np.abs,
        "And": np.logical_and,
        "Ceil": np.ceil,
        "Equal": np.equal,
        "Exp": np.exp,
        "Floor": np.floor,
        "Greater": np.greater,
        "GreaterOrEqual": np.greater_equal,
        "Less": np.less,
        "LessOrEqual": np.less_equal,
        "Log": np.log,
        "Max": lambda *values: np.maximum.reduce(np.broadcast_arrays(*values)),
        "Min": lambda *values: np.minimum.reduce(np.broadcast_arrays(*values)),
        "Not": np.logical_not,
        "Or": np.logical_or,
        "Pow": lambda a, b: np.power(a.astype(float), b.astype(float)).astype(a.dtype),
        "Reciprocal": np.reciprocal,
        "Relu": lambda x: np.maximum(x, 0),
        "Round": np.rint,
        "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
        "Sign": np.sign,
        "Sqrt": np.sqrt,
        "Tanh": np.tanh,
        "Where": np.where,
    }
)


def _constant(call: Call, function: Callable[..., Floats]) -> Constant | None:
    """Return the constant of two constants; None where one is a signal."""
    values = [call.value(i) for i in range(2)]
    if not all(isinstance(v, Constant) for v in values):
        return None
    a, b = (call.constant(i).values for i in range(2))
    call.check_folded(np.broadcast_shapes(a.shape, b.shape))
    return Constant.of(function(a, b))


def _rescaled(call: Call, function: Callable[..., Floats]) -> Constant | None:
    """Return codes whose scale has been multiplied or divided; None where there are none."""
    a, b = (call.value(i) for i in range(2))
    if not isinstance(a, Constant) or not isinstance(b, Constant) or a.codes is None:
        return None
    shape = np.broadcast_shapes(a.values.shape, b.values.shape)
    if shape != a.values.shape or b.values.dtype.kind != "f":
        return None
    assert a.scale is not None
    return Constant.quantized(a.codes, function(a.scale, b.values))


def _split(call: Call) -> tuple[Signal, Floats, bool]:
    """Return the signal and the constant of a node that has one of each, and which came first."""
    first = isinstance(call.value(0), Signal)
    x = call.signal(0 if first else 1)
    values = call.aligned(call.floats(1 if first else 0), call.assembly.shape(x))
    return x, values, first


def _two_signals(call: Call) -> bool:
    return all(isinstance(call.value(i), Signal) for i in range(2))


def _combined(call: Call, function: str, does: str) -> Signal:
    """Return the function of inputs that are functions of one node, constants among them."""
    signals = {i: call.signal(i) for i in range(len(call.inputs)) if _is_signal(call, i)}
    first = next(iter(signals.values()))
    shapes = sorted({call.assembly.shape(x) for x in signals.values()})
    if len(shapes) > 1:
        raise call.refuse(
            f"{does} samples of shapes {shapes}", "only functions of one accumulator join so"
        )
    sides = []
    for i in range(len(call.inputs)):
        if i not in signals:
            values = call.aligned(call.floats(i), shapes[0])
            sides.append(first.then(Scaling(np.zeros_like(values), values)))
        else:
            sides.append(signals[i])
    combined = call.assembly.combine(call.name, function, sides)
    if combined is None:
        names = " and ".join(repr(x.source) for x in signals.values())
        raise call.refuse(
            f"{does} values that depend on the data in two ways, by {names}",
            "one table reads one accumulator: make one factor constant, or both functions of the "
            "same node",
        )
    call.note("functions of one node: one table")
    return replace(combined, label=call.name)


def _is_signal(call: Call, index: int) -> bool:
    return isinstance(call.value(index), Signal)


@operator("Add", "Sum")
def add(call: Call) -> Signal | Constant:
    """A bias, or a residual add."""
    signals = [i for i in range(len(call.inputs)) if isinstance(call.value(i), Signal)]
    if not signals:
        total = call.constant(0).values
        for i in range(1, len(call.inputs)):
            call.check_folded(np.broadcast_shapes(total.shape, call.constant(i).values.shape))
            total = total + call.constant(i).values
        return Constant.of(total)
    x = _joined(call, [call.signal(i) for i in signals])
    for i in range(len(call.inputs)):
        if i not in signals:
            x = x.scaled(1.0, call.aligned(call.floats(i), call.assembly.shape(x)))
            call.note("constant: in the next table")
    return x


def _joined(call: Call, signals: list[Signal]) -> Signal:
    if len(signals) == 1:
        return signals[0]
    shapes = sorted({call.assembly.shape(x) for x in signals})
    if len(shapes) > 1:
        raise call.refuse(f"adds samples of shapes {shapes}", "expand them to one shape before")
    return call.assembly.add(call.name, signals)


@operator("Sub")
def sub(call: Call) -> Signal | Constant:
    """A bias taken off, or a difference of two signals."""
    if (constant := _constant(call, np.subtract)) is not None:
        return constant
    if _two_signals(call):
        return _joined(call, [call.signal(0), call.signal(1).scaled(-1.0)])
    x, values, first = _split(call)
    return x.scaled(1.0, -values) if first else x.scaled(-1.0, values)


@operator("Mul")
def mul(call: Call) -> Signal | Constant:
    """A scale."""
    if (constant := _rescaled(call, np.multiply)) is not None:
        return constant
    if (constant := _constant(call, np.multiply)) is not None:
        return constant
    if _two_signals(call):
        return _combined(call, "multiply", "multiplies")
    x, values, _ = _split(call)
    call.note("factor: in the next table")
    return x.scaled(values)


@operator("Div")
def div(call: Call) -> Signal | Constant:
    """A scale."""
    if (constant := _rescaled(call, np.divide)) is not None:
        return constant
    if (constant := _constant(call, _divide)) is not None:
        return constant
    if _is_signal(call, 1):
        return _combined(call, "divide", "divides")
    x, values, _ = _split(call)
    if not values.all():
        raise call.refuse("divides by zero", "check its constant")
    call.note("divisor: in the next table")
    return x.divided(values)


def _divide(a: Floats, b: Floats) -> Floats:
    if a.dtype.kind == b.dtype.kind == "i":
        return np.trunc(a / b).astype(np.int64)
    return a / b


@operator("Max", "Min")
def extreme(call: Call) -> Signal:
    """The greater or the lesser of functions of one node, and of constants."""
    if len(call.inputs) == 1:
        return call.signal(0)
    name = "maximum" if call.node.operator == "Max" else "minimum"
    return _combined(call, name, f"takes the {name} of")


@operator("Reciprocal")
def reciprocal(call: Call) -> Signal:
    """1 / x."""
    x = call.signal(0)
    one = x.then(Scaling(np.array(0.0), np.array(1.0)))
    return _of_one(call, "divide", one, x)


def _of_one(call: Call, function: str, *sides: Signal) -> Signal:
    """Return the function of signals that are functions of one node."""
    combined = call.assembly.combine(call.name, function, sides)
    assert combined is not None
    return combined


@operator("Swish", "QuickGelu")
def swish(call: Call) -> Signal:
    """X · sigmoid(α · x)."""
    x = call.signal(0)
    alpha = float(call.attribute("alpha", 1.0 if call.node.operator == "Swish" else 1.702))
    gate = x.then(Scaling(np.array(alpha), np.array(0.0))).then(Activation("sigmoid"))
    return replace(_of_one(call, "multiply", x, gate), label=call.name)


_ROUNDED = {"Ceil": "ceil", "Floor": "floor", "Round": "half_even"}


@operator(*_ROUNDED)
def rounded(call: Call) -> Signal:
    """Whole numbers."""
    whole = Quantize(1.0, -exact.FLOAT64, exact.FLOAT64, _ROUNDED[call.node.operator])
    return call.signal(0).then(whole, call.name)


@operator("Neg")
def neg(call: Call) -> Signal | Constant:
    """The same with another sign."""
    value = call.value(0)
    if isinstance(value, Constant):
        if value.codes is not None and value.scale is not None:
            return Constant.quantized(-value.codes, value.scale)
        return Constant.of(-value.values)
    return call.signal(0).scaled(-1.0)


@operator("BatchNormalization")
def batch_normalization(call: Call) -> Signal:
    """One factor and one offset for each channel; factors may be negative."""
    x = call.signal(0)
    gamma, beta, mean, variance = (call.floats(i).reshape(-1) for i in range(1, 5))
    if call.attribute("training_mode", 0):
        raise call.refuse("depends on its batch (training_mode)", "export in evaluation mode")
    if (variance < 0).any():
        raise call.refuse("has a negative variance", "train again")
    shape = call.assembly.shape(x)
    last = call.node.domain.endswith("channels_last")
    column = (*(1,) * (len(shape) - 1), -1) if last else (-1, *(1,) * (len(shape) - 1))
    factor = gamma / np.sqrt(variance + call.attribute("epsilon", 1e-5))
    call.note(f"{int((factor < 0).sum())} negative factors; in the next table")
    offset = beta - mean * factor
    channels = shape[-1 if last else 0]
    if len(factor) != channels:
        raise call.refuse(f"is for {len(factor)} channels, not {channels}", "they do not fit")
    return x.scaled(factor.reshape(column), offset.reshape(column))


def _function(name: str, **parameters: tuple[str, float]) -> Callable[[Call], Signal]:
    """Return what reads an operator as the activation `name`.

    Args:
        parameters: parameter of the activation → attribute of the operator and its default.
    """

    def read(call: Call) -> Signal:
        given = {p: float(call.attribute(a, default)) for p, (a, default) in parameters.items()}
        return call.signal(0).then(Activation(name, given), call.name)

    return read


for _operator, _read in {
    "Abs": _function("abs"),
    "Celu": _function("celu", alpha=("alpha", 1.0)),
    "Erf": _function("erf"),
    "Exp": _function("exp"),
    "Elu": _function("elu", alpha=("alpha", 1.0)),
    "HardSwish": _function("hardswish"),
    "LeakyRelu": _function("leaky_relu", negative_slope=("alpha", 0.01)),
    "Mish": _function("mish"),
    "Relu": _function("relu"),
    "Sigmoid": _function("sigmoid"),
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Tanh": _function("tanh"),
}.items():
    operator(_operator)(_read)


@operator("HardSigmoid")
def hard_sigmoid(call: Call) -> Signal:
    """max(0, min(1, α · x + β))."""
    x = call.signal(0).scaled(call.attribute("alpha", 0.2), call.attribute("beta", 0.5))
    return x.then(Activation("hardtanh", {"min_val": 0.0, "max_val": 1.0}), call.name)


@operator("Selu")
def selu(call: Call) -> Signal:
    """γ · (x where x > 0, else α · (e^x − 1))."""
    alpha = {"alpha": float(call.attribute("alpha", 1.6732631921768188))}
    x = call.signal(0).then(Activation("elu", alpha), call.name)
    return x.scaled(call.attribute("gamma", 1.0507010221481323))


@operator("Gelu", "FastGelu")
def gelu(call: Call) -> Signal:
    """The Gaussian error linear unit."""
    if call.given(1):
        raise call.refuse("adds a bias inside", "an Add before it")
    fast = call.node.operator == "FastGelu"
    approximate = fast or call.attribute("approximate", "none") == "tanh"
    return call.signal(0).then(Activation("gelu_tanh" if approximate else "gelu"), call.name)


@operator("PRelu")
def prelu(call: Call) -> Signal:
    """A slope of its own below zero."""
    x, slopes = call.signal(0), call.floats(1)
    each = call.aligned(slopes, call.assembly.shape(x))
    if each.size > 1 and (each != each.flat[0]).any():
        return x.then(Sloping(each), call.name)
    slope = float(each.flat[0])
    return x.then(Activation("leaky_relu", {"negative_slope": slope}), call.name)


@operator("Pow")
def power(call: Call) -> Signal:
    """A product of x and itself: whole exponents."""
    x, exponents = call.signal(0), call.floats(1)
    exponent = float(exponents.reshape(-1)[0]) if exponents.size == 1 else 0.0
    if exponent not in range(1, _LARGEST_EXPONENT + 1):
        raise call.refuse(
            f"has the exponent {exponents}", f"one of 1 to {_LARGEST_EXPONENT} is read"
        )
    if exponent == 1:
        return x
    result = x.then(Activation("square"), call.name)
    for _ in range(int(exponent) - 2):
        result = _of_one(call, "multiply", result, x)
    return replace(result, label=call.name)


@operator("Identity", "Dropout")
def identity(call: Call) -> Signal | Constant:
    """The same; dropout does nothing outside training."""
    if call.given(2) and call.constant(2).values.any():
        raise call.refuse("drops out at random (training_mode)", "export in evaluation mode")
    return call.value(0)
