"""Correcting a frozen network layer by layer: codes, then what its biases and tables absorb."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from secateur import exact
from secateur.errors import MaskError
from secateur.network import Affine, FunctionTable, Integers, Layer, Lookup, Network
from secateur.network.change import with_offset
from secateur.pruning.problem import Floats, PrunableLayer, PruningProblem

#: (problem, layer, inputs, wanted) ↦ new codes: what `Compensated.corrected` documents.
Correct = Callable[[PruningProblem, PrunableLayer, Floats, Floats], Any]

#: How many samples, times positions, a layer is corrected on.
_MOST_ROWS = 1 << 14
#: Between what an accumulator's values may be stretched.
_STRETCH = (0.25, 4.0)


def corrected(
    network: Network,
    samples: Integers,
    problem_of: Callable[[Network], PruningProblem],
    correct: Correct,
) -> Network:
    """Return `network` with the codes that `correct` gives its layers, one after the other.

    Each layer sees the inputs that the layers before now give, and is to give what it gave in
    `network`. Its mean error goes into its bias; where a function table reads it, or the
    output does, it is stretched by what fits best, too.

    Raises:
        MaskError: codes that are none, or that bring removed ones back; names the layer.
    """
    before, now = network.nodes(samples), network
    for old in network.layers:
        layer = next(x for x in now.layers if x.name == old.name)
        source = now.nodes(samples)[old.source]
        problem = problem_of(now)
        rows = layer.rows(source.astype(np.float64))
        wanted = _channels(before[old.name]) - (0 if old.bias is None else old.bias)
        some = np.random.default_rng(0).permutation(len(wanted))[:_MOST_ROWS]
        codes = correct(problem, problem[old.name], rows[:, some], wanted[some].astype(np.float64))
        given = replace(layer, codes=_checked(problem[old.name], codes).astype(layer.codes.dtype))
        now = _retuned(now.with_operations(given), given, source, before[old.name])
    return now


def _channels(values: Integers) -> Integers:
    """Return [batch, channels, *positions] as [batch · positions, channels]."""
    return np.moveaxis(values, 1, -1).reshape(-1, values.shape[1])


def _checked(layer: PrunableLayer, codes: Any) -> Integers:
    codes = np.asarray(codes)
    if codes.shape != layer.shape or codes.dtype.kind not in "iu":
        raise MaskError(
            f"layer {layer.name!r}: its corrected codes are {codes.dtype} {codes.shape}, expected "
            f"integers {layer.shape}",
            layer=layer.name,
            shape=codes.shape,
            dtype=codes.dtype,
            expected=layer.shape,
        )
    most = exact.magnitude(layer.codes)
    least, greatest = -most, min(most, int(np.iinfo(layer.codes.dtype).max))
    if (codes < least).any() or (codes > greatest).any() or codes[~layer.mask].any():
        raise MaskError(
            f"layer {layer.name!r}: its corrected codes reach beyond [{least}, {greatest}], or "
            "bring back what was removed",
            layer=layer.name,
            expected=most,
        )
    return codes


def _retuned(network: Network, layer: Layer, source: Integers, wanted: Integers) -> Network:
    """Return `network` with the mean and, where it can be, the size of a layer's error undone."""
    found, wish = (_channels(v).astype(np.float64) for v in (layer.evaluate(source), wanted))
    if np.array_equal(found, wish):
        return network
    readers = [o for o in network.operations if layer.name in o.sources]
    to_output = network.output.source == layer.name
    lookup = readers[0] if len(readers) == 1 else None
    if isinstance(lookup, Lookup) and isinstance(lookup.table, FunctionTable) and not to_output:
        stretch, shift = _line(found, wish)
        step = Affine(stretch, shift)
        steps = lookup.table.steps
        if steps and isinstance(steps[0], Affine):
            first = steps[0]
            step = Affine(stretch * first.scale, shift * first.scale + first.offset)
            steps = steps[1:]
        table = replace(lookup.table, steps=(step, *steps))
        return network.with_operations(replace(lookup, table=table))
    if to_output and not readers:
        stretch, shift = _line(found, wish)
        out = network.output
        moved: Floats = out.bias + out.scale * (shift * out.factor + out.offset * (1 - stretch))
        return replace(network, output=replace(out, scale=out.scale * stretch, bias=moved))
    shift = np.rint(wish.mean(axis=0) - found.mean(axis=0)).astype(np.int64)
    return network.with_operations(replace(layer, bias=with_offset(layer.bias, shift)))


def _line(found: Floats, wish: Floats) -> tuple[Floats, Floats]:
    """Return the stretch and the shift of every channel that bring `found` nearest to `wish`."""
    x, y = found - found.mean(axis=0), wish - wish.mean(axis=0)
    power = (x * x).sum(axis=0)
    stretch = np.where(power > 0, (x * y).sum(axis=0) / np.maximum(power, 1e-300), 1.0)
    stretch = np.clip(stretch, *_STRETCH)
    return stretch, wish.mean(axis=0) - stretch * found.mean(axis=0)
