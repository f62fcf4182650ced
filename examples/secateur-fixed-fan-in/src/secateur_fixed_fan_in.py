"""Fixed fan-in: every output channel keeps the same number of weights.

Hardware likes neurons that all read equally many inputs. Where a width is given as well, a
channel keeps fewer: its best weights, in order, as long as their worst case fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from secateur import hookimpl
from secateur.pruning import Saliency


@dataclass(frozen=True)
class FixedFanIn:
    """Keeps the same number of weights in every output channel."""

    name: ClassVar[str] = "fixed-fan-in"

    fan_in: int = field(default=8, metadata={"doc": "weights kept per output channel, from 0"})
    bits: int | None = field(
        default=None, metadata={"doc": "span bits that every accumulator fits; None = any"}
    )
    saliency: str | Saliency = field(
        default="magnitude", metadata={"doc": "the score by which weights are compared"}
    )

    def __post_init__(self):
        if self.fan_in < 0:
            raise ValueError(f"fan_in is {self.fan_in}, expected at least 0")
        if self.bits is not None and not 1 <= self.bits <= 63:
            raise ValueError(f"bits is {self.bits}, expected 1 to 63")

    def masks(self, problem):
        """Return {layer name: mask}, the best `fan_in` weights of every row that fit."""
        scores = problem.saliency(self.saliency)
        return {layer.name: self._keep(layer, scores[layer.name]) for layer in problem.layers}

    def widths(self, problem):
        """Return what the host is to prove: that the layers fit the width, if there is one."""
        return {} if self.bits is None else {layer.name: self.bits for layer in problem.layers}

    def toward(self, fraction, problem):
        """Return a strategy that keeps more: all of the longest row at 0, `fan_in` at 1."""
        if fraction == 1.0:
            return self
        longest = max(layer.mask[0].size for layer in problem.layers)
        more = round((1.0 - fraction) * max(0, longest - self.fan_in))
        return replace(self, fan_in=self.fan_in + more, bits=None)

    def _keep(self, layer, scores):
        rows = (layer.shape[0], -1)
        mask = layer.mask.reshape(rows)
        order = np.argsort(np.where(mask, -scores.reshape(rows), np.inf), axis=1, kind="stable")
        best = np.zeros(mask.shape, bool)
        best[:, : self.fan_in] = True
        if self.bits is not None:
            # `costs` is what each weight adds to its accumulator's span: |code| · (high − low).
            costs = np.where(mask, layer.costs.reshape(rows), 0)
            spent = np.cumsum(np.take_along_axis(costs, order, axis=1), axis=1)
            best &= spent <= 2**self.bits - 1
        kept = np.zeros(mask.shape, bool)
        np.put_along_axis(kept, order, best, axis=1)
        return (kept & mask).reshape(layer.shape)


@dataclass(frozen=True)
class Relative:
    """A weight's share of its output channel plus its share of its input channel."""

    name: ClassVar[str] = "relative"

    def score(self, problem, layer):
        """Return float64 shaped like the weight."""
        size = np.abs(layer.weight)
        by_output = size.sum(axis=tuple(range(1, size.ndim)), keepdims=True)
        by_input = size.sum(axis=(0, *range(2, size.ndim)), keepdims=True)
        tiny = np.finfo(float).tiny
        return size / np.maximum(by_output, tiny) + size / np.maximum(by_input, tiny)


@hookimpl
def secateur_strategies():
    return [FixedFanIn]


@hookimpl
def secateur_saliencies():
    return [Relative]
