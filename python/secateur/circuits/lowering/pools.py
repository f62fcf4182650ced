"""Lowering of pools: a sum of all taps, a maximum by b + relu(a − b)."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.circuits.lowering.lookups import keys_of
from secateur.circuits.lowering.windows import along, padded
from secateur.network import MaxPool, SumPool


def sum_pool(pool: SumPool, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the sum of every window."""
    taps = [padded(backend, sources[0], pool.padding)]
    for axis, (extent, stride) in enumerate(zip(pool.kernel, pool.stride, strict=True)):
        taps = [under for tap in taps for under in along(tap, axis + 1, extent, stride)]
    return reduce(lambda a, b: a + b, taps)


def max_pool(pool: MaxPool, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the maximum of every window, one spatial axis after the other."""
    channels = report[pool.source].channels
    reach = int(channels.span.max())
    keys = keys_of(-reach, reach)
    relu = backend.namespace.LookupTable(np.maximum(keys, 0))
    x = padded(backend, sources[0], pool.padding, fill=channels.low)
    for axis, (extent, stride) in enumerate(zip(pool.kernel, pool.stride, strict=True)):
        x = reduce(lambda a, b: b + relu[a - b], along(x, axis + 1, extent, stride))
    return x
