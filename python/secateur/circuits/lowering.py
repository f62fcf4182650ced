"""Trace: the function that a backend traces to make a network's circuit.

One sample goes in, without a batch axis; what comes out is the accumulator that the
network's output reads. Every operation is written with what both backends have: padding
is an assignment into zeros, a maximum is b + relu(a − b), convolutions are 2-dimensional.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from secateur.analysis import RangeReport
from secateur.backends.backend import Backend
from secateur.errors import NetworkError
from secateur.network import (
    Add,
    Concat,
    Conv,
    Linear,
    Lookup,
    MaxPool,
    Operation,
    Reshape,
    SumPool,
    Transpose,
)
from secateur.network.tables import Integers


@dataclass(eq=False)
class Lowered:
    """A network as a function for a backend to trace.

    Args:
        report: the network and the ranges that its tables are made for.
        backend: the backend whose extensions it is written in.
        nodes: operation name → the traced node that holds its result; filled by tracing.
    """

    report: RangeReport
    backend: Backend
    nodes: dict[str, Any] = field(default_factory=dict)

    def function(self) -> Callable[[Any], Any]:
        """Return the function of one sample; its only parameter is called `x`."""

        def network(x: Any) -> Any:
            values = {self.report.network.input.name: x}
            for operation in self.report.network.operations:
                with self.backend.namespace.tag(operation.name):
                    sources = [values[s] for s in operation.sources]
                    values[operation.name] = self._lower(operation, sources)
                self.nodes[operation.name] = values[operation.name].computation
            return values[self.report.network.output.source]

        return network

    @property
    def joined(self) -> set[Any]:
        """The nodes of which `analyze` keeps one range per channel, not one per position."""
        operations = self.report.network.operations
        return {self.nodes[o.name] for o in operations if isinstance(o, Conv | SumPool | MaxPool)}

    def _lower(self, operation: Operation, sources: list[Any]) -> Any:
        source = sources[0]
        match operation:
            case Linear():
                v = source @ operation.codes.T.astype(np.int64)
                return v if operation.bias is None else v + operation.bias
            case Conv():
                return self._conv(operation, source)
            case Lookup():
                return self._lookup(operation, source)
            case Add():
                v = reduce(lambda a, b: a + b, sources)
                return v if operation.bias is None else v + _column(operation.bias, v.ndim)
            case Concat():
                return np.concatenate(tuple(sources), axis=operation.axis)
            case SumPool():
                taps = _taps(self._pad(source, operation.padding), operation)
                return reduce(lambda a, b: a + b, taps)
            case MaxPool():
                return self._max_pool(operation, source)
            case Reshape():
                return source.reshape(operation.to)
            case Transpose():
                return np.transpose(source, operation.axes)
        raise NetworkError(
            f"layer {operation.name!r}: no circuit is known for a {type(operation).__name__}",
            layer=operation.name,
        )

    def _pad(self, x: Any, padding: Sequence[tuple[int, int]], fill: Integers | None = None) -> Any:
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
        padded = self.backend.namespace.zeros((x.shape[0], *outer))
        if fill is not None and fill.any():
            padded = padded + np.broadcast_to(_column(fill, x.ndim), padded.shape)
        padded[inner] = x
        return padded

    def _conv(self, conv: Conv, source: Any) -> Any:
        """Return the convolution; the backends know 2 spatial axes, so 1 and 3 become 2.

        One axis gets a second of extent 1. Of three, the depth of each window is moved into
        the channels, one output depth at a time.
        """
        x = self._pad(source, conv.padding)
        codes = conv.codes.astype(np.int64)
        shape = conv.shape(source.shape)
        if len(conv.kernel) == 3:
            span = conv.dilation[0] * (conv.kernel[0] - 1) + 1
            slabs = [
                x[:, start : start + span : conv.dilation[0]]
                for start in range(0, shape[1] * conv.stride[0], conv.stride[0])
            ]
            flat = (codes.shape[0], codes.shape[1] * codes.shape[2], *codes.shape[3:])
            planes = [
                self._conv2d(
                    conv,
                    slab.reshape((slab.shape[0] * slab.shape[1], *slab.shape[2:])),
                    codes.reshape(flat),
                ).reshape((shape[0], 1, *shape[2:]))
                for slab in slabs
            ]
            return planes[0] if len(planes) == 1 else np.concatenate(tuple(planes), axis=1)
        if len(conv.kernel) == 1:
            x = x.reshape((x.shape[0], 1, x.shape[1]))
            codes = codes[:, :, None]
        return self._conv2d(conv, x, codes).reshape(shape)

    def _conv2d(self, conv: Conv, x: Any, codes: Integers) -> Any:
        return self.backend.conv(
            x.reshape((1, *x.shape)),
            codes,
            conv.bias,
            strides=(1, *conv.stride)[-2:],
            dilations=(1, *conv.dilation)[-2:],
            group=conv.groups,
        )

    def _lookup(self, lookup: Lookup, source: Any) -> Any:
        channels = self.report[lookup.source].channels
        low, high = channels.low, channels.high
        keys = _keys(int(low.min()), int(high.max()))
        if lookup.rounding_bits:
            source = self.backend.round_bits(source, lookup.rounding_bits, _width(keys))
            low, high = (
                extreme(v, v >> lookup.rounding_bits << lookup.rounding_bits)
                for extreme, v in ((np.minimum, low), (np.maximum, high))
            )
            keys = _keys(int(low.min()), int(high.max()))
        # Beyond its own range a channel's table repeats its last entry: never looked up.
        domain = np.clip(keys[:, None], low, high)
        rows = lookup.evaluate(domain).T
        return self._apply(source, rows)

    def _apply(self, source: Any, rows: Integers) -> Any:
        """Look `source` [channels, ...] up in `rows` [channels, keys]."""
        table = self.backend.namespace.LookupTable
        if (rows == rows[0]).all():
            return table(rows[0])[source]
        distinct = {row.tobytes(): table(row) for row in rows}
        tables = np.empty(len(rows), dtype=object)
        tables[:] = [distinct[row.tobytes()] for row in rows]
        return table(_column(tables, source.ndim))[source]

    def _max_pool(self, pool: MaxPool, source: Any) -> Any:
        """Return the maximum of every window, one spatial axis after the other."""
        channels = self.report[pool.source].channels
        reach = int((channels.high - channels.low).max())
        keys = _keys(-reach, reach)
        relu = self.backend.namespace.LookupTable(np.maximum(keys, 0))
        x = self._pad(source, pool.padding, fill=channels.low)
        for axis in range(len(pool.kernel)):
            slices = _along(x, axis + 1, pool.kernel[axis], pool.stride[axis])
            x = reduce(lambda a, b: b + relu[a - b], slices)
        return x


def _keys(low: int, high: int) -> Integers:
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


def _column(values: Any, axes: int) -> Any:
    """Shape per-channel `values` [channels] to broadcast over [channels, ...] of `axes` axes."""
    return values.reshape(-1, *(1,) * (axes - 1))


def _along(x: Any, axis: int, taps: int, stride: int) -> list[Any]:
    """Return, for every tap of a window, the elements of `x` under it along one axis."""
    count = (x.shape[axis] - taps) // stride + 1
    reach = (count - 1) * stride + 1
    under = [(slice(None),) * axis + (slice(tap, tap + reach, stride),) for tap in range(taps)]
    return [x[index] for index in under]


def _taps(x: Any, pool: SumPool) -> list[Any]:
    """Return, for every tap of a pool's windows, the elements of padded `x` under it."""
    parts = [x]
    for axis, (taps, stride) in enumerate(zip(pool.kernel, pool.stride, strict=True)):
        parts = [piece for part in parts for piece in _along(part, axis + 1, taps, stride)]
    return parts
