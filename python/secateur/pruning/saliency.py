"""Saliencies: scores of how much a weight matters."""

from __future__ import annotations

import numpy as np

from secateur.pruning.problem import Floats, PrunableLayer, PruningProblem
from secateur.pruning.strategy import SaliencySpec


def magnitude(problem: PruningProblem, layer: PrunableLayer) -> Floats:
    """Return |w|."""
    return np.abs(layer.weight)


def activation(problem: PruningProblem, layer: PrunableLayer) -> Floats:
    """Return |w| · ‖x‖₂, the norm over samples and positions of the input channel it meets.

    Sun et al., "A Simple and Effective Pruning Approach for Large Language Models" (ICLR 2024),
    section 3.
    """
    x = problem.activations[layer.name]
    norms = np.sqrt((x**2).sum(axis=(0, *range(2, x.ndim))))
    per_channel = norms.reshape(layer.groups, layer.shape[1], *(1,) * len(layer.kernel))
    per_tap = np.broadcast_to(per_channel, (layer.groups, *layer.shape[1:]))
    scores: Floats = np.abs(layer.weight) * layer.spread(per_tap)
    return scores


def gradient(problem: PruningProblem, layer: PrunableLayer) -> Floats:
    """Return |w · ∂L/∂w|, the first-order change of the loss when the weight goes.

    Molchanov et al., "Pruning Convolutional Neural Networks for Resource Efficient Inference"
    (ICLR 2017), section 2.2, for single weights.
    """
    scores: Floats = np.abs(layer.weight * problem.gradients[layer.name].mean(axis=0))
    return scores


def fisher(problem: PruningProblem, layer: PrunableLayer) -> Floats:
    """Return ½ w² E[(∂L/∂w)²], the second-order change under a diagonal Fisher information.

    Theis et al., "Faster gaze prediction with dense networks and Fisher pruning" (2018),
    section 2.
    """
    squared: Floats = (problem.gradients[layer.name] ** 2).mean(axis=0)
    return 0.5 * layer.weight**2 * squared


SALIENCIES = (
    SaliencySpec("magnitude", "|w|", magnitude),
    SaliencySpec("activation", "|w| times the norm of the inputs that it meets", activation),
    SaliencySpec("gradient", "first-order change of the loss, |w · dL/dw|", gradient),
    SaliencySpec("fisher", "second-order change of the loss under the diagonal Fisher", fisher),
)
