"""What the modules of torch and Brevitas do, as parts of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from brevitas.core.function_wrapper.misc import Identity as IdentityFunction
from brevitas.nn.mixin.base import QuantLayerMixin
from brevitas.nn.quant_layer import QuantInputOutputLayer, QuantNonLinearActLayer
from torch import nn

from secateur.errors import UnsupportedModuleError
from secateur.network import Activation, Shape
from secateur.reading.torch.coarse import Coarse
from secateur.reading.torch.parts import (
    Apply,
    Chances,
    Coarsen,
    Normalize,
    Part,
    PoolMax,
    PoolSum,
    Quantizer,
    Slope,
    View,
    Weigh,
    rescale,
)

#: The modules with weights; Brevitas's descend from them.
WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def unsupported(name: str, problem: str, operation: object) -> UnsupportedModuleError:
    """Return the error that refuses layer `name`."""
    return UnsupportedModuleError(
        f"layer {name!r}: {problem}",
        layer=name,
        operation=str(operation),
        supported=tuple(sorted(m.__name__ for m in _MODULES)),
    )


def module_parts(name: str, module: nn.Module, sources: list[Shape]) -> tuple[Part, ...]:
    """Return what a module does with one tensor, in order.

    Args:
        name: what its call is known by.
        module: a leaf of the traced model.
        sources: the tensor's shape, batch axis included.

    Raises:
        UnsupportedModuleError: no network has the like.
    """
    kind_name = type(module).__name__
    if isinstance(module, QuantNonLinearActLayer):
        fused = module.act_quant.fused_activation_quant_proxy
        act = module_parts(name, fused.activation_impl, sources) if fused else ()
        return (*_quantizers(module.input_quant), *act, *_quantizers(module.act_quant))
    # Brevitas's other layers requantise in ways of their own, whatever they descend from.
    if isinstance(module, QuantLayerMixin) and not isinstance(module, WEIGHTED):
        raise unsupported(name, f"no network has the module {kind_name}", kind_name)
    for kind in type(module).__mro__:
        if kind in _MODULES:
            return around(module, _MODULES[kind](name, module, sources))
    if isinstance(module, torch.jit._script.ScriptModule):
        problem = "a scripted module; give the one that torch.jit.script was called on"
        raise unsupported(name, f"{kind_name} is {problem}", kind_name)
    raise unsupported(name, f"no network has the module {kind_name}", kind_name)


def around(module: nn.Module, parts: tuple[Part, ...]) -> tuple[Part, ...]:
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
    return rescale(beta, 0.0), Apply(Activation("softplus")), rescale(1.0 / beta, 0.0)


def _prelu(name: str, module: nn.PReLU, sources: list[Shape]) -> tuple[Part, ...]:
    slopes = module.weight.detach().double().cpu().numpy()
    if slopes.size > 1:
        return (Slope(slopes.reshape(-1, *(1,) * (len(sources[0]) - 2))),)
    return (Apply(Activation("leaky_relu", {"negative_slope": float(slopes[0])})),)


def _softmax(name: str, module: Any, sources: list[Shape]) -> tuple[Part, ...]:
    if len(sources[0]) != 2 or module.dim not in (1, -1):
        raise unsupported(name, "a softmax is understood over the classes at the end", "Softmax")
    return (Chances("softmax"),)


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
    Coarse: lambda name, module, sources: (Coarsen(module),),
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
    nn.Softmax: _softmax,
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
