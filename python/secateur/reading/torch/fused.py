"""Training without a call of Python for every step of every quantiser.

Small networks spend their training in Brevitas's modules: some thirty calls for one rounding.
Where a quantiser is of the kind that `quantize` makes, one function with its own gradient does
the same: equal outputs, equal gradients but for the order of sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from torch import nn

from secateur.reading.torch.quantizers import kind_of, only_rounds


@dataclass(frozen=True, eq=False)
class _Grid:
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


class _Rounded(torch.autograd.Function):
    """Codes · scale of `x`, with the gradients of a straight-through rounding.

    Esser et al., "Learned Step Size Quantization" (ICLR 2020), for a scale learned as a logarithm.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, value: torch.Tensor, grid: _Grid) -> torch.Tensor:
        scale = grid.scale(value)
        units = x / scale
        rounded = units.round()
        codes = rounded.clamp(grid.low, grid.high)
        ctx.inside = None if grid.through else rounded == codes
        ctx.save_for_backward(units, codes, scale)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        units, codes, scale = ctx.saved_tensors
        passed = gradient if ctx.inside is None else gradient * ctx.inside
        of_value = None
        if ctx.needs_input_grad[1]:
            # d(codes · scale) / d scale is codes − units where the rounding passes gradients on.
            moved = gradient * codes - passed * units
            of_value = moved.sum_to_size(scale.shape) * (scale * math.log(2.0))
        return passed if ctx.needs_input_grad[0] else None, of_value, None


def _grid_of(quantizer: Any) -> _Grid | None:
    """Return the grid of a quantiser, or None where it is of another kind."""
    if not (only_rounds(quantizer) and kind_of(quantizer.scaling_impl) == "ParameterScaling"):
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
    return _Grid(
        int(integers.min_int(bits)),
        int(integers.max_int(bits)),
        threshold.detach(),
        float(getattr(restricted.clamp_ste, "min_val", 0.0)),
        clamp == "TensorClampSte",
    )


def _activation_forward(layer: Any) -> Callable[[Any], torch.Tensor] | None:
    if layer.return_quant_tensor or layer.input_quant.is_quant_enabled:
        return None
    proxy = layer.act_quant.fused_activation_quant_proxy
    if not layer.act_quant.is_quant_enabled or kind_of(proxy.activation_impl) != "Identity":
        return None
    grid = _grid_of(proxy.tensor_quant)
    if grid is None:
        return None

    def forward(x: Any) -> torch.Tensor:
        # Looked up in every step, since loading a state replaces the quantiser.
        scaling = layer.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl
        result: torch.Tensor = _Rounded.apply(getattr(x, "value", x), scaling.value, grid)
        return result

    return forward


def _weighted_forward(layer: Any) -> Callable[[Any], torch.Tensor] | None:
    others = (layer.input_quant, layer.output_quant, layer.bias_quant)
    if layer.return_quant_tensor or any(q.is_quant_enabled for q in others):
        return None
    if not layer.weight_quant.is_quant_enabled:
        return None
    grid = _grid_of(layer.weight_quant.tensor_quant)
    if grid is None:
        return None

    def forward(x: Any) -> torch.Tensor:
        scaling = layer.weight_quant.tensor_quant.scaling_impl
        weight = _Rounded.apply(layer.weight, scaling.value, grid)
        result: torch.Tensor = layer.inner_forward_impl(getattr(x, "value", x), weight, layer.bias)
        return result

    return forward


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Let the layers of `model` that `quantize` made compute what they compute in fewer calls.

    Layers of other kinds stay as they are.
    """
    changed = []
    for layer in model.modules():
        if isinstance(layer, QuantWeightBiasInputOutputLayer):
            forward = _weighted_forward(layer)
        elif isinstance(layer, QuantNonLinearActLayer):
            forward = _activation_forward(layer)
        else:
            continue
        if forward is not None and "forward" not in vars(layer):
            layer.forward = forward
            changed.append(layer)
    try:
        yield
    finally:
        for layer in changed:
            del layer.forward
