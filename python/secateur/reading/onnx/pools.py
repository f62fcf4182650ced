"""Pools: maxima, averages and sums over windows or whole axes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np

from secateur import exact
from secateur.network import Floats, Quantize, Shape
from secateur.reading.onnx.layers import dilations, pads, strides
from secateur.reading.onnx.operators import Call, Constant, operator, per_axis
from secateur.reading.signals import Signal


@dataclass(frozen=True)
class Windows:
    """Where the windows of a pool lie along one axis.

    Args:
        extent: elements of the axis, padding left out.
        kernel, stride, dilation: as everywhere.
        before, after: padding that the file declares.
        count: how many windows there are; of them the last may reach beyond the padding.
    """

    extent: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    count: int

    @staticmethod
    def of(
        extent: int, kernel: int, stride: int, dilation: int, pads: tuple[int, int], ceil: bool
    ) -> Windows:
        """Return the windows of a pool, with `ceil` cut off ones that start before the end."""
        before, after = pads
        room = extent + before + after - dilation * (kernel - 1) - 1
        count = (-(-room // stride) if ceil else room // stride) + 1
        if ceil and (count - 1) * stride >= extent + before:
            count -= 1
        return Windows(extent, kernel, stride, dilation, before, after, count)

    @property
    def padding(self) -> tuple[int, int]:
        """The padding that the windows really reach."""
        span = self.dilation * (self.kernel - 1) + 1
        beyond = (self.count - 1) * self.stride + span - self.extent - self.before
        return self.before, max(beyond, 0)

    def taps(self, *, padded: bool) -> Floats:
        """Return how many elements each window has, float64 [count].

        Args:
            padded: whether the padding that the file declares counts, which `ceil` goes beyond.
        """
        starts = np.arange(self.count)[:, None] * self.stride
        at = starts + np.arange(self.kernel) * self.dilation
        first, end = (0, self.after) if padded else (self.before, 0)
        inside = (at >= first) & (at < self.before + self.extent + end)
        return inside.sum(axis=1).astype(np.float64)


@operator("MaxPool", "AveragePool", "MaxPoolNHWC", "QuantAvgPool2d")
def pool(call: Call) -> Signal:
    """The maximum or the mean of every window."""
    x = call.signal(0)
    axes = len(call.assembly.shape(x)) - 1
    last = call.node.operator == "MaxPoolNHWC" or call.node.domain.endswith("channels_last")
    if last or call.attribute("data_layout") == "NHWC":
        x = call.assembly.transpose(f"{call.name}.first", x, (axes, *range(axes)))
        y = _pooled(call, x)
        return call.assembly.transpose(f"{call.name}.last", y, (*range(1, axes + 1), 0))
    return _pooled(call, x)


def _pooled(call: Call, x: Signal) -> Signal:
    shape = call.assembly.shape(x)
    axes = len(shape) - 1
    if call.node.operator == "QuantAvgPool2d":
        return _shifted_sum(call, x)
    kernel = per_axis(call.attribute("kernel_shape", ()), axes, 0)
    stride, dilation = strides(call, axes), dilations(call, axes)
    if not axes or min(kernel) < 1:
        raise call.refuse(f"has kernel_shape {kernel}", "give an extent for every spatial axis")
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    padding = pads(call, shape[1:], reach, stride)
    ceil = bool(call.attribute("ceil_mode", 0))
    geometry = zip(shape[1:], kernel, stride, dilation, padding, strict=True)
    windows = [Windows.of(*axis, ceil) for axis in geometry]
    if min(w.count for w in windows) < 1:
        raise call.refuse(f"has windows of {reach} for pixels of {shape[1:]}", "they do not fit")
    reached = tuple(w.padding for w in windows)
    if call.node.operator.startswith("MaxPool"):
        if max(dilation) > 1:
            raise call.refuse(f"has dilated windows (dilations {dilation})", "pool without them")
        return call.assembly.max_pool(call.name, x, kernel, stride, reached)
    padded = bool(call.attribute("count_include_pad", 0))
    divisor, real = (_product([w.taps(padded=p) for w in windows]) for p in (padded, False))
    if not (divisor if padded else real).all():
        raise call.refuse(f"has a window of nothing but padding {padding}", "pad less")
    if divisor.min() < divisor.max():
        call.note("divisors differ from window to window: in tables for each position")
    return call.assembly.sum_pool(
        call.name, x, kernel, stride, reached, divisor, taps=real, dilation=dilation
    )


def _product(counts: list[Floats]) -> Floats:
    """Return the products of counts along each axis, [1, *positions]; one number where alike."""
    product = reduce(np.multiply.outer, counts)[None]
    return product.reshape(-1)[0] if product.min() == product.max() else product


def _shifted_sum(call: Call, x: Signal) -> Signal:
    """QONNX's quantised average pool: the sum of every window, its low bits dropped."""
    shape = call.assembly.shape(x)
    if len(shape) != 3:
        raise call.refuse(f"pools samples of shape {shape}", "three axes are read")
    kernel, stride = (int(call.attribute(name, 0)) for name in ("kernel", "stride"))
    widths = [int(call.attribute(name, 0)) for name in ("ibits", "obits")]
    if min(kernel, stride, *widths) < 1 or max(widths) > 32:
        raise call.refuse(
            f"has kernel {kernel}, stride {stride}, ibits and obits {widths}", "each is 1 or more"
        )
    none = ((0, 0),) * 2
    total = call.assembly.sum_pool(call.name, x, (kernel,) * 2, (stride,) * 2, none, 1)
    shift = max((((1 << widths[0]) - 1) * kernel**2).bit_length() - widths[1], 0)
    if total.grid is None or total.grid.scale != 1:
        total = total.then(Quantize(1.0, -exact.FLOAT64, exact.FLOAT64))
    low, high = -exact.FLOAT64, exact.FLOAT64
    if total.grid is not None:
        low, high = total.grid.low >> shift, total.grid.high >> shift
    call.note(f"the low {shift} bits of its sums: dropped by a table")
    codes = call.assembly.quantize(call.name, total, Quantize(2.0**shift, low, high, "floor"))
    return codes.integers()


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


@operator("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceProd")
def reduction(call: Call) -> Signal | Constant:
    """The mean, sum or maximum over axes."""
    value = call.value(0)
    given = call.integers(1) if call.given(1) else list(call.attribute("axes", ()))
    keep = bool(call.attribute("keepdims", 1))
    if isinstance(value, Constant):
        functions: Any = {
            "ReduceMean": np.mean,
            "ReduceSum": np.sum,
            "ReduceMax": np.max,
            "ReduceMin": np.min,
            "ReduceProd": np.prod,
        }
        axes = tuple(given) or None
        return Constant.of(functions[call.node.operator](value.values, axis=axes, keepdims=keep))
    if call.node.operator in ("ReduceMin", "ReduceProd"):
        raise call.refuse(
            "reduces samples", "constants alone; ReduceMax of the negated for a least"
        )
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
