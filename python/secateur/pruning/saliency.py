"""Saliencies: scores of how much a weight matters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.pruning.problem import Floats, PrunableLayer, PruningProblem, Saliency
from secateur.pruning.taylor import TaylorSaliency


@dataclass(frozen=True)
class MagnitudeSaliency:
    """|w|."""

    name: ClassVar[str] = "magnitude"

    def score(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        return np.abs(layer.weight)


@dataclass(frozen=True)
class ActivationSaliency:
    """|w| · ‖x‖₂, the norm over samples and positions of the input channel that it meets.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (ICLR 2024),
    section 3.
    """

    name: ClassVar[str] = "activation"

    def score(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        x = problem.activations[layer.name]
        norms = np.sqrt((x**2).sum(axis=(0, *range(2, x.ndim))))
        per_channel = norms.reshape(layer.groups, layer.shape[1], *(1,) * len(layer.kernel))
        per_tap = np.broadcast_to(per_channel, (layer.groups, *layer.shape[1:]))
        scores: Floats = np.abs(layer.weight) * layer.spread(per_tap)
        return scores


@dataclass(frozen=True)
class GradientSaliency:
    """|w · ∂L/∂w|, the first-order change of the loss when the weight goes.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference"
    (ICLR 2017), section 2.2, for single weights.
    """

    name: ClassVar[str] = "gradient"

    def score(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        scores: Floats = np.abs(layer.weight * problem.gradients[layer.name].mean(axis=0))
        return scores


@dataclass(frozen=True)
class FisherSaliency:
    """½ w² E[(∂L/∂w)²], the second-order change of the loss under a diagonal Fisher information.

    Theis et al., "Faster gaze prediction with dense networks and Fisher pruning" (2018),
    section 2.
    """

    name: ClassVar[str] = "fisher"

    def score(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        squared: Floats = (problem.gradients[layer.name] ** 2).mean(axis=0)
        return 0.5 * layer.weight**2 * squared


SALIENCIES: tuple[type[Saliency], ...] = (
    MagnitudeSaliency,
    ActivationSaliency,
    GradientSaliency,
    FisherSaliency,
    TaylorSaliency,
)
