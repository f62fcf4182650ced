"""Moves: the same elements in another shape, order or company; shapes as constants."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from secateur.network import Shape
from secateur.reading.onnx.operators import Call, Constant, operator, per_axis, tensor
from secateur.reading.signals import Signal


@operator("Constant")
def constant(call: Call) -> Constant:
    """A tensor of the file."""
    given = call.node.attributes
    if given.get("value") is not None:
        return tensor(given["value"])
    for name in ("value_float", "value_int", "value_floats", "value_ints"):
        if given.get(name) is not None:
            return Constant.of(np.array(given[name]))
    raise call.refuse("holds no numbers", "store a tensor of floats or integers")


@operator("ConstantOfShape")
def constant_of_shape(call: Call) -> Constant:
    """One value, repeated."""
    shape = call.integers(0)
    call.check_folded(shape)
    value = call.attribute("value")
    one = tensor(value).values.reshape(-1)[0] if value is not None else 0.0
    return Constant.of(np.full(shape, one))


@operator("Range")
def arange(call: Call) -> Constant:
    """Numbers in equal steps."""
    start, limit, step = (call.constant(i).values.reshape(()) for i in range(3))
    call.check_folded([max(0, math.ceil((limit - start) / step))])
    return Constant.of(np.arange(start, limit, step))


@operator("Shape")
def shape_of(call: Call) -> Constant:
    """The shape, with the batch as the file has it."""
    value = call.value(0)
    if isinstance(value, Constant):
        full: Shape = value.values.shape
    else:
        full = (call.batch, *call.assembly.shape(value))
    end = call.attribute("end")
    return Constant.of(np.array(full[call.attribute("start", 0) : end], np.int64))


@operator("Size")
def size_of(call: Call) -> Constant:
    """The number of elements, with the batch as the file has it."""
    value = call.value(0)
    if isinstance(value, Constant):
        return Constant.of(np.array(value.values.size))
    return Constant.of(np.array(call.batch * math.prod(call.assembly.shape(value))))


def reshaped(call: Call, value: Signal | Constant, target: Shape) -> Signal | Constant:
    """Return `value` under a shape that has the batch axis first."""
    if isinstance(value, Constant):
        return value.moved(lambda v: v.reshape(target))
    if len(target) < 2 or target[0] != call.batch:
        raise call.refuse(
            f"reshapes samples of {call.assembly.shape(value)} to {target}, the batch not first",
            "keep the batch axis: export with a batch of 1",
        )
    return call.assembly.reshape(call.name, value, target[1:])


def _full(call: Call, value: Signal | Constant) -> Shape:
    if isinstance(value, Constant):
        return value.values.shape
    return (call.batch, *call.assembly.shape(value))


@operator("Reshape")
def reshape(call: Call) -> Signal | Constant:
    """The same elements in row-major order."""
    value = call.value(0)
    wanted = call.integers(1) if call.given(1) else list(call.attribute("shape", ()))
    before = _full(call, value)
    if not call.attribute("allowzero", 0):
        wanted = [before[i] if n == 0 else n for i, n in enumerate(wanted)]
    count = math.prod(before)
    if wanted.count(-1) == 1:
        rest = -math.prod(wanted)
        wanted = [count // rest if n == -1 and rest else n for n in wanted]
    if any(n < 0 for n in wanted) or math.prod(wanted) != count:
        raise call.refuse(f"reshapes {before} to {wanted}", "they hold different numbers")
    return reshaped(call, value, tuple(wanted))


@operator("Flatten")
def flatten(call: Call) -> Signal | Constant:
    """Two axes: those before `axis`, and the rest."""
    value = call.value(0)
    before = _full(call, value)
    axis = int(call.attribute("axis", 1))
    axis = call.any_axis(axis, len(before)) if axis != len(before) else axis
    return reshaped(call, value, (math.prod(before[:axis]), math.prod(before[axis:])))


@operator("Squeeze")
def squeeze(call: Call) -> Signal | Constant:
    """Without axes of one element."""
    value = call.value(0)
    before = _full(call, value)
    given = call.integers(1) if call.given(1) else list(call.attribute("axes", ()))
    axes = {call.any_axis(a, len(before)) for a in given} or {
        a for a, n in enumerate(before) if n == 1 and a
    }
    if any(before[a] != 1 for a in axes):
        raise call.refuse(f"squeezes axes {sorted(axes)} of {before}", "they hold more than one")
    return reshaped(call, value, tuple(n for a, n in enumerate(before) if a not in axes))


@operator("Unsqueeze")
def unsqueeze(call: Call) -> Signal | Constant:
    """With new axes of one element."""
    value = call.value(0)
    before = list(_full(call, value))
    given = call.integers(1) if call.given(1) else list(call.attribute("axes", ()))
    rank = len(before) + len(given)
    for axis in sorted(call.any_axis(a, rank) for a in given):
        before.insert(axis, 1)
    return reshaped(call, value, tuple(before))


@operator("Transpose")
def transpose(call: Call) -> Signal | Constant:
    """The axes in another order."""
    value = call.value(0)
    rank = len(_full(call, value))
    order = per_axis(call.attribute("perm", range(rank - 1, -1, -1)), rank, 0)
    if sorted(order) != list(range(rank)):
        raise call.refuse(f"puts {rank} axes in the order {order}", "name each of them once")
    if isinstance(value, Constant):
        return value.moved(lambda v: v.transpose(order))
    if order[0] != 0:
        raise call.refuse(f"puts axes in the order {order}", "the batch axis has to stay first")
    return call.assembly.transpose(call.name, value, tuple(a - 1 for a in order[1:]))


@operator("Concat")
def concat(call: Call) -> Signal | Constant:
    """Joined along an axis."""
    values = [call.value(i) for i in range(len(call.inputs))]
    given = int(call.attribute("axis", 1))
    if all(isinstance(v, Constant) for v in values):
        constants = [call.constant(i).values for i in range(len(values))]
        call.check_folded([sum(v.size for v in constants)])
        return Constant.of(np.concatenate(constants, axis=given))
    signals = [call.signal(i) for i in range(len(values))]
    shapes = [call.assembly.shape(x) for x in signals]
    axis = call.axis(given, shapes[0])
    if len(signals) == 1:
        return signals[0]
    call.check_size([*shapes[0][:axis], sum(s[axis] for s in shapes), *shapes[0][axis + 1 :]])
    return call.assembly.concat(call.name, signals, axis)


def taken(
    call: Call, value: Signal | Constant, axis: int, indices: NDArray[np.int64], name: str
) -> Signal | Constant:
    """Return elements along `axis`, which counts the batch."""
    if isinstance(value, Constant):
        call.check_folded(
            [*value.values.shape[:axis], len(indices), *value.values.shape[axis + 1 :]]
        )
        return value.moved(lambda v: v.take(indices, axis))
    inner = call.axis(axis, call.assembly.shape(value))
    return call.assembly.pick(name, value, inner, indices)


@operator("Slice")
def slice_(call: Call) -> Signal | Constant:
    """Elements in equal steps along axes."""
    value = call.value(0)
    shape = _full(call, value)
    if call.opset >= 10 or call.given(1):
        starts, ends = call.integers(1), call.integers(2)
        axes = call.integers(3) if call.given(3) else list(range(len(starts)))
        steps = call.integers(4) if call.given(4) else [1] * len(starts)
    else:
        starts, ends = list(call.attribute("starts")), list(call.attribute("ends"))
        axes = list(call.attribute("axes", range(len(starts))))
        steps = [1] * len(starts)
    for start, end, given, step in zip(starts, ends, axes, steps, strict=True):
        axis = call.any_axis(given, len(shape))
        kept = np.arange(shape[axis])[slice(start, _end(end, step), step)]
        if len(kept) == shape[axis] and step == 1:
            continue
        if not len(kept):
            raise call.refuse(f"keeps nothing of axis {axis}", "check its starts and ends")
        value = taken(call, value, axis, kept, f"{call.name}.{axis}")
    return value


def _end(end: int, step: int) -> int | None:
    """Return the end of a slice as Python counts; ONNX goes below 0 by the least integers."""
    return None if step < 0 and end <= -(2**31) + 1 else end


@operator("Split")
def split(call: Call) -> tuple[Signal | Constant, ...]:
    """Parts along an axis."""
    value = call.value(0)
    shape = _full(call, value)
    axis = call.any_axis(int(call.attribute("axis", 0)), len(shape))
    parts = call.integers(1) if call.given(1) else list(call.attribute("split", ()))
    if not parts:
        count = len(call.node.outputs)
        each = -(-shape[axis] // count)
        parts = [min(each, shape[axis] - each * i) for i in range(count)]
    if sum(parts) != shape[axis] or min(parts) < 1 or len(parts) != len(call.node.outputs):
        raise call.refuse(f"splits {shape[axis]} elements into {parts}", "they do not add up")
    starts = np.cumsum([0, *parts])
    return tuple(
        taken(call, value, axis, np.arange(a, b), f"{call.name}.{i}")
        for i, (a, b) in enumerate(pairwise(starts))
    )


@operator("Gather")
def gather(call: Call) -> Signal | Constant:
    """Elements by constant indices along an axis."""
    value, index = call.value(0), call.whole(call.constant(1)).astype(np.int64)
    shape = _full(call, value)
    axis = call.any_axis(int(call.attribute("axis", 0)), len(shape))
    if ((index < -shape[axis]) | (index >= shape[axis])).any():
        raise call.refuse(f"reads beyond axis {axis} of {shape[axis]}", "check its indices")
    index = index % shape[axis]
    if isinstance(value, Constant):
        call.check_folded([*shape[:axis], *index.shape, *shape[axis + 1 :]])
        return value.moved(lambda v: v.take(index, axis))
    result = taken(call, value, axis, index.reshape(-1), call.name)
    assert isinstance(result, Signal)
    inner = call.assembly.shape(result)
    wanted = (*inner[: axis - 1], *index.shape, *inner[axis:])
    return call.assembly.reshape(f"{call.name}.shaped", result, wanted or (1,))


@operator("Pad")
def pad(call: Call) -> Signal | Constant:
    """Constants around the samples."""
    x = call.signal(0)
    shape = call.assembly.shape(x)
    flat = call.integers(1) if call.given(1) else list(call.attribute("pads", ()))
    mode = call.attribute("mode", "constant")
    axes = call.integers(3) if call.given(3) else list(range(len(shape) + 1))
    value = float(call.floats(2, float(call.attribute("value", 0.0))).reshape(()))
    half = len(axes)
    if len(flat) != 2 * half:
        raise call.refuse(f"has {len(flat)} pads for {half} axes", "two for each axis")
    for given, before, after in zip(axes, flat[:half], flat[half:], strict=True):
        if not before and not after:
            continue
        axis = call.axis(given, shape)
        extent = call.assembly.shape(x)[axis]
        call.check_size([*shape, extent + max(before, 0) + max(after, 0)][1:])
        index = _padded(call, extent, before, after, mode)
        fill = call.assembly.fill(call.name, x, value) if (index < 0).any() else 0
        x = call.assembly.pick(f"{call.name}.{axis}", x, axis, index, fill)
        if not call.assembly.shape(x)[axis]:
            raise call.refuse(f"cuts off all of axis {axis}", "check its pads")
    return x


def _padded(call: Call, extent: int, before: int, after: int, mode: str) -> NDArray[np.int64]:
    """Return which element stands where, −1 where none does."""
    index = np.arange(-before, extent + after)
    if mode == "constant":
        return np.where((index >= 0) & (index < extent), index, -1)
    if mode == "edge":
        return index.clip(0, extent - 1)
    if mode == "reflect" and extent > 1:
        period = 2 * (extent - 1)
        wrapped = index % period
        return np.minimum(wrapped, period - wrapped)
    if mode == "wrap":
        return index % extent
    raise call.refuse(f"pads by {mode!r}", "constant, edge, reflect and wrap are read")


@operator("DepthToSpace")
def depth_to_space(call: Call) -> Signal:
    """Channels become blocks of pixels."""
    x, block = call.signal(0), int(call.attribute("blocksize"))
    channels, height, width = call.assembly.shape(x)
    if block < 1 or channels % block**2:
        raise call.refuse(f"has {channels} channels for blocks of {block}", "they do not fit")
    depth = channels // block**2
    if call.attribute("mode", "DCR") == "DCR":
        parts, order = (block, block, depth, height, width), (2, 3, 0, 4, 1)
    else:
        parts, order = (depth, block, block, height, width), (0, 3, 1, 4, 2)
    return _rearranged(call, x, parts, order, (depth, height * block, width * block))


@operator("SpaceToDepth")
def space_to_depth(call: Call) -> Signal:
    """Blocks of pixels become channels."""
    x, block = call.signal(0), int(call.attribute("blocksize"))
    channels, height, width = call.assembly.shape(x)
    if block < 1 or height % block or width % block:
        raise call.refuse(f"has {height}×{width} pixels for blocks of {block}", "they do not fit")
    parts = (channels, height // block, block, width // block, block)
    shape = (channels * block**2, height // block, width // block)
    return _rearranged(call, x, parts, (2, 4, 0, 1, 3), shape)


def _rearranged(call: Call, x: Signal, parts: Shape, order: Shape, shape: Shape) -> Signal:
    apart = call.assembly.reshape(f"{call.name}.apart", x, parts)
    turned = call.assembly.transpose(f"{call.name}.turned", apart, order)
    return call.assembly.reshape(call.name, turned, shape)


@operator("Resize", "Upsample")
def resize(call: Call) -> Signal:
    """The nearest pixel, whatever the factor."""
    x = call.signal(0)
    shape = call.assembly.shape(x)
    mode = call.attribute("mode", "nearest")
    if mode != "nearest":
        raise call.refuse(f"resizes by mode {mode!r}", "nearest is read")
    if call.attribute("antialias", 0) or call.attribute(_ASPECT, "stretch") != "stretch":
        raise call.refuse(f"has antialias or {_ASPECT}", "leave it out, and give sizes")
    full = (call.batch, *shape)
    axes = [call.any_axis(a, len(full)) for a in call.attribute("axes", range(len(full)))]
    at = 1 if call.node.operator == "Upsample" or call.opset < 11 else 2
    factors: dict[int, Fraction]
    if call.given(at) and call.floats(at).size:
        given = [Fraction(float(f)) for f in call.floats(at)]
        factors = dict(zip(axes, given, strict=True))
    elif call.given(3):
        sizes = zip(axes, call.integers(3), strict=True)
        factors = {a: Fraction(size, full[a]) for a, size in sizes}
    else:
        given = [Fraction(float(f)) for f in call.attribute("scales", ())]
        factors = dict(zip(axes, given, strict=True))
    if factors.get(0, 1) != 1 or min(factors.values()) <= 0:
        shown = [float(f) for f in factors.values()]
        raise call.refuse(f"resizes by {shown}", "factors above 0 of the axes after the batch")
    extents = [math.floor(n * factors.get(a, 1)) for a, n in enumerate(full)]
    if min(extents) < 1:
        raise call.refuse(f"resizes {full} to {extents}", "keep at least one pixel")
    call.check_size(extents[1:])
    for axis, factor in factors.items():
        if factor != 1:
            index = _nearest(call, full[axis], extents[axis], factor)
            x = call.assembly.pick(f"{call.name}.{axis - 1}", x, axis - 1, index)
    return x


_ASPECT = "keep_aspect_ratio_policy"

_HALF = Fraction(1, 2)

#: Position of pixel i of m, made of n by a factor f, among these n.
_COORDINATES: Mapping[str, Callable[[int, int, int, Fraction], Fraction]] = {
    "asymmetric": lambda i, n, m, f: i / f,
    "half_pixel": lambda i, n, m, f: (i + _HALF) / f - _HALF,
    "pytorch_half_pixel": lambda i, n, m, f: (i + _HALF) / f - _HALF if m > 1 else Fraction(0),
    "half_pixel_symmetric": lambda i, n, m, f: (
        Fraction(n, 2) * (1 - Fraction(m) / (n * f)) + (i + _HALF) / f - _HALF
    ),
    "align_corners": lambda i, n, m, f: Fraction(i * (n - 1), m - 1) if m > 1 else Fraction(0),
}
_NEAREST: Mapping[str, Callable[[Fraction], int]] = {
    "floor": math.floor,
    "ceil": math.ceil,
    "round_prefer_floor": lambda v: math.ceil(v - _HALF),
    "round_prefer_ceil": lambda v: math.floor(v + _HALF),
}


def _nearest(call: Call, before: int, after: int, factor: Fraction) -> NDArray[np.int64]:
    """Return which of `before` pixels each of `after` ones repeats, by exact fractions."""
    coordinates = call.attribute("coordinate_transformation_mode", "half_pixel")
    rounding = call.attribute("nearest_mode", "round_prefer_floor")
    if call.node.operator == "Upsample" or call.opset < 11:
        coordinates, rounding = "asymmetric", "floor"
    if coordinates not in _COORDINATES or rounding not in _NEAREST:
        raise call.refuse(
            f"resizes by {coordinates!r} and {rounding!r}",
            f"{', '.join(_COORDINATES)} and {', '.join(_NEAREST)} are read",
        )
    position, nearest = _COORDINATES[coordinates], _NEAREST[rounding]
    found = [nearest(position(i, before, after, factor)) for i in range(after)]
    return np.clip(found, 0, before - 1)


@operator("Expand", "Tile")
def expand(call: Call) -> Signal | Constant:
    """The same, repeated."""
    value, wanted = call.value(0), call.integers(1)
    if isinstance(value, Signal):
        return _repeated(call, call.signal(0), wanted)
    if call.node.operator == "Tile":
        call.check_folded([n * w for n, w in zip(value.values.shape, wanted, strict=True)])
        return value.moved(lambda v: np.tile(v, wanted))
    call.check_folded(wanted)
    shape = np.broadcast_shapes(value.values.shape, tuple(wanted))
    call.check_folded(shape)
    return value.moved(lambda v: np.broadcast_to(v, shape))


def _repeated(call: Call, x: Signal, wanted: list[int]) -> Signal:
    """Return samples repeated along their axes, as Expand or Tile says."""
    shape = (call.batch, *call.assembly.shape(x))
    if call.node.operator == "Tile":
        wanted = [n * times for n, times in zip(shape, wanted, strict=True)]
    elif len(wanted) <= len(shape):
        wanted = list(np.broadcast_shapes(shape, tuple(wanted)))
    if len(wanted) != len(shape) or wanted[0] != shape[0] or min(wanted) < 1:
        raise call.refuse(f"repeats {shape} to {wanted}", "the batch axis has to stay as it is")
    call.check_size(wanted[1:])
    for axis, (extent, want) in enumerate(zip(shape, wanted, strict=True)):
        if want != extent:
            index = np.arange(want) % extent
            x = call.assembly.pick(f"{call.name}.{axis - 1}", x, axis - 1, index)
    return x
