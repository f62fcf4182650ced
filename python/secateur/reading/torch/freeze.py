"""From a quantised torch model to the frozen network of integers that it computes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from secateur.errors import UnfinishedModelError, UnsupportedModuleError
from secateur.network import (
    Add,
    Concat,
    Conv,
    Input,
    Linear,
    Lookup,
    MaxPool,
    Network,
    Operation,
    Output,
    Reshape,
    Shape,
    SumPool,
    Transpose,
)
from secateur.network.tables import Affine, FunctionTable, Quantize, Step
from secateur.reading.torch import parts
from secateur.reading.torch.quantizers import (
    activation_rounding,
    check_finite,
    quantized_bias,
    quantized_weight,
)
from secateur.reading.torch.trace import Node, evaluating, symbolic_trace, trace

_INPUT = "input"
_ADVICE = "put a QuantIdentity before it"


def freeze(model: nn.Module, *, input_shape: Shape | None = None) -> Network:
    """Return the network of integers that `model` computes in evaluation mode.

    Between an accumulator and the next codes everything becomes one table: the scales, the
    float bias, batch norm, the activation, the rounding. The scale and bias of the last
    layer stay in the clear. Operations bear the qualified names of their modules; a lookup
    that of its activation, else of its quantiser.

    The model computes in float32, the tables in float64. The integers are the same except
    where a value lies so near the middle between two codes that float32 rounds it
    across: measured, two codes in a million.

    Args:
        model: from `quantize`, or built with Brevitas's layers; every layer reads values
            that an activation quantiser has rounded, with one scale for the tensor.
        input_shape: shape of one sample; models from `quantize` know theirs.

    Raises:
        UnsupportedModuleError: a module or operation that no network has, or values that
            reach a layer without having been quantised; names the layer.
        UnfinishedModelError: a pruner still holds masks on the model, or its input shape is
            not known.
        NotFiniteError: NaN or infinity in a weight, a bias or a batch norm.
        ShapeError: the model does not take samples of `input_shape`.

    >>> import torch
    >>> from torch import nn
    >>> from secateur.reading.torch import quantize
    >>> samples = torch.linspace(-1.0, 1.0, 64).reshape(16, 4)
    >>> module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> network = freeze(quantize(module, calibration=samples))
    >>> [operation.name for operation in network.operations]
    ['0', '1', '2']
    >>> network.predict(samples).shape
    (16, 2)
    """
    for name, module in model.named_modules():
        if hasattr(module, "weight_mask"):
            raise UnfinishedModelError(
                f"layer {name!r} is being pruned; pruner.finish() first, it proves the final codes",
                layer=name,
            )
    return read(model, input_shape).network


@dataclass(frozen=True, eq=False)
class Weighed:
    """A layer with weights and the grid of the codes that it reads."""

    module: Any
    source: Quantize


@dataclass(frozen=True, eq=False)
class Reading:
    """A network and, for each of its layers by name, the module that it was read from."""

    network: Network
    layers: Mapping[str, Weighed]


def read(model: nn.Module, input_shape: Shape | None = None) -> Reading:
    """Return the network of the moment, masks and all, and the modules behind its layers.

    Raises:
        UnsupportedModuleError, UnfinishedModelError, ShapeError: as `freeze`, masks apart.
    """
    reader = _Reader()
    signals: dict[Any, _Signal] = {}
    with evaluating(model):
        traced = symbolic_trace(model)
        for node in trace(traced, input_shape or known_input_shape(model)):
            signals[node.call] = reader.read(node, [signals[s] for s in node.sources])
        return reader.reading()


def known_input_shape(model: nn.Module) -> Shape:
    """Return the shape of one sample that `quantize` wrote down in `model`."""
    for name, buffer in model.named_buffers():
        if name.rpartition(".")[2] == "input_shape":
            return tuple(buffer.tolist())
    raise UnfinishedModelError(
        "the model does not know the shape of its samples; "
        "give it: freeze(model, input_shape=(features,)) or (channels, height, width)"
    )


@dataclass(frozen=True)
class _Signal:
    """A float tensor of the model, as a function of integers of the network.

    Args:
        source: name of the node that holds the integers.
        steps: what makes the floats of them.
        rounding: the grid, where the floats are codes times one scale.
        label: name of the last activation, for the table that it will be part of.
        raw: for the input before its quantiser: the factor that it has been multiplied by.
    """

    source: str
    steps: tuple[Step, ...] = ()
    rounding: Quantize | None = None
    label: str | None = None
    raw: float | None = None

    def then(self, step: Step, label: str | None = None) -> _Signal:
        """Return the signal with `step` after the others; affine steps become one."""
        last = self.steps[-1]
        steps = (*self.steps, step)
        if isinstance(last, Affine) and isinstance(step, Affine):
            joined = Affine(last.scale * step.scale, last.offset * step.scale + step.offset)
            steps = (*self.steps[:-1], joined)
        return _Signal(self.source, steps, label=label or self.label)

    def moved(self, source: str, repeats: int = 1) -> _Signal:
        """Return the signal of the same floats elsewhere, each channel now `repeats` of them."""
        return replace(self, source=source, steps=tuple(_repeated(s, repeats) for s in self.steps))

    @property
    def per_channel(self) -> bool:
        """Whether the steps differ from channel to channel."""
        return any(isinstance(s, Affine) and s.scale.size * s.offset.size > 1 for s in self.steps)


def _repeated(step: Step, repeats: int) -> Step:
    if not isinstance(step, Affine):
        return step
    each = (v if v.size == 1 else np.repeat(v, repeats) for v in (step.scale, step.offset))
    return Affine(*each)


def _codes(source: str, rounding: Quantize) -> _Signal:
    """Return the signal of integers that stand for `rounding.scale` each."""
    return _Signal(source, (Affine(np.array([rounding.scale]), np.zeros(1)),), rounding)


class _Reader:
    """Reads nodes in order and gathers the operations of the network."""

    def __init__(self) -> None:
        self.input: Input | None = None
        self.output: Output | None = None
        self.operations: dict[str, Operation] = {}
        self.shapes: dict[str, Shape] = {}
        self.layers: dict[str, Weighed] = {}

    def reading(self) -> Reading:
        if self.input is None or self.output is None:
            raise _refuse(_INPUT, "the model does not quantise its input; begin with QuantIdentity")
        network = Network(self.input, tuple(self.operations.values()), self.output)
        return Reading(network, self.layers)

    def read(self, node: Node, signals: Sequence[_Signal]) -> _Signal:
        """Return the signal of `node`, given those of its sources."""
        for part in node.parts:
            match part:
                case parts.Take():
                    self.shapes[_INPUT] = node.shape
                    signals = [_Signal(_INPUT, raw=1.0)]
                case parts.Sum():
                    signals = [self._sum(node, signals)]
                case parts.Join(axis):
                    signals = [self._join(node, axis, signals)]
                case _:
                    signals = [self._part(node, part, x) for x in signals]
        return signals[0]

    def _part(self, node: Node, part: parts.Part, x: _Signal) -> _Signal:
        match part:
            case parts.Quantizer(proxy):
                return self._quantize(node, activation_rounding(node.name, proxy), x)
            case parts.Weigh(module):
                return self._weigh(node, module, x)
            case parts.Normalize(module):
                return _floats(node, x).then(_batch_norm(node, module))
            case parts.Rescale(factor, offset) if x.raw is not None:
                if factor <= 0 or offset:
                    raise _refuse(node.name, "shifts or negates the input before its quantiser")
                return replace(x, raw=x.raw * factor)
            case parts.Rescale(factor, offset):
                return x.then(Affine(np.array([factor]), np.array([offset])))
            case parts.Apply(activation):
                return _floats(node, x).then(activation, node.name)
            case parts.PoolMax(kernel, stride, padding):
                pads = tuple((p, p) for p in padding)
                rounding = _grid(node, x)
                return _codes(
                    self._emit(MaxPool(self._name(node), x.source, kernel, stride, pads)), rounding
                )
            case parts.PoolSum(kernel, stride, padding, divisor):
                pads = tuple((p, p) for p in padding)
                grid, taps = _grid(node, x), math.prod(kernel)
                total = Quantize(grid.scale / divisor, taps * grid.low, taps * grid.high)
                return _codes(
                    self._emit(SumPool(self._name(node), x.source, kernel, stride, pads)), total
                )
            case parts.View():
                return self._view(node, x)
            case parts.Permute(axes):
                if x.per_channel and axes[0] != 0:
                    raise _refuse(node.name, f"moves channels that differ in scale; {_ADVICE}")
                return x.moved(self._emit(Transpose(self._name(node), x.source, axes)))
            case parts.Give():
                return self._give(node, x)
        raise TypeError(part)

    def _name(self, node: Node, wanted: str | None = None) -> str:
        """Return the node's name, with a number where an operation bears it already."""
        name = first = wanted or node.name
        count = 1
        while name in self.shapes:
            count += 1
            name = f"{first}.{count}"
        return name

    def _emit(self, operation: Operation) -> str:
        shape = operation.shape(*(self.shapes[s] for s in operation.sources))
        self.operations[operation.name] = operation
        self.shapes[operation.name] = shape
        return operation.name

    def _quantize(self, node: Node, rounding: Quantize, x: _Signal) -> _Signal:
        if x.raw is not None:
            shape = self.shapes[_INPUT]
            low, high = np.array(rounding.low), np.array(rounding.high)
            given = Input(shape, low, high, rounding.scale / x.raw, _INPUT)
            if self.input is not None and self.input.scale != given.scale:
                raise _refuse(node.name, "the input meets two different quantisers; share one")
            self.input = given
            return _codes(x.source, rounding)
        if x.rounding is not None and x.rounding == rounding:
            return x
        name = self._name(node, x.label)
        return _codes(
            self._emit(Lookup(name, x.source, FunctionTable(x.steps, rounding))), rounding
        )

    def _weigh(self, node: Node, module: Any, x: _Signal) -> _Signal:
        grid = _grid(node, x)
        codes, scale = quantized_weight(node.name, module, grid)
        name = self._name(node)
        self.layers[name] = Weighed(module, grid)
        if isinstance(module, nn.Linear):
            operation: Operation = Linear(name, x.source, codes)
        else:
            operation = Conv(
                name,
                x.source,
                codes,
                stride=module.stride,
                padding=_padding(node, module),
                dilation=module.dilation,
                groups=module.groups,
            )
        bias = quantized_bias(node.name, module, grid)
        affine = Affine(scale * grid.scale, np.zeros(1) if bias is None else bias)
        return _Signal(self._emit(operation), (affine,))

    def _view(self, node: Node, x: _Signal) -> _Signal:
        before, after = self.shapes[x.source], node.shape
        if before == after:
            return x
        repeats = 1
        if x.per_channel and before[0] != after[0]:
            if len(after) != 1:
                raise _refuse(node.name, f"mixes channels that differ in scale; {_ADVICE}")
            repeats = after[0] // before[0]
        return x.moved(self._emit(Reshape(self._name(node), x.source, after)), repeats)

    def _sum(self, node: Node, signals: Sequence[_Signal]) -> _Signal:
        grids = _one_scale(node, signals)
        name = self._emit(Add(self._name(node), tuple(x.source for x in signals)))
        low, high = sum(g.low for g in grids), sum(g.high for g in grids)
        return _codes(name, Quantize(grids[0].scale, low, high))

    def _join(self, node: Node, axis: int, signals: Sequence[_Signal]) -> _Signal:
        grids = _one_scale(node, signals)
        name = self._emit(Concat(self._name(node), tuple(x.source for x in signals), axis))
        low, high = min(g.low for g in grids), max(g.high for g in grids)
        return _codes(name, Quantize(grids[0].scale, low, high))

    def _give(self, node: Node, x: _Signal) -> _Signal:
        _floats(node, x)
        if len(x.steps) != 1 or not isinstance(x.steps[0], Affine):
            raise _refuse(
                x.label or node.name,
                "the model ends in an activation, which the clear side can apply itself; "
                f"leave it out, or {_ADVICE}",
            )
        scale, bias = x.steps[0].scale, x.steps[0].offset
        one, zero = np.ones(1, dtype=np.int64), np.zeros(1, dtype=np.int64)
        self.output = Output(x.source, one, zero, scale, bias)
        return x


