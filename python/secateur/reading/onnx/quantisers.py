"""Quantisers: QONNX's Quant, BipolarQuant and Trunc, ONNX's QuantizeLinear and its inverse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from secateur.errors import NotFiniteError
from secateur.network import Activation, Floats, Quantize
from secateur.network.tables import ROUNDINGS
from secateur.ranges import Range
from secateur.reading.onnx.model import FLOATS, INTEGERS
from secateur.reading.onnx.operators import Call, Constant, operator
from secateur.reading.signals import Signal

_WIDEST = 32

#: Where a rounding in the middle of a table has no ends of its own.
_FAR = 1 << 53


def code_range(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """Return the least and the greatest code of QONNX: narrow signed ones lack the least,
    narrow unsigned ones the greatest.
    """
    if signed:
        return -(1 << (bits - 1)) + narrow, (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - narrow


@operator("Quant", "IntQuant")
def quant(call: Call) -> Signal | Constant:
    """Y = (round(clip(x / scale + zero point)) − zero point) · scale."""
    bits = _whole(call, 3, "bit width")
    if not 1 <= bits <= _WIDEST:
        raise call.refuse(f"has {bits} bits", f"1 to {_WIDEST} are read")
    signed, narrow = bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 1))
    rounding = _rounding(call, "ROUND")
    low, high = code_range(bits, signed, narrow)
    if bits == 1 and signed:
        rounding, low, high = "sign", -1, 1
    zero = call.floats(2, 0.0)
    return _quantized(call, call.value(0), _scale(call, 1), zero, low, high, rounding)


@operator("BipolarQuant")
def bipolar(call: Call) -> Signal | Constant:
    """Y = ±scale, + where x ≥ 0."""
    x, scale = call.value(0), _scale(call, 1)
    if isinstance(x, Constant):
        return Constant.quantized(np.where(x.values >= 0, 1, -1), scale)
    return _along(call, _rounded(call, x, Quantize(1.0, -1, 1, "sign")), scale)


@operator("Trunc")
def trunc(call: Call) -> Signal:
    """Drop low bits of codes: of version 2, which has six inputs, onto a scale of its own."""
    x, scale, zero = call.signal(0), _one(call, _scale(call, 1)), _whole(call, 2, "zero point")
    rounding = _rounding(call, "FLOOR")
    wide = Quantize(scale, -_FAR, _FAR, zero_point=zero)
    whole = x if x.grid is not None and x.grid.scale == scale else x.then(wide)
    if len(call.inputs) == 6:
        out_scale, bits = _one(call, _scale(call, 4)), _whole(call, 5, "bit width")
        dropped = round(float(np.log2(out_scale / scale)))
        low, high = code_range(
            bits, bool(call.attribute("signed", 1)), bool(call.attribute("narrow", 0))
        )
        new_zero, rest = divmod(zero, 1 << dropped) if dropped >= 0 else (0, 1)
        if rest:
            raise call.refuse(
                f"drops {dropped} bits of the zero point {zero}", "it has to stay a whole number"
            )
        grid = Quantize(scale * 2.0**dropped, low - new_zero, high - new_zero, rounding, new_zero)
        codes = call.assembly.quantize(call.name, whole, grid)
        return codes.integers().scaled(out_scale)
    if zero:
        raise call.refuse("has a zero point in version 1", "export it in version 2")
    dropped = _whole(call, 3, "input bit width") - _whole(call, 4, "output bit width")
    grid = Quantize(scale * 2.0**dropped, -_FAR, _FAR, rounding)
    return call.assembly.quantize(call.name, whole, grid).integers().scaled(scale)


@operator("QuantizeLinear")
def quantize_linear(call: Call) -> Signal | Constant:
    """Q = clip(round(x / scale) + zero point)."""
    _check_blocks(call)
    low, high = _integer_type(call)
    return quantized_linear(call, call.value(0), 1, 2, low, high)


def _check_blocks(call: Call) -> None:
    if call.attribute("block_size", 0):
        raise call.refuse(
            f"has a scale for every block of {call.attribute('block_size')} (block_size), which "
            "no one accumulator has",
            "quantise per tensor, or per output channel with axis",
        )


def quantized_linear(
    call: Call, x: Signal | Constant, scale_at: int, zero_at: int, low: int, high: int
) -> Signal | Constant:
    """Return the integers q that ONNX makes of `x`, zero point included."""
    rank = x.values.ndim if isinstance(x, Constant) else len(call.assembly.shape(x)) + 1
    scale = _on_axis(call, _scale(call, scale_at), rank)
    zero = _on_axis(call, zero_points(call, zero_at), rank)
    if isinstance(x, Constant):
        _check_fits(call, x.values, scale, zero)
        codes = np.rint(x.values / scale) + zero
        return Constant.of(np.clip(codes, low, high).astype(np.int64))
    if _same(zero) is None:
        # Rounded first, then shifted; the input, whose ties the clear side rounds, at once.
        divided = _divided(call, x, scale)
        rounded = divided if x.raw else divided.then(Quantize(1.0, -_FAR, _FAR))
        shifted = _along(call, rounded, np.array(1.0), zero)
        return _rounded(call, shifted, Quantize(1.0, low, high))
    quantized = _quantized(call, x, scale, zero, low, high, "half_even", seen=0)
    assert isinstance(quantized, Signal)
    return quantized.integers().scaled(1.0, _one_zero(call, zero))


@operator("DequantizeLinear")
def dequantize_linear(call: Call) -> Signal | Constant:
    """X = (q − zero point) · scale."""
    _check_blocks(call)
    return dequantized(call, 0, 1, 2)


def dequantized(call: Call, at: int, scale_at: int, zero_at: int) -> Signal | Constant:
    """Return the floats that the integers of input `at` stand for."""
    value = call.value(at)
    check_zero_type(call, value, zero_at)
    if isinstance(value, Constant):
        rank = value.values.ndim
        zero = _on_axis(call, zero_points(call, zero_at), rank)
        call.whole(value)
        scale = _on_axis(call, call.floats(scale_at), rank)
        _check_fits(call, value.values, scale, zero)
        return Constant.quantized((value.values - zero).astype(np.int64), scale)
    codes = centred(call, value, zero_at)
    rank = len(call.assembly.shape(codes)) + 1
    scale = _on_axis(call, _scale(call, scale_at), rank)
    call.note(f"scale {_briefly(scale)}: a factor of what reads it")
    return _along(call, codes, scale)


def zero_points(call: Call, at: int) -> Floats:
    """Return the zero points of input `at`, 0 where they are left out."""
    zeros = call.floats(at, 0.0)
    if (zeros % 1).any():
        raise call.refuse("has a zero point that is no whole number", "store it as an integer")
    return zeros


def check_zero_type(call: Call, value: Signal | Constant, zero_at: int) -> None:
    """Raise unless integers and their zero point are of one type, as far as it is known."""
    kind = call.constant(zero_at).kind if call.given(zero_at) else 0
    own = f"of element type {value.kind}" if isinstance(value, Constant) else ""
    if isinstance(value, Constant):
        differ = kind and value.kind and kind != value.kind
    else:
        scaling, codes = value.scaling, value.range
        if kind not in INTEGERS or codes is None or scaling is None or scaling.offset.ndim:
            return
        low, high = (end + int(scaling.offset) for end in (codes.low, codes.high))
        own = f"from {low} to {high}"
        differ = not INTEGERS[kind][0] <= low <= high <= INTEGERS[kind][1]
    if differ:
        raise call.refuse(
            f"has integers {own} and a zero point of element type {kind}",
            "store both in one type",
        )


def centred(call: Call, value: Signal, zero_at: int) -> Signal:
    """Return integers less their zero point; an integer input of the model gets its codes so."""
    zero = _on_axis(call, zero_points(call, zero_at), len(call.assembly.shape(value)) + 1)
    one = _same(zero)
    if value.raw and value.range is not None:
        centre = 0 if one is None else _one_zero(call, zero)
        low, high = value.range.low - centre, value.range.high - centre
        call.note(f"zero point {centre}: the input's codes are centred on it")
        grid = Quantize(1.0, low, high)
        codes = call.assembly.quantize(call.name, value.scaled(1.0, -centre), grid)
        return codes if one is not None else _along(call, codes, np.array(1.0), -zero)
    return _along(call, value, np.array(1.0), -zero)


@operator("Clip")
def clip(call: Call) -> Signal | Constant:
    """Cut codes to a narrower range (QCDQ), or floats to an interval."""
    value = call.value(0)
    low, high = (
        float(call.floats(i + 1)) if call.given(i + 1) else float(call.attribute(name, default))
        for i, (name, default) in enumerate((("min", -np.inf), ("max", np.inf)))
    )
    if low > high:
        raise call.refuse(f"has min {low} above max {high}", "check its constants")
    if isinstance(value, Constant):
        kept = np.clip(value.values, low, high).astype(value.values.dtype)
        return Constant.of(kept, value.kind)
    narrowed = _narrowed(call, value, low, high)
    if narrowed is not None:
        return narrowed
    greatest = float(np.finfo(np.float64).max)
    ends = {"min_val": max(low, -greatest), "max_val": min(high, greatest)}
    return call.signal(0).then(Activation("hardtanh", ends), call.name)


def _narrowed(call: Call, x: Signal, low: float, high: float) -> Signal | None:
    """Return codes cut to [low, high], where its ends are floats of codes; None elsewhere."""
    if x.range is None or x.scaling is None or x.scaling.factor.ndim or x.scaling.offset.ndim:
        return None
    factor, offset = float(x.scaling.factor), float(x.scaling.offset)
    if factor <= 0:
        return None
    ends = []
    for end, code in ((low, x.range.low), (high, x.range.high)):
        wanted = (end - offset) / factor if np.isfinite(end) else float(code)
        if wanted != int(wanted):
            return None
        ends.append(int(wanted))
    cut = Range(max(ends[0], x.range.low), min(ends[1], x.range.high))
    if x.raw:
        return Signal(x.source, x.steps, cut, raw=True)
    return call.assembly.clip(call.name, x, cut, alone=call.readers[0] == 1)


@operator("MultiThreshold")
def multi_threshold(call: Call) -> Signal:
    """The number of thresholds that x reaches, times a scale, plus a bias."""
    x, thresholds = call.signal(0), call.floats(1)
    if thresholds.ndim != 2:
        raise call.refuse(f"has thresholds of shape {thresholds.shape}", "expected two axes")
    shape = call.assembly.shape(x)
    layout = call.attribute("data_layout") or {3: "NWC", 4: "NCHW"}.get(len(shape) + 1, "NC")
    axis = call.axis(layout.index("C") if "C" in layout else 1, shape)
    if len(thresholds) not in (1, shape[axis]):
        raise call.refuse(f"has {len(thresholds)} rows of thresholds", "one, or one per channel")
    counted = call.assembly.count(call.name, x, thresholds, axis)
    return counted.scaled(call.attribute("out_scale", 1.0), call.attribute("out_bias", 0.0))


def _quantized(
    call: Call,
    x: Signal | Constant,
    scale: Floats,
    zeros: Floats,
    low: int,
    high: int,
    rounding: str,
    seen: int | None = None,
) -> Signal | Constant:
    """Return the floats of the codes that a quantiser makes of `x`.

    Args:
        seen: the zero point that rounding sees; the zero point itself where left out.
    """
    if isinstance(x, Constant):
        _check_finite(call, x.values)
        _check_fits(call, x.values, scale, zeros)
        codes = Quantize(1.0, low, high, rounding).codes(x.values / scale + zeros) - zeros
        call.note(f"weights: codes [{codes.min(initial=0):.0f}, {codes.max(initial=0):.0f}]")
        return Constant.quantized(codes, scale)
    if _same(zeros) is None:
        shifted = _along(call, _divided(call, x, scale), np.array(1.0), zeros)
        rounded = _rounded(call, shifted, Quantize(1.0, low, high, rounding))
        return _along(call, _along(call, rounded, np.array(1.0), -zeros), scale)
    zero = _one_zero(call, zeros)
    seen = zero if seen is None else seen
    if scale.size == 1:
        grid = Quantize(float(scale.reshape(())), low - zero, high - zero, rounding, seen)
        return _rounded(call, x, grid)
    ones = Quantize(1.0, low - zero, high - zero, rounding, seen)
    return _along(call, _rounded(call, _divided(call, x, scale), ones), scale)


def _rounded(call: Call, x: Signal, grid: Quantize) -> Signal:
    if x.raw:
        x = call.signal(0) if x.range is not None else x
        call.note(
            f"scale {grid.scale:.6g}, codes [{grid.low}, {grid.high}]: "
            f"{'the input' if x.raw else 'a table'}"
        )
    else:
        call.note(f"scale {grid.scale:.6g}, codes [{grid.low}, {grid.high}]: a table")
    return call.assembly.quantize(call.name, x, grid)


def _along(call: Call, x: Signal, scale: Floats, offset: Floats | float = 0.0) -> Signal:
    """Return codes times a scale plus an offset, for the tensor or broadcasting to it."""
    shape = call.assembly.shape(x)
    return x.scaled(call.aligned(scale, shape), call.aligned(np.asarray(offset), shape))


def _divided(call: Call, x: Signal, scale: Floats) -> Signal:
    return x.divided(call.aligned(scale, call.assembly.shape(x)))


def _same(zeros: Floats) -> float | None:
    """Return the one zero point of a tensor, or None where they differ."""
    values = np.unique(zeros)
    return float(values[0]) if len(values) == 1 else None


def _one_zero(call: Call, zeros: Floats) -> int:
    """Return the one zero point of a tensor as an integer."""
    zero = _same(zeros)
    if zero is None or zero % 1:
        raise call.refuse(f"has the zero point {zero}", "it has to be one whole number")
    return int(zero)


def _scale(call: Call, at: int) -> Floats:
    scale = call.floats(at)
    if not (scale > 0).all() or not scale.size:
        raise call.refuse("has a scale that is not above 0", "train or calibrate it again")
    return scale


def _one(call: Call, values: Floats) -> float:
    if values.size != 1:
        raise call.refuse(f"has {values.size} scales", "one for the tensor is read")
    return float(values.reshape(()))


def _whole(call: Call, at: int, what: str) -> int:
    """Return an input that is one whole number, however often it is repeated."""
    values = np.unique(call.floats(at))
    if len(values) != 1:
        raise call.refuse(f"has a {what} that differs between channels", "use one for the tensor")
    value = float(values[0])
    if value != int(value):
        raise call.refuse(f"has the {what} {value}", "it has to be a whole number")
    return int(value)


def _rounding(call: Call, default: str) -> str:
    mode = str(call.attribute("rounding_mode", default)).lower()
    mode = {"round": "half_even"}.get(mode, mode)
    if mode not in ROUNDINGS or mode == "sign":
        known = ", ".join(sorted(m.upper() for m in ROUNDINGS if m != "sign"))
        raise call.refuse(f"rounds by {mode.upper()!r}", f"ROUND, {known} are read")
    return mode


def _on_axis(call: Call, values: Floats, rank: int) -> Floats:
    """Return a scale or zero point per tensor or per axis, shaped to broadcast to `rank` axes."""
    if values.size == 1:
        return values.reshape(())
    if values.ndim != 1:
        raise call.refuse(
            f"has scales or zero points of shape {values.shape}, block-wise",
            "quantise per tensor, or per output channel with axis",
        )
    axis = int(call.attribute("axis", 1))
    if not -rank <= axis < rank:
        raise call.refuse(f"names axis {axis} of {rank}", "it has no such axis")
    return values.reshape(tuple(-1 if a == axis % rank else 1 for a in range(rank)))


def _integer_type(call: Call) -> tuple[int, int]:
    """Return the least and greatest value of what QuantizeLinear gives."""
    kind = call.constant(2).kind if call.given(2) else int(call.attribute("output_dtype", 0))
    kind = kind or TensorProto.UINT8
    if kind not in INTEGERS:
        raise call.refuse(f"quantises to element type {kind}", "integers of 2 to 16 bits are read")
    return INTEGERS[kind]


def _check_finite(call: Call, values: NDArray[Any]) -> None:
    if not np.isfinite(values).all():
        raise NotFiniteError(
            f"node {call.name!r} ({call.node.operator}): its weights hold NaN or infinity",
            argument="weights",
            layer=call.name,
        )


def _check_fits(call: Call, values: NDArray[Any], scale: Floats, zeros: Floats) -> None:
    """Raise unless a scale and zero point broadcast to a constant, and not it to them."""
    shapes = [values.shape, scale.shape, zeros.shape]
    try:
        fits = np.broadcast_shapes(*shapes) == values.shape
    except ValueError:
        fits = False
    if not fits:
        raise call.refuse(
            f"has scales of shape {scale.shape} and zero points of shape {zeros.shape} for a "
            f"constant of {values.shape}",
            "they do not fit, neither per tensor nor per axis nor in blocks of whole axes",
        )


def _briefly(scale: Floats) -> str:
    return f"{float(scale.min()):.6g}" + (f" to {float(scale.max()):.6g}" if scale.size > 1 else "")


@operator("Cast", "CastLike")
def cast(call: Call) -> Signal | Constant:
    """Floats stay as they are; to integers only what is whole already."""
    value = call.value(0)
    kind = int(call.attribute("to", 0)) or (call.constant(1).kind if call.given(1) else 0)
    if isinstance(value, Constant):
        if kind in FLOATS:
            return Constant.of(value.values.astype(np.float64), kind)
        if kind == TensorProto.BOOL:
            return Constant(value.values != 0)
        return Constant.of(np.trunc(value.values).astype(np.int64), kind)
    if kind in FLOATS:
        return call.signal(0)
    x = call.signal(0)
    scaling = x.scaling
    whole = scaling and not (scaling.factor % 1).any() and not (scaling.offset % 1).any()
    if not whole or (kind not in INTEGERS and kind not in (TensorProto.INT32, TensorProto.INT64)):
        raise call.refuse("cuts floats to integers", "round them by a quantiser")
    return x
