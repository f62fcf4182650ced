"""Bound-only sweeps: candidate masks by the hundred thousand, proved and never trained.

A candidate is a mask for every layer, given as such, as a sparsity, or as a width to fit. All
candidates are proved over the same input ranges, those of `problem_of`, which hold whatever
is removed: so that one pass of the engine serves many of them. For the layers that read the
network's input the ranges found are exact; for later ones they are sound, and may be wider
than those of `analyze` on the one pruned network, whose pruning can narrow activations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur import bounds
from secateur.errors import MaskError, OptionError, ShapeError
from secateur.network import Network
from secateur.pruning import Accumulator
from secateur.pruning.apply import apply_strategy, saliency_named
from secateur.pruning.problem import Floats, Integers, Mask, PrunableLayer, PruningProblem
from secateur.pruning.prune import problem_of
from secateur.ranges import Ranges

Columns = dict[str, NDArray[Any]]

#: Size of the masks that go to the engine in one call.
_BATCH_BYTES = 1 << 22


@dataclass(frozen=True)
class Sparsities:
    """Candidates that remove the least salient fraction of every layer.

    Args:
        levels: float [candidates], the same in every layer, or [candidates, layers].
        saliency: by which weights are compared.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur.sweeps import sweep_bounds
        >>> columns = sweep_bounds(network, Sparsities([0, 0.5, 1]))
        >>> columns["accumulator_bits"]
        array([5, 4, 0])
    """

    levels: ArrayLike
    saliency: str = "magnitude"


@dataclass(frozen=True)
class Widths:
    """Candidates that keep the most saliency whose accumulators fit so many span bits.

    Args:
        bits: integer [candidates], the same for every layer, or [candidates, layers].
        saliency: whose kept total is the greatest.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur.sweeps import sweep_bounds
        >>> columns = sweep_bounds(network, Widths([3, 4, 5]))
        >>> columns["accumulator_bits"], columns["sparsity.fc"]
        (array([3, 4, 5]), array([0.66666667, 0.33333333, 0.        ]))
    """

    bits: ArrayLike
    saliency: str = "magnitude"


Candidates = Sparsities | Widths | Iterable[Mapping[str, ArrayLike]]


def sweep_bounds(network: Network | PruningProblem, candidates: Candidates) -> Columns:
    """Return the proved widths of every candidate, as columns of one entry per candidate.

    Args:
        network: whose layers are pruned; or a problem, where float weights are known.
        candidates: `Sparsities`, `Widths`, or masks: an iterable of mappings of layer name to
            bool [*weight shape], or [masks, *weight shape] for several candidates at once;
            layers that a mapping leaves out are not pruned. An iterator's masks are drawn and
            let go batch by batch.

    Returns:
        accumulator_bits: span bits of the widest accumulator, int64.
        sparsity: fraction of all weights that are gone, float64.
        For every layer, bits.NAME, low.NAME, high.NAME and sparsity.NAME: span bits of its
        widest accumulator, and the least and the greatest value of any of its accumulators.

    Raises:
        UnknownLayerError: a mask for a layer that there is not.
        MaskError: a mask that is not boolean or not shaped like its layer's weight.
        ShapeError: levels or bits whose second axis is not one per layer.
        OptionError: a level outside 0 to 1, bits outside 1 to 63.
        AccumulatorOverflowError: an accumulator that 64 bits do not hold.

    Example:
        >>> from secateur.network import Input, Output
        >>> from secateur.network import Linear
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> columns = sweep_bounds(network, Sparsities([0, 1 / 3, 2 / 3, 1]))
        >>> columns["accumulator_bits"], columns["low.fc"], columns["high.fc"]
        (array([5, 4, 4, 0]), array([-3,  0,  0,  0]), array([15, 15,  9,  0]))
    """
    problem = problem_of(network) if isinstance(network, Network) else network
    problem = replace(problem, find_saliency=saliency_named)
    match candidates:
        case Sparsities(levels, saliency):
            scores = problem.saliency(saliency)
            fractions = _per_layer(problem, levels, "levels")
            _check_levels(fractions)
            found = {
                x.name: _at_sparsities(x, scores[x.name], fractions[x.name]) for x in problem.layers
            }
        case Widths(bits, saliency):
            widths = _per_layer(problem, bits, "bits")
            masks = {
                int(width): apply_strategy(
                    problem,
                    Accumulator(
                        dict.fromkeys((x.name for x in problem.layers), int(width)), saliency
                    ),
                )
                for width in np.unique(list(widths.values()))
            }
            found = {
                x.name: _at_widths(x, {w: m[x.name] for w, m in masks.items()}, widths[x.name])
                for x in problem.layers
            }
        case _:
            parts = [
                {x.name: _under_masks(x, batch[x.name]) for x in problem.layers}
                for batch in _batches(problem, candidates)
            ]
            found = {x.name: _joined([p[x.name] for p in parts]) for x in problem.layers}
    return _table(problem, found)


class _Found(NamedTuple):
    """What is proved of one layer, int64 [candidates] each."""

    bits: Integers
    low: Integers
    high: Integers
    kept: Integers


def _found(ranges: Ranges, kept: Integers) -> _Found:
    """Take the widest, the least and the greatest over the channels of [candidates, out]."""
    bits = ranges.bits("span").max(axis=1).astype(np.int64)
    return _Found(bits, ranges.low.min(axis=1), ranges.high.max(axis=1), kept)


def _table(problem: PruningProblem, found: Mapping[str, _Found]) -> Columns:
    total = sum(x.codes.size for x in problem.layers)
    columns: Columns = {
        "accumulator_bits": np.max([f.bits for f in found.values()], axis=0),
        "sparsity": 1 - np.sum([f.kept for f in found.values()], axis=0) / total,
    }
    for layer in problem.layers:
        bits, low, high, kept = found[layer.name]
        columns |= {
            f"bits.{layer.name}": bits,
            f"low.{layer.name}": low,
            f"high.{layer.name}": high,
            f"sparsity.{layer.name}": 1 - kept / layer.codes.size,
        }
    return columns


def _batches(
    problem: PruningProblem, given: Iterable[Mapping[str, ArrayLike]]
) -> Iterator[dict[str, Mask]]:
    """Yield layer name → bool [masks, *weight shape] for all layers, a few megabytes at a time."""
    most = max(1, _BATCH_BYTES // sum(x.codes.size for x in problem.layers))
    waiting: list[dict[str, Mask]] = []
    room = most
    for masks in given:
        whole = _all_layers(problem, masks)
        for start in range(0, len(whole[problem.layers[0].name]), most):
            waiting.append({name: mask[start : start + most] for name, mask in whole.items()})
            room -= len(waiting[-1][problem.layers[0].name])
            if room <= 0:
                yield _stacked(waiting)
                waiting, room = [], most
    if waiting:
        yield _stacked(waiting)


def _all_layers(problem: PruningProblem, given: Mapping[str, ArrayLike]) -> dict[str, Mask]:
    """Return layer name → bool [masks, *weight shape], as many for every layer."""
    masks = {name: _several(problem[name], mask) for name, mask in given.items()}
    counts = {len(mask) for mask in masks.values()} or {1}
    if len(counts) > 1:
        per_layer = ", ".join(f"{len(mask)} for {name!r}" for name, mask in masks.items())
        raise MaskError(f"as many masks for every layer make candidates; there are {per_layer}")
    (count,) = counts
    kept = {x.name: np.broadcast_to(np.True_, (count, *x.shape)) for x in problem.layers}
    return kept | masks


def _several(layer: PrunableLayer, given: ArrayLike) -> Mask:
    """Return the masks of one layer, bool [masks, *weight shape]."""
    mask = np.asarray(given)
    axes = len(layer.shape)
    if mask.dtype != bool or mask.shape[-axes:] != layer.shape or mask.ndim > axes + 1:
        raise MaskError(
            f"layer {layer.name!r}: the mask is {mask.dtype} {mask.shape}, expected bool "
            f"{layer.shape}, or several of them [masks, *{layer.shape}]",
            layer=layer.name,
            shape=mask.shape,
            dtype=mask.dtype,
            expected=layer.shape,
        )
    return mask.reshape(-1, *layer.shape)


def _stacked(parts: list[dict[str, Mask]]) -> dict[str, Mask]:
    return {name: np.concatenate([p[name] for p in parts]) for name in parts[0]}


def _under_masks(layer: PrunableLayer, masks: Mask) -> _Found:
    """Prove one layer under masks bool [masks, *weight shape]."""
    masks = masks & layer.mask
    rows = masks.reshape(len(masks), len(layer.codes), -1)
    codes = layer.codes.reshape(len(layer.codes), -1)
    parts = [
        bounds.linear(codes[at], low, high, layer.bias[at], rows[:, at])
        for at, low, high in layer.blocks
    ]
    ranges = Ranges(*(np.concatenate([getattr(p, s) for p in parts], 1) for s in ("low", "high")))
    return _found(ranges, np.count_nonzero(rows, axis=(1, 2)))


def _at_sparsities(layer: PrunableLayer, scores: Floats, levels: Floats) -> _Found:
    """Prove one layer without the least of its scores, levels float64 [candidates]."""
    size = scores.size
    # Which weights go first is the order of `keep_largest`.
    ranked = np.where(layer.mask, scores, -np.inf).ravel()
    order = size - 1 - np.argsort(ranked[::-1], kind="stable")
    counts, where = np.unique(np.rint(levels * size).astype(np.int64), return_inverse=True)
    ranges = _profile(layer, order, counts)
    kept = np.minimum(size - counts, np.count_nonzero(layer.mask))
    return _pick(_found(ranges, kept), where)


def _at_widths(layer: PrunableLayer, masks: Mapping[int, Mask], bits: Integers) -> _Found:
    """Prove one layer under the masks of its widths, int64 [candidates]."""
    widths, where = np.unique(bits, return_inverse=True)
    if not len(widths):
        return _joined([])
    return _pick(_under_masks(layer, np.stack([masks[int(w)] for w in widths])), where)


def _pick(found: _Found, where: Integers) -> _Found:
    return _Found(*(column[where] for column in found))


def _joined(parts: list[_Found]) -> _Found:
    empty = _Found(*(np.empty(0, np.int64) for _ in _Found._fields))
    return _Found(*map(np.concatenate, zip(empty, *parts, strict=True)))


def _profile(layer: PrunableLayer, order: Integers, counts: Integers) -> Ranges:
    """Return the ranges [counts, out] after the first weights of `order` are gone."""
    codes = np.where(layer.mask, layer.codes, 0).astype(layer.codes.dtype)
    rows, lows, highs = zip(*layer.blocks, strict=True)
    # Groups are consecutive rows, so that an order over the layer is one over its groups.
    groups = [codes.reshape(len(codes), -1)[at] for at in rows]
    for group, at, low, high in zip(groups, rows, lows, highs, strict=True):
        # What is left of a channel is one of its partial sums: none of them wraps below.
        bounds.partial_sums(group, low, high, layer.bias[at])
    found = bounds.profile_network(groups, order, lows, highs, counts)
    low, high = (np.concatenate(side, axis=1) for side in zip(*found, strict=True))
    return Ranges(low + layer.bias, high + layer.bias)


def _check_levels(levels: Mapping[str, NDArray[Any]]) -> None:
    for name, fractions in levels.items():
        outside = ~((fractions >= 0) & (fractions <= 1))
        if outside.any():
            wrong = float(fractions[outside][0])
            raise OptionError(
                f"layer {name!r}: sparsity is {wrong}, expected 0 to 1",
                option="levels",
                value=wrong,
                accepted="0 to 1",
            )


def _per_layer(problem: PruningProblem, given: ArrayLike, what: str) -> dict[str, NDArray[Any]]:
    """Return layer name → [candidates] of `given`, [candidates] or [candidates, layers]."""
    values = np.asarray(given)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or values.shape[1] not in (1, len(problem.layers)):
        raise ShapeError(
            f"{what} has shape {np.shape(given)}, expected [candidates] or "
            f"[candidates, {len(problem.layers)}], one for every layer",
            argument=what,
            shape=np.shape(given),
            expected=("candidates", len(problem.layers)),
        )
    columns = np.broadcast_to(values, (len(values), len(problem.layers)))
    return {x.name: columns[:, i] for i, x in enumerate(problem.layers)}
