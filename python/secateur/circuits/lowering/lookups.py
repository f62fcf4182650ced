"""Lowering of lookups: a table of a power of two of entries, for the proved range alone."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.circuits.lowering.windows import column
from secateur.network import Integers, Lookup


def lookup(operation: Lookup, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the source looked up, its lowest bits dropped where that is cheaper."""
    source = sources[0]
    channels = report[operation.source].channels
    low, high = channels.low, channels.high
    keys = keys_of(int(low.min()), int(high.max()))
    if operation.rounding_bits:
        source = backend.round_bits(source, operation.rounding_bits, _width(keys))
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


def _width(keys: Integers) -> int:
    """Return the width of the keys of a table."""
    return len(keys).bit_length() - 1


def _looked_up(source: Any, rows: Integers, backend: Backend) -> Any:
    """Look `source` [channels, ...] up in `rows` [channels, keys]."""
    table = backend.namespace.LookupTable
    if (rows == rows[0]).all():
        return table(rows[0])[source]
    distinct = {row.tobytes(): table(row) for row in rows}
    tables = np.empty(len(rows), dtype=object)
    tables[:] = [distinct[row.tobytes()] for row in rows]
    return table(column(tables, source.ndim))[source]
