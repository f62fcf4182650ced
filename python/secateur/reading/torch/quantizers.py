"""Brevitas quantisers: how ours are made, and what any of them amounts to in integers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.inject.enum import RestrictValueType, ScalingImplType
from brevitas.quant import (
    Int8ActPerTensorFloatMinMaxInit,
    Int8WeightPerChannelFloat,
    Uint8ActPerTensorFloatMaxInit,
)
from brevitas.quant_tensor import IntQuantTensor
from numpy.typing import NDArray
from torch import nn

from secateur.errors import NotFiniteError, UnsupportedModuleError
from secateur.network import Quantize
from secateur.reading.torch import masks

#: Scales are learned as logarithms, so that one learning rate suits every magnitude.
_LEARNED_SCALE = {
    "scaling_impl_type": ScalingImplType.PARAMETER,
    "restrict_scaling_type": RestrictValueType.LOG_FP,
}
_LAYERS = {
    nn.Linear: qnn.QuantLinear,
    nn.Conv1d: qnn.QuantConv1d,
    nn.Conv2d: qnn.QuantConv2d,
    nn.Conv3d: qnn.QuantConv3d,
}
_CANDIDATES = 64
#: Every so manieth is tried first, then the neighbours of the best.
_STRIDE = 4
#: What is not above it in magnitude says nothing of a scale.
_DEAD = 1e-12
#: Codes around which a quantiser is tried out.
_PROBES = 257


def weight_options(scale: torch.Tensor, bits: int) -> dict[str, Any]:
    """Return the options of a layer whose codes are weight / scale, in `bits` bits.

    Codes are symmetric, [−(2^(b−1) − 1), 2^(b−1) − 1]; at one bit, where that would leave
    nothing but 0, they are {−1, 0}.

    Args:
        scale: positive [out, 1, ...]; where the learned scale of each channel starts.
        bits: 1 to 16.
    """
    narrow = bits > 1
    greatest = 2 ** (bits - 1) - narrow
    options = {"bit_width": bits, "narrow_range": narrow, "scaling_init": scale * greatest}
    options |= {**_LEARNED_SCALE, "quant": Int8WeightPerChannelFloat}
    return {f"weight_{key}": value for key, value in options.items()}


def quantized_layer(layer: Any, bits: int) -> nn.Module:
    """Return the Brevitas layer with the weights and bias of a Linear or Conv."""
    kind = next(k for k in type(layer).__mro__ if k in _LAYERS)
    scale = weight_scale(layer.weight.detach(), bits)
    options = weight_options(scale, bits) | {"bias": layer.bias is not None}
    if kind is nn.Linear:
        shape: tuple[Any, ...] = (layer.in_features, layer.out_features)
    else:
        shape = (layer.in_channels, layer.out_channels, layer.kernel_size)
        options |= {k: getattr(layer, k) for k in ("stride", "padding", "dilation", "groups")}
    quantized: nn.Module = _LAYERS[kind](*shape, **options)
    with torch.no_grad():
        quantized.weight.copy_(layer.weight)
        if layer.bias is not None:
            quantized.bias.copy_(layer.bias)
    return quantized.to(layer.weight.device, layer.weight.dtype)


def weight_scale(weight: torch.Tensor, bits: int) -> torch.Tensor:
    """Return the scale of each output channel with the least squared error, [out, 1, ...]."""
    scale = _least_error_scale(weight.flatten(1), *_code_range(bits, True, bits > 1))
    return scale.reshape(-1, *(1,) * (weight.ndim - 1))


def activation_quantizer(samples: torch.Tensor, bits: int, signed: bool) -> qnn.QuantIdentity:
    """Return a quantiser whose learned scale starts at the least squared error on `samples`.

    Unsigned codes are [0, 2^b − 1], signed ones [−2^(b−1), 2^(b−1) − 1]; the zero point is 0.
    """
    low, high = _code_range(bits, signed, narrow=False)
    scale = _least_error_scale(samples.reshape(1, -1), low, high)[0]
    if is_dead(samples):
        scale = torch.ones_like(scale) / max(-low, high)
    kind = Int8ActPerTensorFloatMinMaxInit if signed else Uint8ActPerTensorFloatMaxInit
    threshold = float(scale) * (-low if signed else high)
    quantizer = qnn.QuantIdentity(
        act_quant=kind, bit_width=bits, scaling_init=threshold, **_LEARNED_SCALE
    )
    return quantizer.to(samples)


def is_dead(samples: torch.Tensor) -> bool:
    """Whether values are so near to 0, all of them, that no scale can be learned from there."""
    return float(samples.abs().max()) < _DEAD


def _least_error_scale(rows: torch.Tensor, low: int, high: int) -> torch.Tensor:
    """Return, per row of `rows`, the scale whose grid of codes is nearest in the mean square."""
    reach = max(-low, high)
    widest = (rows.abs().amax(1) / reach).clamp_min(torch.finfo(rows.dtype).tiny * 2**20)
    coarse = (torch.full_like(widest, float(k)) for k in range(0, _CANDIDATES, _STRIDE))
    found = _best(coarse, rows, widest, low, high)
    near = (torch.add(found, k) for k in range(1 - _STRIDE, _STRIDE))
    fine = (torch.clamp(candidate, 0, _CANDIDATES - 1) for candidate in near)
    found = _best(fine, rows, widest, low, high)
    return widest.mul(1 - found / _CANDIDATES)


def _best(
    candidates: Iterable[torch.Tensor],
    rows: torch.Tensor,
    widest: torch.Tensor,
    low: int,
    high: int,
) -> torch.Tensor:
    """Return, per row, the first candidate of least error: by how many parts `widest` shrinks."""
    best: torch.Tensor = torch.zeros_like(widest)
    least = torch.full_like(widest, torch.inf)
    work = torch.empty_like(rows)
    for candidate in candidates:
        scale = widest.mul(1 - candidate / _CANDIDATES)[:, None]
        torch.div(rows, scale, out=work).round_().clamp_(low, high).mul_(scale).sub_(rows)
        error = work.square_().sum(1)
        best, least = torch.where(error < least, candidate, best), torch.minimum(error, least)
    return best


_BINARY = ("BinaryQuant", "ClampedBinaryQuant")
#: Brevitas's way to whole numbers → the rounding of a grid.
_ROUNDINGS = {
    "RoundSte": "half_even",
    "FloorSte": "floor",
    "CeilSte": "ceil",
    "RoundToZeroSte": "down",
}


def activation_rounding(name: str, proxy: Any) -> Quantize:
    """Return what an activation quantiser does, as codes centred on its zero point.

    Raises:
        UnsupportedModuleError: it is no integer quantiser with one scale for the tensor, or does
            something else than rounding to that grid and clipping.
        NotFiniteError: its scale is NaN, infinite or not above 0.
    """
    try:
        scale, zero_point, bits = proxy.scale(), proxy.zero_point(), proxy.bit_width()
        scale, zero, width = float(scale), int(zero_point), int(bits)
        rounding = _rounding_of(proxy.fused_activation_quant_proxy.tensor_quant)
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise UnsupportedModuleError(
            f"layer {name!r}: its activation quantiser has no single integer grid ({error}); "
            "a table needs one scale, zero point and bit width for the whole tensor",
            layer=name,
            operation=type(proxy).__name__,
        ) from error
    if not 0 < scale < math.inf:
        raise NotFiniteError(
            f"layer {name!r}: the scale of its activation quantiser is {scale}, expected a finite "
            "number above 0; train again with a smaller learning rate",
            argument="scale",
            layer=name,
        )
    if rounding == "sign":
        grid = Quantize(scale, -1, 1, rounding)
    else:
        low, high = _code_range(width, proxy.is_signed, bool(proxy.is_narrow_range))
        grid = Quantize(scale, low - zero, high - zero, rounding, zero)
    _check_grid(name, proxy, grid)
    return grid


def _rounding_of(quantizer: Any) -> str:
    """Return how a tensor quantiser comes to whole numbers, a name of `Quantize`'s roundings."""
    kind = kind_of(quantizer)
    if kind in _BINARY:
        return "sign"
    if kind != "RescalingIntQuant" or kind_of(quantizer.int_quant) != "IntQuant":
        raise TypeError(f"it is a {kind}")
    way = kind_of(quantizer.int_quant.float_to_int_impl)
    if way not in _ROUNDINGS:
        raise TypeError(f"it rounds by {way}, known are {', '.join(_ROUNDINGS)}")
    return _ROUNDINGS[way]


