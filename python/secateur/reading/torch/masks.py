"""Masks on the weights of layers in training, as torch's own parametrizations."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune


class Mask(nn.Module):
    """A weight whose removed elements are 0, and that trains whole.

    The gradient is that of the pruned model, the weights it moves are all of them: Lin et al.,
    "Dynamic Model Pruning with Feedback" (ICLR 2020), equation 3. A removed weight can so earn
    its way back.

    Args:
        kept: bool, shaped like the weight; True = kept.
    """

    kept: torch.Tensor
    selected: torch.Tensor

    def __init__(self, kept: torch.Tensor) -> None:
        super().__init__()
        #: What is kept at the moment; and what the last selection kept, which holds it or more.
        self.register_buffer("kept", kept.clone())
        self.register_buffer("selected", kept.clone())

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight - weight.detach().masked_fill(self.kept, 0.0)


def put_on(layer: nn.Module) -> Mask:
    """Put a mask on the weight of a layer, and return it; that of another layer stays.

    What a mask of torch.nn.utils.prune has removed from it stays removed, under this one.
    """
    mask = on(layer)
    if mask is None:
        kept = torch.ones_like(layer.weight, dtype=torch.bool)
        if hasattr(layer, "weight_mask"):
            kept = layer.weight_mask.bool()
            prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        mask = Mask(kept)
        parametrize.register_parametrization(layer, "weight", mask)
    return mask


def on(layer: Any) -> Mask | None:
    """Return the mask on the weight of a layer; None where there is none."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    masks = (p for p in layer.parametrizations.weight if isinstance(p, Mask))
    return next(masks, None)


def unmasked(layer: Any) -> torch.Tensor:
    """Return the weight of a layer as it trains, what its mask removes included."""
    weight: torch.Tensor = layer.weight if on(layer) is None else layer.parametrizations.weight.original
    return weight


def take_off(layer: nn.Module) -> None:
    """Take the mask off a layer, whose weight is then what it has trained to."""
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
