"""Weights that are held back, so that what an optimiser's step moves stays within its budget."""

from __future__ import annotations

from typing import Any

import torch

from secateur.reading.torch import masks
from secateur.reading.torch.quantizers import learned_scale

#: Where a weight is held, in units of its scale beyond the code that it keeps: it rounds to it.
_EDGE = 0.49


def hold_back(layer: Any, spread: torch.Tensor, budget: float, code_range: tuple[int, int]) -> None:
    """Bring every channel of `layer` back within its budget, by the least move of its weights.

    Where codes have come to cost more than they may, the weights that have crossed from one
    code to the next by least go back across: a projection, as in projected gradient descent.

    Args:
        layer: a layer of which `settable_codes` knows the range of codes; its weights change.
        spread: float64 [out or 1, weights of a channel]; how far the input of each can differ.
        budget: what Σ |code| · spread of a channel may be.
        code_range: the least and the greatest code.
    """
    with torch.no_grad():
        weight, mask = masks.unmasked(layer), masks.on(layer)
        scale = learned_scale(layer)
        units = weight.detach() / scale
        codes = units.round().clamp_(*code_range).abs_().flatten(1)
        if mask is not None:
            codes *= mask.kept.flatten(1)
        wide = ((codes * spread).sum(1) > budget).nonzero()[:, 0]
        if not len(wide):
            return
        units, codes = units.flatten(1)[wide], codes[wide].double()
        before, reach = codes, max(-code_range[0], code_range[1])
        spread = spread.expand(len(mask.kept) if mask else len(weight), -1)[wide]
        distance = units.abs().double().clamp(max=reach) - codes + 0.5
        while (excess := (codes * spread).sum(1, keepdim=True) - budget).max() > 0:
            distance = torch.where(codes > 0, distance, torch.inf)
            order = distance.argsort(1)
            saved = torch.where(codes > 0, spread, 0.0).gather(1, order)
            enough = saved.cumsum(1) - saved >= excess.clamp(min=0)
            down = torch.zeros_like(enough).scatter(1, order, ~enough) & (codes > 0)
            codes, distance = codes - down.double(), distance + down.double()
        held = torch.where(codes < before, (codes + _EDGE).to(units).copysign(units), units)
        rows = (
            held.reshape(-1, *weight.shape[1:]) * scale.expand(len(weight), *scale.shape[1:])[wide]
        )
        weight.data[wide] = rows.to(weight.dtype)
