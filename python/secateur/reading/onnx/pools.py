"""Pools: maxima, averages and sums over windows or whole axes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from secateur.network import Shape
from secateur.reading.onnx.layers import dilations, pads, strides
from secateur.reading.onnx.operators import Call, Constant, operator, per_axis
from secateur.reading.signals import Signal


@operator("MaxPool", "AveragePool", "MaxPoolNHWC", "QuantAvgPool2d")
def pool(call: Call) -> Signal:
    """The maximum or the mean of every window."""
    x = call.signal(0)
    axes = len(call.assembly.shape(x)) - 1
    if call.node.operator == "MaxPoolNHWC" or call.node.domain.endswith("channels_last"):
        x = call.assembly.transpose(f"{call.name}.first", x, (axes, *range(axes)))
        y = _pooled(call, x)
        return call.assembly.transpose(f"{call.name}.last", y, (*range(1, axes + 1), 0))
    return _pooled(call, x)


def _pooled(call: Call, x: Signal) -> Signal:
    shape = call.assembly.shape(x)
    axes = len(shape) - 1
    if call.node.operator == "QuantAvgPool2d":
        return _quantized_average(call, x)
    kernel = per_axis(call.attribute("kernel_shape", ()), axes, 0)
    stride = strides(call, axes)
    if min(kernel) < 1:
        raise call.refuse(f"has kernel_shape {kernel}", "give an extent for every spatial axis")
    if any(d != 1 for d in dilations(call, axes)):
        raise call.refuse("has dilated windows", "pool without dilations")
    padding = pads(call, shape[1:], kernel, stride)
    if call.attribute("ceil_mode", 0):
        rest = [
            (n + sum(p) - k) % s
            for n, p, k, s in zip(shape[1:], padding, kernel, stride, strict=True)
        ]
        if any(rest):
            raise call.refuse("has a last window that is cut off (ceil_mode)", "use ceil_mode=0")
    if call.node.operator.startswith("MaxPool"):
        if len(call.node.outputs) > 1 and call.node.outputs[1]:
            raise call.refuse("gives indices", "drop its second output")
        return call.assembly.max_pool(call.name, x, kernel, stride, padding)
    if np.any(padding) and not call.attribute("count_include_pad", 0):
        raise call.refuse(
            "has means that leave padding out, which have no common divisor", "count_include_pad=1"
        )
    return call.assembly.sum_pool(call.name, x, kernel, stride, padding, math.prod(kernel))


def _quantized_average(call: Call, x: Signal) -> Signal:
    raise call.refuse("averages and truncates in one", "AveragePool and Trunc in its place")


@operator("GlobalAveragePool", "GlobalMaxPool")
def global_pool(call: Call) -> Signal:
    """The mean or maximum of every channel."""
    x = call.signal(0)
    _, *spatial = call.assembly.shape(x)
    kernel = tuple(spatial)
    if not kernel:
        raise call.refuse("has no spatial axes", "leave it out")
    none = ((0, 0),) * len(kernel)
    if call.node.operator == "GlobalMaxPool":
        return call.assembly.max_pool(call.name, x, kernel, kernel, none)
    return call.assembly.sum_pool(call.name, x, kernel, kernel, none, math.prod(kernel))


@operator("ReduceMean", "ReduceSum", "ReduceMax")
def reduce(call: Call) -> Signal | Constant:
    """The mean, sum or maximum over axes."""
    value = call.value(0)
    given = call.integers(1) if call.given(1) else list(call.attribute("axes", ()))
    keep = bool(call.attribute("keepdims", 1))
    if isinstance(value, Constant):
        functions: Any = {"ReduceMean": np.mean, "ReduceSum": np.sum, "ReduceMax": np.max}
        axes = tuple(given) or None
        return Constant.of(functions[call.node.operator](value.values, axis=axes, keepdims=keep))
    x = call.signal(0)
    shape = call.assembly.shape(x)
    if not given:
        if call.attribute("noop_with_empty_axes", 0):
            return x
        raise call.refuse("reduces every axis, the batch too", "give axes")
    over = sorted({call.axis(a, shape) for a in given})
    return reduced(call, x, over, keep)


def reduced(call: Call, x: Signal, over: list[int], keep: bool) -> Signal:
    """Return `x` with the axes `over` reduced: moved to the end, joined, and one window of them."""
    shape = call.assembly.shape(x)
    kept = [a for a in range(len(shape)) if a not in over]
    extents = tuple(shape[a] for a in kept)
    taps = math.prod(shape[a] for a in over)
    moved = call.assembly.transpose(f"{call.name}.moved", x, (*kept, *over))
    flat = call.assembly.reshape(f"{call.name}.flat", moved, (math.prod(extents), taps))
    none = ((0, 0),)
    if call.node.operator == "ReduceMax":
        y = call.assembly.max_pool(call.name, flat, (taps,), (taps,), none)
    else:
        divisor = taps if call.node.operator == "ReduceMean" else 1
        y = call.assembly.sum_pool(call.name, flat, (taps,), (taps,), none, divisor)
    result: Shape = tuple(1 if a in over else n for a, n in enumerate(shape)) if keep else extents
    return call.assembly.reshape(f"{call.name}.shaped", y, result or (1,))
