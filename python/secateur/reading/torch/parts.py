"""What the modules and operations of torch and Brevitas do, as parts of a network.

A function call counts as the module that does the same, so that `F.relu(x)`, `x.relu()` and
`nn.ReLU()(x)` are one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.core.function_wrapper.misc import Identity as IdentityFunction
from brevitas.nn.quant_layer import QuantInputOutputLayer, QuantNonLinearActLayer
from torch import nn
from torch.fx.node import Node as Call, map_arg

from secateur.errors import UnsupportedModuleError
from secateur.network import Shape
from secateur.network import Activation

#: The modules with weights; Brevitas's descend from them.
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


@dataclass(frozen=True)
class Take:
    """The model's input."""


@dataclass(frozen=True)
class Weigh:
    """A layer with weights: Linear or Conv, plain or Brevitas."""

    module: nn.Module


@dataclass(frozen=True)
class Normalize:
    """A batch norm: one affine function per channel in evaluation mode."""

    module: nn.Module


@dataclass(frozen=True)
class Rescale:
    """x · factor + offset with plain numbers."""

    factor: float
    offset: float


@dataclass(frozen=True)
class Apply:
    """An elementwise function."""

    activation: Activation


@dataclass(frozen=True)
class Quantizer:
    """A Brevitas activation quantiser."""

    proxy: nn.Module


@dataclass(frozen=True)
class PoolMax:
    """Maximum over windows."""

    kernel: Shape
    stride: Shape
    padding: Shape


@dataclass(frozen=True)
class PoolSum:
    """Sum over windows, divided by `divisor`."""

    kernel: Shape
    stride: Shape
    padding: Shape
    divisor: int


@dataclass(frozen=True)
class View:
    """The same elements in the same order under another shape."""


@dataclass(frozen=True)
class Permute:
    """The axes in another order, batch axis left out."""

    axes: Shape


@dataclass(frozen=True)
class Sum:
    """An elementwise sum of nodes."""


@dataclass(frozen=True)
class Join:
    """Nodes joined along an axis, batch axis left out."""

    axis: int


@dataclass(frozen=True)
class Give:
    """The model's output."""


Part = (
    Take
    | Weigh
    | Normalize
    | Rescale
    | Apply
    | Quantizer
    | PoolMax
    | PoolSum
    | View
    | Permute
    | Sum
    | Join
    | Give
)


def unsupported(name: str, problem: str, operation: object) -> UnsupportedModuleError:
    """Return the error that refuses layer `name`."""
    return UnsupportedModuleError(
        f"layer {name!r}: {problem}",
        layer=name,
        operation=str(operation),
        supported=tuple(sorted(m.__name__ for m in _MODULES)),
    )


def parts_of(
    name: str, call: Call, modules: Mapping[str, nn.Module], sources: list[Shape]
) -> tuple[Part, ...]:
    """Return what a traced call does, in order; nothing where it passes its source on.

    Args:
        name: what the call is known by.
        call: the node of torch.fx.
        modules: qualified name → module of the model.
        sources: shapes of the tensors that it takes, batch axis included.

    Raises:
        UnsupportedModuleError: no network has the like.
    """
    match call.op:
        case "placeholder":
            return (Take(),)
        case "output":
            if not isinstance(call.args[0], Call):
                problem = f"the model gives {call.args[0]}, not one tensor"
                raise unsupported(name, problem, "output")
            return (Give(),)
        case "call_module":
            return _module_parts(name, modules[str(call.target)], sources)
        case "get_attr":
            raise unsupported(name, f"{call.target!r} is used outside a layer", call.target)
    operation = getattr(call.target, "__name__", str(call.target)).rstrip("_")
    if operation in _SAME_AS_MODULE:
        module = _SAME_AS_MODULE[operation](*call.args[1:], **call.kwargs)
        return _module_parts(name, module, sources)
    if operation in _CALLS:
        return _CALLS[operation](name, call, sources)
    raise unsupported(name, f"no network has the operation {operation!r}", operation)


