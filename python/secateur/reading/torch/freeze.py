"""From a quantised torch model to the frozen network of integers that it computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from secateur.errors import UnfinishedModelError, UnsupportedModuleError
from secateur.network import Floats, Network, Quantize, Shape
from secateur.reading.signals import Assembly, Signal, Sloping
from secateur.reading.torch import masks, parts
from secateur.reading.torch.quantizers import (
    activation_rounding,
    check_finite,
    quantized_bias,
    quantized_weight,
)
from secateur.reading.torch.trace import Node, evaluating, symbolic_trace, trace

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
        if hasattr(module, "weight_mask") or masks.on(module) is not None:
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
    signals: dict[Any, Signal] = {}
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


class _Reader:
    """Reads nodes in order and sends signals through the assembly."""

    def __init__(self) -> None:
        self.assembly = Assembly(_refuse, _ADVICE)
        self.layers: dict[str, Weighed] = {}
        self.tail: Literal["softmax", "sigmoid"] | None = None

    def reading(self) -> Reading:
        return Reading(self.assembly.network(), self.layers)

    def read(self, node: Node, signals: Sequence[Signal]) -> Signal:
        """Return the signal of `node`, given those of its sources."""
        for part in node.parts:
            match part:
                case parts.Take():
                    signals = [self.assembly.take(node.shape)]
                case parts.Sum():
                    signals = [self.assembly.add(node.name, signals)]
                case parts.Join(axis):
                    signals = [self.assembly.concat(node.name, signals, axis)]
                case _:
                    signals = [self._part(node, part, x) for x in signals]
        return signals[0]

    def _part(self, node: Node, part: parts.Part, x: Signal) -> Signal:
        name = node.name
        match part:
            case parts.Quantizer(proxy):
                return self.assembly.quantize(name, x, activation_rounding(name, proxy))
            case parts.Weigh(module):
                return self._weigh(node, module, x)
            case parts.Coarsen(module):
                return self._coarsen(module, x)
            case parts.Normalize(module):
                column = (-1, *(1,) * (len(node.shape) - 1))
                scale, offset = _batch_norm(node, module)
                return x.scaled(scale.reshape(column), offset.reshape(column))
            case parts.Rescale(factor, offset):
                return x.scaled(factor, offset)
            case parts.Apply(activation):
                return x.then(activation, name)
            case parts.PoolMax(kernel, stride, padding):
                return self.assembly.max_pool(name, x, kernel, stride, _both(padding))
            case parts.PoolSum(kernel, stride, padding, divisor):
                return self.assembly.sum_pool(name, x, kernel, stride, _both(padding), divisor)
            case parts.View():
                return self.assembly.reshape(name, x, node.shape)
            case parts.Permute(axes):
                return self.assembly.transpose(name, x, axes)
            case parts.Slope(slope):
                return x.then(Sloping(slope), name)
            case parts.Pick(axis, indices, padding):
                fill = self.assembly.fill(name, x, padding) if (indices < 0).any() else 0
                return self.assembly.pick(name, x, axis, indices, fill)
            case parts.Chances(tail):
                self.tail = tail
                return x
            case parts.Give():
                self.assembly.give(name, x, tail=self.tail)
                return x
        raise TypeError(part)

    def _weigh(self, node: Node, module: Any, x: Signal) -> Signal:
        grid = self.assembly.codes_of(node.name, x)
        codes, scale = quantized_weight(node.name, module, grid)
        bias = quantized_bias(node.name, module, grid)
        bias = np.zeros(len(codes)) if bias is None else bias
        if isinstance(module, nn.Linear):
            weighed = self.assembly.linear(node.name, x, codes, scale, bias)
        else:
            weighed = self.assembly.conv(
                node.name,
                x,
                codes,
                scale,
                bias,
                stride=module.stride,
                padding=_padding(node, module),
                dilation=module.dilation,
                groups=module.groups,
            )
        self.layers[weighed.source] = Weighed(module, grid)
        return weighed

    def _coarsen(self, module: Any, x: Signal) -> Signal:
        """Return the floats of the blocks that a layer's accumulators lie in."""
        scaling = x.scaling
        if x.source not in self.layers or scaling is None:
            raise _refuse(module.name, "what becomes coarse is not what the layer gives")
        offset = module.units()[2].double().cpu().numpy()
        offset = offset.reshape(-1, *(1,) * (len(self.assembly.shape(x)) - 1))
        block, reach = 2.0**module.bits, 1 << 52 - module.bits
        begin = Signal(x.source, ()).scaled(1.0, offset)
        begin = begin.then(Quantize(block, -reach, reach, rounding="floor"))
        middle = (block - 1) / 2 - offset
        return begin.scaled(scaling.factor, scaling.factor * middle + scaling.offset)


def _refuse(layer: str, problem: str) -> UnsupportedModuleError:
    return UnsupportedModuleError(f"layer {layer!r}: {problem}", layer=layer)


def _both(padding: Shape) -> tuple[tuple[int, int], ...]:
    return tuple((p, p) for p in padding)


def _batch_norm(node: Node, module: Any) -> tuple[Floats, Floats]:
    """Return the factor and the offset of every channel."""
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
    return scale.cpu().numpy(), offset.cpu().numpy()


def _padding(node: Node, module: Any) -> tuple[tuple[int, int], ...]:
    """Return (before, after) of each spatial axis; torch counts "same" from the last axis on."""
    if getattr(module, "is_same_padded_strided", False):
        raise _refuse(node.name, "padding='same' with a stride is not zero padding of one width")
    flat = module._reversed_padding_repeated_twice
    return tuple((flat[i], flat[i + 1]) for i in range(len(flat) - 2, -1, -2))
