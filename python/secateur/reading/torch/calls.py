"""What a call in a traced torch model does, as parts of a network.

A function call counts as the module that does the same, so that `F.relu(x)`, `x.relu()` and
`nn.ReLU()(x)` are one thing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from torch import nn
from torch.fx.node import Node as Call, map_aggregate, map_arg

from secateur.network import Activation, Floats, Shape
from secateur.reading.torch.modules import around, module_parts, unsupported
from secateur.reading.torch.parts import (
    Apply,
    Give,
    Join,
    Part,
    Permute,
    Pick,
    PoolSum,
    Sum,
    Take,
    View,
    rescale,
)

#: What stands for a value that depends on the size of the batch.
BATCH = object()


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
        values: what the nodes yield that hold no data: sizes, numbers made of them, tensors
            that the model holds; `BATCH` where it depends on the batch's size.

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
    given: list[Any] = []
    map_aggregate((args, kwargs), given.append)
    if make is not _reshaped and any(value is BATCH for value in given):
        raise unsupported(name, f"{operation!r} with a number that depends on the batch", operation)
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
        return module_parts(name, module, sources)

    def quant_add(name: str, sources: list[Shape], input: Any, other: Any) -> Any:
        return around(module, _add(name, sources, input, other))

    make = quant_add if isinstance(module, qnn.QuantEltwiseAdd) else parts
    return _bound(name, type(module).__name__, make, call.args, call.kwargs, sources, values)


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
    "softmax": (nn.Softmax, "dim"),
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

#: No end of a clip: the greatest finite number.
_GREATEST = float(np.finfo(np.float64).max)

#: NumPy's names of arguments, which torch understands as well.
_ALIASES = {"axis": "dim", "keepdims": "keepdim", "x": "input"}


def _as_module(make: Callable[..., nn.Module], arguments: str) -> Callable[..., tuple[Part, ...]]:
    """Return the function of a call that does what a module does."""

    def parts(name: str, sources: list[Shape], input: Any, **given: Any) -> tuple[Part, ...]:
        return module_parts(name, make(**given), sources)

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


def _constant(name: str, operation: str, value: Any, source: Shape) -> Floats:
    """Return a number, or a tensor of the model that goes with every sample of `source`."""
    if not isinstance(value, torch.Tensor) or value.numel() == 1:
        return np.array(_number(name, operation, value))
    shape = (*(1,) * (len(source) - value.ndim), *value.shape)
    fits = len(shape) == len(source) and shape[0] == 1
    if not fits or any(have not in (1, want) for have, want in zip(shape, source, strict=True)):
        problem = f"{operation!r} with a tensor of shape {tuple(value.shape)} for {source[1:]}"
        raise unsupported(name, problem, operation)
    values: Floats = value.detach().double().cpu().numpy().reshape(shape[1:])
    if not np.isfinite(values).all():
        raise unsupported(name, f"{operation!r} with NaN or infinity", operation)
    return values


def _add(
    name: str, sources: list[Shape], input: Any, other: Any, *, alpha: float = 1
) -> tuple[Part, ...]:
    times = _number(name, "add", alpha)
    if not isinstance(other, Call):
        return (rescale(1.0, times * _constant(name, "add", other, sources[0])),)
    if not isinstance(input, Call):
        return (rescale(times, _constant(name, "add", input, sources[0])),)
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
        return (rescale(1.0, -times * _constant(name, "sub", other, sources[0])),)
    return (rescale(-times, _operand(name, "sub", other, input, sources)),)


def _operand(name: str, operation: str, tensor: Any, other: Any, sources: list[Shape]) -> Floats:
    """Return the constant of a call whose other operand is a tensor of data."""
    if isinstance(tensor, Call) and isinstance(other, Call):
        raise unsupported(name, f"{operation!r} of two tensors is not supported", operation)
    return _constant(name, operation, other, sources[0])


def _multiply(name: str, sources: list[Shape], input: Any, other: Any) -> tuple[Part, ...]:
    if input is other:
        return (Apply(Activation("square")),)
    tensor, factor = (input, other) if isinstance(input, Call) else (other, input)
    return (rescale(_operand(name, "mul", tensor, factor, sources), 0.0),)


def _power(name: str, sources: list[Shape], input: Any, exponent: Any) -> tuple[Part, ...]:
    if not isinstance(input, Call) or _number(name, "pow", exponent) != 2:
        raise unsupported(name, f"of powers only the square is supported, not {exponent}", "pow")
    return (Apply(Activation("square")),)


def _sliced(name: str, sources: list[Shape], input: Any, index: Any) -> tuple[Part, ...]:
    shape = sources[0]
    given = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in given:
        at = given.index(Ellipsis)
        named = sum(i is not None for i in given) - 1
        given[at : at + 1] = [slice(None)] * (len(shape) - named)
    whole = [i for i in given if i is not None]
    if not whole or whole[0] != slice(None) or given[0] is None:
        raise unsupported(name, "takes some samples of the batch", "getitem")
    parts: list[Part] = []
    for axis, wanted in enumerate(whole[1:]):
        extent = shape[axis + 1]
        if not isinstance(wanted, int | slice) or isinstance(wanted, bool):
            raise unsupported(
                name, f"an index {wanted!r} is neither a slice nor a number", "getitem"
            )
        taken = range(extent)[wanted]
        indices = np.array([taken] if isinstance(taken, int) else taken, np.int64)
        if len(indices) == 0:
            raise unsupported(name, "a slice without an element", "getitem")
        if not np.array_equal(indices, np.arange(extent)):
            parts.append(Pick(axis, indices))
    return (*parts, View())


def _padded(
    name: str,
    sources: list[Shape],
    input: Any,
    pad: Any,
    mode: str = "constant",
    value: float | None = None,
) -> tuple[Part, ...]:
    if mode != "constant":
        raise unsupported(name, f"padding with mode={mode!r} is not supported", mode)
    widths = [(pad[k], pad[k + 1]) for k in range(0, len(pad), 2)]
    if len(widths) >= len(sources[0]):
        raise unsupported(name, "pads the batch", "pad")
    parts = []
    for k, (before, after) in enumerate(widths):
        axis = len(sources[0]) - 2 - k
        extent = sources[0][axis + 1]
        indices = np.arange(-before, extent + after)
        indices = np.where((indices >= 0) & (indices < extent), indices, -1)
        if len(indices) == 0:
            raise unsupported(name, f"cuts everything away with {tuple(pad)}", "pad")
        filling = 0.0 if value is None else _number(name, "pad", value)
        parts.append(Pick(axis, indices, filling))
    return tuple(parts)


def _divide(
    name: str, sources: list[Shape], input: Any, other: Any, *, rounding_mode: str | None = None
) -> tuple[Part, ...]:
    if rounding_mode is not None:
        setting = f"rounding_mode={rounding_mode!r}"
        raise unsupported(name, f"a division with {setting} is not supported", setting)
    if isinstance(other, Call) and not isinstance(input, Call):
        raise unsupported(name, "a number divided by a tensor is not affine", "div")
    divisor = _operand(name, "div", input, other, sources)
    if not divisor.all():
        raise unsupported(name, "a division by 0", "div")
    return (rescale(1.0 / divisor, 0.0),)


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
        "min_val": -_GREATEST if min is None else _number(name, "clamp", min),
        "max_val": _GREATEST if max is None else _number(name, "clamp", max),
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
    **dict.fromkeys(("dropout", "dropout1d", "dropout2d", "dropout3d"), _dropout),
    **dict.fromkeys(("alpha_dropout", "feature_dropout", "feature_alpha_dropout"), _dropout),
    **dict.fromkeys(("contiguous", "float", "clone"), _copied),
    **dict.fromkeys(("flatten", "reshape", "view", "squeeze", "unsqueeze", "unflatten"), _reshaped),
    **{name: _moving(name) for name in ("permute", "transpose", "swapaxes", "swapdims", "movedim")},
    **dict.fromkeys(("cat", "concat", "concatenate"), _join),
    "mean": _reduced(mean=True),
    "sum": _reduced(mean=False),
    **dict.fromkeys(("add", "iadd"), _add),
    **dict.fromkeys(("sub", "isub", "subtract"), _subtract),
    **dict.fromkeys(("mul", "imul", "multiply"), _multiply),
    **dict.fromkeys(("truediv", "div", "itruediv", "divide", "true_divide"), _divide),
    **dict.fromkeys(("clamp", "clip"), _clamp),
    **dict.fromkeys(("pow", "ipow"), _power),
    "square": _always(Apply(Activation("square"))),
    "getitem": _sliced,
    **dict.fromkeys(("pad", "_pad", "constant_pad_nd"), _padded),
    "abs": _always(Apply(Activation("abs"))),
    "neg": _always(rescale(-1.0, 0.0)),
}
