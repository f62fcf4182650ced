"""What several families write alike: padding, windows, per-channel columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from secateur.backends import Backend
from secateur.network import Integers


def padded(
    backend: Backend, x: Any, padding: Sequence[tuple[int, int]], fill: Integers | None = None
) -> Any:
    """Return `x` [channels, *spatial] within zeros, or within `fill` [channels]."""
    if not np.any(padding):
        return x
    inner = (
        slice(None),
        *(
            slice(before, before + extent)
            for extent, (before, _) in zip(x.shape[1:], padding, strict=True)
        ),
    )
    outer = tuple(b + n + a for n, (b, a) in zip(x.shape[1:], padding, strict=True))
    around = backend.namespace.zeros((x.shape[0], *outer))
    if fill is not None and fill.any():
        around = around + np.broadcast_to(column(fill, x.ndim), around.shape)
    around[inner] = x
    return around


def column(values: Any, axes: int) -> Any:
    """Shape per-channel `values` [channels] to broadcast over [channels, ...] of `axes` axes."""
    return values.reshape(-1, *(1,) * (axes - 1))


def along(x: Any, axis: int, taps: int, stride: int) -> list[Any]:
    """Return, for every tap of a window, the elements of `x` under it along one axis."""
    count = (x.shape[axis] - taps) // stride + 1
    reach = (count - 1) * stride + 1
    under = [(slice(None),) * axis + (slice(tap, tap + reach, stride),) for tap in range(taps)]
    return [x[index] for index in under]
