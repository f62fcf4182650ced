"""Coarse accumulators: what a table knows that reads the upper bits of an accumulator alone."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from secateur.reading.torch.quantizers import (
    activation_rounding,
    kind_of,
    quantized_tensor,
    settable_grid,
    settable_scale,
)

#: Standard deviation of the noise of an approximate rounding, in blocks: at a p_error of 2^-40
#: half a block is 7.1 of it, and the backend's parameters come near that.
_NOISE = 1 / 14


class Coarse(nn.Module):
    """The floats of a layer, as if the accumulator had lost its lowest bits.

    An accumulator v becomes the middle of its block: [k · 2^r − c, (k + 1) · 2^r − c) with r
    dropped bits. The offset c of each channel follows the layer's bias, so that training moves
    it; where the accumulator leaves no room for that, the first block begins at its least value,
    so that v + c never needs more than its `accumulator_bits`. The gradient passes straight
    through.

    Args:
        name: the layer's name, for messages.
        layer: a Brevitas layer with weights.
        proxy: the activation quantiser that it reads.
        bits: how many bits are dropped.
        accumulator_bits: span bits that the accumulator is pruned to.
        about: whether half a block is to stay free at both ends, for bits dropped approximately.
    """

    def __init__(
        self,
        name: str,
        layer: nn.Module,
        proxy: nn.Module,
        bits: int,
        accumulator_bits: int,
        about: bool = False,
    ) -> None:
        super().__init__()
        # Not as modules of its own, which would have their state stored twice.
        self._layer, self._proxy = (layer,), (proxy,)
        self.name = name
        with torch.no_grad():
            self.grid = activation_rounding(name, proxy)
        self.bits, self.accumulator_bits, self.about = bits, accumulator_bits, about

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        """Return `y` [batch, channels, ...], each value at the middle of its block."""
        column = (-1, *(1,) * (y.ndim - 2))
        with torch.no_grad():
            scale, bias, offset = (side.reshape(column) for side in self.units())
            block = 2.0**self.bits
            accumulators = torch.round((y - bias) / scale) + offset
            if self.about and self.training:
                # Integers lie amid their values, so that neither side of a step is likelier.
                accumulators += 0.5 + torch.randn_like(accumulators) * (block * _NOISE)
            blocks = torch.floor(accumulators / block)
            middle = blocks * block + (block - 1) / 2 - offset
            coarse = middle * scale + bias
        return y + (coarse - y).detach()

    def units(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return scale and bias of the accumulators, and the whole offset c, [channels] each."""
        layer: Any = self._layer[0]
        codes, weight_scale = self._codes(layer)
        bias = codes.new_zeros(len(codes)) if layer.bias is None else layer.bias.detach()
        scale = (weight_scale.reshape(-1) * _scale(self._proxy[0])).expand_as(bias)
        rows = codes.flatten(1)
        low = torch.minimum(rows * self.grid.low, rows * self.grid.high).sum(1)
        span = rows.abs().sum(1) * self.grid.codomain.span
        block = 2.0**self.bits
        free = block / 2 if self.about else 0.0
        room = (2.0**self.accumulator_bits - 1 - 2 * free - span).clamp(min=0)
        into_block = torch.remainder(torch.round(bias / scale) + low - free, block)
        return scale, bias, free + torch.minimum(into_block, room) - low

    def _codes(self, layer: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the codes of the moment, whole floats shaped like the weight, and their scales."""
        if (grid := settable_grid(layer)) is not None:
            scale = settable_scale(layer, grid)
            return (layer.weight / scale).round().clamp(grid.low, grid.high), scale
        quantized = quantized_tensor(self.name, layer, self.grid)
        return (quantized.value / quantized.scale).round(), quantized.scale

    def extra_repr(self) -> str:
        """What `print(model)` shows."""
        about = ", about=True" if self.about else ""
        return f"bits={self.bits}, accumulator_bits={self.accumulator_bits}{about}"


def _scale(proxy: Any) -> torch.Tensor:
    """Return the scale of an activation quantiser, without quantising anything where it can."""
    quantizer = proxy.fused_activation_quant_proxy.tensor_quant
    if kind_of(getattr(quantizer, "scaling_impl", None)) == "ParameterScaling":
        bits = quantizer.msb_clamp_bit_width_impl()
        unused = bits.new_zeros(1)
        scale: torch.Tensor = quantizer.scaling_impl(unused, quantizer.int_scaling_impl(bits))
        return scale.detach()
    return torch.as_tensor(proxy.scale()).detach()
