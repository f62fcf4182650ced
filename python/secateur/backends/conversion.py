"""Conversion of tables to MLIR, without the backends' loop over every element of a tensor.

Both backends evaluate a table for every key and every element, then look for the distinct
tables among the elements one by one, in Python. While one of our circuits is converted, the
second step is done for all elements at once; the MLIR is the same, byte for byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

_NAME = "construct_deduplicated_tables"


@contextmanager
def quick_tables(converter: ModuleType, utils: ModuleType) -> Iterator[None]:
    """Let a backend's `converter` find distinct tables quickly, inside.

    Args:
        converter: the module that calls the function.
        utils: the module that defines it.
    """
    # What stands in its place gives the same, so that other threads may see either.
    setattr(converter, _NAME, _deduplicating(utils.construct_table))
    try:
        yield
    finally:
        setattr(converter, _NAME, getattr(utils, _NAME))


def _deduplicating(construct: Callable[..., list[Any]]) -> Callable[..., tuple[Any, ...]]:
    """Return the function from a node, its sources and options to its distinct tables.

    Each comes with the list of the places that it belongs to; here one index for all of them.
    """

    def tables(node: Any, preds: list[Any], *options: Any) -> tuple[Any, ...]:
        values = construct(node, preds, *options)
        if all(isinstance(value, int) for value in values):
            return ((np.array(values), None),)
        shape = node.output.shape
        cells = np.stack([np.broadcast_to(v, shape) for v in values], axis=-1)
        cells = cells.reshape(-1, len(values))
        _, first, which = np.unique(cells, axis=0, return_index=True, return_inverse=True)
        which = which.reshape(-1)
        # In the order in which they first occur.
        return tuple(
            (cells[first[k]], [np.unravel_index(np.flatnonzero(which == k), shape or (1,))])
            for k in np.argsort(first)
        )

    return tables
