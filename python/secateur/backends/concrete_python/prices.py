"""What lookups of concrete-python 2 cost, fitted: for choices among thousands, without compiling.

Measured by compiling perceptrons of 64 lookups whose two hidden layers are alike, and taking the
optimizer's complexity over 64. Over 40 random perceptrons whose layers differ in width, bits
dropped and neurons the sum is off by 14 % on average, by two thirds at most. What is decided in
the end is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

from secateur.backends.estimates import Lookups, between

#: −log2 of p_error → millions for a width of 3, 4, … bits → by the number of bits dropped, from 0.
_EXACT = {
    7: (
        (23.7, 34.5, 34.5),
        (59.1, 56.4, 71.8, 71.8),
        (85.7, 91.3, 107, 127, 127),
        (220, 114, 120, 138, 162, 162),
        (739, 245, 152, 154, 169, 194, 194),
        (1678, 685, 366, 224, 223, 246, 272, 272),
        (3822, 1461, 729, 421, 286, 291, 320, 350, 350),
    ),
    23: (
        (29.5, 42, 42),
        (73.9, 80.4, 90.1, 90.1),
        (193, 115, 125, 141, 141),
        (739, 211, 155, 159, 179, 179),
        (1678, 687, 261, 205, 221, 250, 250),
        (3829, 1464, 735, 308, 295, 312, 342, 342),
        (8607, 3169, 1508, 779, 359, 339, 356, 385, 385),
    ),
    40: (
        (40.8, 45.2, 45.2),
        (90.3, 86, 102, 102),
        (228, 129, 128, 146, 146),
        (764, 251, 172, 177, 199, 199),
        (1738, 715, 390, 263, 290, 272, 272),
        (3987, 1510, 761, 448, 328, 332, 354, 354),
        (9116, 3319, 1559, 807, 494, 374, 378, 400, 400),
    ),
}

#: The same, the bits dropped about; from 1.
_APPROXIMATE = {
    7: (
        (20.1, 20.1),
        (34.4, 29.2, 29.2),
        (64.2, 47.1, 40.4, 40.4),
        (85.8, 64.2, 52.9, 48.5, 48.5),
        (221, 86.2, 64.2, 52.9, 48.5, 48.5),
        (740, 318, 119, 69.8, 53.2, 48.5, 48.5),
        (1678, 740, 260, 95, 64.3, 52.9, 48.5, 48.5),
    ),
    23: (
        (23.7, 23.7),
        (54.9, 34.4, 34.4),
        (80.3, 62, 51.2, 51.2),
        (193, 80.8, 64, 52.8, 52.8),
        (739, 193, 85.7, 64, 52.8, 52.8),
        (1678, 739, 193, 115, 90.9, 77.6, 77.6),
        (3833, 1678, 739, 193, 86.9, 64.1, 52.8, 52.8),
    ),
    40: (
        (24.6, 24.6),
        (59, 47.1, 47.1),
        (97.9, 66.6, 53.1, 53.1),
        (229, 97.9, 68.8, 54.8, 54.8),
        (764, 330, 142, 71, 54.8, 54.8),
        (1739, 764, 330, 142, 101, 80.6, 80.6),
        (3999, 1739, 764, 330, 98.4, 68.9, 54.8, 54.8),
    ),
}

#: Above this width of the output the last lookups cost more: millions for each.
_OUTPUT_BITS, _WIDE_OUTPUT = 6, 90.0
_NARROWEST, _WIDEST = 3, 9
#: Growth of the price with each bit above the widest that was measured, read or dropped.
_PER_BIT_READ, _PER_BIT_DROPPED = 2.25, 1.15


def estimate(lookups: Sequence[Lookups], output_bits: int, p_error: float) -> float:
    """Return about the complexity of a circuit; see `Backend.estimate`."""
    total = sum(1e6 * each.count * _price(each, p_error) for each in lookups)
    if output_bits > _OUTPUT_BITS and lookups:
        total += 1e6 * lookups[-1].count * _WIDE_OUTPUT
    return total


def _price(lookups: Lookups, p_error: float) -> float:
    width = max(lookups.width, _NARROWEST)
    dropped = min(lookups.dropped, width - 1)
    beyond = max(width - _WIDEST, 0)
    less_dropped = min(dropped, beyond)
    growth = _PER_BIT_DROPPED**less_dropped * _PER_BIT_READ ** (beyond - less_dropped)
    width, dropped = width - beyond, dropped - less_dropped
    table, first = (_APPROXIMATE, 1) if lookups.approximate and dropped else (_EXACT, 0)
    rows = {level: by_width[width - _NARROWEST] for level, by_width in table.items()}
    return growth * between({level: row[dropped - first] for level, row in rows.items()}, p_error)
