"""A torch module as a list of nodes, each with its part in a network and its shape.

Both directions read models this way: `quantize` to see where quantisers belong, `freeze` to
see what integers flow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from inspect import Parameter, signature
from typing import Any

import torch
from brevitas.quant_tensor import QuantTensor
from torch import nn
from torch.fx._symbolic_trace import Tracer
from torch.fx.graph import Graph
from torch.fx.graph_module import GraphModule
from torch.fx.interpreter import Interpreter
from torch.fx.node import Node as Call, map_arg
from torch.fx.proxy import TraceError

from secateur.errors import SecateurError, ShapeError, UnsupportedModuleError
from secateur.network import Activation, Shape
from secateur.reading.torch.calls import BATCH, parts_of
from secateur.reading.torch.in_place import without_in_place
from secateur.reading.torch.modules import unsupported
from secateur.reading.torch.parts import Apply, Chances, Part

#: The batch sizes of the examples that shapes are read from.
_BATCHES = (2, 3)


@dataclass(frozen=True, eq=False)
class Node:
    """One node of a traced model.

    Args:
        name: the module's qualified name, or the graph's name for a function call; a module
            that is called again gets a number.
        parts: what it does, in order; empty where it passes its source on (dropout).
        sources: the nodes that it reads.
        shape: of its result, batch axis left out.
        call: the node of torch.fx.
    """

    name: str
    parts: tuple[Part, ...]
    sources: tuple[Call, ...]
    shape: Shape
    call: Call


class _Tracer(Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return _is_leaf(m)


#: Whose modules are read as a whole.
_LIBRARIES = ("torch.nn.", "brevitas.", "secateur.reading.torch.")


def _is_leaf(module: nn.Module) -> bool:
    """Whether a module computes what its library wrote, no more."""
    if isinstance(module, torch.jit._script.ScriptModule):
        return True
    if isinstance(module, nn.Sequential):
        return False
    forward = vars(module).get("forward", type(module).forward)
    return str(forward.__module__).startswith(_LIBRARIES)


class _Recorder(Interpreter):
    """Runs a traced model and notes the shapes of its data and the values of all else."""

    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[Call, Shape] = {}
        self.values: dict[Call, Any] = {}

    def run_node(self, n: Call) -> Any:
        result = super().run_node(n)
        held = n.op == "get_attr" or all(s in self.values for s in n.all_input_nodes)
        if n.op != "placeholder" and (held or not _holds_data(result)):
            self.values[n] = result
        elif isinstance(result, torch.Tensor | QuantTensor):
            self.shapes[n] = tuple(result.shape)
        return result

    def call_module(self, target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        result = super().call_module(target, args, kwargs)
        module = self.fetch_attr(target)
        if module._forward_hooks or module._forward_pre_hooks:
            bare = module.forward(*args, **kwargs)
            values = (getattr(x, "value", x) for x in (result, bare))
            if not torch.equal(*(torch.nan_to_num(x) for x in values)):
                raise unsupported(str(target), "a hook on it changes what it computes", "hook")
        return result


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put `model` in evaluation mode without gradients, and every module back afterwards."""
    training = {m: m.training for m in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in training.items():
            module.training = mode


def symbolic_trace(model: nn.Module) -> GraphModule:
    """Return `model` as a graph whose leaves are the modules of torch and Brevitas.

    Raises:
        UnsupportedModuleError: its forward depends on values, so that no graph describes it;
            a hook on the whole model; a tensor that is changed in place and read elsewhere.
    """
    if model._forward_hooks or model._forward_pre_hooks:
        problem = "has hooks on the whole model, which may change what it computes; remove them"
        raise unsupported(type(model).__name__, problem, "hook")
    tracer = _Tracer()
    if _is_leaf(model):
        model = nn.Sequential(model)
    try:
        # Arguments with a default have it: the rest of a network is its one input.
        parameters = signature(model.forward).parameters.values()
        given = {p.name: p.default for p in parameters if p.default is not Parameter.empty}
        graph = tracer.trace(model, concrete_args=given or None)
        _drop_defaults(graph)
    except (TraceError, TypeError) as error:
        raise UnsupportedModuleError(
            f"{type(model).__name__}.forward cannot be traced: {error}; "
            "a network needs a forward without control flow over values",
            operation=type(model).__name__,
        ) from error
    without_in_place(tracer.root, graph)
    return GraphModule(tracer.root, graph, type(model).__name__)


def _drop_defaults(graph: Graph) -> None:
    """Erase what torch.fx puts down for arguments that have their default."""
    placeholders = [call for call in graph.nodes if call.op == "placeholder"]
    for call in placeholders[1:]:
        for check in list(call.users):
            if not check.users:
                graph.erase_node(check)
        if not call.users:
            graph.erase_node(call)


def trace(traced: GraphModule, input_shape: Shape) -> tuple[Node, ...]:
    """Return the nodes of a traced model that carry tensors, in order.

    Args:
        traced: from `symbolic_trace`.
        input_shape: shape of one sample.

    Raises:
        UnsupportedModuleError: a module or an operation that no network has, by its name.
        ShapeError: the model does not take samples of that shape.
    """
    # What differs between two batch sizes depends on the batch.
    one, other = (_recorded(traced, input_shape, batch) for batch in _BATCHES)
    values = {n: v if _equal(v, other.values.get(n)) else BATCH for n, v in one.values.items()}
    return _nodes(traced, one.shapes, other.shapes, values)


def _recorded(traced: GraphModule, input_shape: Shape, batch: int) -> _Recorder:
    like = next(traced.parameters(), torch.zeros(()))
    example = torch.linspace(-1.0, 1.0, batch * math.prod(input_shape)).to(like)
    recorder = _Recorder(traced)
    with evaluating(traced):
        try:
            recorder.run(example.reshape(batch, *input_shape))
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            if isinstance(error, SecateurError):
                raise
            raise ShapeError(
                f"the model does not take samples of shape {input_shape}: {error}",
                argument="input_shape",
                shape=input_shape,
            ) from error
    return recorder


def _holds_data(result: Any) -> bool:
    if isinstance(result, tuple | list) and not isinstance(result, QuantTensor):
        return any(map(_holds_data, result))
    return isinstance(result, torch.Tensor | QuantTensor)


def _equal(one: Any, other: Any) -> bool:
    """Whether two values without data are the same; those that hold tensors of data are not."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, tuple | list) and type(one) is type(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    return type(one) is type(other) and bool(one == other)


def _nodes(
    traced: GraphModule,
    shapes: Mapping[Call, Shape],
    others: Mapping[Call, Shape],
    values: Mapping[Call, Any],
) -> tuple[Node, ...]:
    modules = dict(traced.named_modules())
    calls: Counter[str] = Counter()
    nodes = []
    for call in traced.graph.nodes:
        # Sizes, the numbers made from them and what the model holds are no data.
        if call.op not in ("call_module", "output") and call not in shapes:
            continue
        name = str(call.target) if call.op == "call_module" else call.name
        calls[name] += 1
        if calls[name] > 1:
            name = f"{name}.{calls[name]}"
        sources = _tensor_arguments(call, shapes)
        parts = parts_of(name, call, modules, [shapes[s] for s in sources], values)
        at = call if call in shapes else sources[0]
        if (shapes[at][:1], others[at][:1]) != (_BATCHES[:1], _BATCHES[1:]):
            problem = f"its result {shapes[at]} has lost the batch axis"
            raise unsupported(name, problem, call.target)
        nodes.append(Node(name, parts, sources, shapes[at][1:], call))
    return _with_tail(nodes)


def _with_tail(nodes: Sequence[Node]) -> tuple[Node, ...]:
    """Return the nodes, a sigmoid that the output reads being a tail as a softmax is."""
    last = {nodes[-1].sources[0]} if nodes and nodes[-1].sources else set()
    checked = []
    for node in nodes:
        parts, end = node.parts, node.call in last
        if end and len(node.shape) == 1 and parts == (Apply(Activation("sigmoid")),):
            parts = (Chances("sigmoid"),)
        if not end and any(isinstance(part, Chances) for part in parts):
            raise unsupported(node.name, "a softmax is understood at the end alone", "Softmax")
        checked.append(replace(node, parts=parts))
    return tuple(checked)


def _tensor_arguments(call: Call, shapes: Mapping[Call, Shape]) -> tuple[Call, ...]:
    """Return every tensor argument in order, one that is given twice (x + x) twice."""
    found: list[Call] = []
    map_arg((call.args, call.kwargs), lambda n: found.append(n) if n in shapes else None)
    return tuple(found)
