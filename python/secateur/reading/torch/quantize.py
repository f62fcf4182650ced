"""From a float torch module to a trainable Brevitas model: quantisers where codes are needed."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from brevitas.nn.mixin.base import QuantLayerMixin
from torch import nn
from torch.fx.graph_module import GraphModule
from torch.fx.interpreter import Interpreter
from torch.fx.node import Node as Call
from torch.nn.parameter import UninitializedParameter

from secateur.errors import BitsError, NotFiniteError, ShapeError
from secateur.reading.torch import parts
from secateur.reading.torch.modules import WEIGHTED, unsupported
from secateur.reading.torch.quantizers import (
    activation_quantizer,
    check_finite,
    is_dead,
    quantized_layer,
)
from secateur.reading.torch.trace import Node, evaluating, symbolic_trace, trace

_MOST_BITS = 16
#: Values that a quantiser's first scale is fitted to; more of them change nothing.
_VALUES = 1 << 14

_NON_NEGATIVE = frozenset({"abs", "hardsigmoid", "relu", "sigmoid", "softplus", "square"})
_NON_DECREASING = frozenset(
    {"celu", "elu", "hardsigmoid", "hardtanh", "leaky_relu", "logsigmoid", "relu"}
    | {"selu", "sigmoid", "softplus", "softsign", "tanh"}
)
_DROPOUTS = {
    nn.functional.dropout: nn.Dropout,
    nn.functional.dropout2d: nn.Dropout2d,
    nn.functional.dropout3d: nn.Dropout3d,
    nn.functional.alpha_dropout: nn.AlphaDropout,
}


def quantize(
    module: nn.Module,
    weight_bits: int = 3,
    activation_bits: int = 2,
    calibration: Any = None,
    *,
    input_bits: int | None = None,
) -> nn.Module:
    """Return `module` as a trainable Brevitas model; `module` itself stays as it is.

    Linear and Conv layers become Brevitas's, their codes symmetric and their scales learned
    per output channel. A QuantIdentity with a learned scale follows the input and whatever
    else feeds a layer or a pooling; an average, a sum or a residual add is rounded to
    `activation_bits` again before the next layer. What is added or concatenated goes through
    one quantiser, since only codes of one scale can be. Activations whose values cannot be
    negative get unsigned codes, others signed ones. Batch norm stays a module and becomes
    part of a table when the model is frozen. A max pooling before a non-decreasing
    activation trades places with it, which changes nothing and spares a quantiser.

    A model that holds Brevitas layers already comes back as a copy that knows the shape of
    its samples and is otherwise the same.

    Args:
        module: of Linear, Conv1d to 3d, BatchNorm, pooling, elementwise activations, dropout,
            residual adds, concatenation, reshapes and transpositions; any forward that
            torch.fx can trace.
        weight_bits: 1 to 16; codes are [−(2^(b−1) − 1), 2^(b−1) − 1], at one bit {−1, 0}.
        activation_bits: 1 to 16.
        calibration: float [samples, *sample shape]; fits the first scales. Training learns
            them from there.
        input_bits: 1 to 16, of the input's codes; `activation_bits` where not given. Signed
            where the calibration has negative values.

    Raises:
        BitsError: a width outside 1 to 16.
        ShapeError: no calibration samples, samples of the wrong shape, an empty layer.
        NotFiniteError: NaN or infinity in a weight or in the calibration.
        UnsupportedModuleError: a module or operation that no network has, by its name.

    >>> import torch
    >>> from torch import nn
    >>> module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model = quantize(module, calibration=torch.linspace(0.0, 1.0, 64).reshape(16, 4))
    >>> [type(child).__name__ for child in model.children()]
    ['QuantIdentity', 'QuantLinear', 'ReLU', 'QuantIdentity', 'QuantLinear']
    """
    widths = {"weight_bits": weight_bits, "activation_bits": activation_bits}
    widths["input_bits"] = activation_bits if input_bits is None else input_bits
    for argument, bits in widths.items():
        _check_bits(argument, bits)
    samples = _calibration(module, calibration)
    shape = tuple(samples.shape[1:])
    model = _copied(module, samples)
    if brevitas_layers := [m for m in model.modules() if isinstance(m, QuantLayerMixin)]:
        _note_input_shape(brevitas_layers[0], shape)
        return model

    _check_weights(model)
    traced = symbolic_trace(model)
    for inner in traced.modules():
        if hasattr(inner, "inplace"):
            inner.inplace = False  # type: ignore[assignment]
    _modularize_dropout(traced)
    _activate_before_pooling(trace(traced, shape))
    _quantize_input(traced, samples, widths["input_bits"])
    plan = _Plan(trace(traced, shape))
    floats = _observe(traced, samples, {s for planned in plan.quantizers for s in planned.sources})
    for planned in plan.quantizers:
        values = torch.cat([floats[s].flatten() for s in planned.sources])
        values = values[:: len(values) // _VALUES + 1]
        _warn_of_dead(planned.name, values)
        quantizer = activation_quantizer(values, activation_bits, planned.signed)
        planned.insert(traced, quantizer)
    for name, layer in list(traced.named_modules()):
        if isinstance(layer, WEIGHTED):
            _set_module(traced, name, quantized_layer(layer, weight_bits))
    # Modules in the order of the graph, as a copy has them: averages match parameters by it.
    ordered = GraphModule(traced, traced.graph, type(traced).__name__)
    return ordered.train(module.training)


@dataclass(eq=False)
class _Planned:
    """A quantiser to be inserted on (source, reader) edges of a graph."""

    name: str
    signed: bool
    reads: list[tuple[Call, Call]] = field(default_factory=list)

    @property
    def sources(self) -> list[Call]:
        """The nodes to quantise, each once."""
        return list(dict.fromkeys(source for source, _ in self.reads))

    def insert(self, traced: GraphModule, module: nn.Module) -> None:
        """Insert `module` after every source, before its readers here and no others."""
        _set_module(traced, self.name, module)
        for source in self.sources:
            with traced.graph.inserting_after(source):
                quantized = traced.graph.call_module(self.name, (source,))
            for reader in [r for s, r in self.reads if s is source]:
                reader.replace_input_with(source, quantized)
        traced.recompile()


@dataclass(frozen=True)
class _State:
    """What a node yields: floats, or codes of a grid.

    Args:
        grid: stands for the scale of the codes; the same object, the same scale. None for
            floats.
        wide: whether these are sums of codes, of more bits than a layer is to read.
        non_negative: whether no value can be negative.
    """

    grid: object | None = None
    wide: bool = False
    non_negative: bool = False


class _Plan:
    """Where quantisers belong: on every edge where codes are needed and floats come.

    `quantizers` holds them in the order of the graph.
    """

    def __init__(self, nodes: Sequence[Node]) -> None:
        self.quantizers: list[_Planned] = []
        self._nodes = {node.call: node for node in nodes}
        self._by_source: dict[Call, _Planned] = {}
        self._states: dict[Call, _State] = {}
        for node in nodes:
            states = [self._states[s] for s in node.sources]
            for part in node.parts:
                states = [self._after(node, part, states)]
            self._states[node.call] = states[0]

    def _after(self, node: Node, part: parts.Part, states: Sequence[_State]) -> _State:
        match part:
            case parts.Take():
                return _State()
            case parts.Quantizer(proxy):
                return _State(proxy, non_negative=not proxy.is_signed)
            case parts.Weigh():
                self._need(node, states[0], narrow=True)
                return _State()
            case parts.PoolMax():
                return self._need(node, states[0], narrow=False)
            case parts.PoolSum():
                codes = self._need(node, states[0], narrow=False)
                return _State(object(), True, codes.non_negative)
            case parts.Sum():
                return replace(self._share(node, states), wide=True)
            case parts.Join():
                return self._share(node, states)
            case parts.Normalize():
                return _State()
            case parts.Apply(activation):
                return _State(non_negative=activation.name in _NON_NEGATIVE)
            case parts.Slope():
                return _State()
            case parts.Pick(_, indices) if (indices < 0).any():
                return self._need(node, states[0], narrow=False)
            case parts.Give() if any(
                isinstance(p, parts.Apply | parts.Slope) for p in self._nodes[node.sources[0]].parts
            ):
                name = self._nodes[node.sources[0]].name
                problem = "ends the model in an activation, which the clear side can apply itself"
                raise unsupported(name, f"{problem}; leave it out", "output")
            case parts.Rescale(factor, offset):
                rises = bool((factor >= 0).all() and (offset >= 0).all())
                return _State(non_negative=states[0].non_negative and rises)
            case parts.View() | parts.Permute() if self._mixes_floats(node, part, states[0]):
                return self._need(node, states[0], narrow=False)
        return states[0]

    def _mixes_floats(self, node: Node, part: parts.Part, state: _State) -> bool:
        """Whether channels of different scale would lose their axis, short of the output."""
        before = self._nodes[node.sources[0]].shape
        if isinstance(part, parts.Permute):
            mixes = part.axes[0] != 0
        else:
            mixes = before[0] != node.shape[0] and len(node.shape) > 1
        return mixes and state.grid is None and any(u.op != "output" for u in node.call.users)

    def _need(self, node: Node, state: _State, narrow: bool) -> _State:
        """Return the state of codes that `node` reads, with a quantiser planned if need be."""
        if state.grid is not None and not (narrow and state.wide):
            return state
        # What only moves values comes after the quantiser, so that lookups stay per channel.
        reader, source = node, self._nodes[node.sources[0]]
        moved = []
        while all(isinstance(part, parts.View | parts.Permute) for part in source.parts):
            moved.append(source)
            reader, source = source, self._nodes[source.sources[0]]
        planned = self._by_source.get(source.call)
        if planned is None:
            planned = _Planned(f"{source.name}_quant", not state.non_negative)
            self._by_source[source.call] = planned
            self.quantizers.append(planned)
        if (source.call, reader.call) not in planned.reads:
            planned.reads.append((source.call, reader.call))
        codes = _State(planned, non_negative=state.non_negative)
        self._states |= {n.call: codes for n in moved}
        return codes

    def _share(self, node: Node, states: Sequence[_State]) -> _State:
        """Return the state of operands of one scale, with a shared quantiser if need be."""
        grids = {id(s.grid) for s in states}
        non_negative = all(s.non_negative for s in states)
        if len(grids) == 1 and states[0].grid is not None:
            return replace(states[0], non_negative=non_negative)
        planned = _Planned(f"{node.name}_quant", not non_negative)
        planned.reads += [(source, node.call) for source in dict.fromkeys(node.sources)]
        self.quantizers.append(planned)
        return _State(planned, non_negative=non_negative)


def _modularize_dropout(traced: GraphModule) -> None:
    """Replace dropout functions by modules; traced, a function never learns of evaluation mode."""
    for call in traced.graph.nodes:
        if call.op == "call_function" and call.target in _DROPOUTS:
            p = call.kwargs.get("p", call.args[1] if len(call.args) > 1 else 0.5)
            _set_module(traced, call.name, _DROPOUTS[call.target](p))
            call.op, call.target, call.args, call.kwargs = (
                "call_module",
                call.name,
                call.args[:1],
                {},
            )
    traced.recompile()


def _activate_before_pooling(nodes: Sequence[Node]) -> None:
    """Swap every max pooling with the non-decreasing activation that alone reads it."""
    by_call = {node.call: node for node in nodes}
    for node in nodes:
        users = [by_call[user] for user in node.call.users if user in by_call]
        pools = len(node.parts) == 1 and isinstance(node.parts[0], parts.PoolMax)
        if not pools or len(users) != 1 or len(users[0].parts) != 1:
            continue
        part = users[0].parts[0]
        if isinstance(part, parts.Apply) and part.activation.name in _NON_DECREASING:
            pool, activation = node.call, users[0].call
            activation.replace_all_uses_with(pool)
            activation.replace_input_with(pool, node.sources[0])
            activation.append(pool)
            pool.replace_input_with(node.sources[0], activation)


def _quantize_input(traced: GraphModule, samples: torch.Tensor, bits: int) -> None:
    """Insert the input's quantiser, after the scaling that the model begins with."""
    nodes = {node.call: node for node in trace(traced, tuple(samples.shape[1:]))}
    source = next(iter(nodes))
    while len(source.users) == 1:
        (user,) = source.users
        match nodes[user].parts:
            case (parts.Rescale(factor),) if (factor > 0).all():
                source = user
            case _:
                break
    seen = _observe(traced, samples, {source})[source]
    values = seen.flatten()
    signed = float(values.min()) < 0
    _warn_of_dead("input", values)
    quantizer = activation_quantizer(values[:: len(values) // _VALUES + 1], bits, signed)
    _warn_of_units(seen, float(quantizer.act_quant.scale().detach()))
    _note_input_shape(quantizer, tuple(samples.shape[1:]))
    reads = [(source, user) for user in source.users if user in nodes]
    _Planned("input_quant", signed, reads).insert(traced, quantizer)


def _warn_of_dead(name: str, values: torch.Tensor) -> None:
    if is_dead(values):
        warnings.warn(
            f"layer {name!r}: all values are 0, or nearly, in calibration; its scale starts at a "
            "guess, so give samples that reach it, or see whether the layer before it is dead",
            stacklevel=4,
        )


def _warn_of_units(values: torch.Tensor, scale: float) -> None:
    """Warn where some features of a table are so small that they have no code but 0."""
    if values.ndim != 2 or values.shape[1] == 1:
        return
    reach = values.abs().amax(0)
    lost = (reach > 0) & (reach < scale / 2)
    if lost.any() and float(reach.max()) > 0:
        at = int(lost.nonzero()[0, 0])
        warnings.warn(
            f"the input: {int(lost.sum())} of {len(lost)} features are always read as 0; feature "
            f"{at} reaches {float(reach[at]):.3g}, and one step is {scale:.3g}. Begin the model "
            "with (x - mean) / spread, feature by feature: it becomes part of how the input is "
            "quantised",
            stacklevel=4,
        )


class _Observer(Interpreter):
    def __init__(self, module: GraphModule, wanted: set[Call]) -> None:
        super().__init__(module)
        self.wanted = wanted
        self.seen: dict[Call, torch.Tensor] = {}

    def run_node(self, n: Call) -> Any:
        result = super().run_node(n)
        if n in self.wanted:
            self.seen[n] = result.detach()
        return result


def _observe(
    traced: GraphModule, samples: torch.Tensor, wanted: set[Call]
) -> dict[Call, torch.Tensor]:
    """Return what the nodes of `wanted` yield for `samples` in evaluation mode."""
    observer = _Observer(traced, wanted)
    with evaluating(traced):
        observer.run(samples)
    return observer.seen


def _set_module(traced: GraphModule, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(traced.get_submodule(parent), leaf, module)


def _note_input_shape(module: nn.Module, shape: tuple[int, ...]) -> None:
    """Write the shape of one sample into the model's state, where `freeze` looks for it."""
    module.register_buffer("input_shape", torch.tensor(shape, dtype=torch.int64))


def _copied(module: nn.Module, samples: torch.Tensor) -> nn.Module:
    """Return a copy of `module` whose lazy layers have seen a sample."""
    # What a hook computes, as weight_norm's weight, is no leaf, and torch refuses to copy it.
    computed = (v for m in module.modules() for v in vars(m).values())
    memo = {
        id(v): v.detach().clone() for v in computed if isinstance(v, torch.Tensor) and not v.is_leaf
    }
    model = copy.deepcopy(module, memo)
    if any(isinstance(p, UninitializedParameter) for p in model.parameters()):
        with evaluating(model):
            model(samples[:1])
    return model


def _check_bits(argument: str, bits: int) -> None:
    if not isinstance(bits, int) or not 1 <= bits <= _MOST_BITS:
        raise BitsError(
            f"{argument} is {bits!r}; expected an int from 1 to {_MOST_BITS}",
            argument=argument,
            bits=bits,
            lowest=1,
            highest=_MOST_BITS,
        )


def _calibration(module: nn.Module, calibration: Any) -> torch.Tensor:
    known = (p for p in module.parameters() if not isinstance(p, UninitializedParameter))
    like = next(known, torch.zeros(()))
    if not isinstance(calibration, torch.Tensor):
        calibration = torch.as_tensor(np.asarray([] if calibration is None else calibration))
    samples: torch.Tensor = calibration.to(like)
    if samples.ndim < 2 or samples.numel() == 0:
        raise ShapeError(
            f"calibration has shape {tuple(samples.shape)}; expected [samples, ...], not empty",
            argument="calibration",
            shape=tuple(samples.shape),
        )
    if not torch.isfinite(samples).all():
        raise NotFiniteError("calibration holds NaN or infinity", argument="calibration")
    return samples


def _check_weights(model: nn.Module) -> None:
    for name, layer in model.named_modules():
        if not isinstance(layer, WEIGHTED):
            continue
        if layer.weight.numel() == 0:
            raise ShapeError(
                f"layer {name!r}: its weight has shape {tuple(layer.weight.shape)}, it is empty",
                argument="weight",
                shape=tuple(layer.weight.shape),
                layer=name,
            )
        check_finite(name, "weight", layer.weight)
