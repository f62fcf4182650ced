"""A torch module as a list of nodes, each with its part in a network and its shape.

Both directions read models this way: `quantize` to see where quantisers belong, `freeze` to
see what integers flow.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.fx._symbolic_trace import Tracer
from torch.fx.graph_module import GraphModule
from torch.fx.interpreter import Interpreter
from torch.fx.node import Node as Call, map_arg
from torch.fx.proxy import TraceError

from secateur.errors import ShapeError, UnsupportedModuleError
from secateur.network import Shape
from secateur.reading.torch.parts import Part, parts_of, unsupported

#: The batch size of the example that shapes are read from; any other axis may have it too.
_EXAMPLES = 2


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


def _is_leaf(module: nn.Module) -> bool:
    library = module.__module__.startswith(("torch.nn.", "brevitas."))
    return library and not isinstance(module, nn.Sequential)


class _ShapeRecorder(Interpreter):
    def __init__(self, module: GraphModule) -> None:
        super().__init__(module)
        self.shapes: dict[Call, Shape] = {}

    def run_node(self, n: Call) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) or hasattr(result, "value"):
            self.shapes[n] = tuple(result.shape)
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
        UnsupportedModuleError: its forward depends on values, so that no graph describes it.
    """
    tracer = _Tracer()
    if _is_leaf(model):
        model = nn.Sequential(model)
    try:
        graph = tracer.trace(model)
    except (TraceError, TypeError) as error:
        raise UnsupportedModuleError(
            f"{type(model).__name__}.forward cannot be traced: {error}; "
            "a network needs a forward without control flow over values",
            operation=type(model).__name__,
        ) from error
    return GraphModule(tracer.root, graph, type(model).__name__)


def trace(traced: GraphModule, input_shape: Shape) -> tuple[Node, ...]:
    """Return the nodes of a traced model that carry tensors, in order.

    Args:
        traced: from `symbolic_trace`.
        input_shape: shape of one sample.

    Raises:
        UnsupportedModuleError: a module or an operation that no network has, by its name.
        ShapeError: the model does not take samples of that shape.
    """
    parameter = next(traced.parameters(), torch.zeros(()))
    example = torch.zeros(_EXAMPLES, *input_shape, dtype=parameter.dtype, device=parameter.device)
    recorder = _ShapeRecorder(traced)
    with evaluating(traced):
        try:
            recorder.run(example)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ShapeError(
                f"the model does not take samples of shape {input_shape}: {error}",
                argument="input_shape",
                shape=input_shape,
            ) from error
    return _nodes(traced, recorder.shapes)


def _nodes(traced: GraphModule, shapes: Mapping[Call, Shape]) -> tuple[Node, ...]:
    modules = dict(traced.named_modules())
    calls: Counter[str] = Counter()
    nodes = []
    for call in traced.graph.nodes:
        # Sizes and the numbers made from them are no data.
        if call.op not in ("call_module", "output") and call not in shapes:
            continue
        name = str(call.target) if call.op == "call_module" else call.name
        calls[name] += 1
        if calls[name] > 1:
            name = f"{name}.{calls[name]}"
        sources = _tensor_arguments(call, shapes)
        parts = parts_of(name, call, modules, [shapes[s] for s in sources])
        shape = shapes[call] if call in shapes else shapes[sources[0]]
        if shape[:1] != (_EXAMPLES,):
            raise unsupported(name, f"its result {shape} has lost the batch axis", call.target)
        nodes.append(Node(name, parts, sources, shape[1:], call))
    return tuple(nodes)


def _tensor_arguments(call: Call, shapes: Mapping[Call, Shape]) -> tuple[Call, ...]:
    """Return every tensor argument in order, one that is given twice (x + x) twice."""
    found: list[Call] = []
    map_arg((call.args, call.kwargs), lambda n: found.append(n) if n in shapes else None)
    return tuple(found)
