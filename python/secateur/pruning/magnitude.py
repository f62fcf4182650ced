"""Magnitude pruning: the smallest weights go (Han et al., NeurIPS 2015)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from secateur.pruning.options import check_fraction
from secateur.pruning.problem import Floats, Mask, Masks, PruningProblem, Saliency


@dataclass(frozen=True)
class Magnitude:
    """Removes the weights of least magnitude, in every layer or over all of them.

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
        >>> prune(network, Magnitude(sparsity=0.5))["fc"].codes
        array([[3, 0, 0]], dtype=int8)
    """

    name: ClassVar[str] = "magnitude"

    sparsity: float = field(
        default=0.5, metadata={"doc": "fraction of the weights removed, from 0 to 1"}
    )
    scope: Literal["layer", "global"] = field(
        default="layer",
        metadata={"doc": "the fraction holds in every layer, or over all layers together"},
    )
    saliency: str | Saliency = field(
        default="magnitude", metadata={"doc": "the score by which weights are compared"}
    )

    def __post_init__(self) -> None:
        check_fraction(self, "sparsity")

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks that keep the highest scores, per layer or over all layers."""
        scores = problem.saliency(self.saliency)
        if self.scope == "layer":
            return {
                x.name: keep_largest(scores[x.name], x.mask, self.sparsity) for x in problem.layers
            }
        joined = keep_largest(
            np.concatenate([scores[x.name].ravel() for x in problem.layers]),
            np.concatenate([x.mask.ravel() for x in problem.layers]),
            self.sparsity,
        )
        ends = np.cumsum([x.mask.size for x in problem.layers])
        parts = np.split(joined, ends[:-1])
        return {x.name: p.reshape(x.shape) for x, p in zip(problem.layers, parts, strict=True)}

    def toward(self, fraction: float, problem: PruningProblem) -> Magnitude:
        """Return the strategy with as much of its sparsity."""
        return replace(self, sparsity=self.sparsity * fraction)


def keep_largest(scores: Floats, mask: Mask, sparsity: float) -> Mask:
    """Return `mask` without the lowest scores, so that `sparsity` of all entries are False.

    Ties go to the later entry. What `mask` has removed already counts as removed; where that
    is more than asked for, nothing further goes.

    Args:
        scores: float64, any shape.
        mask: bool, shaped like `scores`.
        sparsity: fraction of the entries, rounded to a whole number of them.

    Example:
        >>> import numpy as np
        >>> keep_largest(np.array([3.0, 1.0, 2.0, 1.0]), np.ones(4, bool), 0.5)
        array([ True, False,  True, False])
    """
    removed = round(sparsity * scores.size)
    if not removed:
        return mask
    ranked = np.where(mask, scores, -np.inf).ravel()
    edge = np.partition(ranked, removed - 1)[removed - 1]
    kept = ranked > edge
    ties = np.flatnonzero(ranked == edge)
    kept[ties[: scores.size - removed - np.count_nonzero(kept)]] = True
    return kept.reshape(scores.shape) & mask
