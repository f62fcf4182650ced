"""Random pruning: any weights go. What a strategy must beat."""

from __future__ import annotations

from dataclasses import dataclass, field

from secateur.pruning.magnitude import check_sparsity, keep_largest
from secateur.pruning.problem import Masks, PruningProblem
from secateur.pruning.strategy import Promise, StrategySpec


@dataclass(frozen=True)
class RandomOptions:
    """How much to remove."""

    sparsity: float = field(
        default=0.5, metadata={"doc": "fraction of every layer's weights removed, from 0 to 1"}
    )

    def __post_init__(self) -> None:
        check_sparsity(self.sparsity)


def apply(problem: PruningProblem, options: RandomOptions) -> Masks:
    """Return masks that keep weights drawn evenly by the problem's random generator."""
    return {
        x.name: keep_largest(problem.random.random(x.shape), x.mask, options.sparsity)
        for x in problem.layers
    }


RANDOM = StrategySpec(
    name="random",
    summary="removes weights drawn at random from every layer",
    options=RandomOptions,
    apply=apply,
    promises=Promise(idempotent=True),
)
