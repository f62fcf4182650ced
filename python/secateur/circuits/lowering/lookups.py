"""Lowering of lookups: a table of a power of two of entries, for the proved range alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.backends.estimates import Lookups
from secateur.circuits.lowering.windows import column
from secateur.network import Integers, Lookup

#: At which error of one lookup prices are compared; what is cheaper hardly depends on it.
_P_ERROR = 2.0**-23


def lookup(operation: Lookup, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the source looked up, its lowest bits dropped where that is cheaper.

    The table that follows drops them in any case.
    """
    source = sources[0]
    channels = report[operation.source].channels
    low, high = channels.low, channels.high
    keys = keys_of(int(low.min()), int(high.max()))
    if operation.rounding_bits:
        # Astray by less than half a block, a value has to stay within the keys.
        half = 1 << operation.rounding_bits - 1
        inside = bool(low.min() >= half and high.max() + half < len(keys))
        about = backend.approximate and inside
        width = len(keys).bit_length() - 1
        if dropped := _cheapest(backend, width, operation.rounding_bits, about):
            source = backend.drop_bits(source, dropped, about)
        low, high = (
            extreme(v, v >> operation.rounding_bits << operation.rounding_bits)
            for extreme, v in ((np.minimum, low), (np.maximum, high))
        )
        keys = keys_of(int(low.min()), int(high.max()))
    # Beyond its own range a channel's table repeats its last entry: never looked up.
    domain = np.clip(keys[:, None], low, high)
    return _looked_up(source, operation.evaluate(domain).T, backend)


def keys_of(low: int, high: int) -> Integers:
    """Return the keys of a table for [low, high], int64, a power of two of them.

    In the order of Python's indices: 0, 1, …, then the negative ones, counted from the end.
    """
    bits = (
        max(high.bit_length(), 1) if low >= 0 else max(high.bit_length(), (~low).bit_length()) + 1
    )
    keys = np.arange(1 << bits)
    return keys if low >= 0 else np.where(keys < 1 << (bits - 1), keys, keys - (1 << bits))


def _cheapest(backend: Backend, width: int, bits: int, about: bool) -> int:
    """Return how many of at most `bits` low bits are best dropped of an accumulator."""
    return min(
        range(min(bits, width - 1) + 1),
        key=lambda dropped: backend.estimate([Lookups(1, width, dropped, about)], 0, _P_ERROR),
    )


def _looked_up(source: Any, rows: Integers, backend: Backend) -> Any:
    """Look `source` [channels, ...] up in `rows` [channels, keys]."""
    table = backend.namespace.LookupTable
    distinct, which = np.unique(rows, axis=0, return_inverse=True)
    if len(distinct) == 1:
        return table(distinct[0])[source]
    tables = np.empty(len(distinct), dtype=object)
    tables[:] = [table(row) for row in distinct]
    which = column(which, source.ndim)
    result = table(tables[which])[source]
    # The backend evaluates it for every key, and would loop over the elements in Python.
    result.computation.evaluator = lambda keys: distinct[which, keys]
    return result
