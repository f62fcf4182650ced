"""Lowering of what moves elements about and computes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.network import Concat, Integers, Place, Reshape, Take, Transpose


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


def take(operation: Take, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the elements taken, as few slices of the source, joined."""
    before = (slice(None),) * operation.axis
    runs = _runs(np.arange(len(operation.indices)), operation.indices)
    indices = [(*before, taken) for _, taken in runs]
    pieces = tuple(sources[0][index] for index in indices)
    return pieces[0] if len(pieces) == 1 else np.concatenate(pieces, axis=operation.axis)


def place(operation: Place, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the elements placed: slices of the source, assigned into the constant."""
    around = backend.namespace.zeros(operation.shape(sources[0].shape))
    if operation.fill:
        around = around + np.full(around.shape, operation.fill)
    before = (slice(None),) * operation.axis
    for places in _occurrences(operation.indices):
        for placed, taken in _runs(places, operation.indices[places]):
            into, of = (*before, placed), (*before, taken)
            around[into] = sources[0][of]
    # What is assigned to has no node that says so; its reshape has.
    return around.reshape(around.shape)


def _occurrences(indices: Integers) -> Iterator[Integers]:
    """Yield where every element comes for the first time, then for the second, …"""
    places = np.flatnonzero(indices >= 0)
    while len(places):
        _, first = np.unique(indices[places], return_index=True)
        first.sort()
        yield places[first]
        places = np.delete(places, first)


def _runs(places: Integers, indices: Integers) -> Iterator[tuple[slice, slice]]:
    """Yield slices that cover `places` and `indices` side by side, with steps above 0."""
    at = 0
    while at < len(places):
        end, step, stride = at + 1, 1, 1
        if end < len(places) and indices[end] > indices[at]:
            step, stride = places[end] - places[at], indices[end] - indices[at]
            while (
                end < len(places)
                and places[end] - places[end - 1] == step
                and indices[end] - indices[end - 1] == stride
            ):
                end += 1
        yield (
            slice(int(places[at]), int(places[end - 1]) + 1, int(step)),
            slice(int(indices[at]), int(indices[end - 1]) + 1, int(stride)),
        )
        at = end
