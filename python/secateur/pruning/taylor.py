"""The Taylor saliency: what the loss would change by, to first order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from secateur.pruning.problem import Floats, PrunableLayer, PruningProblem


@dataclass(frozen=True)
class TaylorSaliency:
    """E[(w · ∂L/∂w)²], the squared first-order change of the loss when the weight goes.

    Molchanov et al., "Importance Estimation for Neural Network Pruning" (CVPR 2019), equation 8.
    Where weights go together, as those that read one channel do, their effects are added up
    sample by sample before they are squared (equation 7).
    """

    name: ClassVar[str] = "taylor"

    def score(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        squared: Floats = (self.effects(problem, layer) ** 2).mean(axis=0)
        return squared

    def effects(self, problem: PruningProblem, layer: PrunableLayer) -> Floats:
        """Return w · ∂L/∂w, float64 [samples, *weight shape]."""
        effects: Floats = layer.weight * problem.gradients[layer.name]
        return effects
