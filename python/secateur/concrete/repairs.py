"""Repairs: a traced graph rewritten so that the compilers compile it right, and at less width.

Each repair computes the same integers. What they mend was found by emulating circuits over
whole boxes of inputs (tests/concrete/test_repairs.py shows the failures):

- a constant that a lookup combines with its value is part of the table, and is not encoded;
- operands of an encrypted comparison are moved by one constant, so that neither is negative:
  comparisons of mixed signs, and of signed values in circuits wider than they are, come out
  wrong in concrete-numpy;
- what an encrypted shift gives is declared as wide as what it shifts: both backends shift in
  the width of the result, and lose the upper bits of a wider operand;
- what rounding gives is declared as wide as what it rounds: concrete-python takes any other
  width for an overflow, a narrower one as well;
- where one factor of an encrypted product may be negative, both are declared signed:
  concrete-python adds and subtracts them in the width of the wider one;
- what moves nothing goes: concrete-python gives the value itself, and takes the width that is
  declared for the one for that of the other;
- what is rounded is declared to have more bits than are dropped;
- an identity of what has been rounded is a table: concrete-python gives its upper bits as they lie;
- keys of a table that is a clear value are declared to reach its end: its length is theirs;
- what a backend cannot compute in too few bits is declared to have enough.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from copy import deepcopy
from typing import Any

import networkx as nx
import numpy as np

from secateur.backends import Backend
from secateur.circuits.proof import Proof
from secateur.circuits.rules import RULES, Traced, is_constant, is_encrypted
from secateur.ranges import Ranges

_COMPARISONS = {"equal", "greater", "greater_equal", "less", "less_equal", "not_equal"}

_PRODUCTS = {"dot", "matmul", "multiply"}

#: They give their source itself where its shape is what is asked for.
_SHAPING = {"broadcast_to", "reshape", "squeeze"}

_ROUNDINGS = {"round_bit_pattern", "truncate_bit_pattern"}


def repair(
    graph: Any, proof: Proof, truths: AbstractSet[Any], backend: Backend
) -> dict[Any, Ranges]:
    """Rewrite a backend's traced graph in place; return ranges to declare for what it is now.

    They hold the proved ones, and are wider where the backend needs room to compute.
    """
    proved, truths = dict(proof), set(truths)
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
            if name in _ROUNDINGS:
                _have_more_than_are_dropped(node, preds[0], proved)
            if name in {"right_shift", *_ROUNDINGS}:
                proved[node] = proved[node].union(proved[preds[0]])
            if least := backend.least_bits(name):
                proved[node] = proved[node].union((1 << least) - 1)
        if name == "dynamic_tlu":
            proved[preds[0]] = proved[preds[0]].union(proved[preds[1]].low.size - 1)
        if name == "dot" and all(p.output.shape for p in preds) and node.output.shape:
            node.properties["name"] = "matmul"  # they differ beyond two axes
        elif (name == "sum" and not preds[0].output.shape) or (
            name in _SHAPING and preds[0].output.shape == node.output.shape
        ):
            _replace(graph, node, preds[0], proved)
        elif name == "identity" and preds[0].properties.get("name") in _ROUNDINGS:
            _make_table(graph, node, truths, proved)
        elif node.converted_to_table_lookup:
            asks_truth = name not in RULES and not truths.isdisjoint(preds)
            if asks_truth or any(map(is_constant, preds)):
                table = _make_table(graph, node, truths, proved)
                if table is not None and node in truths:
                    truths.add(table)
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


def _have_more_than_are_dropped(node: Any, source: Any, proved: dict[Any, Ranges]) -> None:
    dropped = node.properties["kwargs"]["lsbs_to_remove"]
    if proved[source].hull().bits("integer") <= dropped:
        proved[source] = proved[source].union(1 << dropped)


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


def _make_table(graph: Any, node: Any, truths: AbstractSet[Any], proved: dict[Any, Ranges]) -> Any:
    """Replace a lookup by one of its variables alone, with its constants in the table.

    Returns the new one; None where it is no lookup of single variables.
    """
    preds = graph.ordered_preds_of(node)
    variables = [i for i, pred in enumerate(preds) if not is_constant(pred)]
    multivariate = node.properties.get("attributes", {}).get("is_multivariate")
    if len(variables) != 1 and not multivariate:
        return None
    sources = [_broadcast(graph, node, preds[i], proved) for i in variables]
    for i, source in zip(variables, sources, strict=True):
        node.inputs[i] = deepcopy(source.output)
    traced = Traced(node, lambda _: preds, proved, truths)
    operands = [pred() if is_constant(pred) else None for pred in preds]

    def entries(*values: Any) -> Any:
        given = list(operands)
        for i, value in zip(variables, values, strict=True):
            given[i] = np.asarray(value)
        return traced(*given)

    table = _new(
        node,
        type(node).generic(
            f"{node.properties['name']}_table",
            [deepcopy(source.output) for source in sources],
            deepcopy(node.output),
            entries,
            attributes={"is_multivariate": True} if multivariate else None,
        ),
    )
    _connect(graph, sources, table)
    _replace(graph, node, table, proved)
    return table


def _replace(graph: Any, node: Any, other: Any, proved: dict[Any, Ranges]) -> None:
    """Give `other` to whatever reads `node`, which goes."""
    for reader in set(graph.graph.successors(node)):
        for i, pred in enumerate(graph.ordered_preds_of(reader)):
            if pred is node:
                _replace_source(graph, reader, i, other)
    for index, output in graph.output_nodes.items():
        if output is node:
            graph.output_nodes[index] = other
    graph.graph.remove_node(node)
    proved.setdefault(other, proved.pop(node))


def _broadcast(graph: Any, node: Any, source: Any, proved: dict[Any, Ranges]) -> Any:
    """Return `source` in the shape of the node that reads it: a scalar's lookups need as many."""
    shape = node.output.shape
    if source.output.shape == shape:
        return source
    value = deepcopy(source.output)
    value.shape = shape
    zeros = _new(
        node,
        type(node).generic("zeros", [], deepcopy(value), lambda: np.zeros(shape, dtype=np.int64)),
    )
    proved[zeros] = Ranges.point(np.zeros(shape, dtype=np.int64))
    added = _new(
        node,
        type(node).generic("add", [deepcopy(source.output), deepcopy(value)], value, np.add),
    )
    proved[added] = proved[source].broadcast_to(shape)
    _connect(graph, [source, zeros], added)
    return added


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
