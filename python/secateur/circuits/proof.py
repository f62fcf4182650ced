"""Proof: the range of every node of a traced graph, and the width that it has to have.

The proof walks the backend's own graph, so that it holds for what is really compiled and
serves functions that users wrote for the backend themselves. Ranges are kept for every
element of a tensor. What is not known to be sound is refused, with its source line.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import networkx as nx
import numpy as np

from secateur.circuits.rules import Traced, is_constant, is_encrypted, range_of
from secateur.errors import UnprovableError
from secateur.ranges import Ranges

Proof = Mapping[Any, Ranges]

#: An operation and its range over the box of its operands ↦ a range that is no wider.
Tighten = Callable[[Traced, Ranges], Ranges]

#: Operations that TFHE computes modulo a power of two, exact whatever their own range is.
_MODULAR = {
    "add",
    "array",
    "assign.static",
    "assign_dynamic",
    "assign_static",
    "broadcast_to",
    "concatenate",
    "conv2d",
    "copy",
    "dot",
    "expand_dims",
    "index.static",
    "index_dynamic",
    "index_static",
    "matmul",
    "multiply",
    "negative",
    "reshape",
    "squeeze",
    "subtract",
    "sum",
    "transpose",
    "zeros",
    "ones",
}


#: Of truth values alone NumPy computes these as truth values, too.
_COUNTING = {"add", "dot", "matmul"}


def prove(
    graph: Any,
    inputs: Mapping[str, Ranges],
    joined: Collection[Any] = (),
    tighten: Tighten = lambda traced, ranges: ranges,
    truths: Collection[Any] = (),
) -> Proof:
    """Return node → range for every node of a backend's traced graph.

    Args:
        graph: the graph, univariate subgraphs fused.
        inputs: parameter name → range, low and high int64 broadcastable to its shape.
        joined: nodes of shape [channels, ...] whose elements of one channel are to share one
            range, their hull, as `secateur.analyze` has it.
        tighten: what else is known of ranges; called for every operation, in order.
        truths: the nodes that NumPy computes as truth values.

    Returns:
        Node → low and high, int64 of the node's shape.

    Raises:
        UnprovableError: an operation whose range is not known to be sound, or of which NumPy
            makes something else than the circuit does; names its line.
        AccumulatorOverflowError: a value that 64 bits do not hold.
    """
    proved: dict[Any, Ranges] = {}
    for node in nx.topological_sort(graph.graph):
        if node.operation.value == "input":
            ranges = inputs[node.properties["name"]].broadcast_to(node.output.shape)
        elif is_constant(node):
            ranges = _constant(node)
        else:
            traced = Traced(node, graph.ordered_preds_of, proved, truths)
            _check_integers(traced)
            box = range_of(traced)
            _check_counting(traced, box)
            ranges = tighten(traced, box)
        proved[node] = _join(ranges) if node in joined else ranges
    return proved


def truth_values(graph: Any, sample: Mapping[str, Any]) -> set[Any]:
    """Return the nodes that NumPy computes as truth values; in a circuit they are 0 and 1.

    Args:
        graph: the graph, univariate subgraphs fused.
        sample: parameter name → some value in range.

    Raises:
        UnprovableError: an operation that NumPy does not have for truth values.
    """
    truths: set[Any] = set()
    values: dict[Any, Any] = {}
    for node in nx.topological_sort(graph.graph):
        if node.operation.value == "input":
            values[node] = sample[node.properties["name"]]
            continue
        traced = Traced(node, graph.ordered_preds_of, {}, truths)
        preds = traced.preds
        try:
            with np.errstate(all="ignore"):
                value = node(*map(traced.typed, (np.array(values[p]) for p in preds), preds))
        except TypeError as error:
            raise traced.refuse(f"is not defined for truth values ({error})") from error
        except Exception:  # what is wrong with it, the proof finds out
            value = np.zeros(node.output.shape, dtype=np.int64)
        values[node] = value
        if np.asarray(value).dtype == np.bool_:
            truths.add(node)
    return truths


def _check_counting(traced: Traced, ranges: Ranges) -> None:
    if traced.name not in _COUNTING or ranges.high.max() <= 1:
        return
    if all(pred in traced.truths for pred in traced.preds):
        raise traced.refuse(
            "combines truth values alone, of which NumPy makes a truth value and the circuit "
            "a number; multiply one of them by 1 to count"
        )


def _constant(node: Any) -> Ranges:
    try:
        value = np.asarray(node())
        return Ranges.point(value.astype(np.int64) if value.dtype == np.bool_ else value)
    except Exception as error:
        kind = node.properties["constant"].dtype
        raise UnprovableError(
            f"the constant at {node.location} is {kind}, expected integers that fit 64 bits; "
            "nothing was compiled",
            operation="constant",
            location=node.location,
        ) from error


def _check_integers(traced: Traced) -> None:
    if not hasattr(traced.node.output.dtype, "is_signed"):
        raise traced.refuse(
            f"gives {traced.node.output.dtype} numbers; a function is encrypted in integers: say "
            "how to make them with .astype(np.int64)"
        )


def _join(ranges: Ranges) -> Ranges:
    axes = len(ranges.shape) - 1
    channels = ranges.hull_over(range(1, 1 + axes))
    return channels.moved(lambda side: side.reshape(-1, *(1,) * axes)).broadcast_to(ranges.shape)


def declare(graph: Any, proof: Proof) -> dict[Any, tuple[int, int]]:
    """Return node → the range to declare to the backend, so that widths come out least.

    A node that is looked up, decrypted or encrypted needs its proved range. What lies
    between only adds up, modulo a power of two that holds the nodes it leads to: it is
    declared as one bit of its own sign, and takes the width of its neighbours. A clear
    constant is declared signed, since it is encoded in two's complement with one bit more
    than the circuit.
    """
    outputs = set(graph.output_nodes.values())
    declared = {}
    for node, ranges in proof.items():
        low, high = int(ranges.low.min()), int(ranges.high.max())
        if is_constant(node):
            low = min(low, -1)
        elif node not in outputs and _only_adds(graph, node):
            low, high = min(max(low, -1), 0), 0
        elif half := _half_of_rounding(graph, node):
            # Rounding adds its half before anything else, modulo the same power of two.
            low, high = low + half, high + half
        declared[node] = (low, high)
    return declared


def _only_adds(graph: Any, node: Any) -> bool:
    """Say whether nothing but modular arithmetic reads or makes an encrypted node."""
    return _is_modular(graph, node) and all(
        _is_modular(graph, reader) for reader in graph.graph.successors(node)
    )


def _half_of_rounding(graph: Any, node: Any) -> int:
    """Return half the step of the approximate rounding that alone reads `node`, or 0."""
    readers = list(graph.graph.successors(node))
    if len(readers) != 1 or readers[0].properties.get("name") != "round_bit_pattern":
        return 0
    options = readers[0].properties["kwargs"]
    approximate = str(options.get("exactness")).endswith("APPROXIMATE")
    return 1 << options["lsbs_to_remove"] - 1 if approximate and _is_modular(graph, node) else 0


def _is_modular(graph: Any, node: Any) -> bool:
    if node.operation.value != "generic" or node.properties["name"] not in _MODULAR:
        return False
    if node.properties["name"] in {"multiply", "matmul", "dot"}:
        # A product of two encrypted values is made of lookups.
        return not all(map(is_encrypted, graph.ordered_preds_of(node)))
    return True
