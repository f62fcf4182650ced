"""Every kind of operation: a new one is registered here."""

from __future__ import annotations

from secateur.network.layers import Conv, Linear
from secateur.network.lookups import Lookup
from secateur.network.operation import Operation
from secateur.network.pools import MaxPool, SumPool
from secateur.network.rearranging import Concat, Reshape, Transpose
from secateur.network.sums import Add
from secateur.network.taking import Place, Take

OPERATIONS: tuple[type[Operation], ...] = (
    Linear,
    Conv,
    Lookup,
    Add,
    SumPool,
    MaxPool,
    Reshape,
    Transpose,
    Concat,
    Take,
    Place,
)