def _module_parts(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    if isinstance(module, QuantNonLinearActLayer):
        fused = module.act_quant.fused_activation_quant_proxy
        act = _module_parts(name, fused.activation_impl, sources) if fused else ()
        return (*_quantizers(module.input_quant), *act, *_quantizers(module.act_quant))
    for kind in type(module).__mro__:
        if kind in _MODULES:
            parts = _MODULES[kind](name, module, sources)
            if isinstance(module, QuantInputOutputLayer):
                before, after = _quantizers(module.input_quant), _quantizers(module.output_quant)
                return (*before, *parts, *after)
            return parts
    kind_name = type(module).__name__
    raise unsupported(name, f"no network has the module {kind_name}", kind_name)


def _quantizers(proxy: nn.Module) -> tuple[Part, ...]:
    return (Quantizer(proxy),) if proxy.is_quant_enabled else ()


_MakeParts = Callable[[str, Any, list[Shape]], tuple[Part, ...]]


def _pass(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    return ()


def _view(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    return (View(),)


def _weigh(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    if getattr(module, "padding_mode", "zeros") != "zeros":
        mode = f"padding_mode={module.padding_mode!r}"
        raise unsupported(name, f"{mode} is not zero padding", mode)
    return (Weigh(module),)


def _apply(activation: str, *parameters: str) -> _MakeParts:
    def parts(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
        given = {p: float(getattr(module, p)) for p in parameters}
        return (Apply(Activation(activation, given)),)

    return parts


def _gelu(name: str, module: nn.GELU, sources: list[Shape]) -> tuple[Part, ...]:
    return (Apply(Activation("gelu_tanh" if module.approximate == "tanh" else "gelu")),)


def _softplus(name: str, module: nn.Softplus, sources: list[Shape]) -> tuple[Part, ...]:
    beta = float(module.beta)
    return Rescale(beta, 0.0), Apply(Activation("softplus")), Rescale(1.0 / beta, 0.0)


def _prelu(name: str, module: nn.PReLU, sources: list[Shape]) -> tuple[Part, ...]:
    if module.num_parameters != 1:
        raise unsupported(name, "a PReLU with a slope per channel has no table", "PReLU")
    slope = float(module.weight.detach())
    return (Apply(Activation("leaky_relu", {"negative_slope": slope})),)


def _rrelu(name: str, module: nn.RReLU, sources: list[Shape]) -> tuple[Part, ...]:
    slope = (module.lower + module.upper) / 2
    return (Apply(Activation("leaky_relu", {"negative_slope": slope})),)


def _per_axis(value: int | Sequence[int], axes: int) -> Shape:
    return (value,) * axes if isinstance(value, int) else tuple(value) * (axes // len(tuple(value)))


def _windows(name: str, module: Any, sources: list[Shape]) -> tuple[Shape, Shape, Shape]:
    for option, plain in (("ceil_mode", False), ("return_indices", False), ("dilation", 1)):
        if getattr(module, option, plain) not in (plain, (plain,) * (len(sources[0]) - 2)):
            setting = f"{option}={getattr(module, option)}"
            raise unsupported(name, f"pooling with {setting} is not supported", setting)
    axes = len(sources[0]) - 2
    kernel = _per_axis(module.kernel_size, axes)
    return kernel, _per_axis(module.stride or kernel, axes), _per_axis(module.padding, axes)


def _max_pool(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    return (PoolMax(*_windows(name, module, sources)),)


def _average_pool(name: str, module: Any, sources: list[Shape]) -> tuple[Part, ...]:
    kernel, stride, padding = _windows(name, module, sources)
    if any(padding) and not module.count_include_pad:
        raise unsupported(
            name, "averages that leave padding out have no common divisor", "count_include_pad"
        )
    divisor = getattr(module, "divisor_override", None) or math.prod(kernel)
    return (PoolSum(kernel, stride, padding, divisor),)


def _adaptive_windows(name: str, module: Any, sources: list[Shape]) -> Shape:
    spatial = sources[0][2:]
    wanted = module.output_size
    wanted = (wanted,) * len(spatial) if isinstance(wanted, int) else tuple(wanted)
    counts = tuple(n if w is None else w for w, n in zip(wanted, spatial, strict=True))
    if any(n % c for n, c in zip(spatial, counts, strict=True)):
        raise unsupported(
            name, f"{spatial} does not split evenly into {counts} windows", type(module).__name__
        )
    return tuple(n // c for n, c in zip(spatial, counts, strict=True))


def _adaptive_average(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    kernel = _adaptive_windows(name, module, sources)
    return (PoolSum(kernel, kernel, (0,) * len(kernel), math.prod(kernel)),)


def _adaptive_max(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    kernel = _adaptive_windows(name, module, sources)
    return (PoolMax(kernel, kernel, (0,) * len(kernel)),)


def _sum_module(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    return (Sum(),)


def _join_module(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    return (Join(0),)


#: Module type → what it does; a subclass counts as its base.
_MODULES: Mapping[type[nn.Module], _MakeParts] = {
    **dict.fromkeys(WEIGHTED, _weigh),
    **dict.fromkeys(
        (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d),
        lambda name, module, sources: (Normalize(module),),
    ),
    **dict.fromkeys(
        (
            nn.Identity,
            nn.Dropout,
            nn.Dropout1d,
            nn.Dropout2d,
            nn.Dropout3d,
            nn.AlphaDropout,
            nn.FeatureAlphaDropout,
            IdentityFunction,
        ),
        _pass,
    ),
    **dict.fromkeys((nn.Flatten, nn.Unflatten), _view),
    nn.ReLU: _apply("relu"),
    nn.LeakyReLU: _apply("leaky_relu", "negative_slope"),
    nn.PReLU: _prelu,
    nn.RReLU: _rrelu,
    nn.ELU: _apply("elu", "alpha"),
    nn.CELU: _apply("celu", "alpha"),
    nn.SELU: _apply("selu"),
    nn.GELU: _gelu,
    nn.SiLU: _apply("silu"),
    nn.Mish: _apply("mish"),
    nn.Sigmoid: _apply("sigmoid"),
    nn.LogSigmoid: _apply("logsigmoid"),
    nn.Softplus: _softplus,
    nn.Softsign: _apply("softsign"),
    nn.Tanh: _apply("tanh"),
    nn.Hardtanh: _apply("hardtanh", "min_val", "max_val"),
    nn.Hardsigmoid: _apply("hardsigmoid"),
    nn.Hardswish: _apply("hardswish"),
    **dict.fromkeys((nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), _max_pool),
    **dict.fromkeys((nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d), _average_pool),
    **dict.fromkeys(
        (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d), _adaptive_average
    ),
    **dict.fromkeys(
        (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d), _adaptive_max
    ),
    qnn.QuantEltwiseAdd: _sum_module,
    qnn.QuantCat: _join_module,
}

#: Function or method → the module that takes the same arguments after the tensor.
_SAME_AS_MODULE: Mapping[str, Callable[..., nn.Module]] = {
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "celu": nn.CELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "mish": nn.Mish,
    "sigmoid": nn.Sigmoid,
    "logsigmoid": nn.LogSigmoid,
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "hardtanh": nn.Hardtanh,
    "hardsigmoid": nn.Hardsigmoid,
    "hardswish": nn.Hardswish,
    "max_pool1d": nn.MaxPool1d,
    "max_pool2d": nn.MaxPool2d,
    "max_pool3d": nn.MaxPool3d,
    "avg_pool1d": nn.AvgPool1d,
    "avg_pool2d": nn.AvgPool2d,
    "avg_pool3d": nn.AvgPool3d,
    "adaptive_avg_pool1d": nn.AdaptiveAvgPool1d,
    "adaptive_avg_pool2d": nn.AdaptiveAvgPool2d,
    "adaptive_avg_pool3d": nn.AdaptiveAvgPool3d,
}

_MakeCallParts = Callable[[str, Call, list[Shape]], tuple[Part, ...]]


def _numbers(name: str, call: Call, sources: list[Shape]) -> tuple[float, bool]:
    """Return the plain number of a call with one tensor, and whether it comes first."""
    first, second = call.args
    number = first if isinstance(second, Call) else second
    if len(sources) != 1 or not isinstance(number, int | float):
        raise unsupported(name, f"{call.target} of two tensors is not supported", call.target)
    return float(number), number is first


def _add(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    if len(sources) == 1:
        return (Rescale(1.0, _numbers(name, call, sources)[0]),)
    if call.kwargs:
        raise unsupported(name, f"a sum with {dict(call.kwargs)}", "add")
    return (Sum(),)


def _subtract(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    number, first = _numbers(name, call, sources)
    return (Rescale(-1.0, number) if first else Rescale(1.0, -number),)


def _multiply(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    return (Rescale(_numbers(name, call, sources)[0], 0.0),)


def _divide(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    number, first = _numbers(name, call, sources)
    if first:
        raise unsupported(name, "a number divided by a tensor is not affine", "truediv")
    return (Rescale(1.0 / number, 0.0),)


def _permute(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    # Axes of distinct extents show where each of them went, however the call names them.
    probe = torch.empty(tuple(range(2, 2 + len(sources[0]))))
    moved = map_arg(call.args, lambda n: probe)
    if call.op == "call_method":
        result = getattr(probe, str(call.target))(*moved[1:], **call.kwargs)
    else:
        result = call.target(*moved, **call.kwargs)  # type: ignore[operator]
    axes = tuple(extent - 2 for extent in result.shape)
    if axes[0] != 0:
        raise unsupported(name, "the batch axis must stay first", call.target)
    return (Permute(tuple(a - 1 for a in axes[1:])),)


def _join(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    given: Any = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else 0)
    axis = given % len(sources[0])
    if axis == 0:
        raise unsupported(name, "joins along the batch axis", "cat")
    return (Join(axis - 1),)


def _reduce(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    spatial = sources[0][2:]
    given: Any = call.kwargs.get("dim", call.args[1] if len(call.args) > 1 else ())
    over = (given,) if isinstance(given, int) else given
    axes = sorted(axis % len(sources[0]) for axis in over)
    if not spatial or axes != list(range(2, len(sources[0]))):
        raise unsupported(name, f"reduces axes {axes}; expected every spatial axis", call.target)
    divisor = math.prod(spatial) if "mean" in str(call.target) else 1
    return PoolSum(spatial, spatial, (0,) * len(spatial), divisor), View()


def _clamp(name: str, call: Call, sources: list[Shape]) -> tuple[Part, ...]:
    bounds = dict(zip(("min", "max"), call.args[1:], strict=False)) | dict(call.kwargs)
    low, high = bounds.get("min"), bounds.get("max")
    parameters = {
        "min_val": -math.inf if low is None else float(low),  # type: ignore[arg-type]
        "max_val": math.inf if high is None else float(high),  # type: ignore[arg-type]
    }
    return (Apply(Activation("hardtanh", parameters)),)


def _constant(*parts: Part) -> _MakeCallParts:
    return lambda name, call, sources: parts


#: Function or method → its parts.
_CALLS: Mapping[str, _MakeCallParts] = {
    **dict.fromkeys(
        ("dropout", "alpha_dropout", "feature_dropout", "contiguous", "float", "clone"),
        _constant(),
    ),
    **dict.fromkeys(
        ("flatten", "reshape", "view", "squeeze", "unsqueeze", "unflatten"), _constant(View())
    ),
    **dict.fromkeys(("permute", "transpose", "swapaxes", "swapdims", "movedim"), _permute),
    **dict.fromkeys(("cat", "concat", "concatenate"), _join),
    **dict.fromkeys(("mean", "sum"), _reduce),
    **dict.fromkeys(("add", "iadd"), _add),
    **dict.fromkeys(("sub", "isub"), _subtract),
    **dict.fromkeys(("mul", "imul"), _multiply),
    **dict.fromkeys(("truediv", "div", "itruediv"), _divide),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    "abs": _constant(Apply(Activation("abs"))),
    "neg": _constant(Rescale(-1.0, 0.0)),
}
