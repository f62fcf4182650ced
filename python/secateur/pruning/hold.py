"""Weights that are held back, so that what an optimiser's step moves stays within its budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from secateur import bounds
from secateur.errors import SecateurError
from secateur.pruning.problem import Integers
from secateur.reading.torch import masks
from secateur.reading.torch.quantizers import LearnedGrid, settable_grid, settable_scale


@dataclass(frozen=True, eq=False)
class Hold:
    """The budget of a layer in training.

    Args:
        name: of the layer.
        layer: the module; its weights change.
        quantizer: of its weights.
        grid: what that one rounds to.
        low, high: int64 [weights of a channel], or [out, weights of a channel]; the ranges of
            their inputs.
        bits: span bits of every accumulator, 0 to 64.
    """

    name: str
    layer: Any
    quantizer: Any
    grid: LearnedGrid
    low: Integers
    high: Integers
    bits: int

    @classmethod
    def on(cls, name: str, layer: Any, low: Integers, high: Integers, bits: int) -> Hold | None:
        """Return the hold on a layer; None where its codes do not follow from its weights alone."""
        grid = settable_grid(layer)
        if grid is None:
            return None
        return cls(name, layer, layer.weight_quant.tensor_quant, grid, low, high, bits)

    @property
    def current(self) -> bool:
        """Whether the quantiser is still the one that it was."""
        quantizer = self.layer.weight_quant.tensor_quant
        device = quantizer.scaling_impl.value.device
        return quantizer is self.quantizer and device == self.grid.threshold.device

    def back(self) -> None:
        """Bring every channel back within its budget, by the least move of its weights.

        Raises:
            NotFiniteError: a weight or a scale that is NaN or infinite; names layer and channel.
        """
        weight, kept = masks.apart(self.layer)
        scale = settable_scale(self.layer, self.grid)
        rows = len(weight)
        try:
            channels, held = bounds.hold_back(
                _floats(weight).reshape(rows, -1),
                _floats(scale).reshape(-1),
                self.low,
                self.high,
                self.bits,
                (self.grid.low, self.grid.high),
                mask=None if kept is None else kept.cpu().numpy().view(bool).reshape(rows, -1),
            )
        except SecateurError as error:
            raise error.at_layer(self.name) from None
        if len(channels):
            moved = torch.from_numpy(held).to(weight).reshape(-1, *weight.shape[1:])
            weight.data[torch.from_numpy(channels).to(weight.device)] = moved


def _floats(tensor: torch.Tensor) -> Any:
    """Return a tensor as an array, float32 where it is narrower."""
    tensor = tensor.detach().cpu()
    return (tensor if tensor.dtype == torch.float64 else tensor.float()).numpy()
