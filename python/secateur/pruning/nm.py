"""N:M pruning: of every M neighbouring weights at most N stay.

Zhou et al., "Learning N:M Fine-grained Structured Sparse Neural Networks from Scratch"
(ICLR 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from secateur.pruning.options import check_types, refused
from secateur.pruning.problem import Floats, Mask, Masks, PruningProblem, Saliency


@dataclass(frozen=True)
class NM:
    """Keeps at most n of every m neighbouring weights.

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
        >>> prune(network, NM(n=1, m=3))["fc"].codes
        array([[3, 0, 0]], dtype=int8)
    """

    name: ClassVar[str] = "nm"

    n: int = field(default=2, metadata={"doc": "weights kept of every m, from 0 to m"})
    m: int = field(default=4, metadata={"doc": "neighbours along the input channels, at least 1"})
    saliency: str | Saliency = field(
        default="magnitude", metadata={"doc": "the score by which weights are compared"}
    )

    def __post_init__(self) -> None:
        check_types(NM, {"n": self.n, "m": self.m})
        if not 0 <= self.n <= self.m or self.m < 1:
            raise refused(self, "n", f"0 <= n <= m and m >= 1, where m is {self.m}")

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks that keep the `n` highest scores of every `m`."""
        scores = problem.saliency(self.saliency)
        return {x.name: keep_n_of_m(scores[x.name], x.mask, self.n, self.m) for x in problem.layers}

    def toward(self, fraction: float, problem: PruningProblem) -> NM:
        """Return the strategy with an n between m and its own."""
        return replace(self, n=self.n + math.ceil((1.0 - fraction) * (self.m - self.n)))


def keep_n_of_m(scores: Floats, mask: Mask, n: int, m: int) -> Mask:
    """Return `mask` with at most the `n` highest scores of every `m` along axis 1.

    Args:
        scores: float64 [out, in, ...], not negative.
        mask: bool, shaped like `scores`.
        n, m: the pattern; a last block of fewer than `m` keeps at most `n` too.

    Example:
        >>> import numpy as np
        >>> keep_n_of_m(np.array([[3.0, 1.0, 2.0, 5.0, 4.0]]), np.ones((1, 5), bool), 1, 2)
        array([[ True, False, False,  True,  True]])
    """
    ranked = np.moveaxis(np.where(mask, scores, -1.0), 1, -1)
    m = min(m, ranked.shape[-1])
    missing = -ranked.shape[-1] % m
    padded = np.pad(ranked, [(0, 0)] * (ranked.ndim - 1) + [(0, missing)], constant_values=-2.0)
    blocks = padded.reshape(*padded.shape[:-1], -1, m)
    best = np.argsort(-blocks, axis=-1, kind="stable")[..., :n]
    kept = np.zeros(blocks.shape, bool)
    np.put_along_axis(kept, best, True, axis=-1)
    whole = kept.reshape(padded.shape)[..., : ranked.shape[-1]]
    return np.moveaxis(whole, -1, 1) & mask
