"""Lowering of what moves elements about and computes nothing."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.network import Concat, Reshape, Transpose


def concat(operation: Concat, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the sources, joined along the axis."""
    return np.concatenate(tuple(sources), axis=operation.axis)


def reshape(operation: Reshape, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the source in another shape."""
    return sources[0].reshape(operation.to)


def transpose(
    operation: Transpose, sources: list[Any], report: RangeReport, backend: Backend
) -> Any:
    """Return the source with its axes in another order."""
    return np.transpose(sources[0], operation.axes)
