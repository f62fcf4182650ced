"""Structured pruning: whole neurons, channels or filters go, those that matter least.

By the norm of their weights (Li et al., "Pruning Filters for Efficient ConvNets", ICLR 2017), or
by a saliency, which may see the loss (Molchanov et al., CVPR 2019). With a channel go all the
weights that read it, so that `shrink` can remove it from the network. Channels that a
residual add brings together go together or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import numpy as np

from secateur.pruning.options import check_fraction, check_types, refused
from secateur.pruning.problem import Floats, Integers, Mask, Masks, PruningProblem, Saliency
from secateur.pruning.saliency import MagnitudeSaliency


@dataclass(frozen=True)
class Structured:
    """Removes whole neurons or channels that matter least, with all that reads them.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (
        ...         Linear("one", "input", np.array([[3, -1, 2], [0, 1, 0]], np.int8)),
        ...         Linear("two", "one", np.array([[1, 2]], np.int8)),
        ...     ),
        ...     Output("two", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur import prune
        >>> pruned = prune(network, Structured(sparsity=0.5))
        >>> pruned["one"].codes, pruned["two"].codes
        (array([[ 3, -1,  2],
               [ 0,  0,  0]], dtype=int8), array([[1, 0]], dtype=int8))
    """

    name: ClassVar[str] = "structured"

    sparsity: float = field(
        default=0.5, metadata={"doc": "fraction of the removable channels removed, from 0 to 1"}
    )
    norm: float = field(
        default=2.0,
        metadata={"doc": "p of the Lp norm of a channel's weights, above 0; of magnitude alone"},
    )
    scope: Literal["layer", "global"] = field(
        default="layer",
        metadata={"doc": "the fraction holds in every layer, or over all layers together"},
    )
    saliency: str | Saliency = field(
        default="magnitude",
        metadata={"doc": "the score by which channels are compared; taylor sees the loss"},
    )

    def __post_init__(self) -> None:
        check_fraction(self, "sparsity")
        check_types(Structured, {"norm": self.norm})
        if not 0 < self.norm < float("inf"):
            raise refused(self, "norm", "a finite number above 0")
        if self.norm != 2.0 and not self._by_norm:
            raise refused(self, "norm", "2, unless channels are compared by magnitude")

    @property
    def _by_norm(self) -> bool:
        return self.saliency == "magnitude" or isinstance(self.saliency, MagnitudeSaliency)

    def masks(self, problem: PruningProblem) -> Masks:
        """Return masks without the weakest groups of channels and the weights that read them.

        The strongest group of a layer always stays: one of no channels passes nothing on.
        """
        channels = channels_of(problem)
        strengths = strength(problem, channels, self)
        heads = np.flatnonzero(channels.removable & (channels.group == np.arange(len(strengths))))
        gone = np.isin(channels.group, _weakest(heads, strengths, channels, self))
        return without(gone, channels, problem)

    def toward(self, fraction: float, problem: PruningProblem) -> Structured:
        """Return the strategy with as much of its sparsity."""
        return replace(self, sparsity=self.sparsity * fraction)


@dataclass(frozen=True, eq=False)
class Channels:
    """All output channels of all layers in one row, and how they hang together.

    Args:
        start: layer name → index of its first channel.
        group: int64 [channels]; the first channel of those that each lives and dies with.
        removable: bool [channels]; the same within a group.
    """

    start: dict[str, int]
    group: Integers
    removable: Mask


def channels_of(problem: PruningProblem) -> Channels:
    """Return the channels of `problem`, those grouped that feed one input channel together."""
    sizes = [len(layer.weight) for layer in problem.layers]
    starts = np.cumsum([0, *sizes])
    start = {x.name: int(at) for x, at in zip(problem.layers, starts[:-1], strict=True)}
    removable = np.zeros(starts[-1], bool)
    for coupling in problem.couplings:
        first = start[coupling.producer]
        removable[first : first + len(coupling.removable)] = coupling.removable

    group = np.arange(starts[-1])
    before = np.empty(0, np.int64)
    # Every channel takes the least number of those it shares an input channel with, until
    # nothing changes; chains of residual adds take one round a link.
    while not np.array_equal(group, before):
        before = group.copy()
        for consumer in problem.layers:
            feeding = [c for c in problem.couplings if c.consumer == consumer.name]
            least = np.full(consumer.shape[1] * consumer.groups, starts[-1])
            for c in feeding:
                np.minimum.at(least, c.columns[:, 1], group[start[c.producer] + c.columns[:, 0]])
            for c in feeding:
                np.minimum.at(group, start[c.producer] + c.columns[:, 0], least[c.columns[:, 1]])
    all_removable = np.ones(starts[-1], bool)
    np.logical_and.at(all_removable, group, removable)
    return Channels(start, group, all_removable[group])


def without(gone: Mask, channels: Channels, problem: PruningProblem) -> Masks:
    """The masks of a problem without the channels that are `gone` and what reads them."""
    masks = {x.name: x.mask & ~_rows(gone, channels.start[x.name], x.shape) for x in problem.layers}
    for coupling in problem.couplings:
        producer = channels.start[coupling.producer] + coupling.columns[:, 0]
        dead = coupling.columns[gone[producer], 1]
        consumer = problem[coupling.consumer]
        for group, (rows, _, _) in enumerate(consumer.blocks):
            inside = dead // consumer.shape[1] == group
            masks[consumer.name][rows, dead[inside] % consumer.shape[1]] = False
    return masks


def strength(problem: PruningProblem, channels: Channels, strategy: Structured) -> Floats:
    """How much every group matters, at its head."""
    if strategy._by_norm:
        return _by_group(_powers(problem, strategy.norm), channels)
    effects = problem.effects(strategy.saliency)
    if effects is None:
        scores = problem.saliency(strategy.saliency)
        kept = [(scores[x.name] * x.mask).reshape(len(x.mask), -1) for x in problem.layers]
        return _by_group(np.concatenate([each.sum(axis=1) for each in kept]), channels)
    return _joint(problem, channels, effects)


def _powers(problem: PruningProblem, norm: float) -> Floats:
    """Σ|w|^p of every channel; its p-th root, the norm, would order them the same.

    Weights are measured against the largest of all, so that no power overflows.
    """
    weights = [np.abs(x.weight * x.mask).reshape(len(x.weight), -1) for x in problem.layers]
    largest = max(w.max() for w in weights) or 1.0
    return np.concatenate([((w / largest) ** norm).sum(axis=1) for w in weights])


def _joint(problem: PruningProblem, channels: Channels, effects: Mapping[str, Floats]) -> Floats:
    """E[(Σ effects)²] over the weights that read a group, which is what its outputs are worth."""
    samples = max(len(each) for each in effects.values())
    total = np.zeros((len(channels.group), samples))
    for consumer in problem.layers:
        each = effects[consumer.name]
        rows = each.reshape(len(each), consumer.groups, -1, *consumer.shape[1:])
        read = rows.sum(axis=(2, *range(4, rows.ndim))).reshape(len(each), -1)
        # A column that several channels of a group feed is read once.
        pairs = [
            c.columns + np.array([channels.start[c.producer], 0])
            for c in problem.couplings
            if c.consumer == consumer.name
        ]
        if pairs:
            fed, columns = np.concatenate(pairs).T
            heads, columns = np.unique([channels.group[fed], columns], axis=1)
            np.add.at(total, heads, read.T[columns])
    strength: Floats = (total**2).mean(axis=1)
    return strength


def _by_group(strength: Floats, channels: Channels) -> Floats:
    total = np.zeros(strength.shape)
    np.add.at(total, channels.group, strength)
    return total


def _weakest(
    heads: Integers, strength: Floats, channels: Channels, strategy: Structured
) -> Integers:
    """The heads of the groups to remove; never the strongest of the layer that they stand in."""
    order = heads[np.argsort(strength[heads], kind="stable")]
    layer = np.searchsorted([*channels.start.values()], order, side="right")
    by_layer = [order[layer == number] for number in np.unique(layer)]
    if strategy.scope == "global":
        spare = order[~np.isin(order, [own[-1] for own in by_layer])]
        return spare[: round(strategy.sparsity * len(order))]
    weakest = [own[:-1][: round(strategy.sparsity * len(own))] for own in by_layer]
    return np.concatenate([np.empty(0, np.int64), *weakest])


def _rows(gone: Mask, start: int, shape: tuple[int, ...]) -> Mask:
    return gone[start : start + shape[0]].reshape(-1, *(1,) * (len(shape) - 1))
