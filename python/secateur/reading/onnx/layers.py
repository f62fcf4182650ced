"""Layers: convolutions and products with constant weights, in floats and in integers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur import exact
from secateur.network import Floats, Integers, Shape
from secateur.reading.onnx.operators import Call, Constant, operator, per_axis
from secateur.reading.onnx.quantisers import (
    centred,
    check_zero_type,
    dequantized,
    quantized_linear,
    zero_points,
)
from secateur.reading.signals import Signal

_WIDEST_CODE = 1 << 31


@dataclass(frozen=True, eq=False)
class Weights:
    """Codes [out, in, ...], and the scale of each output channel, [out] or [1]."""

    codes: NDArray[Any]
    scale: Floats


def weights(call: Call, value: Signal | Constant, order: Shape | None = None) -> Weights:
    """Return the weights that `value` holds, its axes put in `order` where it is given."""
    if isinstance(value, Signal):
        raise call.refuse("multiplies two values that depend on the data", "one has to be constant")
    if order is not None:
        value = value.moved(lambda v: v.transpose(order))
    codes, scale = value.codes, value.scale
    if codes is None or scale is None:
        if not np.isfinite(value.values).all() or (value.values % 1).any():
            raise call.refuse(
                "has float weights", "put a Quant node, or DequantizeLinear, between them and it"
            )
        # Wider ones are refused below; int64 may not hold them.
        codes = np.clip(value.values, -_WIDEST_CODE, _WIDEST_CODE).astype(np.int64)
        scale = np.ones((1,) * codes.ndim)
    if exact.magnitude(codes) >= _WIDEST_CODE:
        raise call.refuse("has weights of more than 32 bits", "quantise them to fewer")
    rows = scale.reshape(len(scale), -1)
    if (rows != rows[:, :1]).any():
        raise call.refuse(
            f"has weights of shape {codes.shape}, output channels first, whose scales differ "
            "within an output channel (block-wise)",
            "quantise them per tensor, or with one scale for each output channel",
        )
    each = rows[:, 0]
    note = "one scale" if (each == each[0]).all() else "a scale for each channel"
    call.note(f"weights: codes [{codes.min()}, {codes.max()}]; {note}: in the next table")
    return Weights(_narrowest(codes), each[:1] if (each == each[0]).all() else each)


def _narrowest(codes: Integers) -> NDArray[Any]:
    """Return codes in the smallest signed type that holds them."""
    reach = max(int(codes.max(initial=0)), -int(codes.min(initial=0)) - 1)
    kind = next(k for k in (np.int8, np.int16, np.int32) if reach <= np.iinfo(k).max)
    return codes.astype(kind)


@operator("Conv")
def conv(call: Call) -> Signal:
    """Convolution, over channels-first or (in QONNX's channels_last) channels-last samples."""
    x = call.signal(0)
    last = call.node.domain.endswith("channels_last")
    rank = len(call.assembly.shape(x)) + 1
    order = (0, rank - 1, *range(1, rank - 1)) if last else None
    bias = call.floats(2) if call.given(2) else None
    if last:
        axes = rank - 2
        x = call.assembly.transpose(f"{call.name}.first", x, (axes, *range(axes)))
        y = convolved(call, x, weights(call, call.value(1), order), bias)
        return call.assembly.transpose(f"{call.name}.last", y, (*range(1, axes + 1), 0))
    return convolved(call, x, weights(call, call.value(1)), bias)


def convolved(call: Call, x: Signal, weight: Weights, bias: Floats | None) -> Signal:
    """Return the convolution of x with the geometry of the node's attributes."""
    kernel = weight.codes.shape[2:]
    shape = call.assembly.shape(x)
    if len(kernel) != len(shape) - 1:
        raise call.refuse(
            f"has weights of shape {weight.codes.shape} for samples of {shape}", "they do not fit"
        )
    if tuple(call.attribute("kernel_shape", kernel)) != kernel:
        raise call.refuse("declares a kernel_shape that is not its weights'", "export it again")
    stride, dilation = strides(call, len(kernel)), dilations(call, len(kernel))
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    groups = int(call.attribute("group", 1))
    if groups < 1 or len(weight.codes) % groups or shape[0] != groups * weight.codes.shape[1]:
        raise call.refuse(
            f"has {shape[0]} channels, weights of shape {weight.codes.shape} and {groups} groups",
            "they do not fit",
        )
    return call.assembly.conv(
        call.name,
        x,
        weight.codes,
        weight.scale,
        _bias(call, bias, len(weight.codes)),
        stride=stride,
        padding=pads(call, shape[1:], reach, stride),
        dilation=dilation,
        groups=groups,
    )


def _bias(call: Call, bias: Floats | None, channels: int) -> Floats:
    if bias is None:
        return np.zeros(channels)
    if bias.size not in (1, channels):
        raise call.refuse(f"has {bias.size} biases for {channels} channels", "they do not fit")
    call.note("bias: in the next table")
    return np.broadcast_to(bias.reshape(-1), (channels,))


def strides(call: Call, axes: int) -> Shape:
    """Return the strides, one for each spatial axis."""
    return _positive(call, "strides", axes)


def dilations(call: Call, axes: int) -> Shape:
    """Return the dilations, one for each spatial axis."""
    return _positive(call, "dilations", axes)


def _positive(call: Call, name: str, axes: int) -> Shape:
    given = per_axis(call.attribute(name, ()), axes, 1)
    if min(given) < 1:
        raise call.refuse(f"has {name} {given}", "they are 1 or more")
    return given


def pads(call: Call, spatial: Shape, reach: Shape, stride: Shape) -> tuple[tuple[int, int], ...]:
    """Return (before, after) of every spatial axis, for windows that span `reach`."""
    axes = len(spatial)
    mode = call.attribute("auto_pad", "NOTSET")
    if mode == "NOTSET":
        flat = per_axis(call.attribute("pads", ()), 2 * axes, 0)
        if min(flat) < 0:
            raise call.refuse(f"has pads {flat}", "crop by a Slice before it")
        return tuple(zip(flat[:axes], flat[axes:], strict=True))
    if mode == "VALID":
        return ((0, 0),) * axes
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.refuse(f"has auto_pad {mode!r}", "give pads")
    result = []
    for extent, span, step in zip(spatial, reach, stride, strict=True):
        total = max((math.ceil(extent / step) - 1) * step + span - extent, 0)
        less, more = total // 2, total - total // 2
        result.append((less, more) if mode == "SAME_UPPER" else (more, less))
    return tuple(result)


@operator("Gemm")
def gemm(call: Call) -> Signal:
    """α · A · B + β · C, with A the samples."""
    if call.attribute("transA", 0):
        raise call.refuse("transposes its samples", "the batch axis has to stay first: transA=0")
    x = call.signal(0)
    if len(call.assembly.shape(x)) != 1:
        raise call.refuse(f"reads samples of shape {call.assembly.shape(x)}", "flatten them before")
    weight = weights(call, call.value(1), None if call.attribute("transB", 0) else (1, 0))
    alpha, beta = (float(call.attribute(name, 1.0)) for name in ("alpha", "beta"))
    bias = None
    if call.given(2):
        bias = call.aligned(call.floats(2), (len(weight.codes),)) * beta
    return linear(call, x, Weights(weight.codes, weight.scale * alpha), bias)


@operator("MatMul")
def matmul(call: Call) -> Signal:
    """A product of samples and constant weights, which may stand on either side."""
    return product(call, call.value(0), call.value(1))


def product(call: Call, a: Signal | Constant, b: Signal | Constant) -> Signal:
    """Return a · b for one constant of two axes and one signal."""
    if isinstance(a, Constant):
        if isinstance(b, Constant):
            raise call.refuse("multiplies two constants", "fold it: onnxsim or onnxruntime")
        return _from_left(call, a, b)
    rank = b.values.ndim if isinstance(b, Constant) else 2
    if isinstance(b, Constant) and rank > 2:
        lead = math.prod(b.values.shape[:-2])
        if lead != 1:
            raise call.refuse("has other weights for every row", "a network has one for all")
        b = b.moved(lambda v: v.reshape(v.shape[-2:]))
    if isinstance(b, Constant) and rank == 1:
        b = b.moved(lambda v: v.reshape(-1, 1))
        y = linear(call, a, weights(call, b, (1, 0)), None)
        return call.assembly.reshape(
            f"{call.name}.squeezed", y, call.assembly.shape(y)[:-1] or (1,)
        )
    return linear(call, a, weights(call, b, (1, 0)), None)


def linear(call: Call, x: Signal, weight: Weights, bias: Floats | None) -> Signal:
    """Return weight · x + bias along the last axis of samples of any rank."""
    shape = call.assembly.shape(x)
    outputs, inputs = weight.codes.shape
    if shape[-1] != inputs:
        raise call.refuse(f"reads {inputs} elements, its samples have {shape[-1]}", "they differ")
    offset = _bias(call, bias, outputs)
    if len(shape) == 1:
        return call.assembly.linear(call.name, x, weight.codes, weight.scale, offset)
    # Every row alone: a convolution of extent 1 over the rows, with the elements as channels.
    rows = call.assembly.reshape(f"{call.name}.rows", x, (math.prod(shape[:-1]), inputs))
    columns = call.assembly.transpose(f"{call.name}.columns", rows, (1, 0))
    y = _over_columns(call, columns, Weights(weight.codes, weight.scale), offset)
    back = call.assembly.transpose(f"{call.name}.back", y, (1, 0))
    return call.assembly.reshape(f"{call.name}.shaped", back, (*shape[:-1], outputs))


def _from_left(call: Call, a: Constant, x: Signal) -> Signal:
    """Return a · x for samples of at least two axes: along the last axis but one."""
    shape = call.assembly.shape(x)
    if a.values.ndim > 2 and math.prod(a.values.shape[:-2]) == 1:
        a = a.moved(lambda v: v.reshape(v.shape[-2:]))
    if len(shape) < 2 or a.values.ndim != 2 or a.values.shape[1] != shape[-2]:
        raise call.refuse(
            f"multiplies weights of shape {a.values.shape} and samples of {shape}",
            "one matrix for the last axis but one of all samples is read",
        )
    weight = weights(call, a)
    bias = np.zeros(len(weight.codes))
    if len(shape) == 2:
        return _over_columns(call, x, weight, bias)
    axes = len(shape) - 1
    order = (axes - 1, *range(axes - 1), axes)
    led = call.assembly.transpose(f"{call.name}.led", x, order)
    flat = call.assembly.reshape(
        f"{call.name}.columns", led, (shape[-2], math.prod(shape) // shape[-2])
    )
    y = _over_columns(call, flat, weight, bias)
    shaped = call.assembly.reshape(
        f"{call.name}.shaped", y, (len(weight.codes), *shape[:-2], shape[-1])
    )
    back = tuple(int(a) for a in np.argsort(order))
    return call.assembly.transpose(f"{call.name}.back", shaped, back)


def _over_columns(call: Call, x: Signal, weight: Weights, bias: Floats) -> Signal:
    return call.assembly.conv(
        call.name,
        x,
        weight.codes[:, :, None],
        weight.scale,
        bias,
        stride=(1,),
        padding=((0, 0),),
        dilation=(1,),
        groups=1,
    )


@operator("ConvInteger")
def conv_integer(call: Call) -> Signal:
    """The accumulators themselves: scale 1."""
    x = _integer_samples(call, 0, 2)
    return convolved(call, x, weights(call, _integer_weights(call, 1, 3, 0)), None)


@operator("MatMulInteger")
def matmul_integer(call: Call) -> Signal:
    """The accumulators themselves: scale 1."""
    x = _integer_samples(call, 0, 2)
    return product(call, x, _integer_weights(call, 1, 3, -1))


def _integer_samples(call: Call, at: int, zero_at: int) -> Signal:
    value = call.value(at)
    if isinstance(value, Constant):
        raise call.refuse("has constant samples", "fold it: onnxsim or onnxruntime")
    return centred(call, value, zero_at)


def _integer_weights(call: Call, at: int, zero_at: int, axis: int) -> Constant:
    value = call.constant(at)
    check_zero_type(call, value, zero_at)
    call.whole(value)
    zero = zero_points(call, zero_at)
    if zero.size > 1:
        column = tuple(-1 if a == axis % value.values.ndim else 1 for a in range(value.values.ndim))
        zero = zero.reshape(column)
    return Constant.quantized((value.values - zero.reshape(zero.shape or ())).astype(np.int64), 1.0)


@operator("QLinearConv")
def qlinear_conv(call: Call) -> Signal | Constant:
    """Integers in, integers out: x, scale, zero, w, scale, zero, scale, zero, bias."""
    x = _samples(call, 0, 1, 2)
    weight = weights(call, _channel_weights(call, 3, 4, 5, 0))
    bias = call.floats(8) if call.given(8) else None
    if bias is not None:
        bias = bias * call.floats(1).reshape(()) * weight.scale
    return _requantized(call, convolved(call, x, weight, bias), 6, 7)


@operator("QLinearMatMul")
def qlinear_matmul(call: Call) -> Signal | Constant:
    """Integers in, integers out: a, scale, zero, b, scale, zero, scale, zero."""
    x = _samples(call, 0, 1, 2)
    return _requantized(call, product(call, x, _channel_weights(call, 3, 4, 5, -1)), 6, 7)


def _samples(call: Call, at: int, scale_at: int, zero_at: int) -> Signal:
    value = dequantized(call, at, scale_at, zero_at)
    if isinstance(value, Constant):
        raise call.refuse("has constant samples", "fold it: onnxsim or onnxruntime")
    return value


def _channel_weights(call: Call, at: int, scale_at: int, zero_at: int, axis: int) -> Constant:
    integers = _integer_weights(call, at, zero_at, axis)
    scale = call.floats(scale_at)
    if scale.size > 1:
        rank = integers.values.ndim
        scale = scale.reshape(tuple(-1 if a == axis % rank else 1 for a in range(rank)))
    assert integers.codes is not None
    return Constant.quantized(integers.codes, scale.reshape(()) if scale.size == 1 else scale)


def _requantized(call: Call, y: Signal, scale_at: int, zero_at: int) -> Signal | Constant:
    from secateur.reading.onnx.model import INTEGERS

    kind = call.constant(zero_at).kind
    if kind not in INTEGERS:
        raise call.refuse(f"gives element type {kind}", "integers of 2 to 16 bits are read")
    return quantized_linear(call, y, scale_at, zero_at, *INTEGERS[kind])


def _cut(
    call: Call, extents: Shape, stride: Shape, spans: list[int], extra: Shape
) -> tuple[tuple[tuple[int, int], ...], Shape]:
    """Return what a transposed convolution cuts off (before, after) each axis, and adds after it.

    Args:
        spans: extents of all that the windows reach.
        extra: output_padding; what is missing to a wanted extent adds to it.
    """
    axes, mode = len(extents), call.attribute("auto_pad", "NOTSET")
    wanted = call.attribute("output_shape", ())
    if not wanted and mode in ("SAME_UPPER", "SAME_LOWER"):
        wanted = [n * s for n, s in zip(extents, stride, strict=True)]
    if not wanted:
        return pads(call, extents, (0,) * axes, stride), extra
    cut, added = [], []
    for span, want, more in zip(spans, per_axis(wanted, axes, 0), extra, strict=True):
        total = span + more - want
        less, rest = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        cut.append((less, rest) if mode == "SAME_UPPER" else (rest, less))
        added.append(more + max(-total, 0))
    return tuple(cut), tuple(added)


@operator("ConvTranspose")
def conv_transpose(call: Call) -> Signal:
    """A convolution of the samples with zeros between their elements, weights turned round."""
    x, shape = call.signal(0), call.assembly.shape(call.signal(0))
    value = call.constant(1)
    axes = len(shape) - 1
    if value.values.ndim != axes + 2:
        raise call.refuse(
            f"has weights of shape {value.values.shape} for samples of {shape}", "they do not fit"
        )
    groups = int(call.attribute("group", 1))
    kernel = value.values.shape[2:]
    if groups < 1 or len(value.values) % groups or len(value.values) != shape[0]:
        raise call.refuse(f"has {groups} groups for {shape[0]} channels", "they do not fit")

    def turned(v: NDArray[Any]) -> NDArray[Any]:
        grouped = v.reshape(groups, len(v) // groups, *v.shape[1:]).swapaxes(1, 2)
        flat = grouped.reshape(-1, *grouped.shape[2:])
        return np.flip(flat, axis=tuple(range(2, v.ndim)))

    weight = weights(call, value.moved(turned))
    stride, dilation = strides(call, axes), dilations(call, axes)
    extra = per_axis(call.attribute("output_padding", ()), axes, 0)
    reach = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    spans = [(n - 1) * s + r + 1 for n, s, r in zip(shape[1:], stride, reach, strict=True)]
    cut, extra = _cut(call, shape[1:], stride, spans, extra)
    spread = x
    for axis, step in enumerate(stride, start=1):
        if step > 1:
            extent = shape[axis]
            index = np.full((extent - 1) * step + 1, -1)
            index[::step] = np.arange(extent)
            fill = call.assembly.fill(call.name, spread, 0.0)
            spread = call.assembly.pick(f"{call.name}.spread{axis}", spread, axis, index, fill)
    margins = tuple(
        (r - before, r - after + e) for r, (before, after), e in zip(reach, cut, extra, strict=True)
    )
    if min(m for margin in margins for m in margin) < 0:
        raise call.refuse(f"cuts more than its kernel adds, with pads {cut}", "crop by a Slice")
    bias = call.floats(2) if call.given(2) else None
    return call.assembly.conv(
        call.name,
        spread,
        weight.codes,
        weight.scale,
        _bias(call, bias, len(weight.codes)),
        stride=(1,) * axes,
        padding=margins,
        dilation=dilation,
        groups=groups,
    )
