"""Attaining: a search for inputs that bring accumulators to the ends of their proved ranges.

An end is attained as soon as one input comes to it. From where the operations' wishes point,
single elements of the input are moved so that what feeds the channel comes nearer to the values
that it should have. Then the search begins elsewhere. It may be stopped at any time: what it
found is attained, and what it did not find stays sound.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from math import prod
from time import monotonic
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.analysis.reports import RangeReport
from secateur.network import Box, End, Integers, Lookup, Network, Output
from secateur.network.operation import ENDS
from secateur.network.rearranging import Rearrangement

# Where to begin: once where wishes point, then so often at a mixture of that and of chance.
_STARTS = 6

# How many moves are made from the first start; twice as many from each further one.
_PATIENCE = 20

# No more moves are compared at a time.
_MOVES = 2048


def inputs_attaining(
    report: RangeReport, name: str, seconds: float
) -> Mapping[tuple[int, End], Integers]:
    """Return inputs that attain ends of one accumulator which are not known to be attained.

    Args:
        report: the ranges of all nodes up to `name`.
        name: name of a node; where it is no accumulator, nothing is searched.
        seconds: after which no further channel is tried.

    Returns:
        (channel, end) → int64 [*input shape], for each end that was found.
    """
    found: dict[tuple[int, End], Integers] = {}
    if not report.network[name].accumulates:
        return found
    deadline = monotonic() + seconds
    search = _Search(report, name)
    missing = [(int(c), ENDS[int(end)]) for c, end in np.argwhere(~report[name].attained)]
    for start in range(_STARTS):
        for channel, end in missing:
            if monotonic() > deadline:
                return found
            if (channel, end) not in found:
                x = search.climb(channel, end, start)
                if x is not None:
                    found[channel, end] = x
    return found


@dataclass(frozen=True, eq=False)
class _Feed:
    """What feeds a channel, and what it should be: arrays of the shape of the channel's source.

    Args:
        matters: bool; which elements the channel looks at.
        value: what they should be.
        before: what the accumulators behind them should be, where a lookup lies between.
        span: how far those may be from it, at least 1.
        read: nodes' values ↦ the two arrays of values that are compared, batch axis first.
    """

    matters: NDArray[np.bool_]
    value: Integers
    before: Integers
    span: NDArray[np.float64]
    read: Callable[[Mapping[str, Integers]], tuple[Integers, Integers]]

    def away(self, nodes: Mapping[str, Integers]) -> NDArray[np.float64]:
        """How far each element of each sample is from what it should be, [batch, *shape].

        0 where it does not matter or is what it should be, else above 0 and at most 1.25.
        """
        values, before = self.read(nodes)
        wrong = self.matters & (values != self.value)
        return np.where(
            wrong, 0.25 + np.abs(before.astype(np.float64) - self.before) / self.span, 0.0
        )


class _Search:
    """A search for the ends of one node's channels."""

    def __init__(self, report: RangeReport, name: str) -> None:
        self.report = report
        self.name = name
        self.network = _up_to(report.network, name)
        self.box = report.network.input.box.full
        self.random = np.random.default_rng(0)

    def climb(self, channel: int, end: End, start: int) -> Integers | None:
        """Return an input that brings the channel to that end, or None where none was found.

        Where no single move brings what feeds the channel nearer, what is wrong at the moment
        counts for more from then on (Morris, "The breakout method for escaping from local
        minima", AAAI 1993); where nothing is known to feed it, some moves are made by chance.
        """
        x = self.report.towards(self.name, channel, end)
        if start:
            anywhere = self.random.integers(self.box.low, self.box.high, endpoint=True)
            x = np.where(self.random.random(x.shape) < start / _STARTS, anywhere, x)
        # Every other start without: another window may come there, fed by something else.
        feed = self._feed(channel, end) if start % 2 == 0 else None
        weights = np.ones(1) if feed is None else np.ones(feed.value.shape)
        for _ in range(_PATIENCE << start):
            moves = np.concatenate([x[None], self._moves(x)])
            gaps, away = self._measured(moves, channel, end, feed)
            attained = np.flatnonzero(gaps == 0)
            if len(attained):
                return moves[attained[0]]
            if len(moves) == 1:
                return None
            costs = gaps if away is None else (away * weights).reshape(len(moves), -1).sum(axis=1)
            best = self.random.choice(np.flatnonzero(costs == costs.min()))
            if costs[best] < costs[0]:
                x = moves[best]
            elif away is not None:
                weights = weights + (away[0] > 0)
            else:
                x = moves[self.random.integers(1, len(moves))]
        return None

    def _measured(
        self, samples: Integers, channel: int, end: End, feed: _Feed | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
        """How far each sample leaves the channel from its end, and what feeds it."""
        step = max(1, (1 << 20) // max(map(prod, self.network.shapes.values())))
        goal = float(getattr(self.report[self.name].channels, end)[channel])
        gaps, away = [], []
        for at in range(0, len(samples), step):
            part = samples[at : at + step]
            nodes = self.network.nodes(part)
            values = nodes[self.name][:, channel].reshape(len(part), -1)
            reached = values.min(axis=1) if end == "low" else values.max(axis=1)
            gaps.append(np.abs(reached.astype(np.float64) - goal))
            if feed is not None:
                away.append(feed.away(nodes))
        return np.concatenate(gaps), np.concatenate(away) if away else None

    def _moves(self, x: Integers) -> Integers:
        """Every input that differs from `x` in one element: at an end, or one step further."""
        flat, low, high = x.ravel(), self.box.low.ravel(), self.box.high.ravel()
        steps = np.stack(
            [low, high, np.where(flat > low, flat - 1, flat), np.where(flat < high, flat + 1, flat)]
        )
        way, element = np.nonzero(steps != flat)
        if len(way) > _MOVES:
            chosen = self.random.choice(len(way), _MOVES, replace=False)
            way, element = way[chosen], element[chosen]
        moved = np.repeat(flat[None], len(way), axis=0)
        moved[np.arange(len(way)), element] = steps[way, element]
        return moved.reshape(-1, *x.shape)

    def _feed(self, channel: int, end: End) -> _Feed | None:
        """What should become of the node that the channel reads, where its operation says it."""
        report, operation = self.report, self.network[self.name]
        sources = [report[s] for s in operation.sources]
        known = [s.attained for s in sources]
        wish = operation.wish(channel, end, report[self.name], sources, known)
        if wish.signs is None:
            return None
        source, moves = sources[wish.source], []
        at: Any = None if source.kind == "input" else self.network[source.name]
        while isinstance(at, Rearrangement):
            moves.append(at)
            at = None if at.source == self.network.input.name else self.network[at.source]
        up = wish.signs > 0
        value = np.where(up, source.full.high, source.full.low)

        def moved(values: Any) -> Any:
            return reduce(lambda v, move: move.move(v), reversed(moves), values)

        def of_batch(values: Any) -> Any:
            return reduce(lambda v, move: move.evaluate(v), reversed(moves), values)

        if not isinstance(at, Lookup):
            span = np.maximum(source.full.span.astype(np.float64), 1.0)
            return _Feed(
                wish.signs != 0,
                value,
                value,
                span,
                lambda nodes: (nodes[source.name], nodes[source.name]),
            )
        before: Box = report[at.source]
        ends = before.full
        rising = at.rule(ends.high[None])[0] >= at.rule(ends.low[None])[0]
        low, high, rising = moved(ends.low), moved(ends.high), moved(rising)
        return _Feed(
            wish.signs != 0,
            value,
            np.where(up == rising, high, low),
            np.maximum(moved(ends.span).astype(np.float64), 1.0),
            lambda nodes: (nodes[source.name], of_batch(nodes[at.source])),
        )


def _up_to(network: Network, name: str) -> Network:
    """Return the part of `network` that `name` is computed by."""
    needed, operations = {name}, []
    for operation in reversed(network.operations):
        if operation.name in needed:
            needed.update(operation.sources)
            operations.append(operation)
    one, zero = np.ones(1, np.int64), np.zeros(1, np.int64)
    output = Output(name, one, zero, one.astype(np.float64), zero.astype(np.float64))
    return Network(network.input, tuple(reversed(operations)), output)
