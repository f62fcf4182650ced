"""Narrowing: the same integers from fewer bits, fewer channels and fewer lookups.

Every step is a function RangeReport → Network that changes no result and finds nothing more
to do in what it gave back. `narrow` applies all of them until none finds anything.
"""

from secateur.narrowing.accumulators import divide_common_factors, shift_to_zero
from secateur.narrowing.channels import drop_dead_channels, fold_constants
from secateur.narrowing.deviation import deviation
from secateur.narrowing.lookups import skip_identities
from secateur.narrowing.rounding import (
    LookupPrice,
    Rounding,
    harmless_roundings,
    round_by_price,
    round_harmlessly,
)
from secateur.narrowing.savings import Narrowing, Saving, Size, explain, narrow

__all__ = [
    "LookupPrice",
    "Narrowing",
    "Rounding",
    "Saving",
    "Size",
    "deviation",
    "divide_common_factors",
    "drop_dead_channels",
    "explain",
    "fold_constants",
    "harmless_roundings",
    "narrow",
    "round_by_price",
    "round_harmlessly",
    "shift_to_zero",
    "skip_identities",
]