def _refuse(layer: str, problem: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(f"layer {layer!r}: {problem}", layer=layer)


def _floats(node: Node, x: _Signal) -> _Signal:
    if x.raw is not None:
        raise _refuse(node.name, f"reads the input before it has been quantised; {_ADVICE}")
    return x


def _grid(node: Node, x: _Signal) -> Quantize:
    if x.rounding is None:
        raise _refuse(node.name, f"its input {x.source!r} has not been quantised; {_ADVICE}")
    return x.rounding


def _one_scale(node: Node, signals: Sequence[_Signal]) -> list[Quantize]:
    grids = [_grid(node, x) for x in signals]
    scales = sorted({g.scale for g in grids})
    if len(scales) > 1:
        raise _refuse(
            node.name, f"joins codes of scales {scales}; pass all of them through one quantiser"
        )
    return grids


def _batch_norm(node: Node, module: Any) -> Affine:
    if module.running_var is None:
        raise _refuse(node.name, "a batch norm without running statistics depends on its batch")
    with torch.no_grad():
        scale = 1 / (module.running_var.double() + module.eps).sqrt()
        if module.affine:
            scale = scale * module.weight.double()
        offset = -module.running_mean.double() * scale
        if module.affine:
            offset = offset + module.bias.double()
    check_finite(node.name, "scale", scale)
    check_finite(node.name, "offset", offset)
    return Affine(scale.cpu().numpy(), offset.cpu().numpy())


def _padding(node: Node, module: Any) -> tuple[tuple[int, int], ...]:
    """Return (before, after) of each spatial axis; torch counts "same" from the last axis on."""
    if getattr(module, "is_same_padded_strided", False):
        raise _refuse(node.name, "padding='same' with a stride is not zero padding of one width")
    flat = module._reversed_padding_repeated_twice
    return tuple((flat[i], flat[i + 1]) for i in range(len(flat) - 2, -1, -2))
