"""Training without a call of Python for every step of every quantiser.

Small networks spend their training in Brevitas's modules: some thirty calls for one rounding.
Where a quantiser is of the kind that `quantize` makes, one function with its own gradient does
the same: equal outputs, equal gradients but for the order of sums.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer, QuantWeightBiasInputOutputLayer
from torch import nn

from secateur.reading.torch import masks
from secateur.reading.torch.quantizers import LearnedGrid, kind_of, learned_grid


class _Rounded(torch.autograd.Function):
    """Codes · scale of `x` under a mask, with the gradients of a straight-through rounding.

    What the mask removes has the gradient that it would have if it were 0 by itself.

    Esser et al., "Learned Step Size Quantization" (ICLR 2020), for a scale learned as a logarithm.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        kept: torch.Tensor | None,
        value: torch.Tensor,
        grid: LearnedGrid,
    ) -> torch.Tensor:
        scale = grid.scale(value)
        units = x / scale
        if kept is not None:
            units.mul_(kept)
        rounded = units.round()
        codes = rounded.clamp(grid.low, grid.high)
        # As bytes: torch multiplies by those several times faster than by bools.
        ctx.inside = None if grid.through else (rounded == codes).view(torch.uint8)
        ctx.save_for_backward(units, codes, scale)
        return codes * scale

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        units, codes, scale = ctx.saved_tensors
        passed = gradient if ctx.inside is None else gradient * ctx.inside
        of_value = None
        if ctx.needs_input_grad[2]:
            # d(codes · scale) / d scale is codes − units where the rounding passes gradients on.
            moved = torch.mul(gradient, codes).addcmul_(passed, units, value=-1.0)
            of_value = moved.sum_to_size(scale.shape) * (scale * math.log(2.0))
        return passed if ctx.needs_input_grad[0] else None, None, of_value, None


def _activation_forward(layer: Any) -> Callable[[Any], torch.Tensor] | None:
    if layer.return_quant_tensor or layer.input_quant.is_quant_enabled:
        return None
    proxy = layer.act_quant.fused_activation_quant_proxy
    if not layer.act_quant.is_quant_enabled or kind_of(proxy.activation_impl) != "Identity":
        return None
    grid = learned_grid(proxy.tensor_quant)
    if grid is None:
        return None

    def forward(x: Any) -> torch.Tensor:
        # Looked up in every step, since loading a state replaces the quantiser.
        scaling = layer.act_quant.fused_activation_quant_proxy.tensor_quant.scaling_impl
        result: torch.Tensor = _Rounded.apply(getattr(x, "value", x), None, scaling.value, grid)
        return result

    return forward


def _weighted_forward(layer: Any) -> Callable[[Any], torch.Tensor] | None:
    others = (layer.input_quant, layer.output_quant, layer.bias_quant)
    if layer.return_quant_tensor or any(q.is_quant_enabled for q in others):
        return None
    if not layer.weight_quant.is_quant_enabled:
        return None
    grid = learned_grid(layer.weight_quant.tensor_quant)
    if grid is None:
        return None

    def forward(x: Any) -> torch.Tensor:
        scaling = layer.weight_quant.tensor_quant.scaling_impl
        weight = _Rounded.apply(*masks.apart(layer), scaling.value, grid)
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
