"""Signals: the float tensors of a model on their way from an accumulator to the next codes.

Whatever a model was written in, its readers send signals through an `Assembly`, which
gathers the integer operations of the network. Float arithmetic between two of them (scales,
biases, batch norm, activations) waits on the signal until a quantiser makes one table of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.errors import SecateurError
from secateur.network import (
    Activation,
    Add,
    Affine,
    Bend,
    Combine,
    Concat,
    Conv,
    Count,
    Floats,
    FunctionTable,
    Input,
    Linear,
    Lookup,
    MaxPool,
    Network,
    Operation,
    Output,
    Place,
    Quantize,
    Ranking,
    Reshape,
    Shape,
    Step,
    SumPool,
    Take,
    Transpose,
)
from secateur.network.activations import RISING
from secateur.network.ends import Chances
from secateur.ranges import Range

INPUT = "input"

#: Scales whose ratio is a ratio of integers up to this are brought to one grid exactly.
LARGEST_FACTOR = 64

#: Scales are stored in float32: ratios count as those of integers within its resolution.
_SAME = 2.0**-22

#: Steps that a combination of functions may hold, and how deep they may be nested: doubling ones
#: would fill any memory, nested ones any stack.
_LARGEST_COMBINATION, _DEEPEST_COMBINATION = 1024, 64


@dataclass(frozen=True, eq=False)
class Scaling:
    """x · factor + offset, elementwise.

    Args:
        factor, offset: float64, of no axes or as many as the tensor has without its batch
            axis, broadcastable to it; axes along which nothing differs have extent 1.
    """

    factor: Floats
    offset: Floats

    def __post_init__(self) -> None:
        for side in ("factor", "offset"):
            object.__setattr__(self, side, _compact(getattr(self, side)))

    @property
    def arrays(self) -> tuple[Floats, ...]:
        """What differs from element to element."""
        return self.factor, self.offset

    @property
    def per_channel(self) -> bool:
        """Whether it is the same all over a channel, which axis 0 counts."""
        return all(
            side.size <= max(side.shape[:1], default=1) for side in (self.factor, self.offset)
        )

    def moved(self, move: Callable[[Floats], Floats]) -> Scaling:
        """Return the scaling of the tensor whose elements `move` moves."""
        return Scaling(move(self.factor), move(self.offset))


@dataclass(frozen=True, eq=False)
class Sloping:
    """x where x ≥ 0, else x · slope, elementwise; `slope` is shaped as in a `Scaling`."""

    slope: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", _compact(self.slope))

    @property
    def arrays(self) -> tuple[Floats, ...]:
        """What differs from element to element."""
        return (self.slope,)

    def moved(self, move: Callable[[Floats], Floats]) -> Sloping:
        """Return the step of the tensor whose elements `move` moves."""
        return Sloping(move(self.slope))


@dataclass(frozen=True, eq=False)
class Reaching:
    """How many thresholds x reaches, elementwise: [*as in a `Scaling`, thresholds]."""

    thresholds: Floats

    @property
    def arrays(self) -> tuple[Floats, ...]:
        """What differs from element to element."""
        return tuple(np.moveaxis(self.thresholds, -1, 0))

    def moved(self, move: Callable[[Floats], Floats]) -> Reaching:
        """Return the step of the tensor whose elements `move` moves."""
        return Reaching(np.stack([np.asarray(move(each)) for each in self.arrays], axis=-1))


@dataclass(frozen=True, eq=False)
class Combining:
    """One number of two functions of x, elementwise; see `Combine`.

    Attributes:
        size: how many steps it holds.
        depth: how deep they are nested.
    """

    function: str
    left: tuple[Waiting, ...]
    right: tuple[Waiting, ...]
    size: int = field(init=False)
    depth: int = field(init=False)

    @property
    def arrays(self) -> tuple[Floats, ...]:
        """What differs from element to element."""
        return _arrays((*self.left, *self.right))

    def __post_init__(self) -> None:
        inner = [s for s in (*self.left, *self.right) if isinstance(s, Combining)]
        alone = len(self.left) + len(self.right) - len(inner)
        object.__setattr__(self, "size", 1 + alone + sum(s.size for s in inner))
        object.__setattr__(self, "depth", 1 + max((s.depth for s in inner), default=0))

    def moved(self, move: Callable[[Floats], Floats]) -> Combining:
        """Return the step of the tensor whose elements `move` moves."""
        return Combining(self.function, _moved(self.left, move), _moved(self.right, move))


Waiting = Scaling | Sloping | Reaching | Combining | Activation | Quantize


def _arrays(steps: Sequence[Waiting]) -> tuple[Floats, ...]:
    own = (s for s in steps if not isinstance(s, Activation | Quantize))
    return tuple(v for step in own for v in step.arrays)


def _size(steps: Sequence[Waiting]) -> int:
    return sum(s.size if isinstance(s, Combining) else 1 for s in steps)


def _moderate(steps: Sequence[Waiting]) -> bool:
    deepest = max((s.depth for s in steps if isinstance(s, Combining)), default=0)
    return _size(steps) <= _LARGEST_COMBINATION and deepest <= _DEEPEST_COMBINATION


def _moved(steps: Sequence[Waiting], move: Callable[[Floats], Floats]) -> tuple[Waiting, ...]:
    return tuple(s if isinstance(s, Activation | Quantize) else s.moved(move) for s in steps)


@dataclass(frozen=True, eq=False)
class Signal:
    """A float tensor of the model, as a function of integers of the network.

    Args:
        source: name of the node that holds the integers; it has the tensor's shape.
        steps: what makes the floats of them, in order.
        range: where the integers are codes and no accumulators, the range of the codes.
        label: name of the last activation, for the table that it will be part of.
        raw: whether it is the input before its quantiser, steps being of its floats.
    """

    source: str
    steps: tuple[Waiting, ...]
    range: Range | None = None
    label: str | None = None
    raw: bool = False

    def then(self, step: Waiting, label: str | None = None) -> Signal:
        """Return the signal with `step` after the others; scalings become one."""
        return replace(self, steps=(*self.steps, step), label=label or self.label)

    def scaled(self, factor: ArrayLike, offset: ArrayLike = 0.0) -> Signal:
        """Return the signal times `factor` plus `offset`; see `Scaling`."""
        return self._rescaled(lambda v: v * np.asarray(factor, float), offset)

    def divided(self, divisor: ArrayLike) -> Signal:
        """Return the signal over `divisor`, which differs from `scaled` by its rounding alone."""
        return self._rescaled(lambda v: v / np.asarray(divisor, float), 0.0)

    def _rescaled(self, change: Callable[[Floats], Floats], offset: ArrayLike) -> Signal:
        """Return the signal changed and shifted; scalings in a row become one."""
        last = self.steps[-1] if self.steps else None
        if not isinstance(last, Scaling):
            return self.then(Scaling(change(np.array(1.0)), np.asarray(offset, float)))
        joined = Scaling(change(last.factor), change(last.offset) + np.asarray(offset, float))
        return replace(self, steps=(*self.steps[:-1], joined))

    @property
    def scaling(self) -> Scaling | None:
        """The one scaling that makes the floats of the integers, where it is no more than that."""
        if len(self.steps) == 1 and isinstance(self.steps[0], Scaling):
            return self.steps[0]
        return None

    @property
    def grid(self) -> Quantize | None:
        """Where the floats are codes times one positive scale, their grid."""
        scaling = self.scaling
        if scaling is None or self.range is None or scaling.factor.ndim or scaling.offset.any():
            return None
        scale = float(scaling.factor)
        return Quantize(scale, self.range.low, self.range.high) if scale > 0 else None

    def integers(self) -> Signal:
        """Return the signal of its integers themselves."""
        return Signal(self.source, (), self.range, self.label, self.raw).scaled(1.0)

    def moved(self, source: str, move: Callable[[Floats], Floats]) -> Signal:
        """Return the signal of the same floats elsewhere: at `source`, where `move` moves them."""
        return replace(self, source=source, steps=_moved(self.steps, move))


def codes(source: str, grid: Quantize) -> Signal:
    """Return the signal of codes at `source`, which stand for `grid.scale` each."""
    return Signal(source, (), Range(grid.low, grid.high)).scaled(grid.scale)


class Assembly:
    """Gathers the operations of a network while signals pass through it.

    Every method takes the name that the operation shall bear; where another bears it
    already, the new one gets a number.

    Args:
        refuse: makes the error that refuses a layer: name, problem ↦ error.
        advice: how a model of this kind gets a quantiser, for messages.
        input_advice: the same for its input.
        sum_bits: how many bits the grid has that sums of unlike scales are rounded to; None
            where they are refused.
        sum_advice: how that is asked for.
    """

    def __init__(
        self,
        refuse: Callable[[str, str], SecateurError],
        advice: str,
        input_advice: str | None = None,
        sum_bits: int | None = None,
        sum_advice: str = "",
    ) -> None:
        self.refuse = refuse
        self.advice = advice
        self.input_advice = input_advice or advice
        self.sum_bits = sum_bits
        self.sum_advice = sum_advice
        #: Name of a sum whose operands were rounded → the largest error of its floats.
        self.errors: dict[str, float] = {}
        self.input: Input | None = None
        self.output: Output | None = None
        self.operations: dict[str, Operation] = {}
        self.shapes: dict[str, Shape] = {}

    def network(self) -> Network:
        """Return the network of the operations that its output depends on."""
        if self.input is None or self.output is None:
            raise self.refuse(INPUT, f"the model does not quantise its input; {self.input_advice}")
        needed = {self.output.source}
        for operation in reversed(self.operations.values()):
            if operation.name in needed:
                needed.update(operation.sources)
        operations = (o for o in self.operations.values() if o.name in needed)
        return Network(self.input, tuple(operations), self.output)

    def take(self, shape: Shape, grid: Quantize | None = None) -> Signal:
        """Return the signal of the input: of codes on `grid`, or raw until a quantiser comes."""
        self.shapes[INPUT] = shape
        if grid is None:
            return Signal(INPUT, (), raw=True).scaled(1.0)
        self._give_input(INPUT, grid, np.array(grid.scale), np.array(0.0))
        return codes(INPUT, grid)

    def shape(self, x: Signal) -> Shape:
        """Return the shape of `x`, batch axis left out."""
        return self.shapes[x.source]

    def count(self, name: str, x: Signal, thresholds: Floats, axis: int) -> Signal:
        """Return how many `thresholds` [1 or channels along `axis`, thresholds] x reaches."""
        self._check_quantized(name, x)
        shape = [1] * len(self.shape(x))
        shape[axis] = len(thresholds)
        counting = x.then(Reaching(thresholds.reshape(*shape, -1)))
        return self._lookup(x.label or name, counting, Quantize(1.0, 0, thresholds.shape[1]))

    def quantize(self, name: str, x: Signal, grid: Quantize) -> Signal:
        """Return the codes that `grid` makes of `x`: a table, or nothing where they are its own."""
        if x.raw:
            return self._quantize_input(name, x, grid)
        if x.grid is not None and _keeps(grid, x.grid):
            return replace(x, label=None)
        return self._lookup(x.label or name, x, grid)

    def clip(self, name: str, x: Signal, range: Range, *, alone: bool) -> Signal:
        """Return codes cut to `range`; where they have `alone` this reader, they are made so."""
        if x.range is None or range == x.range:
            return x
        made = self.operations.get(x.source)
        if alone and self.input is not None and x.source == INPUT:
            self.input = replace(self.input, low=np.array(range.low), high=np.array(range.high))
            return replace(x, range=range)
        if isinstance(made, Lookup) and isinstance(made.table, FunctionTable):
            grid = replace(made.table.quantize, low=range.low, high=range.high)
            cut = replace(made, name=self.free(name), table=FunctionTable(made.table.steps, grid))
        else:
            grid = Quantize(1.0, range.low, range.high)
            cut = Lookup(self.free(name), x.source, FunctionTable((), grid))
        return replace(x, source=self.emit(cut), range=range)

    def linear(
        self, name: str, x: Signal, weight: NDArray[Any], scale: Floats, bias: Floats
    ) -> Signal:
        """Return weight · x + bias for codes `weight` [out, in] of `scale` [out] or [1]."""
        scaling = self._codes_scaling(name, x)
        if scaling.factor.ndim:
            raise self.refuse(name, f"sums up elements of different scales; {self.advice}")
        source = self.emit(Linear(self.free(name), x.source, weight))
        if scaling.offset.any():
            bias = bias + scale * (weight @ np.broadcast_to(scaling.offset, weight.shape[1:]))
        return Signal(source, ()).scaled(scaling.factor * scale, bias)

    def conv(
        self,
        name: str,
        x: Signal,
        weight: NDArray[Any],
        scale: Floats,
        bias: Floats,
        *,
        stride: Shape,
        padding: tuple[tuple[int, int], ...],
        dilation: Shape,
        groups: int,
    ) -> Signal:
        """Return the convolution of x, for codes `weight` [out, in, *kernel] of `scale` [out]."""
        scaling = self._codes_scaling(name, x)
        depthwise = groups == len(weight) == self.shape(x)[0]
        if not scaling.per_channel or (scaling.factor.ndim and not depthwise):
            raise self.refuse(name, f"sums up elements of different scales; {self.advice}")
        if scaling.offset.any() and np.any(padding):
            raise self.refuse(name, f"pads what has a bias with zeros; {self.advice}")
        operation = Conv(
            self.free(name),
            x.source,
            weight,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
        )
        source = self.emit(operation)
        column = (-1, *(1,) * (weight.ndim - 2))
        if scaling.offset.any():
            taps = weight.sum(axis=tuple(range(2, weight.ndim)), dtype=np.int64)
            each = np.broadcast_to(scaling.offset.reshape(-1), self.shape(x)[:1])
            each = np.repeat(each.reshape(groups, -1), len(weight) // groups, axis=0)
            bias = bias + scale * (taps * each).sum(axis=1)
        scale = scaling.factor * scale.reshape(column)
        return Signal(source, ()).scaled(scale, bias.reshape(column))

    def max_pool(
        self,
        name: str,
        x: Signal,
        kernel: Shape,
        stride: Shape,
        padding: tuple[tuple[int, int], ...],
    ) -> Signal:
        """Return the maximum of every window; of integers whose floats rise with them."""
        self._check_quantized(name, x)
        if not all(map(_rises, x.steps)):
            raise self.refuse(
                name, f"takes maxima of what may fall where its integers rise; {self.advice}"
            )
        source = self.emit(MaxPool(self.free(name), x.source, kernel, stride, padding))
        return replace(x, source=source)

    def sum_pool(
        self,
        name: str,
        x: Signal,
        kernel: Shape,
        stride: Shape,
        padding: tuple[tuple[int, int], ...],
        divisor: ArrayLike,
        *,
        taps: ArrayLike | None = None,
        dilation: Shape | None = None,
    ) -> Signal:
        """Return the sum of every window over `divisor`.

        Args:
            divisor: one, or one for each position: [1, *positions].
            taps: how many elements a window has, padding left out, likewise; all by default.
            dilation: gaps between the elements of a window; none by default.
        """
        scaling = self._scaling(name, x)
        if not scaling.per_channel:
            raise self.refuse(name, f"sums up what differs in scale; {self.advice}")
        if scaling.offset.any() and np.any(padding) and taps is None:
            raise self.refuse(name, f"pads what has a bias with zeros; {self.advice}")
        source = self._summed(name, x.source, kernel, stride, padding, dilation)
        counted = np.asarray(math.prod(kernel) if taps is None else taps, float)
        total, taps = None, math.prod(kernel)
        if x.range is not None:
            low, high = taps * x.range.low, taps * x.range.high
            total = Range(min(low, 0), max(high, 0)) if np.any(padding) else Range(low, high)
        summed = Signal(source, (), total).scaled(scaling.factor, scaling.offset * counted)
        return summed.divided(divisor)

    def _summed(
        self,
        name: str,
        source: str,
        kernel: Shape,
        stride: Shape,
        padding: tuple[tuple[int, int], ...],
        dilation: Shape | None,
    ) -> str:
        """Return the node of the sums of every window."""
        if dilation is None or max(dilation) == 1:
            return self.emit(SumPool(self.free(name), source, kernel, stride, padding))
        channels = self.shapes[source][0]
        ones = np.ones((channels, 1, *kernel), np.int8)
        operation = Conv(
            self.free(name),
            source,
            ones,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=channels,
        )
        return self.emit(operation)

    def combine(self, name: str, function: str, signals: Sequence[Signal]) -> Signal | None:
        """Return one table's worth of signals that are functions of one node; None elsewhere.

        Args:
            function: a name of `COMBINATIONS`.
            signals: of one shape; the function takes them in order, two at a time.
        """
        for x in signals:
            self._check_quantized(name, x)
        common = self._of_one_source(signals)
        if common is None:
            return None
        combined = reduce(lambda a, b: _combined(function, a, b), common)
        if not _moderate(combined.steps):
            raise self.refuse(
                name,
                f"makes a function of {_size(combined.steps)} steps of {combined.source!r}, more "
                f"than {_LARGEST_COMBINATION}, or nested deeper than {_DEEPEST_COMBINATION}; "
                f"{self.advice}",
            )
        return combined

    def _of_one_source(self, signals: Sequence[Signal]) -> list[Signal] | None:
        """Return signals as functions of the nearest node that tables make all of them of."""
        traces = [self._trace(x) for x in signals]
        for source in traces[0]:
            if all(source in trace for trace in traces):
                return [trace[source] for trace in traces]
        return None

    def _trace(self, x: Signal) -> dict[str, Signal]:
        """Return `x` as a function of its own node, and of each that a table made that one of."""
        found = {x.source: x}
        while isinstance(made := self.operations.get(x.source), Lookup):
            if not isinstance(made.table, FunctionTable) or not _moderate(x.steps):
                break
            x = _before(x, made.table, made.source, len(self.shape(x)))
            found[x.source] = x
        return found

    def add(self, name: str, signals: Sequence[Signal]) -> Signal:
        """Return the sum of signals of one shape whose scales have ratios of small integers.

        Activations of one node, which are no codes, are added up inside the next table.
        """
        if any(x.scaling is None for x in signals):
            combined = self.combine(name, "add", signals)
            if combined is not None:
                return combined
        scalings = [self._scaling(name, x) for x in signals]
        factors = [s.factor for s in scalings]
        multiples = _multiples(factors)
        if multiples is None and self.sum_bits is not None:
            return self._rounded_sum(name, signals)
        if multiples is None:
            scales = sorted({float(f) for factor in factors for f in factor.flat})[:8]
            raise self.refuse(
                name,
                f"adds codes of scales {scales}; pass all of them through one quantiser"
                f"{self.sum_advice}",
            )
        sources = [self._times(name, x, m) for x, m in zip(signals, multiples, strict=True)]
        factor = factors[0] / multiples[0]
        source = self.emit(Add(self.free(name), tuple(sources)))
        ranges = [x.range for x in signals if x.range is not None]
        total = None
        if len(ranges) == len(signals):
            ends = [sorted((m * r.low, m * r.high)) for m, r in zip(multiples, ranges, strict=True)]
            total = Range(sum(low for low, _ in ends), sum(high for _, high in ends))
        return Signal(source, (), total).scaled(factor, sum(s.offset for s in scalings))

    def _rounded_sum(self, name: str, signals: Sequence[Signal]) -> Signal:
        """Return the sum of codes of unlike scales, each rounded to one grid by a table first."""
        assert self.sum_bits is not None
        reach = 0.0
        for x in signals:
            scaling = self._codes_scaling(name, x)
            assert x.range is not None
            for end in (x.range.low, x.range.high):
                reach = max(reach, float(np.abs(scaling.factor * end + scaling.offset).max()))
        most = 2 ** (self.sum_bits - 1) - 1
        if not reach:
            raise self.refuse(name, "adds nothing but zeros of unlike scales; leave it out")
        grid = Quantize(reach / most, -most, most)
        rounded = [self._lookup(f"{name}.operand", x, grid) for x in signals]
        total = self.add(name, rounded)
        self.errors[total.source] = len(signals) * grid.scale / 2
        return total

    def concat(self, name: str, signals: Sequence[Signal], axis: int) -> Signal:
        """Return the signals joined along `axis`; each keeps its own scale and bias."""
        scalings = [self._scaling(name, x) for x in signals]
        shapes = [self.shape(x) for x in signals]
        source = self.emit(Concat(self.free(name), tuple(x.source for x in signals), axis))
        ranges = [x.range for x in signals if x.range is not None]
        hull = None
        if len(ranges) == len(signals):
            hull = Range(min(r.low for r in ranges), max(r.high for r in ranges))
        factor, offset = (
            _concatenated([getattr(s, side) for s in scalings], shapes, axis)
            for side in ("factor", "offset")
        )
        return Signal(source, (), hull).scaled(factor, offset)

    def reshape(self, name: str, x: Signal, shape: Shape) -> Signal:
        """Return the same elements in row-major order under another shape."""
        before = self.shape(x)
        if before == shape:
            return x
        moved = self._reshaped(name, x.source, shape)
        return x.moved(moved, lambda v: _reshaped(v, before, shape))

    def transpose(self, name: str, x: Signal, axes: Shape) -> Signal:
        """Return the axes in another order, batch axis left out."""
        if axes == tuple(range(len(axes))):
            return x
        source = self._transposed(name, x.source, axes)
        return x.moved(source, lambda v: v.transpose(axes) if v.ndim else v)

    def pick(
        self, name: str, x: Signal, axis: int, indices: NDArray[np.int64], fill: int = 0
    ) -> Signal:
        """Return elements along `axis` by their indices, `fill` where an index is −1."""
        name = self.free(name)
        operation: Operation
        if (indices < 0).any() or len(np.unique(indices)) < len(indices):
            operation = Place(name, x.source, axis, indices, fill)
        else:
            operation = Take(name, x.source, axis, indices)
        kept = None
        if x.range is not None:
            some = [fill] if (indices < 0).any() else []
            kept = Range(
                min(x.range.low, *some, x.range.low), max(x.range.high, *some, x.range.high)
            )

        def moved(v: NDArray[Any]) -> NDArray[Any]:
            # What differs is known of every element; of a constant, what holds of the first.
            return v.take(np.maximum(indices, 0), axis) if v.ndim and v.shape[axis] > 1 else v

        return replace(x.moved(self.emit(operation), moved), range=kept)

    def fill(self, name: str, x: Signal, value: float) -> int:
        """Return the integer that stands for the float `value` in `x`."""
        scaling = self._scaling(name, x)
        if value == 0 and not scaling.offset.any():
            return 0
        if scaling.factor.ndim or scaling.offset.ndim or not scaling.factor:
            raise self.refuse(name, f"pads with {value} what differs in scale; {self.advice}")
        code = (value - float(scaling.offset)) / float(scaling.factor)
        if abs(code - round(code)) > _SAME * max(abs(code), 1.0):
            raise self.refuse(
                name,
                f"pads with {value}, which is no code of its samples; pad before their quantiser, "
                f"or with a multiple of {float(scaling.factor):.6g}",
            )
        return round(code)

    def give(
        self,
        name: str,
        x: Signal,
        *,
        labels: tuple[str | float, ...] | None = None,
        tail: Chances | None = None,
        ranking: Ranking | None = None,
        steps: Sequence[Waiting] = (),
    ) -> None:
        """Make `x` the output, and `steps` what the clear side makes of its floats."""
        self._check_quantized(name, x)
        if x.scaling is None:
            raise self.refuse(
                x.label or name,
                "the model ends in an activation, which the clear side can apply itself; "
                f"leave it out, or {self.advice}",
            )
        differing = (v.size > max(v.shape[:1], default=1) for v in _arrays(steps))
        if not x.scaling.per_channel or any(differing):
            raise self.refuse(name, f"ends in what differs within a channel; {self.advice}")
        scale, bias = x.scaling.factor.reshape(-1), x.scaling.offset.reshape(-1)
        one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
        after = tuple(map(_table_step, steps))
        self.output = Output(x.source, one, zero, scale, bias, labels, tail, ranking, after)

    def codes_of(self, name: str, x: Signal) -> Quantize:
        """Return the grid of `x`; an error where it is on none."""
        self._check_quantized(name, x)
        if x.grid is None:
            why = "has scales that differ" if x.scaling else "has not been quantised"
            raise self.refuse(name, f"its input {x.source!r} {why}; {self.advice}")
        return x.grid

    def _codes_scaling(self, name: str, x: Signal) -> Scaling:
        """Return what makes the floats of `x` of its codes; an error where they are no codes."""
        scaling = self._scaling(name, x)
        if x.range is None:
            raise self.refuse(name, f"its input {x.source!r} has not been quantised; {self.advice}")
        return scaling

    def free(self, wanted: str) -> str:
        """Return `wanted`, with a number where an operation bears it already."""
        name, count = wanted, 1
        while name in self.shapes:
            count += 1
            name = f"{wanted}.{count}"
        return name

    def emit(self, operation: Operation) -> str:
        """Take `operation` into the network and return its name."""
        shape = operation.shape(*(self.shapes[s] for s in operation.sources))
        self.operations[operation.name] = operation
        self.shapes[operation.name] = shape
        return operation.name

    def _check_quantized(self, name: str, x: Signal) -> None:
        if x.raw:
            raise self.refuse(
                name, f"its input {x.source!r} has not been quantised; {self.input_advice}"
            )

    def _scaling(self, name: str, x: Signal) -> Scaling:
        self._check_quantized(name, x)
        if x.scaling is None:
            raise self.refuse(name, f"its input {x.source!r} has not been quantised; {self.advice}")
        return x.scaling

    def _quantize_input(self, name: str, x: Signal, grid: Quantize) -> Signal:
        steps = x.steps
        if steps[1:] == (Activation("relu"),) and grid.low >= 0:
            steps = steps[:1]  # The grid has no codes below zero anyway.
        scaling = replace(x, steps=steps).scaling
        if scaling is None or (scaling.factor <= 0).any():
            raise self.refuse(name, "negates or bends the input before its quantiser")
        if grid.rounding != "half_even":
            raise self.refuse(name, f"rounds the input by {grid.rounding!r}, not to the nearest")
        scale, bias = grid.scale / scaling.factor, 0.0 - scaling.offset / scaling.factor
        if x.source != INPUT and scale.size * bias.size > 1:
            raise self.refuse(name, "scales elements of the input apart after moving them")
        self._give_input(name, grid, scale, bias)
        return codes(x.source, grid)

    def _give_input(self, name: str, grid: Quantize, scale: Floats, bias: Floats) -> None:
        shape, low, high = self.shapes[INPUT], np.array(grid.low), np.array(grid.high)
        given = Input(shape, low, high, scale, INPUT, bias)
        if self.input is not None and not _same_grid(self.input, given):
            raise self.refuse(name, "the input meets two different quantisers; share one")
        self.input = given

    def _lookup(self, name: str, x: Signal, grid: Quantize) -> Signal:
        """Return the codes of a table; axes along which it differs become its first one."""
        shape = self.shape(x)
        differing = {a for v in _arrays(x.steps) for a in range(v.ndim) if v.shape[a] > 1}
        name = self.free(name)
        if differing <= {0}:
            table = FunctionTable(_table_steps(x), grid)
            return codes(self.emit(Lookup(name, x.source, table)), grid)
        order = (*sorted(differing), *(a for a in range(len(shape)) if a not in differing))
        led = self.transpose(f"{name}.led", x, order)
        extents = self.shape(led)
        tables = math.prod(extents[: len(differing)])
        flat = self.reshape(f"{name}.flat", led, (tables, *extents[len(differing) :]))
        looked = self.reshape(f"{name}.shaped", self._lookup(name, flat, grid), extents)
        back = tuple(int(a) for a in np.argsort(order))
        return self.transpose(f"{name}.back", looked, back)

    def _reshaped(self, name: str, source: str, shape: Shape) -> str:
        """Return the node of a reshape; two in a row become one."""
        if isinstance(before := self.operations.get(source), Reshape):
            source = before.source
        if self.shapes[source] == shape:
            return source
        return self.emit(Reshape(self.free(name), source, shape))

    def _transposed(self, name: str, source: str, axes: Shape) -> str:
        """Return the node of a transpose; two in a row become one."""
        if isinstance(before := self.operations.get(source), Transpose):
            source, axes = before.source, tuple(before.axes[a] for a in axes)
        if axes == tuple(range(len(axes))):
            return source
        return self.emit(Transpose(self.free(name), source, axes))

    def _times(self, name: str, x: Signal, multiple: int) -> str:
        """Return the node of `multiple` times the integers of `x`: a depthwise convolution."""
        if multiple == 1:
            return x.source
        shape = self.shape(x)
        as_image = shape if len(shape) > 1 else (*shape, 1)
        image = self._reshaped(f"{name}.image", x.source, as_image)
        kind = np.int8 if abs(multiple) < 128 else np.int64
        weight = np.full((shape[0], 1, *(1,) * (len(as_image) - 1)), multiple, kind)
        times = Conv(self.free(f"{name}.times{multiple}"), image, weight, groups=shape[0])
        return self._reshaped(f"{times.name}.back", self.emit(times), shape)


def _combined(function: str, a: Signal, b: Signal) -> Signal:
    """Return one function of two of the same integers; what both begin with is done once."""
    alike = zip(a.steps, b.steps, strict=False)
    same = next((i for i, (s, t) in enumerate(alike) if s is not t), None)
    same = min(len(a.steps), len(b.steps)) if same is None else same
    combining = Combining(function, a.steps[same:], b.steps[same:])
    return replace(a, steps=(*a.steps[:same], combining), label=b.label or a.label)


def _keeps(grid: Quantize, given: Quantize) -> bool:
    """Return whether `grid` makes every code of `given` the same code again."""
    inside = grid.low <= given.low and given.high <= grid.high
    return grid.scale == given.scale and inside and grid.rounding != "sign"


def _same_grid(a: Input, b: Input) -> bool:
    return all(
        np.array_equal(getattr(a, side), getattr(b, side))
        for side in ("low", "high", "scale", "bias")
    )


def _rises(step: Waiting) -> bool:
    """Return whether a step is the same all over a channel, and never falls."""
    if isinstance(step, Scaling):
        return bool((step.factor > 0).all()) and step.per_channel
    if isinstance(step, Activation):
        rises = RISING.get(step.name)
        return rises is not None and rises(step.parameters)
    return isinstance(step, Quantize)


def _compact(values: ArrayLike) -> Floats:
    """Return `values` with extent 1 along every axis where nothing differs; a scalar as such."""
    array = np.asarray(values, dtype=np.float64)
    for axis in range(array.ndim):
        first = array.take([0], axis)
        if array.shape[axis] > 1 and (array == first).all():
            array = first
    return array.reshape(()) if array.size == 1 else array


def _concatenated(sides: Sequence[Floats], shapes: Sequence[Shape], axis: int) -> Floats:
    """Return what holds of joined tensors, no larger along other axes than it differs there."""
    first = sides[0]
    if all(side.ndim == 0 and side == first for side in sides):
        return first
    wide = np.broadcast_shapes(
        *(tuple(1 if a == axis else n for a, n in enumerate(side.shape)) for side in sides)
    ) or (1,) * len(shapes[0])
    parts = [
        np.broadcast_to(side, (*wide[:axis], shape[axis], *wide[axis + 1 :]))
        for side, shape in zip(sides, shapes, strict=True)
    ]
    return np.concatenate(parts, axis=axis)


def _reshaped(values: Floats, before: Shape, after: Shape) -> Floats:
    if not values.ndim:
        return values
    return np.broadcast_to(values, before).reshape(after)


def _table_steps(x: Signal) -> tuple[Step, ...]:
    """Return the steps of a signal that differs along its first axis at most."""
    return tuple(map(_table_step, x.steps))


def _table_step(step: Waiting) -> Step:
    match step:
        case Scaling(factor, offset):
            return Affine(factor.reshape(-1), offset.reshape(-1))
        case Sloping(slope):
            return Bend(slope.reshape(-1))
        case Reaching(thresholds):
            return Count(thresholds.reshape(-1, thresholds.shape[-1]))
        case Combining(function, left, right):
            return Combine(function, tuple(map(_table_step, left)), tuple(map(_table_step, right)))
    return step


def _waiting(step: Step, axes: int) -> Waiting:
    """Return what a table does as a step of the tensor of `axes` axes that it reads."""
    column = (-1, *(1,) * (axes - 1))
    match step:
        case Affine(scale, offset):
            return Scaling(scale.reshape(column), offset.reshape(column))
        case Bend(slope):
            return Sloping(slope.reshape(column))
        case Count(thresholds):
            return Reaching(thresholds.reshape(*column, thresholds.shape[-1]))
        case Combine(function, left, right):
            sides = (tuple(_waiting(s, axes) for s in side) for side in (left, right))
            return Combining(function, *sides)
    return step


def _before(x: Signal, table: FunctionTable, source: str, axes: int) -> Signal:
    """Return `x`, which holds the codes of a table, as a function of what the table reads."""
    grid = table.quantize
    first, *rest = x.steps or (Scaling(np.array(1.0), np.array(0.0)),)
    made: tuple[Waiting, ...] = (*(_waiting(s, axes) for s in table.steps), grid)
    if not (
        isinstance(first, Scaling) and (first.factor == grid.scale).all() and not first.offset.any()
    ):
        # The floats of the grid become its codes again; rounding undoes what float64 adds.
        whole = Quantize(1.0, grid.low, grid.high)
        made = (*made, Scaling(np.array(1 / grid.scale), np.array(0.0)), whole, first)
    return Signal(source, (*made, *rest), label=x.label)


def _multiples(factors: Sequence[Floats]) -> list[int] | None:
    """Return the integers m with factors in the ratio of m, least common; None where too large.

    Factors that differ from channel to channel have one ratio for all of them, or none.
    """
    ratios = []
    for factor in factors:
        with np.errstate(divide="ignore", invalid="ignore"):
            quotients = np.unique(factor / factors[0])
        ratio = Fraction(float(quotients[0])) if np.isfinite(quotients).all() else Fraction(0)
        ratio = ratio.limit_denominator(LARGEST_FACTOR)
        if not ratio or np.abs(quotients / float(ratio) - 1).max() > _SAME:
            return None
        ratios.append(ratio)
    common = math.lcm(*(r.denominator for r in ratios))
    multiples = [int(r * common) for r in ratios]
    return multiples if max(map(abs, multiples)) <= LARGEST_FACTOR else None
