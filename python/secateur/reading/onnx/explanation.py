"""What became of an ONNX model, node by node."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from secateur.analysis import analyze
from secateur.errors import SecateurError
from secateur.network import (
    Combine,
    Floats,
    FunctionTable,
    Integers,
    Lookup,
    Network,
    Quantize,
    Step,
)
from secateur.ranges import Range
from secateur.reading.onnx.model import load
from secateur.reading.onnx.read import Passage, Reader, Source
from secateur.show.tables import Table

#: Table entries this near to a tie, in codes, may come out otherwise in a float32 run.
NEAR = 1e-6

#: Tables of more entries are not searched for ties.
_LARGEST = 1 << 27


@dataclass(frozen=True)
class Ties:
    """How many entries of a table lie next to a tie.

    Args:
        table: name of the lookup.
        near: entries within `NEAR` of a value that rounds either way.
        entries: of the whole proved range; near is None where they are too many to search.
    """

    table: str
    near: int | None
    entries: int


@dataclass(frozen=True, eq=False)
class Line:
    """One node: what became of it, or why it was refused, or that it reads what was."""

    name: str
    operator: str
    became: str
    notes: tuple[str, ...] = ()
    refused: SecateurError | None = None


@dataclass(frozen=True, eq=False)
class Explanation:
    """What became of a model.

    Args:
        lines: one for each node, in the order of the data.
        network: the network, or None where something was refused.
        refused: every refusal, the first of which `read_onnx` raises.
        ties: for each table, how many of its entries lie next to a tie.
    """

    lines: tuple[Line, ...]
    network: Network | None
    refused: tuple[SecateurError, ...]
    ties: tuple[Ties, ...]

    def __str__(self) -> str:
        """One line per node, then the ties, then what was refused."""
        rows = [
            (line.name, line.operator, line.became, "; ".join(line.notes)) for line in self.lines
        ]
        text = [str(Table(("node", "operator", "became", ""), rows))]
        for tie in self.ties:
            near = "not searched" if tie.near is None else f"{tie.near} next to a tie"
            text.append(f"table {tie.table}: {tie.entries} entries, {near}")
        text.extend(f"refused: {error}" for error in self.refused)
        return "\n".join(text)


def explain(
    model: Source, *, input: Quantize | Range | None = None, sum_bits: int | None = None
) -> Explanation:
    """Return what became of every node of an ONNX model, refused ones included.

    Args:
        model, input, sum_bits: as `read_onnx` takes them.

    Raises:
        FileFormatError: the file is damaged.
        UnsupportedOperatorError: the graph as a whole is none that is read.

    Example:
        >>> from onnx import TensorProto, helper
        >>> x, y = (helper.make_tensor_value_info(n, TensorProto.UINT8, [1, 2]) for n in "xy")
        >>> graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "g", [x], [y])
        >>> model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        >>> [(line.name, line.became) for line in explain(model).lines]
        [('NonZero_0', 'refused')]
    """
    reader = Reader(load(model), input, sum_bits)
    lines, refused = [], []
    for node in reader.graph.nodes:
        lost = [i for i in node.inputs if i and i not in reader.values]
        if lost:
            lines.append(Line(node.name, node.operator, f"waits for {lost[0]!r}"))
            continue
        try:
            lines.append(_line(reader.passage(node)))
        except SecateurError as error:
            refused.append(error)
            lines.append(Line(node.name, node.operator, "refused", refused=error))
    network = None
    if not refused:
        try:
            network = reader.network()
        except SecateurError as error:
            refused.append(error)
    ties = tuple(_ties(network)) if network is not None else ()
    return Explanation(tuple(lines), network, tuple(refused), ties)


def _line(passage: Passage) -> Line:
    became = ", ".join(passage.became)
    if not became:
        became = "a constant" if passage.folded else "on the way to the next table"
    return Line(passage.node.name, passage.node.operator, became, passage.notes)


def _ties(network: Network) -> Iterator[Ties]:
    report = analyze(network)
    for lookup in network.operations:
        if not isinstance(lookup, Lookup) or not isinstance(lookup.table, FunctionTable):
            continue
        channels = report[lookup.source].channels
        ends = list(zip(channels.low.tolist(), channels.high.tolist(), strict=True))
        entries = sum(high - low + 1 for low, high in ends)
        near = None
        if entries <= _LARGEST:
            near = near_ties(lookup.table, channels.low, channels.high)
        yield Ties(lookup.name, near, entries)


def near_ties(table: FunctionTable, low: Integers, high: Integers) -> int:
    """Return how many entries of a table from low to high, [channels], lie next to a tie."""
    found = 0
    for channel, (first, last) in enumerate(zip(low.tolist(), high.tolist(), strict=True)):
        own = table.restricted(np.arange(len(low)) == channel)
        x = np.arange(first, last + 1, dtype=np.float64)[:, None]
        found += int(_near_after((*own.steps, own.quantize), x).sum())
    return found


def _near_after(steps: Sequence[Step], x: Floats) -> NDArray[np.bool_]:
    """Return where some rounding of `steps` sees a value next to a tie."""
    near = np.zeros(x.shape, np.bool_)
    for step in steps:
        if isinstance(step, Quantize):
            near |= _near(step, x)
        elif isinstance(step, Combine):
            near |= _near_after(step.left, x) | _near_after(step.right, x)
        x = step(x)
    return near


def _near(grid: Quantize, x: Floats) -> NDArray[np.bool_]:
    """Return where x is within `NEAR` of a value at which the code changes."""
    q = x / grid.scale + grid.zero_point
    if grid.rounding == "sign":
        return np.abs(q) < NEAR
    half = 0.5 if grid.rounding.startswith("half") else 0.0
    tie = np.rint(q - half) + half
    inside = (grid.low + grid.zero_point < tie + 0.5) & (tie - 0.5 < grid.high + grid.zero_point)
    return (np.abs(q - tie) < NEAR) & inside
