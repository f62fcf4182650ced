"""From a quantised model to one whose tables read the upper bits of accumulators alone."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from torch import nn
from torch.fx.graph_module import GraphModule
from torch.fx.node import Node as Call

from secateur.errors import BitsError, UnknownLayerError
from secateur.reading.torch import parts
from secateur.reading.torch.coarse import Coarse
from secateur.reading.torch.freeze import known_input_shape
from secateur.reading.torch.trace import Node, symbolic_trace, trace

_MOST_BITS = 15

#: What a table may hold between an accumulator and the codes that it gives.
_IN_TABLES = parts.Normalize | parts.Rescale | parts.Apply


def coarsen(
    model: nn.Module,
    bits: int | Mapping[str, int],
    accumulator_bits: int | Mapping[str, int],
    *,
    about: bool = False,
) -> nn.Module:
    """Return `model` with accumulators that tables read without their lowest bits.

    Training sees what the lookup will see; `freeze` then gives tables that are constant on
    blocks of 2^bits accumulators, and `compile` drops these bits, exactly, where that is
    cheaper: on concrete-python most of a lookup's price. Give the copy to `Pruner` with the
    same `accumulator_bits`: what is not pruned to them may need one bit more. Weight scales,
    biases and everything after the layer stay free.

    Args:
        model: from `quantize`, or built with Brevitas's layers; stays as it is.
        bits: how many bits are dropped; or layer name → how many.
        accumulator_bits: span bits of the accumulators, more than `bits`; or layer name → bits.
        about: leave half a block free at both ends of each accumulator, without which
            `compile(rounding="approximate")` needs one bit more to drop them. Give the pruner
            the same `bits` by layer name: `Accumulator(..., dropped_about=bits)`. Exact rounding
            drops them as well.

    Raises:
        UnknownLayerError: a name that no layer has whose accumulators go into a table alone.
        BitsError: bits of a layer that are not below its accumulator's, or above 15.
        UnsupportedModuleError, UnfinishedModelError: see `freeze`.

    >>> import torch
    >>> from torch import nn
    >>> from secateur.reading.torch.quantize import quantize
    >>> module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> model = quantize(module, calibration=torch.linspace(0.0, 1.0, 64).reshape(16, 4))
    >>> coarsen(model, bits=1, accumulator_bits=5).get_submodule("0_coarse")
    Coarse(bits=1, accumulator_bits=5)
    """
    traced = symbolic_trace(copy.deepcopy(model))
    nodes = {node.call: node for node in trace(traced, known_input_shape(model))}
    looked_up = _looked_up(nodes)
    dropped = dict.fromkeys(looked_up, bits) if isinstance(bits, int) else dict(bits)
    for name in dropped:
        if name not in looked_up:
            raise UnknownLayerError(
                f"no layer {name!r} gives accumulators to a table alone; there are "
                f"{', '.join(map(repr, looked_up)) or 'none'}",
                layer=name,
                known=tuple(looked_up),
            )
        _check(name, dropped[name], _width(name, accumulator_bits))
        call, proxy = looked_up[name]
        if dropped[name] == 0:
            continue
        layer, width = traced.get_submodule(str(call.target)), _width(name, accumulator_bits)
        coarse = Coarse(name, layer, proxy, dropped[name], width, about)
        _insert(traced, call, f"{name}_coarse", coarse)
    # Modules in the order of the graph, as a copy has them: averages match parameters by it.
    ordered = GraphModule(traced, traced.graph, type(traced).__name__)
    return ordered.train(model.training)


def looked_up_layers(model: nn.Module) -> list[str]:
    """Return the names of the layers that `coarsen` can make coarse, in order."""
    nodes = {node.call: node for node in trace(symbolic_trace(model), known_input_shape(model))}
    return list(_looked_up(nodes))


def _looked_up(nodes: Mapping[Call, Node]) -> dict[str, tuple[Call, nn.Module]]:
    """Layer name → its call and the activation quantiser that it reads, where tables read it.

    Nothing else may read it, and nothing but elementwise functions may come between.
    """
    found = {}
    for call, node in nodes.items():
        if (
            len(node.parts) == 1
            and isinstance(node.parts[0], parts.Weigh)
            and call.op == "call_module"
        ):
            proxy = _proxy_before(nodes, node)
            if proxy is not None and _goes_into_a_table(nodes, node):
                found[node.name] = (call, proxy)
    return found


def _proxy_before(nodes: Mapping[Call, Node], node: Node) -> nn.Module | None:
    """Return the quantiser whose codes `node` reads, moved about or pooled by maximum."""
    source = nodes[node.sources[0]]
    match source.parts:
        case (*_, parts.Quantizer(proxy)):
            return proxy
        case () | (parts.View(),) | (parts.Permute(),) | (parts.PoolMax(),) if source.sources:
            return _proxy_before(nodes, source)
    return None


def _goes_into_a_table(nodes: Mapping[Call, Node], node: Node) -> bool:
    readers = [nodes[user] for user in node.call.users if user in nodes]
    if len(readers) != 1:
        return False
    for part in readers[0].parts:
        if isinstance(part, parts.Quantizer):
            return True
        if not isinstance(part, _IN_TABLES):
            return False
    return _goes_into_a_table(nodes, readers[0])


def _width(name: str, accumulator_bits: int | Mapping[str, int]) -> int:
    if isinstance(accumulator_bits, int):
        return accumulator_bits
    if name not in accumulator_bits:
        raise UnknownLayerError(
            f"layer {name!r} has no accumulator_bits; there are those of "
            f"{', '.join(map(repr, accumulator_bits)) or 'no layer'}",
            layer=name,
            known=tuple(accumulator_bits),
        )
    return accumulator_bits[name]


def _check(name: str, bits: int, width: int) -> None:
    if not isinstance(bits, int) or not 0 <= bits <= min(width - 1, _MOST_BITS):
        raise BitsError(
            f"layer {name!r}: {bits!r} bits cannot be dropped of accumulators of {width}; "
            f"expected 0 to {min(width - 1, _MOST_BITS)}",
            argument="bits",
            bits=bits,
            lowest=0,
            highest=min(width - 1, _MOST_BITS),
            layer=name,
        )


def _insert(traced: GraphModule, call: Call, name: str, module: nn.Module) -> None:
    """Insert `module` after `call`, before all its readers."""
    parent, _, leaf = name.rpartition(".")
    setattr(traced.get_submodule(parent), leaf, module)
    with traced.graph.inserting_after(call):
        coarse = traced.graph.call_module(name, (call,))
    for reader in [user for user in call.users if user is not coarse]:
        reader.replace_input_with(call, coarse)
