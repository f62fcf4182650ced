"""The Pareto front: what nothing else beats in both respects."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def front(gain: ArrayLike, cost: ArrayLike) -> NDArray[np.bool_]:
    """Return True where no other candidate gains as much for less, or more for as little.

    Args:
        gain: float64 [candidates], better where greater; NaN is never on the front.
        cost: float64 [candidates], better where less; NaN is never on the front.

    Returns:
        bool [candidates]; equal candidates share their fate.

    Example:
        >>> front([0.9, 0.8, 0.95, 0.7], [10, 5, 20, 7]).tolist()
        [True, True, True, False]
    """
    gains: NDArray[Any] = np.asarray(gain, dtype=np.float64)
    costs: NDArray[Any] = np.asarray(cost, dtype=np.float64)
    known = ~(np.isnan(gains) | np.isnan(costs))
    on = np.zeros(gains.shape, bool)
    most, at = -np.inf, np.inf
    # From the cheapest on, the greatest gain first: on the front is who gains more than all
    # before, or equals the one that did.
    for i in np.lexsort((-gains, costs)):
        if known[i] and (gains[i] > most or (gains[i] == most and costs[i] == at)):
            on[i] = True
            most, at = gains[i], costs[i]
    return on
