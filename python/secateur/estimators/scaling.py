"""Features of any unit brought to one scale, and the same scale folded into a network's input."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.errors import ArgumentError
from secateur.network import Network

#: Percentiles of a feature that become 0 and 1; what lies beyond is clipped to them.
_ENDS = (1.0, 99.0)

#: The spread of a feature that never varied: whatever comes later has the code of what was learned.
_ENDLESS = 2.0**1000


@dataclass(frozen=True, eq=False)
class Scaling:
    """x ↦ (x − low) / spread, feature by feature, clipped to between 0 and 1.

    Values that are never negative have unsigned codes, of which none is wasted. The offset
    `low` is the float value of code 0, so that it costs nothing encrypted.

    Args:
        low: float64, broadcastable to a sample.
        spread: float64, likewise; positive.
    """

    low: NDArray[np.float64]
    spread: NDArray[np.float64]

    @classmethod
    def of(cls, x: NDArray[np.float64]) -> Scaling:
        """Return the scaling that clips hardly anything of `x` [samples, ...].

        Tables are scaled column by column, images and signals as a whole. A feature that is
        the same in all samples becomes 0, and stays 0 whatever it is later.

        Raises:
            ArgumentError: the ends of a feature differ by more than float64 holds.
        """
        axis = 0 if x.ndim == 2 else None
        with np.errstate(over="ignore", invalid="ignore"):
            reach = np.ptp(x, axis=axis)
        if not np.isfinite(reach).all():
            at = int(np.flatnonzero(~np.isfinite(reach))[0])
            raise ArgumentError(
                f"feature {at} reaches over more than float64 holds; give it in another unit",
                argument="X",
                value=at,
                expected="differences within float64",
            )
        low, high = np.percentile(x, _ENDS, axis=axis)
        # A feature that is nearly always the same, such as a rare flag.
        rare = low == high
        low, high = np.where(rare, x.min(axis), low), np.where(rare, x.max(axis), high)
        return cls(low, np.where(low == high, _ENDLESS, high - low))

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return samples `x` as they are trained on; computed in float64."""
        return ((x - self.low) / self.spread).clip(0.0, 1.0).astype(np.float32)

    def folded(self, network: Network, features: tuple[str, ...] | None) -> Network:
        """Return `network`, which takes scaled samples, as one that takes samples as they are."""
        given = network.input
        scale, bias = given.scale * self.spread, self.low + given.bias * self.spread
        return replace(network, input=replace(given, scale=scale, bias=bias, features=features))


class Scaled(nn.Module):
    """A module for scaled samples, as one for samples as they are."""

    def __init__(self, scaling: Scaling, module: nn.Module) -> None:
        super().__init__()
        self.register_buffer("low", torch.as_tensor(scaling.low))
        self.register_buffer("spread", torch.as_tensor(scaling.spread))
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the module gives for samples `x` [batch, ...]."""
        scaled = ((x.double() - self.low) / self.spread).clamp(0.0, 1.0)
        result: torch.Tensor = self.module(scaled.to(next(self.module.parameters())))
        return result
