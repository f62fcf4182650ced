"""Fewer channels: constants folded into biases, channels that nothing needs dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from secateur.analysis import NodeRange, RangeReport
from secateur.errors import AccumulatorOverflowError
from secateur.network import Conv, Integers, Layer, Mask, Network


def fold_constants(report: RangeReport) -> Network:
    """Return the network with the codes of constant inputs zero, their products in the bias.

    An input is constant where its proved range is one point. A convolution that pads keeps
    its constant channels, zeros apart: the constant is missing where the padding is.
    """
    network = report.network
    changed = []
    for layer in network.layers:
        constant, value = _constants(layer, report[layer.source])
        folded = np.where(layer.columns(constant), layer.codes, 0)
        if not folded.any():
            continue
        constants = replace(layer, codes=folded)
        try:
            moved = layer.shifted(constants.constant(np.where(constant, value, 0)))
        except AccumulatorOverflowError:
            continue
        codes = (layer.codes - folded).astype(layer.codes.dtype)
        changed.append(replace(moved, codes=codes))  # type: ignore[type-var]
    return network.with_operations(*changed) if changed else network


def _constants(layer: Layer, source: NodeRange) -> tuple[Mask, Integers]:
    """Return which input channels can be folded, bool [in], and their values, int64 [in]."""
    channels = source.channels
    constant = channels.is_point
    if isinstance(layer, Conv) and np.any(layer.padding):
        constant = constant & (channels.low == 0)
    return constant, channels.low


def drop_dead_channels(report: RangeReport) -> Network:
    """Return the network without the operations and channels that no result depends on.

    A channel is dead where all that reads it multiplies it by zero. The network's input and
    output keep their shapes.
    """
    network = _without_unread(report.network)
    kept = _kept(network)
    if all(mask.all() for mask in kept.values()):
        return network
    operations = tuple(
        o.restricted(kept[o.name], [kept[s] for s in o.sources]) for o in network.operations
    )
    return replace(network, operations=operations)


def _without_unread(network: Network) -> Network:
    needed = {network.output.source}
    for operation in reversed(network.operations):
        if operation.name in needed:
            needed.update(operation.sources)
    operations = tuple(o for o in network.operations if o.name in needed)
    if len(operations) == len(network.operations):
        return network
    return replace(network, operations=operations)


def _kept(network: Network) -> Mapping[str, Mask]:
    """Return node → bool [channels], True where the channel has to stay.

    Masks only grow, from what the output needs, until every operation agrees with its
    sources; then each can be restricted to its kept channels by itself. A node of which
    nothing is needed keeps one channel, since no shape may be empty.
    """
    kept = {name: np.zeros(shape[0], np.bool_) for name, shape in network.shapes.items()}
    for whole in (network.input.name, network.output.source):
        kept[whole][:] = True
    while True:
        before = sum(int(mask.sum()) for mask in kept.values())
        for operation in reversed(network.operations):
            kept[operation.name], sources = operation.needed(
                kept[operation.name],
                [kept[s] for s in operation.sources],
                [network.shapes[s] for s in operation.sources],
            )
            for name, mask in zip(operation.sources, sources, strict=True):
                kept[name] = kept[name] | mask
        if sum(int(mask.sum()) for mask in kept.values()) == before:
            empty = [name for name, mask in kept.items() if not mask.any()]
            if not empty:
                return kept
            kept[empty[-1]] = np.arange(len(kept[empty[-1]])) == 0
