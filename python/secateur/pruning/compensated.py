"""Pruning with error correction: what is left makes up for what goes, within the exact budget.

In the manner of Optimal Brain Surgeon (Hassibi and Stork, NeurIPS 1992) and GPTQ (Frantar et
al., ICLR 2023), in whole codes: a layer is to give on samples what it gave before, in the mean
square, and the squared error of its codes is a quadratic form of second moments of its inputs.
Codes go towards 0 in the order that costs least for what it saves of the span budget; then
single steps and pairs of them, one that saves and one that spends, are taken while the error
falls. No code leaves the range of the layer's codes, and none that is 0 comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from secateur import bounds, exact
from secateur.pruning import widths
from secateur.pruning.accumulator import Accumulator
from secateur.pruning.options import check_bits
from secateur.pruning.problem import Floats, Integers, Masks, PrunableLayer, PruningProblem
from secateur.pruning.strategy import Widths
from secateur.ranges import Ranges

#: Added to the diagonal of the second moments, as a part of its mean.
_DAMPING = 1e-2
#: Steps that save and that are paired with every one that spends.
_PAIRED = 8
#: Steps to 0 of all codes of a channel, at most, for a search to start from the codes.
_MOST_STEPS = 1 << 16
#: Rounds of single steps and pairs for a layer, at most, for each weight of a channel.
_ROUNDS = 2


@dataclass(frozen=True)
class Compensated:
    """Fits the accumulator's bits without training: what is kept makes up for what goes.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur import prune
        >>> samples = np.array([[1, 2, 0], [3, 1, 1], [0, 3, 2], [2, 2, 3]])
        >>> prune(network, Compensated(bits=4), samples=samples)["fc"].codes
        array([[3, 0, 2]], dtype=int8)
    """

    name: ClassVar[str] = "compensated"

    bits: int | Mapping[str, int] = field(
        default=8,
        metadata={"doc": "span bits that every accumulator fits; or layer name → width"},
    )

    def __post_init__(self) -> None:
        check_bits(self)
        object.__setattr__(self, "bits", widths.owned(self.bits))

    def masks(self, problem: PruningProblem) -> Masks:
        """Return the masks of `Accumulator` by activation, where codes cannot be corrected."""
        return Accumulator(self.bits, saliency="activation").masks(problem)

    def widths(self, problem: PruningProblem) -> Widths:
        """Return the width of every accumulator that has one."""
        return widths.of_accumulators(self.bits, problem)

    def toward(self, fraction: float, problem: PruningProblem) -> Compensated:
        """Return the strategy at widths between what needs no mask and its own."""
        part = Accumulator(self.bits).toward(fraction, problem)
        return Compensated(part.bits)

    def corrected(
        self, problem: PruningProblem, layer: PrunableLayer, inputs: Floats, wanted: Floats
    ) -> Integers:
        """Return the codes of `layer` that fit and give on the samples nearly what is wanted.

        Where float64 does not hold its sums, codes are chosen by the mask of `masks` alone.

        Args:
            problem: of the network pruned as far as `layer`.
            layer: one of its layers; what its mask removes stays removed.
            inputs: float64 [groups, samples, taps of a channel], as they are by now.
            wanted: float64 [samples, out]; what its accumulators gave before, bias left out.
        """
        bits = widths.of_layers(self.bits, problem).get(layer.name)
        if bits is None:
            return layer.codes
        rows = len(layer.codes) // layer.groups
        spans, taps = Ranges(layer.low, layer.high).span, layer.codes[0].size
        if exact.magnitude(layer.codes) * exact.magnitude(spans) * taps >= exact.FLOAT64:
            return np.where(self.masks(problem)[layer.name], layer.codes, 0)
        spread = layer.spread(spans.astype(np.int64)).reshape(len(layer.codes), -1)
        codes = np.where(layer.mask, layer.codes, 0).astype(np.int64)
        highest = int(np.iinfo(layer.codes.dtype).max)
        parts = [
            fit_codes(flat, x, wanted[:, at], spread[at], bits, highest)
            for flat, x, at in zip(
                codes.reshape(layer.groups, rows, -1),
                inputs,
                (slice(g * rows, (g + 1) * rows) for g in range(layer.groups)),
                strict=True,
            )
        ]
        return np.concatenate(parts).reshape(layer.shape)


def fit_codes(
    codes: Integers,
    inputs: Floats,
    wanted: Floats,
    spread: Integers,
    bits: int,
    highest: int = exact.INT64 - 1,
) -> Integers:
    """Return codes of so many span bits whose products with the inputs are near what is wanted.

    Errors are measured about their mean, since a bias makes up for the mean. The search starts
    from the codes themselves, unless they are too many steps from 0, and from the best mask; each
    channel takes the nearer.

    Args:
        codes: int64 [out, in]; where to start, and where a 0 stays 0. None comes to lie further
            from 0 than the furthest of them.
        inputs: float64 [samples, in].
        wanted: float64 [samples, out].
        spread: int64 [out, in]; what a code of 1 costs: how far its input can differ.
        bits: span bits; Σ |code| · spread of a channel is at most 2^bits − 1.
        highest: the greatest code that the type of the codes holds.

    Example:
        >>> x = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
        >>> fit_codes(np.array([[2, 1]]), x, x @ [[2.0], [1.0]], np.array([[1, 3]]), 2)
        array([[2, 0]])
    """
    x, y = inputs - inputs.mean(axis=0), wanted - wanted.mean(axis=0)
    moments = x.T @ x / len(x)
    damping = _DAMPING * max(np.trace(moments) / len(moments), 1e-9)
    moments[np.diag_indices_from(moments)] += damping
    # Damping holds codes near to where they start, for what the samples do not tell apart.
    target = y.T @ x / len(x) + damping * codes
    scores = np.abs(codes) * np.sqrt(np.diag(moments))
    kept = bounds.select(codes, scores, np.zeros_like(spread), spread, bits)
    found = []
    near = np.abs(codes).sum(axis=1).max(initial=0) <= _MOST_STEPS
    for start in (codes, np.where(kept, codes, 0))[not near :]:
        search = _Search(start, codes, moments, target, spread, bits, highest)
        search.fit()
        search.improve(_ROUNDS * codes.shape[1])
        found.append(search)
    nearer = found[-1].error() < found[0].error()
    return np.where(nearer[:, None], found[-1].codes, found[0].codes).astype(np.int64)


class _Search:
    """Codes [out, in] on their way, with half the gradient of the error of each channel."""

    def __init__(
        self,
        start: Integers,
        codes: Integers,
        moments: Floats,
        target: Floats,
        spread: Integers,
        bits: int,
        highest: int,
    ) -> None:
        self.codes = start.astype(np.float64)
        self.moments, self.target, self.spread = moments, target, spread.astype(np.float64)
        self.open, self.most = codes != 0, min(exact.magnitude(codes), highest)
        self.slope = self.codes @ moments - target
        self.left = 2**bits - 1 - (np.abs(self.codes) * self.spread).sum(axis=1)
        self.curve = np.diag(moments)

    def error(self) -> Floats:
        """Return the error of every channel, less what is the same for all codes."""
        return (self.codes * (self.slope - self.target)).sum(axis=1)

    def fit(self) -> None:
        """Take codes towards 0, the cheapest first, until every channel is within its budget."""
        while len(wide := np.flatnonzero(self.left < 0)):
            codes, spread = self.codes[wide], self.spread[wide]
            step = -np.sign(codes)
            loss = 2 * step * self.slope[wide] + self.curve
            price = np.where((codes != 0) & (spread > 0), loss / np.maximum(spread, 1), np.inf)
            at = price.argmin(axis=1)
            self._take(wide, at, step[np.arange(len(wide)), at])

    def improve(self, rounds: int) -> None:
        """Take the best step, or pair of steps, of every channel while there is a better one."""
        active = np.arange(len(self.codes))
        for _ in range(rounds):
            if not len(active):
                return
            active = active[self._improve(active)]

    def _improve(self, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Take one improvement in each of `rows` that has one, and say which do."""
        steps = np.array([1.0, -1.0])[:, None, None]
        codes = self.codes[rows] + steps
        cost = (np.abs(codes) - np.abs(self.codes[rows])) * self.spread[rows]
        loss = 2 * steps * self.slope[rows] + self.curve
        allowed = self.open[rows] & (np.abs(codes) <= self.most)
        loss, cost = (np.moveaxis(np.where(allowed, v, np.inf), 0, 1) for v in (loss, cost))
        width = loss.shape[2]
        loss, cost = loss.reshape(len(rows), -1), cost.reshape(len(rows), -1)
        left, each = self.left[rows, None], np.arange(len(rows))

        alone = np.where(cost <= left, loss, np.inf)
        first = alone.argmin(axis=1)
        best, pair = alone[each, first], np.full(len(rows), -1)
        saving = np.where(cost <= 0, loss, np.inf)
        for saver in np.argsort(saving, axis=1, kind="stable")[:, :_PAIRED].T:
            i, sign = saver % width, np.where(saver < width, 1.0, -1.0)
            between = self.moments[i]
            joint = np.concatenate([between, -between], axis=1) * (2 * sign[:, None])
            joint += loss + saving[each, saver][:, None]
            fits = cost + cost[each, saver][:, None] <= left
            other = np.arange(2 * width) % width != i[:, None]
            joint = np.where(fits & other, joint, np.inf)
            second = joint.argmin(axis=1)
            better = joint[each, second] < best - 1e-12
            best = np.where(better, joint[each, second], best)
            first, pair = np.where(better, saver, first), np.where(better, second, pair)

        improves = best < -1e-9
        for chosen, there in ((first, improves), (pair, improves & (pair >= 0))):
            sign = np.where(chosen < width, 1.0, -1.0)
            self._take(rows[there], chosen[there] % width, sign[there])
        return improves

    def _take(self, rows: NDArray[np.intp], at: NDArray[np.intp], step: Floats) -> None:
        before = np.abs(self.codes[rows, at])
        self.codes[rows, at] += step
        self.slope[rows] += step[:, None] * self.moments[at]
        self.left[rows] -= (np.abs(self.codes[rows, at]) - before) * self.spread[rows, at]
