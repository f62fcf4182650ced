"""Windows: how convolutions and pools meet the spatial axes of their source."""

from __future__ import annotations

from collections.abc import Sequence
from operator import index
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.network.operation import Shape, refuse

Padding = tuple[tuple[int, int], ...]


def counts(layer: str, argument: str, values: Any, axes: int, least: int) -> Shape:
    """Return one integer for each of `axes` spatial axes.

    Raises:
        NetworkError: not so many integers, or one below `least`; names layer and argument.
    """
    try:
        given = tuple(index(v) for v in values)
    except TypeError:
        given = None
    if given is None or len(given) != axes or min(given, default=least) < least:
        raise refuse(
            layer, f"{argument} is {values}, expected {axes} integers, each at least {least}"
        )
    return given


def pads(layer: str, values: Any, axes: int) -> Padding:
    """Return (before, after) for each of `axes` spatial axes.

    Raises:
        NetworkError: not so many pairs of integers that are not negative; names the layer.
    """
    try:
        pairs = tuple(tuple(pair) for pair in values)
    except TypeError:
        pairs = ()
    if len(pairs) != axes or any(len(pair) != 2 for pair in pairs):
        raise refuse(layer, f"padding is {values}, expected (before, after) for {axes} axes")
    flat = counts(layer, "padding", [end for pair in pairs for end in pair], 2 * axes, 0)
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def positions(
    layer: str,
    spatial: Shape,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
) -> Shape:
    """Return how many windows there are along each spatial axis.

    Raises:
        NetworkError: a kernel that is larger than the padded source; names the layer.
    """
    found = []
    for extent, taps, step, (before, after), gap in zip(
        spatial, kernel, stride, padding, dilation, strict=True
    ):
        room = extent + before + after - gap * (taps - 1) - 1
        if room < 0:
            raise refuse(
                layer, f"a kernel of {kernel} with dilation {dilation} does not fit {spatial}"
            )
        found.append(room // step + 1)
    return tuple(found)


def windows(
    x: NDArray[Any],
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    dilation: Sequence[int],
    fill: int = 0,
) -> NDArray[Any]:
    """Return a view [batch, channels, *positions, *kernel] of `x` padded with `fill`."""
    if np.any(padding):
        # Not by np.pad, which puts a NumPy integer among Python's.
        extents = [n + sum(ends) for n, ends in zip(x.shape[2:], padding, strict=True)]
        inner = (slice(b, b + n) for n, (b, _) in zip(x.shape[2:], padding, strict=True))
        padded = np.full((*x.shape[:2], *extents), fill, dtype=x.dtype)
        middle = (slice(None), slice(None), *inner)
        padded[middle] = x
        x = padded
    reach = tuple(gap * (taps - 1) + 1 for taps, gap in zip(kernel, dilation, strict=True))
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, reach, axes)  # type: ignore[call-overload]
    every = slice(None)
    steps = (slice(None, None, s) for s in stride)
    taps = (slice(None, None, d) for d in dilation)
    at: tuple[Any, ...] = (every, every, *steps, *taps)
    return view[at]
