"""Lowering of what adds: linear layers, convolutions, residual sums."""

from __future__ import annotations

from functools import reduce
from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends import Backend
from secateur.circuits.lowering.windows import column, padded
from secateur.network import Add, Conv, Integers, Linear


def linear(layer: Linear, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return codes · x + bias."""
    v = sources[0] @ layer.codes.T.astype(np.int64)
    return v if layer.bias is None else v + layer.bias


def add(operation: Add, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the sum of all sources."""
    v = reduce(lambda a, b: a + b, sources)
    return v if operation.bias is None else v + column(operation.bias, v.ndim)


def conv(layer: Conv, sources: list[Any], report: RangeReport, backend: Backend) -> Any:
    """Return the convolution; the backends know 2 spatial axes, so 1 and 3 become 2.

    One axis gets a second of extent 1. Of three, the depth of each window is moved into
    the channels, one output depth at a time.
    """
    x = padded(backend, sources[0], layer.padding)
    codes = layer.codes.astype(np.int64)
    shape = layer.shape(sources[0].shape)
    if len(layer.kernel) == 3:
        span = layer.dilation[0] * (layer.kernel[0] - 1) + 1
        slabs = [
            x[:, start : start + span : layer.dilation[0]]
            for start in range(0, shape[1] * layer.stride[0], layer.stride[0])
        ]
        flat = (codes.shape[0], codes.shape[1] * codes.shape[2], *codes.shape[3:])
        planes = [
            _conv2d(
                layer,
                slab.reshape((slab.shape[0] * slab.shape[1], *slab.shape[2:])),
                codes.reshape(flat),
                backend,
            ).reshape((shape[0], 1, *shape[2:]))
            for slab in slabs
        ]
        return planes[0] if len(planes) == 1 else np.concatenate(tuple(planes), axis=1)
    if len(layer.kernel) == 1:
        x = x.reshape((x.shape[0], 1, x.shape[1]))
        codes = codes[:, :, None]
    return _conv2d(layer, x, codes, backend).reshape(shape)


def _conv2d(layer: Conv, x: Any, codes: Integers, backend: Backend) -> Any:
    return backend.conv(
        x.reshape((1, *x.shape)),
        codes,
        layer.bias,
        strides=(1, *layer.stride)[-2:],
        dilations=(1, *layer.dilation)[-2:],
        group=layer.groups,
    )
