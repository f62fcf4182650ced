"""Masks on the weights of layers in training, as torch's own parametrizations."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize, prune


@dataclass
class Progress:
    """How far the pruning of a model has come; numbers of the host, kept with its state.

    Args:
        steps: of training, so far.
        complete: whether the masks of the moment are those of the full target.
        selected_at: the step of the last selection.
    """

    steps: int = 0
    complete: bool = False
    selected_at: int = 0


class WeightMask(nn.Module):
    """A weight whose removed elements are 0, and that trains whole.

    The gradient is that of the pruned model, the weights it moves are all of them: Lin et al.,
    "Dynamic Model Pruning with Feedback" (ICLR 2020), equation 3. A removed weight can so earn
    its way back.

    Args:
        kept: bool, shaped like the weight; True = kept. The buffer of that name is the mask of
            the moment; `selected` is what the last selection kept, which holds it or more. They
            are uint8, since not every backend of torch.distributed sends bools.
        progress: of the model, shared by all masks on it.
    """

    kept: torch.Tensor
    selected: torch.Tensor

    def __init__(self, kept: torch.Tensor, progress: Progress) -> None:
        super().__init__()
        self.progress = progress
        self.register_buffer("kept", kept.to(torch.uint8))
        self.register_buffer("selected", kept.to(torch.uint8))

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        masked: torch.Tensor = _Kept.apply(weight, self.kept)
        return masked

    def get_extra_state(self) -> torch.Tensor:
        return torch.tensor([*map(int, astuple(self.progress))])

    def set_extra_state(self, state: torch.Tensor) -> None:
        steps, complete, selected_at = state.tolist()
        vars(self.progress).update(vars(Progress(steps, bool(complete), selected_at)))


class _Kept(torch.autograd.Function):
    """weight · mask, whose gradient is that of the weight as if nothing had been removed."""

    @staticmethod
    def forward(ctx: Any, weight: torch.Tensor, kept: torch.Tensor) -> torch.Tensor:
        return weight * kept

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> Any:
        return gradient, None


def put_on(layer: Any, progress: Progress) -> WeightMask:
    """Put a mask on the weight of a layer, and return it; one that it bears already stays.

    The mask is one of those that share `progress` from now on. What a mask of
    torch.nn.utils.prune has removed from the weight stays removed, under this one.
    """
    mask = on(layer)
    if mask is None:
        kept = torch.ones_like(layer.weight, dtype=torch.bool)
        if hasattr(layer, "weight_mask"):
            kept = layer.weight_mask.bool()
            prune.remove(layer, "weight")  # type: ignore[no-untyped-call]
        mask = WeightMask(kept, progress)
        parametrize.register_parametrization(layer, "weight", mask)
    mask.progress = progress
    return mask


def on(layer: Any) -> WeightMask | None:
    """Return the mask on the weight of a layer; None where there is none."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    masks = (p for p in layer.parametrizations.weight if isinstance(p, WeightMask))
    return next(masks, None)


def unmasked(layer: Any) -> torch.Tensor:
    """Return the weight of a layer as it trains, what its mask removes included."""
    if on(layer) is None:
        return layer.weight
    return layer.parametrizations.weight.original


def apart(layer: Any) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return the weight of a layer as it trains, and what its mask keeps of it.

    Whatever else lies over the weight is part of it, and the mask then None. Asked in every
    step of training, this goes by the modules' own dictionaries.
    """
    registered = layer._modules.get("parametrizations")
    listed = None if registered is None else registered._modules.get("weight")
    if listed is not None and len(listed._modules) == 1:
        (mask,) = listed._modules.values()
        if isinstance(mask, WeightMask):
            return listed.original, mask._buffers["kept"]
    return layer.weight, None


def take_off(layer: Any) -> None:
    """Take the mask off a layer, whose weight is then what it has trained to."""
    # Copies of a layer share the class that torch has made for it, and torch changes that class.
    shared = type(layer)
    own = {k: v for k, v in vars(shared).items() if k not in ("__dict__", "__weakref__")}
    layer.__class__ = type(shared.__name__, shared.__bases__, own)
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
