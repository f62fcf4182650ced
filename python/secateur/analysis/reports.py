"""What an analysis gives: the range of every node, and inputs that attain its ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import NetworkError
from secateur.network import Box, End, Integers, Mask, Network
from secateur.network.operation import ENDS, Wish
from secateur.ranges import Width
from secateur.show.tables import Displayed, Table, Tabular


@dataclass(frozen=True, eq=False)
class NodeRange(Box):
    """The proved range of one node.

    Args:
        shape: the node's shape, batch axis left out.
        ranges: int64 low and high, one axis for each of `shape`, broadcastable to it.
        name: the node's name.
        kind: the operation's kind ("linear", "lookup", …), or "input".
        attained: bool [channels, 2]; True where an input of the network is known that attains
            the low end, and the high end.
    """

    name: str
    kind: str
    attained: Mask

    @property
    def exact(self) -> Mask:
        """Whether both ends of each channel's range are attained, bool [channels]."""
        return np.asarray(self.attained.all(axis=1))

    @property
    def widest(self) -> int:
        """The channel whose range is the widest."""
        return int(self.channels.span.argmax())

    def bits(self, width: Width = "span") -> int:
        """Return the width of the channel that needs most."""
        return int(self.channels.bits(width).max())


@dataclass(frozen=True, eq=False)
class RangeReport(Displayed, Tabular):
    """The proved range of every node of `network`, in the order of the data.

    Args:
        network: what was analysed.
        nodes: name → range, in order, the input first.
        boxes: name → int64 [*node shape] for the nodes whose every element is an element of the
            input: that element's index in the input, flattened.
        witnesses: (name, channel, end) → an input, int64 [*input shape], that was found to
            attain an end which no rule attains by itself.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur.analysis import analyze
        >>> report = analyze(network)
        >>> print(report)
        node   kind    shape  widest channel  low  high  span bits  exact
        input  input   3      0               0    3     2          all
        fc     linear  1      0               -3   15    5          all
        >>> report.accumulator_bits, report["fc"].ranges.high, report.witness("fc", 0, "low")
        (5, array([15]), array([0, 3, 0]))
    """

    network: Network
    nodes: Mapping[str, NodeRange]
    boxes: Mapping[str, Integers] = field(repr=False)
    witnesses: Mapping[tuple[str, int, End], Integers] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> NodeRange:
        """Return the range of the node called `name`.

        Raises:
            NetworkError: there is no such node.
        """
        if name not in self.nodes:
            raise NetworkError(
                f"no node is named {name!r}; there are {', '.join(self.nodes)}", operation=name
            )
        return self.nodes[name]

    def __iter__(self) -> Iterator[NodeRange]:
        return iter(self.nodes.values())

    @property
    def accumulators(self) -> tuple[NodeRange, ...]:
        """The nodes that add: the affine operations, residual adds and sum pools."""
        return tuple(self.nodes[o.name] for o in self.network.operations if o.accumulates)

    @property
    def accumulator_bits(self) -> int:
        """Span bits of the widest accumulator: what a circuit needs once offsets are free."""
        return max((node.bits() for node in self.accumulators), default=0)

    def witness(self, layer: str, channel: int, end: End = "high") -> Integers:
        """Return an input of the network that attains one end of a channel's range.

        Args:
            layer: name of a node.
            channel: index along axis 0 of the node's shape.
            end: which end, "low" or "high".

        Returns:
            int64 [*network.input.shape]. For it, the least (or greatest) value in that
            channel of `network.nodes(x[None])[layer]` is exactly the range's low (or high).

        Raises:
            NetworkError: no such channel or end, or an end that is sound but not known to be
                attained.
        """
        node = self[layer]
        if end not in ENDS or channel not in range(node.shape[0]):
            raise NetworkError(
                f"layer {layer!r} has the channels 0 to {node.shape[0] - 1} and the ends 'low' "
                f"and 'high', not {channel!r} and {end!r}",
                layer=layer,
            )
        if not node.attained[channel, ENDS.index(end)]:
            raise NetworkError(
                f"layer {layer!r}, channel {channel}: its range "
                f"[{node.channels.low[channel]}, {node.channels.high[channel]}] is sound, "
                f"but no input is known that attains its {end} end",
                layer=layer,
            )
        return self.towards(layer, channel, end)

    def towards(self, layer: str, channel: int, end: End) -> Integers:
        """Return an input for which a channel comes near one end of its range.

        Where the end is attained, what is returned attains it: int64 [*network.input.shape].
        """
        if (found := self.witnesses.get((layer, channel, end))) is not None:
            return found
        wish = None if layer in self.boxes else self._wish(layer, channel, end)
        if wish is not None and wish.signs is None:
            source = self.network[layer].sources[wish.source]
            return self.towards(source, wish.channel, wish.end)
        box = self.network.input.box.full
        return np.where(self._votes(layer, channel, end) > 0, box.high, box.low)

    def _wish(self, layer: str, channel: int, end: End) -> Wish:
        operation = self.network[layer]
        sources = [self[s] for s in operation.sources]
        return operation.wish(channel, end, self[layer], sources, [s.attained for s in sources])

    def _votes(self, layer: str, channel: int, end: End) -> Integers:
        """For each element of the input, how many wishes there are for its high end, less those
        for its low end; int64 [*input shape].
        """
        votes = np.zeros(self.network.input.shape, np.int64)
        if layer in self.boxes:
            values = getattr(self[layer].full, end)[channel]
            best = values.argmin() if end == "low" else values.argmax()
            votes.flat[self.boxes[layer][channel].flat[best]] = 1 if end == "high" else -1
            return votes
        wish = self._wish(layer, channel, end)
        source = self.network[layer].sources[wish.source]
        if wish.signs is None:
            return self._votes(source, wish.channel, wish.end)
        if source in self.boxes:
            np.add.at(votes.reshape(-1), self.boxes[source], wish.signs)
            return votes
        rows = wish.signs.reshape(len(wish.signs), -1)
        for sign, of_end in ((1, "high"), (-1, "low")):
            for c in np.flatnonzero((rows == sign).any(axis=1)).tolist():
                votes += self._votes(source, c, of_end)  # type: ignore[arg-type]
        return votes

    def table(self) -> Table:
        """One row per channel of every node: its range, its widths in bits, and its exactness."""
        heading: tuple[str, ...] = ("node", "kind")
        rows: list[tuple[Any, ...]] = []
        for node in self:
            channels = node.channels.table()
            rows += [
                (node.name, node.kind, *row, exact)
                for row, exact in zip(channels.rows, node.exact.tolist(), strict=True)
            ]
            heading = ("node", "kind", *channels.heading, "exact")
        return Table(heading, rows)

    def display(self) -> tuple[Table]:
        """One row per node: its shape, its widest channel's own range, bits, exactness."""
        heading = ("node", "kind", "shape", "widest channel", "low", "high", "span bits", "exact")
        rows = []
        for node in self:
            at = node.widest
            each = node.channels[at]
            exact = int(node.exact.sum())
            rows.append(
                (
                    node.name,
                    node.kind,
                    "×".join(map(str, node.shape)),
                    at,
                    each.low,
                    each.high,
                    node.bits(),
                    "all" if exact == len(node.exact) else f"{exact} of {len(node.exact)}",
                )
            )
        return (Table(heading, rows),)