def kind_of(module: Any) -> str:
    """Return the class name of a module, of a scripted one the name before."""
    return str(getattr(module, "original_name", type(module).__name__))


def _check_grid(name: str, proxy: Any, grid: Quantize) -> None:
    """Raise unless a quantiser puts values between and beyond its codes on `grid`."""
    known = np.unique(np.linspace(grid.low - 2, grid.high + 2, _PROBES).round())
    # Away from ties and whole numbers, which float32 may push across.
    units = np.concatenate([known + shift for shift in (-0.4, -0.2, 0.2, 0.4)])
    scale: torch.Tensor = proxy.scale()
    values = torch.as_tensor(units).to(scale) * scale
    with torch.no_grad():
        # Beside the batch axis, one value each, as the quantiser of a tensor may be asked.
        found = proxy.fused_activation_quant_proxy.tensor_quant(values[:, None])[0][:, 0]
    expected = grid.codes(values.double().cpu().numpy())
    wrong = np.abs(found.double().cpu().numpy() / grid.scale - expected) > 0.01
    if wrong.any():
        at = int(wrong.argmax())
        raise UnsupportedModuleError(
            f"layer {name!r}: its activation quantiser gives {float(found[at])} for "
            f"{float(values[at])}, and {expected[at]} · {grid.scale} was expected; a table needs "
            "rounding to the codes of one grid, clipped to their range, and nothing else",
            layer=name,
            operation=type(proxy).__name__,
        )


