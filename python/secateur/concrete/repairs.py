"""Repairs: a traced graph rewritten so that the compilers compile it right, and at less width.

Each repair computes the same integers. What they mend was found by emulating circuits over
whole boxes of inputs (tests/concrete/test_repairs.py shows the failures):

- a constant that a lookup combines with its value is part of the table, and is not encoded;
- operands of an encrypted comparison are moved by one constant, so that neither is negative:
  comparisons of mixed signs, and of signed values in circuits wider than they are, come out
  wrong in concrete-numpy;
- what an encrypted shift gives is declared as wide as what it shifts: both backends shift in
  the width of the result, and lose the upper bits of a wider operand;
- where one factor of an encrypted product may be negative, both are declared signed:
  concrete-python adds and subtracts them in the width of the wider one;
- what a backend cannot compute in too few bits is declared to have enough.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import networkx as nx
import numpy as np

from secateur.backends import Backend
from secateur.circuits.proof import Proof
from secateur.circuits.rules import is_constant, is_encrypted
from secateur.ranges import Ranges

_COMPARISONS = {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}

_PRODUCTS = {"dot", "matmul", "multiply"}


def repair(graph: Any, proof: Proof, backend: Backend) -> dict[Any, Ranges]:
    """Rewrite a backend's traced graph in place; return ranges to declare for what it is now.

    They hold the proved ones, and are wider where the backend needs room to compute.
    """
    proved = dict(proof)
    for node in list(nx.topological_sort(graph.graph)):
        if node.operation.value != "generic":
            continue
        preds = graph.ordered_preds_of(node)
        name = node.properties["name"]
        if preds and all(map(is_encrypted, preds)):
            if name in _COMPARISONS:
                _move_above_zero(graph, node, proved)
            if name in _PRODUCTS:
                _sign_alike(preds, proved)
            if name == "right_shift":
                proved[node] = proved[node].union(proved[preds[0]])
            if least := backend.least_bits(name):
                proved[node] = proved[node].union((1 << least) - 1)
        elif node.converted_to_table_lookup and any(map(is_constant, preds)):
            _absorb_constants(graph, node, proved)
    for node in [n for n in graph.graph if is_constant(n) and not _is_read(graph, n)]:
        graph.graph.remove_node(node)
        del proved[node]
    return proved


def _is_read(graph: Any, node: Any) -> bool:
    return graph.graph.out_degree(node) > 0 or node in graph.output_nodes.values()


def _sign_alike(nodes: list[Any], proved: dict[Any, Ranges]) -> None:
    if any((proved[node].low < 0).any() for node in nodes):
        for node in nodes:
            proved[node] = proved[node].union(-1)


def _move_above_zero(graph: Any, node: Any, proved: dict[Any, Ranges]) -> None:
    """Add one constant to both operands of a comparison, if either may be negative."""
    preds = graph.ordered_preds_of(node)
    lowest = min(int(proved[pred].low.min()) for pred in preds)
    if lowest >= 0:
        return
    offset = _new(node, type(node).constant(-lowest))
    proved[offset] = Ranges.point(-lowest)
    for i, pred in enumerate(preds):
        moved = _new(
            node,
            type(node).generic(
                "add",
                [deepcopy(pred.output), deepcopy(offset.output)],
                deepcopy(pred.output),
                np.add,
            ),
        )
        proved[moved] = proved[pred] - lowest
        _connect(graph, [pred, offset], moved)
        _replace_source(graph, node, i, moved)


def _absorb_constants(graph: Any, node: Any, proved: dict[Any, Ranges]) -> None:
    """Make a lookup that combines its value with constants one of the value alone."""
    preds = graph.ordered_preds_of(node)
    variables = [i for i, pred in enumerate(preds) if not is_constant(pred)]
    if len(variables) != 1:
        return
    (place,) = variables
    source = preds[place]
    if source.output.shape != node.output.shape:
        source = _broadcast(graph, node, source, proved)
    operands = [pred() if is_constant(pred) else None for pred in preds]
    lookup = _new(
        node,
        type(node).generic(
            f"{node.properties['name']}_table",
            [deepcopy(source.output)],
            deepcopy(node.output),
            _of_one(node, operands, place),
        ),
    )
    proved[lookup] = proved.pop(node)
    _connect(graph, [source], lookup)
    for reader in set(graph.graph.successors(node)):
        for i, pred in enumerate(graph.ordered_preds_of(reader)):
            if pred is node:
                _replace_source(graph, reader, i, lookup)
    for index, output in graph.output_nodes.items():
        if output is node:
            graph.output_nodes[index] = lookup
    graph.graph.remove_node(node)


def _of_one(node: Any, operands: list[Any], place: int) -> Callable[[Any], Any]:
    def lookup(x: Any) -> Any:
        return node(*operands[:place], x, *operands[place + 1 :])

    return lookup


def _broadcast(graph: Any, node: Any, source: Any, proved: dict[Any, Ranges]) -> Any:
    value = deepcopy(source.output)
    value.shape = node.output.shape
    broadcast = _new(
        node,
        type(node).generic(
            "broadcast_to",
            [deepcopy(source.output)],
            value,
            np.broadcast_to,
            kwargs={"shape": value.shape},
        ),
    )
    proved[broadcast] = proved[source].broadcast_to(value.shape)
    _connect(graph, [source], broadcast)
    return broadcast


def _new(origin: Any, node: Any) -> Any:
    """Return a new node that stands where `origin` does in the user's source."""
    node.location, node.tag, node.created_at = origin.location, origin.tag, origin.created_at
    return node


def _connect(graph: Any, sources: list[Any], node: Any) -> None:
    for i, source in enumerate(sources):
        graph.graph.add_edge(source, node, input_idx=i)


def _replace_source(graph: Any, reader: Any, place: int, source: Any) -> None:
    edges = graph.graph
    for pred, _, key, index in list(edges.in_edges(reader, keys=True, data="input_idx")):
        if index == place:
            edges.remove_edge(pred, reader, key)
    edges.add_edge(source, reader, input_idx=place)
    reader.inputs[place] = deepcopy(source.output)
