"""Which channels feed which: the couplings of a network's layers.

Every node carries a few *trails*: a layer, and for each element of the node the layer's
output channel that it comes from, or −1. Trails run through lookups, pools, reshapes,
transposes, concats and residual adds, and end where another layer reads them.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from secateur.network import Integers, Layer, Network, Shape
from secateur.pruning.problem import Coupling, Mask

#: A layer and, shaped like the node, the output channel of it that each element comes from.
Trail = tuple[str, Integers]


def couplings_of(network: Network) -> tuple[Coupling, ...]:
    """Return which output channels feed which input channels, for every pair of layers."""
    whole_input = _channel_of_each(network.input.shape)
    trails: dict[str, list[Trail]] = {network.input.name: [(network.input.name, whole_input)]}
    pairs: dict[tuple[str, str], Integers] = {}
    for operation in network.operations:
        sources = [trails[s] for s in operation.sources]
        shape = network.shapes[operation.name]
        if isinstance(operation, Layer):
            for producer, channels in sources[0]:
                key = producer, operation.name
                known = pairs.get(key, np.empty((0, 2), np.int64))
                pairs[key] = np.unique(np.concatenate([known, _columns(channels)]), axis=0)
            trails[operation.name] = [(operation.name, _channel_of_each(shape))]
        else:
            shapes = [network.shapes[s] for s in operation.sources]
            trails[operation.name] = list(
                _distinct(
                    (producer, followed)
                    for at, source in enumerate(sources)
                    for producer, channels in source
                    for followed in operation.trails(at, channels, shapes)
                )
            )
    removable = _removable(network, trails[network.output.source], pairs)
    return tuple(
        Coupling(producer, consumer, columns, removable[producer])
        for (producer, consumer), columns in pairs.items()
        if producer != network.input.name
    )


def _removable(
    network: Network, output: list[Trail], pairs: dict[tuple[str, str], Integers]
) -> dict[str, Mask]:
    """Which channels of each layer reach neither the output nor a column that the input feeds."""
    removable = {x.name: np.ones(len(x.codes), bool) for x in network.layers}
    removable[network.input.name] = np.zeros(network.input.shape[0], bool)
    for producer, channels in output:
        removable[producer][channels[channels >= 0]] = False
    for (producer, consumer), columns in pairs.items():
        fed = pairs.get((network.input.name, consumer), np.empty((0, 2), np.int64))[:, 1]
        removable[producer][columns[np.isin(columns[:, 1], fed), 0]] = False
    return removable


def _channel_of_each(shape: Shape) -> Integers:
    column = np.arange(shape[0]).reshape(-1, *(1,) * (len(shape) - 1))
    return np.broadcast_to(column, shape)


def _columns(channels: Integers) -> Integers:
    """The distinct pairs of an output channel and the input channel that carries it."""
    both = np.stack([channels, _channel_of_each(channels.shape)], axis=-1).reshape(-1, 2)
    distinct: Integers = np.unique(both[both[:, 0] >= 0], axis=0)
    return distinct


def _distinct(trails: Iterator[Trail]) -> Iterator[Trail]:
    seen = set()
    for producer, channels in trails:
        key = producer, channels.tobytes()
        if key not in seen:
            seen.add(key)
            yield producer, channels