def quantized_weight(
    name: str, layer: Any, source: Quantize
) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Return codes and scales of a Brevitas layer that reads codes of `source`.

    Returns:
        The codes, int8 (a wider type where 8 bits do not do), shaped like the weight and
        centred on the zero point; the scale of each output channel, float64 [out] or [1].

    Raises:
        UnsupportedModuleError: the layer is not quantised, or not per tensor or output channel.
    """
    quantized = quantized_tensor(name, layer, source)
    scale: NDArray[np.float64] = quantized.scale.double().cpu().numpy().reshape(-1)
    return _integers(_rounded(quantized)), scale


def codes_if_kept(name: str, layer: Any, source: Quantize) -> NDArray[Any]:
    """Return the codes of a masked layer, those that its mask removes as if they came back.

    A weight that comes back is rounded at the scale of the moment and clipped to its range.

    Args:
        name, layer, source: as in `quantized_weight`; `layer` bears a mask.

    Returns:
        Integers shaped like the weight, in the type that `quantized_weight` gives.

    Raises:
        UnsupportedModuleError: a binary quantiser, which has no code for a removed weight.
    """
    quantizer = layer.weight_quant.tensor_quant
    if kind_of(quantizer) in _BINARY:
        raise UnsupportedModuleError(
            f"layer {name!r}: its weights are −1 or 1, so that none can be removed; give it a "
            "weight quantiser that has a 0",
            layer=name,
            operation=kind_of(quantizer),
        )
    with torch.no_grad():
        if only_rounds(quantizer):
            # Kept weights are no exception then, and need not go through the quantiser.
            bits, scale = quantizer.msb_clamp_bit_width_impl(), _learned_scale(layer)
            fixed = kind_of(quantizer.zero_point_impl) == "ZeroZeroPoint"
            weight = masks.unmasked(layer) if fixed else layer.weight
            zero = quantizer.zero_point_impl(weight, scale, bits)
            return _integers(_back(name, layer, scale, zero, bits))
        quantized = quantized_tensor(name, layer, source)
        back = _back(name, layer, quantized.scale, quantized.zero_point, quantized.bit_width)
        mask = masks.on(layer)
        kept = _rounded(quantized)
        return _integers(kept if mask is None else torch.where(mask.kept.bool(), kept, back))


def _learned_scale(layer: Any) -> torch.Tensor:
    """Return the scales of a layer whose quantiser only rounds, without quantising its weight."""
    quantizer = layer.weight_quant.tensor_quant
    learned = kind_of(quantizer.scaling_impl) == "ParameterScaling"
    # A masked weight is computed whenever it is asked for.
    scale: torch.Tensor = quantizer.scaling_impl(
        masks.unmasked(layer) if learned else layer.weight,
        quantizer.int_scaling_impl(quantizer.msb_clamp_bit_width_impl()),
    )
    return scale.detach()


def only_rounds(quantizer: Any) -> bool:
    """Return whether a weight quantiser divides by its scale, rounds to even and clips."""
    return (
        kind_of(quantizer) == "RescalingIntQuant"
        and kind_of(quantizer.int_quant) == "IntQuant"
        and kind_of(quantizer.int_quant.float_to_int_impl) == "RoundSte"
    )


def _back(
    name: str, layer: Any, scale: torch.Tensor, zero_point: torch.Tensor, bits: torch.Tensor
) -> torch.Tensor:
    """Return the codes of all weights of a layer, masked or not, as whole floats."""
    quant = layer.weight_quant
    low, high = _code_range(int(bits), bool(quant.is_signed), bool(quant.is_narrow_range))
    units = masks.unmasked(layer).detach() / scale
    check_finite(name, "weight", units)
    # In Brevitas's order, which makes its codes to the last tie.
    return units.add_(zero_point).round_().clamp_(low, high).sub_(zero_point)


@dataclass(frozen=True, eq=False)
class LearnedGrid:
    """The codes of a quantiser whose scale is learned as a logarithm.

    Args:
        low, high: the least and the greatest code.
        threshold: what the learned value, no logarithm any more, is divided by.
        least: what it is at least.
        through: whether gradients pass where values are clipped.
    """

    low: int
    high: int
    threshold: torch.Tensor
    least: float
    through: bool

    def scale(self, value: torch.Tensor) -> torch.Tensor:
        """Return the scales, shaped like the learned `value`."""
        return torch.pow(2.0, value).clamp_min_(self.least) / self.threshold


def learned_grid(quantizer: Any) -> LearnedGrid | None:
    """Return the grid of a quantiser that only rounds; None where it is of another kind."""
    if not (only_rounds(quantizer) and kind_of(quantizer.scaling_impl) == "ParameterScaling"):
        return None
    if kind_of(quantizer.zero_point_impl) != "ZeroZeroPoint":
        return None
    scaling = quantizer.scaling_impl
    restricted = scaling.restrict_clamp_scaling
    if kind_of(restricted.restrict_value_impl) != "LogFloatRestrictValue":
        return None
    integers = quantizer.int_quant
    clamp = kind_of(integers.tensor_clamp_impl)
    if clamp not in ("TensorClamp", "TensorClampSte"):
        return None
    bits = quantizer.msb_clamp_bit_width_impl()
    threshold = scaling.restrict_clamp_threshold(
        scaling.restrict_threshold_pre(quantizer.int_scaling_impl(bits))
    )
    return LearnedGrid(
        int(integers.min_int(bits)),
        int(integers.max_int(bits)),
        threshold.detach(),
        float(getattr(restricted.clamp_ste, "min_val", 0.0)),
        clamp == "TensorClampSte",
    )


#: Quantiser → what its grid was derived from, and the grid: asked for in every selection, and
#: some thirty calls of Brevitas.
_GRIDS: WeakKeyDictionary[nn.Module, tuple[object, LearnedGrid]] = WeakKeyDictionary()


def settable_grid(layer: Any) -> LearnedGrid | None:
    """Return the grid of the weights of a layer whose scales `set_scales` can set.

    None for every other: its scales follow from statistics or from further parameters, are
    not learned as logarithms, or are not one for each output channel.
    """
    quantizer = layer.weight_quant.tensor_quant
    value = getattr(quantizer.scaling_impl, "value", None)
    if value is None:
        return None
    origin = value.device, value.dtype, float(quantizer.msb_clamp_bit_width_impl())
    known, grid = _GRIDS.get(quantizer, (None, None))
    if grid is not None and known == origin:
        return grid
    grid = learned_grid(quantizer)
    # A masked weight is computed whenever it is asked for.
    if grid is None or quantizer.scaling_impl.value.numel() != len(masks.unmasked(layer)):
        return None
    _GRIDS[quantizer] = origin, grid
    return grid


def settable_scale(layer: Any, grid: LearnedGrid) -> torch.Tensor:
    """Return the scales of a layer of which `settable_grid` knows the grid."""
    return grid.scale(layer.weight_quant.tensor_quant.scaling_impl.value.detach())


def codes_on(name: str, layer: Any, grid: LearnedGrid, scale: torch.Tensor) -> NDArray[Any]:
    """Return what `codes_if_kept` does, of a layer of which `settable_grid` knows the grid."""
    units = masks.unmasked(layer).detach() / scale
    check_finite(name, "weight", units)
    return _integers(units.round_().clamp_(grid.low, grid.high))


def set_scales(layer: Any, scales: NDArray[np.float64]) -> None:
    """Give every output channel of a layer of which `settable_grid` knows the grid a scale.

    Args:
        layer: a Brevitas layer.
        scales: positive [out].
    """
    value = layer.weight_quant.tensor_quant.scaling_impl.value
    with torch.no_grad():
        grid = settable_grid(layer)
        assert grid is not None
        now = settable_scale(layer, grid)
        # A selection may come between forward and backward, whose graph holds the value.
        value.data.add_((torch.as_tensor(scales).to(value).reshape(now.shape) / now).log2_())


def fix_codes(layer: Any, codes: NDArray[Any], scale: torch.Tensor) -> None:
    """Make `codes` the weight of a layer without mask; neither they nor their scales move again.

    Args:
        layer: a Brevitas layer; its weight and its weight quantiser are replaced.
        codes: integers shaped like the weight.
        scale: positive, [out, 1, ...] or of one element.
    """
    with torch.no_grad():
        exact = torch.as_tensor(codes).to(layer.weight) * scale
    bits = max(int(layer.weight_quant.bit_width()), int(np.abs(codes).max()).bit_length() + 1)
    column = (-1, *(1,) * (codes.ndim - 1))
    options = weight_options(scale.reshape(column).expand(len(codes), *column[1:]), bits)
    injector = options.pop("weight_quant").let(
        **{key.removeprefix("weight_"): value for key, value in options.items()}
    )
    layer.weight.data = exact
    # Without the gradient, too: optimisers with momentum would go on moving it.
    layer.weight.requires_grad_(False).grad = None
    layer.weight_quant = injector.proxy_class(layer, injector).to(exact.device)
    layer.weight_quant.requires_grad_(False)


def _rounded(quantized: Any) -> torch.Tensor:
    """Return the whole floats that a quantised weight is in units of its scale."""
    codes: torch.Tensor = (quantized.value / quantized.scale).round_()
    return codes


def quantized_tensor(name: str, layer: Any, source: Quantize) -> Any:
    """Return the quantised weight of a layer, for inputs on the grid of `source`."""
    if not getattr(getattr(layer, "weight_quant", None), "is_quant_enabled", False):
        raise UnsupportedModuleError(
            f"layer {name!r}: {type(layer).__name__} has float weights; secateur.quantize "
            "makes them codes, or use Brevitas's layers throughout",
            layer=name,
            operation=type(layer).__name__,
        )
    with torch.no_grad():
        quantized = layer.quant_weight(_example(layer, source))
    check_finite(name, "weight", quantized.value)
    scale = quantized.scale
    check_finite(name, "weight scale", scale.reshape(-1))
    if scale.numel() not in (1, scale.shape[0] if scale.ndim else 1):
        raise UnsupportedModuleError(
            f"layer {name!r}: weight scales of shape {tuple(scale.shape)}; an accumulator needs "
            "one scale for the tensor or one for each output channel",
            layer=name,
            operation=type(layer).__name__,
        )
    off = (quantized.value / scale - _rounded(quantized)).abs().max()
    if float(off) > 0.01:
        raise UnsupportedModuleError(
            f"layer {name!r}: its weights are no multiples of their scale ({float(off):.3f} of a "
            "step off); give it an integer quantiser",
            layer=name,
            operation=type(layer).__name__,
        )
    return quantized


def _code_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the least and the greatest code of a quantiser."""
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


