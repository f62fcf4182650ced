"""Attaining: a search for inputs that bring accumulators to the ends of their proved ranges.

An end is attained as soon as one input comes to it. From where the operations' wishes point,
single elements of the input are moved for as long as that brings the channel nearer, or brings
what feeds it nearer to the values that it should have. Then the search begins elsewhere. It may
be stopped at any time: what it found is attained, and what it did not find stays sound.
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

# How many elements are moved by chance where no single move helps, and how often that is tried.
_KICK, _KICKS = 3, 12

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

    def distance(self, nodes: Mapping[str, Integers]) -> NDArray[np.float64]:
        """How far each sample is from what should be, at least 0 and below 1."""
        values, before = self.read(nodes)
        wrong = self.matters & (values != self.value)
        away = np.abs(before.astype(np.float64) - self.before) / self.span
        over = tuple(range(1, values.ndim))
        return np.where(wrong, away, 0.0).sum(axis=over) / (self.matters.sum() + 1)


class _Search:
    """A search for the ends of one node's channels."""

    def __init__(self, report: RangeReport, name: str) -> None:
        self.report = report
        self.name = name
        self.network = _up_to(report.network, name)
        self.box = report.network.input.box.full
        self.random = np.random.default_rng(0)

    def climb(self, channel: int, end: End, start: int) -> Integers | None:
        """Return an input that brings the channel to that end, or None where none was found."""
        x = self.report.towards(self.name, channel, end)
        if start:
            anywhere = self.random.integers(self.box.low, self.box.high, endpoint=True)
            x = np.where(self.random.random(x.shape) < start / _STARTS, anywhere, x)
        feed = self._feed(channel, end)
        best, kicks = self._gap(x[None], channel, end, feed)[0], 0
        while best >= 1.0 and kicks < _KICKS:
            moves = self._moves(x)
            gaps = self._gap(moves, channel, end, feed)
            if gaps.min(initial=np.inf) < best:
                x, best = moves[gaps.argmin()], float(gaps.min())
                continue
            # Nothing helps by itself: some moves at once, whatever they cost.
            kicks += 1
            for _ in range(_KICK if len(moves) else 0):
                moves = self._moves(x)
                x = moves[self.random.integers(len(moves))]
            best = self._gap(x[None], channel, end, feed)[0]
        return x if best < 1.0 else None

    def _gap(
        self, samples: Integers, channel: int, end: End, feed: _Feed | None
    ) -> NDArray[np.float64]:
        """How far each sample leaves the channel from its end, and, below 1, what feeds it."""
        step = max(1, (1 << 20) // max(map(prod, self.network.shapes.values())))
        gaps = []
        for at in range(0, len(samples), step):
            nodes = self.network.nodes(samples[at : at + step])
            values = nodes[self.name][:, channel].reshape(len(samples[at : at + step]), -1)
            reached = values.min(axis=1) if end == "low" else values.max(axis=1)
            goal = float(getattr(self.report[self.name].channels, end)[channel])
            gap = np.abs(reached.astype(np.float64) - goal)
            gaps.append(gap if feed is None else gap + feed.distance(nodes))
        return np.concatenate(gaps)

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
