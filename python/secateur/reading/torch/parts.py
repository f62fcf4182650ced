"""What the modules and operations of torch and Brevitas do, as parts of a network.

A function call counts as the module that does the same, so that `F.relu(x)`, `x.relu()` and
`nn.ReLU()(x)` are one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, Signature, signature
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.core.function_wrapper.misc import Identity as IdentityFunction
from brevitas.nn.mixin.base import QuantLayerMixin
from brevitas.nn.quant_layer import QuantInputOutputLayer, QuantNonLinearActLayer
from torch import nn
from torch.fx.node import Node as Call, map_arg

from secateur.errors import UnsupportedModuleError
from secateur.network import Shape
from secateur.network.tables import Activation

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
    name: str,
    call: Call,
    modules: Mapping[str, nn.Module],
    sources: list[Shape],
    values: Mapping[Call, Any],
) -> tuple[Part, ...]:
    """Return what a traced call does, in order; nothing where it passes its source on.

    Every argument of the call is accounted for: one that is not understood is refused.

    Args:
        name: what the call is known by.
        call: the node of torch.fx.
        modules: qualified name → module of the model.
        sources: shapes of the tensors that it takes, batch axis included.
        values: what the nodes yield that hold no data, whatever the batch: sizes, numbers
            made of them, tensors that the model holds.

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
            return _module_call(name, call, modules[str(call.target)], sources, values)
        case "get_attr":
            raise unsupported(name, f"{call.target!r} is used outside a layer", call.target)
    operation = getattr(call.target, "__name__", str(call.target)).rstrip("_")
    make = _CALLS.get(operation)
    if make is None or not _is_known(call.target):
        raise unsupported(name, f"no network has the operation {operation!r}", operation)
    arguments = {_ALIASES.get(key, key): value for key, value in call.kwargs.items()}
    return _bound(name, operation, make, call.args, arguments, sources, values)


def _is_known(function: object) -> bool:
    """Whether a traced function is torch's or Python's own, and no namesake."""
    module = getattr(function, "__module__", None) or "torch"
    return isinstance(function, str) or module.partition(".")[0] in ("torch", "_operator")


def _bound(
    name: str,
    operation: str,
    make: Callable[..., tuple[Part, ...]],
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    sources: list[Shape],
    values: Mapping[Call, Any],
) -> tuple[Part, ...]:
    """Return the parts that `make` gives for the arguments of a call, each of them known to it."""
    # Nodes without data stand for what they yield; those with data stay what they are.
    args, kwargs = map_arg((args, kwargs), lambda n: values.get(n, n))
    try:
        bound = signature(make).bind(name, sources, *args, **kwargs)
    except TypeError as error:
        known = list(signature(make).parameters)[2:]
        raise unsupported(
            name,
            f"the call of {operation!r} has {error}; arguments that are understood: "
            f"{', '.join(known)}",
            operation,
        ) from None
    return make(*bound.args, **bound.kwargs)


def _module_call(
    name: str,
    call: Call,
    module: nn.Module,
    sources: list[Shape],
    values: Mapping[Call, Any],
) -> tuple[Part, ...]:
    def parts(name: str, sources: list[Shape], input: Any) -> tuple[Part, ...]:
        return _module_parts(name, module, sources)

    def quant_cat(name: str, sources: list[Shape], tensor_list: Any, dim: int = 1) -> Any:
        return _around(module, _join(name, sources, tensor_list, dim))

    def quant_add(name: str, sources: list[Shape], input: Any, other: Any) -> Any:
        return _around(module, _add(name, sources, input, other))

    make = {qnn.QuantCat: quant_cat, qnn.QuantEltwiseAdd: quant_add}.get(type(module), parts)
    return _bound(name, type(module).__name__, make, call.args, call.kwargs, sources, values)


