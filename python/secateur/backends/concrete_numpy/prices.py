"""What lookups of concrete-numpy cost, fitted: one width rules them all, and no bit is dropped."""

from __future__ import annotations

from collections.abc import Sequence

from secateur.backends.estimates import Lookups, between

#: −log2 of p_error → millions for one lookup of 3, 4, … bits.
_LOOKUP = {
    7: (23.7, 59.1, 85.7, 220, 739, 1678, 3822),
    23: (29.1, 73.9, 193, 739, 1678, 3829, 8607),
    40: (40.8, 90.3, 228, 764, 1738, 3990, 9116),
}
_NARROWEST, _WIDEST = 3, 9
_PER_BIT = 2.25


def estimate(lookups: Sequence[Lookups], output_bits: int, p_error: float) -> float:
    """Return about the complexity of a circuit; see `Backend.estimate`."""
    if not lookups:
        return 0.0
    width = max(_NARROWEST, output_bits, *(each.width for each in lookups))
    growth = _PER_BIT ** max(width - _WIDEST, 0)
    prices = {level: row[min(width, _WIDEST) - _NARROWEST] for level, row in _LOOKUP.items()}
    return 1e6 * growth * between(prices, p_error) * sum(each.count for each in lookups)
