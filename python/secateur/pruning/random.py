"""Random pruning: any weights go. What a strategy must beat."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

from secateur.pruning.magnitude import keep_largest
from secateur.pruning.options import check_fraction
from secateur.pruning.problem import Masks, PruningProblem


@dataclass(frozen=True)
class Random:
    """Removes weights drawn at random from every layer.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur import prune
        >>> prune(network, Random(sparsity=0.7), seed=1)["fc"].codes
        array([[ 0, -1,  0]], dtype=int8)
    """

    name: ClassVar[str] = "random"

    sparsity: float = field(
        default=0.5, metadata={"doc": "fraction of every layer's weights removed, from 0 to 1"}
    )

    def __post_init__(self) -> None:
        check_fraction(self, "sparsity")

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks that keep weights drawn evenly by the problem's random generator."""
        return {
            x.name: keep_largest(problem.random.random(x.shape), x.mask, self.sparsity)
            for x in problem.layers
        }

    def toward(self, fraction: float, problem: PruningProblem) -> Random:
        """Return the strategy with as much of its sparsity."""
        return replace(self, sparsity=self.sparsity * fraction)