def _module_parts(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    kind_name = type(module).__name__
    if isinstance(module, QuantNonLinearActLayer):
        fused = module.act_quant.fused_activation_quant_proxy
        act = _module_parts(name, fused.activation_impl, sources) if fused else ()
        return (*_quantizers(module.input_quant), *act, *_quantizers(module.act_quant))
    # Brevitas's other layers requantise in ways of their own, whatever they descend from.
    if isinstance(module, QuantLayerMixin) and not isinstance(module, WEIGHTED):
        raise unsupported(name, f"no network has the module {kind_name}", kind_name)
    for kind in type(module).__mro__:
        if kind in _MODULES:
            return _around(module, _MODULES[kind](name, module, sources))
    if isinstance(module, torch.jit.ScriptModule):
        problem = "a scripted module; give the one that torch.jit.script was called on"
        raise unsupported(name, f"{kind_name} is {problem}", kind_name)
    raise unsupported(name, f"no network has the module {kind_name}", kind_name)


def _around(module: nn.Module, parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return the parts of a module with its quantisers of input and output, if it has any."""
    if not isinstance(module, QuantInputOutputLayer):
        return parts
    return (*_quantizers(module.input_quant), *parts, *_quantizers(module.output_quant))


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
    # From 20 on, torch's default, x and softplus(x) are the same in float32.
    if module.threshold < 20:
        raise unsupported(name, f"a softplus that ends at {module.threshold}", "threshold")
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
}

#: Function or method → the module that does the same, and its arguments after the tensor.
_SAME_AS_MODULE: Mapping[str, tuple[Callable[..., nn.Module], str]] = {
    "relu": (nn.ReLU, "inplace"),
    "relu6": (nn.ReLU6, "inplace"),
    "leaky_relu": (nn.LeakyReLU, "negative_slope inplace"),
    "elu": (nn.ELU, "alpha inplace"),
    "celu": (nn.CELU, "alpha inplace"),
    "selu": (nn.SELU, "inplace"),
    "gelu": (nn.GELU, "approximate"),
    "silu": (nn.SiLU, "inplace"),
    "mish": (nn.Mish, "inplace"),
    "sigmoid": (nn.Sigmoid, ""),
    "logsigmoid": (nn.LogSigmoid, ""),
    "softplus": (nn.Softplus, "beta threshold"),
    "softsign": (nn.Softsign, ""),
    "tanh": (nn.Tanh, ""),
    "hardtanh": (nn.Hardtanh, "min_val max_val inplace"),
    "hardsigmoid": (nn.Hardsigmoid, "inplace"),
    "hardswish": (nn.Hardswish, "inplace"),
    **{
        f"max_pool{n}d": (kind, "kernel_size stride padding dilation ceil_mode return_indices")
        for n, kind in ((1, nn.MaxPool1d), (2, nn.MaxPool2d), (3, nn.MaxPool3d))
    },
    "avg_pool1d": (nn.AvgPool1d, "kernel_size stride padding ceil_mode count_include_pad"),
    **{
        f"avg_pool{n}d": (
            kind,
            "kernel_size stride padding ceil_mode count_include_pad divisor_override",
        )
        for n, kind in ((2, nn.AvgPool2d), (3, nn.AvgPool3d))
    },
    "adaptive_avg_pool1d": (nn.AdaptiveAvgPool1d, "output_size"),
    "adaptive_avg_pool2d": (nn.AdaptiveAvgPool2d, "output_size"),
    "adaptive_avg_pool3d": (nn.AdaptiveAvgPool3d, "output_size"),
    "adaptive_max_pool1d": (nn.AdaptiveMaxPool1d, "output_size return_indices"),
    "adaptive_max_pool2d": (nn.AdaptiveMaxPool2d, "output_size return_indices"),
    "adaptive_max_pool3d": (nn.AdaptiveMaxPool3d, "output_size return_indices"),
}

#: NumPy's names of arguments, which torch understands as well.
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input"}


def _as_module(make: Callable[..., nn.Module], arguments: str) -> Callable[..., tuple[Part, ...]]:
    """Return the function of a call that does what a module does."""

    def parts(name: str, sources: list[Shape], input: Any, **given: Any) -> tuple[Part, ...]:
        return _module_parts(name, make(**given), sources)

    known = signature(parts)
    kind = Parameter.POSITIONAL_OR_KEYWORD
    plain = list(known.parameters.values())[:-1]
    options = [Parameter(a, kind, default=None) for a in arguments.split()]

    def bind(*args: Any, **kwargs: Any) -> tuple[Part, ...]:
        given = Signature([*plain, *options]).bind(*args, **kwargs).arguments
        return parts(**given)

    bind.__signature__ = Signature([*plain, *options])  # type: ignore[attr-defined]
    return bind


def _number(name: str, operation: str, value: Any) -> float:
    """Return a plain number that stands in a call."""
    if isinstance(value, torch.Tensor) and value.numel() == 1:
        value = value.item()
    if not isinstance(value, int | float):
        raise unsupported(name, f"{operation!r} with {value!r}, which is no number", operation)
    if not math.isfinite(value):
        raise unsupported(name, f"{operation!r} with {value}, which is not finite", operation)
    return float(value)


def _add(
    name: str, sources: list[Shape], input: Any, other: Any, *, alpha: float = 1
) -> tuple[Part, ...]:
    times = _number(name, "add", alpha)
    if not isinstance(other, Call):
        return (Rescale(1.0, times * _number(name, "add", other)),)
    if not isinstance(input, Call):
        return (Rescale(times, _number(name, "add", input)),)
    if times != 1:
        raise unsupported(name, f"a sum of tensors with alpha={alpha} is not supported", "add")
    if len(set(sources)) > 1:
        raise unsupported(name, f"a sum of tensors of shapes {sources}", "add")
    return (Sum(),)


def _subtract(
    name: str, sources: list[Shape], input: Any, other: Any, *, alpha: float = 1
) -> tuple[Part, ...]:
    times = _number(name, "sub", alpha)
    if not isinstance(other, Call):
        return (Rescale(1.0, -times * _number(name, "sub", other)),)
    return (Rescale(-times, _factor(name, "sub", other, input)),)


def _factor(name: str, operation: str, tensor: Any, other: Any) -> float:
    """Return the number of a call whose other operand is a tensor of data."""
    if isinstance(tensor, Call) and isinstance(other, Call):
        raise unsupported(name, f"{operation!r} of two tensors is not supported", operation)
    return _number(name, operation, other)


def _multiply(name: str, sources: list[Shape], input: Any, other: Any) -> tuple[Part, ...]:
    if isinstance(input, Call):
        return (Rescale(_factor(name, "mul", input, other), 0.0),)
    return (Rescale(_number(name, "mul", input), 0.0),)


def _divide(
    name: str, sources: list[Shape], input: Any, other: Any, *, rounding_mode: str | None = None
) -> tuple[Part, ...]:
    if rounding_mode is not None:
        setting = f"rounding_mode={rounding_mode!r}"
        raise unsupported(name, f"a division with {setting} is not supported", setting)
    if isinstance(other, Call) and not isinstance(input, Call):
        raise unsupported(name, "a number divided by a tensor is not affine", "div")
    divisor = _factor(name, "div", input, other)
    if divisor == 0:
        raise unsupported(name, "a division by 0", "div")
    return (Rescale(1.0 / divisor, 0.0),)


def _moving(operation: str) -> Callable[..., tuple[Part, ...]]:
    def parts(name: str, sources: list[Shape], input: Any, *args: Any, **kwargs: Any) -> Any:
        # Axes of distinct extents show where each of them went, however the call names them.
        probe = torch.empty(tuple(range(2, 2 + len(sources[0]))))
        moved = getattr(torch.Tensor, operation)(probe, *args, **kwargs)
        axes = tuple(extent - 2 for extent in moved.shape)
        if axes[0] != 0:
            raise unsupported(name, "the batch axis must stay first", operation)
        return (Permute(tuple(a - 1 for a in axes[1:])),)

    return parts


def _reshaped(name: str, sources: list[Shape], input: Any, *args: Any, **kwargs: Any) -> Any:
    for argument in (*args, *kwargs.values()):
        if isinstance(argument, torch.dtype):
            raise unsupported(name, f"a view of its bits as {argument}", "view")
    return (View(),)


def _join(name: str, sources: list[Shape], tensors: Any, dim: int = 0) -> tuple[Part, ...]:
    if len(sources) != len(tensors):
        raise unsupported(name, "joins a tensor that does not depend on the input", "cat")
    axis = dim % len(sources[0])
    if axis == 0:
        raise unsupported(name, "joins along the batch axis", "cat")
    return (Join(axis - 1),)


def _reduced(mean: bool) -> Callable[..., tuple[Part, ...]]:
    def parts(
        name: str, sources: list[Shape], input: Any, dim: Any = None, keepdim: bool = False
    ) -> tuple[Part, ...]:
        spatial = sources[0][2:]
        over = range(len(sources[0])) if dim is None else (dim,) if isinstance(dim, int) else dim
        axes = sorted(axis % len(sources[0]) for axis in over)
        if not spatial or axes != list(range(2, len(sources[0]))):
            problem = f"reduces axes {axes}; expected every spatial axis"
            raise unsupported(name, problem, "mean" if mean else "sum")
        divisor = math.prod(spatial) if mean else 1
        return PoolSum(spatial, spatial, (0,) * len(spatial), divisor), View()

    return parts


def _clamp(
    name: str, sources: list[Shape], input: Any, min: Any = None, max: Any = None
) -> tuple[Part, ...]:
    parameters = {
        "min_val": -math.inf if min is None else _number(name, "clamp", min),
        "max_val": math.inf if max is None else _number(name, "clamp", max),
    }
    return (Apply(Activation("hardtanh", parameters)),)


def _dropout(
    name: str,
    sources: list[Shape],
    input: Any,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
) -> tuple[Part, ...]:
    if training:
        problem = "drops values out in evaluation, too; use nn.Dropout, or training=self.training"
        raise unsupported(name, problem, "dropout")
    return ()


def _copied(name: str, sources: list[Shape], input: Any, *, memory_format: Any = None) -> Any:
    return ()


def _always(*parts: Part) -> Callable[..., tuple[Part, ...]]:
    def constant(name: str, sources: list[Shape], input: Any) -> tuple[Part, ...]:
        return parts

    return constant


#: Function or method → its parts, given name, sources and the arguments of the call. What a
#: signature here lacks (out, dtype, ...) is refused.
_CALLS: Mapping[str, Callable[..., tuple[Part, ...]]] = {
    **{name: _as_module(*same) for name, same in _SAME_AS_MODULE.items()},
    **dict.fromkeys(
        ("dropout", "dropout1d", "dropout2d", "dropout3d", "alpha_dropout", "feature_dropout")
        + ("feature_alpha_dropout",),
        _dropout,
    ),
    **dict.fromkeys(("contiguous", "float", "clone"), _copied),
    **dict.fromkeys(
        ("flatten", "reshape", "view", "squeeze", "unsqueeze", "unflatten"), _reshaped
    ),
    **{
        name: _moving(name) for name in ("permute", "transpose", "swapaxes", "swapdims", "movedim")
    },
    **dict.fromkeys(("cat", "concat", "concatenate"), _join),
    "mean": _reduced(mean=True),
    "sum": _reduced(mean=False),
    **dict.fromkeys(("add", "iadd"), _add),
    **dict.fromkeys(("sub", "isub", "subtract"), _subtract),
    **dict.fromkeys(("mul", "imul", "multiply"), _multiply),
    **dict.fromkeys(("truediv", "div", "itruediv", "divide", "true_divide"), _divide),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    "abs": _always(Apply(Activation("abs"))),
    "neg": _always(Rescale(-1.0, 0.0)),
}
