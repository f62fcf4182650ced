"""Fixed fan-in: every output channel keeps the same number of weights.

Hardware likes neurons that all read equally many inputs. Where a width is given as well, a
channel keeps fewer: its best weights, in order, as long as their worst case fits.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from secateur import Promise, SaliencySpec, StrategySpec, hookimpl


@dataclass(frozen=True)
class FixedFanInOptions:
    """How many weights a channel keeps, by which score, and how wide it may become."""

    fan_in: int = field(default=8, metadata={"doc": "weights kept per output channel, from 0"})
    bits: int | None = field(
        default=None, metadata={"doc": "span bits that every accumulator fits; None = any"}
    )
    saliency: str = field(
        default="magnitude", metadata={"doc": "the score by which weights are compared"}
    )

    def __post_init__(self):
        if self.fan_in < 0:
            raise ValueError(f"fan_in is {self.fan_in}, expected at least 0")
        if self.bits is not None and not 1 <= self.bits <= 63:
            raise ValueError(f"bits is {self.bits}, expected 1 to 63")


def apply(problem, options):
    """Return {layer name: mask}, the best `fan_in` weights of every row that fit."""
    scores = problem.saliency(options.saliency)
    return {layer.name: _keep(layer, scores[layer.name], options) for layer in problem.layers}


def _keep(layer, scores, options):
    rows = (layer.shape[0], -1)
    mask = layer.mask.reshape(rows)
    order = np.argsort(np.where(mask, -scores.reshape(rows), np.inf), axis=1, kind="stable")
    best = np.zeros(mask.shape, bool)
    best[:, : options.fan_in] = True
    if options.bits is not None:
        # `costs` is what each weight adds to its accumulator's span: |code| · (high − low).
        costs = np.where(mask, layer.costs.reshape(rows), 0)
        spent = np.cumsum(np.take_along_axis(costs, order, axis=1), axis=1)
        best &= spent <= 2**options.bits - 1
    kept = np.zeros(mask.shape, bool)
    np.put_along_axis(kept, order, best, axis=1)
    return (kept & mask).reshape(layer.shape)


def relative(problem, layer):
    """Return |w| as a share of its output channel plus as a share of its input channel."""
    size = np.abs(layer.weight)
    by_output = size.sum(axis=tuple(range(1, size.ndim)), keepdims=True)
    by_input = size.sum(axis=(0, *range(2, size.ndim)), keepdims=True)
    tiny = np.finfo(float).tiny
    return size / np.maximum(by_output, tiny) + size / np.maximum(by_input, tiny)


FIXED_FAN_IN = StrategySpec(
    name="fixed-fan-in",
    summary="keeps the same number of weights in every output channel",
    options=FixedFanInOptions,
    apply=apply,
    promises=Promise(accumulator_bits=lambda options: options.bits, idempotent=True),
)

RELATIVE = SaliencySpec("relative", "a weight's share of its input and output channel", relative)


@hookimpl
def secateur_strategies():
    return [FIXED_FAN_IN]


@hookimpl
def secateur_saliencies():
    return [RELATIVE]