def _integers(codes: torch.Tensor) -> NDArray[Any]:
    """Return whole floats in the smallest signed integer type that holds them."""
    ends = codes.aminmax() if codes.numel() else (0.0, 0.0)
    reach = max(-float(ends[0]), float(ends[1]))
    kinds = (torch.int8, torch.int16, torch.int32, torch.int64)
    kind = next(k for k in kinds if reach <= torch.iinfo(k).max)
    integers: NDArray[Any] = codes.to(kind).cpu().numpy()
    return integers


def check_finite(layer: str, argument: str, values: torch.Tensor) -> None:
    """Raise NotFiniteError unless `values` [channels, ...] of a layer are finite."""
    if torch.isfinite(values.sum()):
        return
    wrong = ~torch.isfinite(values)
    # A sum of finite values can overflow.
    if wrong.any():
        channel = int(wrong.nonzero()[0, 0])
        raise NotFiniteError(
            f"layer {layer!r}, channel {channel}: its {argument} holds NaN or infinity; "
            "train again with a smaller learning rate",
            argument=argument,
            layer=layer,
            channel=channel,
        )


def quantized_bias(name: str, layer: Any, source: Quantize) -> NDArray[np.float64] | None:
    """Return the bias that a Brevitas layer adds for codes of `source`, float64 [out]."""
    if layer.bias is None:
        return None
    with torch.no_grad():
        bias = layer.bias
        if layer.bias_quant.is_quant_enabled:
            example = _example(layer, source)
            bias = layer.bias_quant(bias, example, layer.quant_weight(example)).value
    check_finite(name, "bias", bias)
    values: NDArray[np.float64] = bias.double().cpu().numpy()
    return values


def _example(layer: Any, source: Quantize) -> IntQuantTensor:
    """Return an input of one zero; some Brevitas quantisers ask their input for its grid."""
    signed = source.low < 0
    bits = source.codomain.bits()
    like = {"dtype": layer.weight.dtype, "device": layer.weight.device}
    zero = torch.zeros((1,) * layer.weight.ndim, **like)
    scale, zero_point, width = (torch.tensor(float(v), **like) for v in (source.scale, 0, bits))
    return IntQuantTensor(zero, scale, zero_point, width, signed, False)
