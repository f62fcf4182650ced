"""One point of the suite: a method's network, its accuracy and its proved width."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import secateur
from benches.accuracy.methods import METHODS, Setting
from secateur.network import Layer, Network


def measure(point: Mapping[str, Any]) -> dict[str, float | int]:
    """Return what the method of `point` comes to.

    Returns:
        accuracy: fraction of the split's samples that the integers classify right in
            accumulators of `bits` bits, which is all of the network where it fits them.
        unlimited_accuracy: the same in accumulators that are wide enough.
        width, signed_width: proved span and two's complement bits of the widest accumulator.
        sparsity: fraction of the codes that is 0.
    """
    torch.set_num_threads(1)
    fields = dict(point)
    setting = Setting(**{k: v for k, v in fields.items() if k != "method"})
    network = METHODS[fields["method"]](setting)
    report = secateur.analyze(network)
    x, y = setting.data.held_out
    codes = np.concatenate([layer.codes.reshape(-1) for layer in network.layers])
    return {
        "accuracy": float((wrapped(network, x, setting.bits).argmax(1) == y).mean()),
        "unlimited_accuracy": float((network.predict(x).argmax(1) == y).mean()),
        "width": report.accumulator_bits,
        "signed_width": max(node.bits("signed") for node in report.accumulators),
        "sparsity": float(np.mean(codes == 0)),
    }


def wrapped(network: Network, x: NDArray[np.float32], bits: int) -> NDArray[np.float64]:
    """Return the network's outputs for samples `x` where accumulators hold `bits` bits.

    An accumulator whose span is wider wraps around, as it would in the circuit: its lowest
    value is moved to 0, and what exceeds 2^bits − 1 comes round to it. One that fits is
    not touched.
    """
    report = secateur.analyze(network)
    nodes = {network.input.name: network.quantize_input(x)}
    for operation in network.operations:
        v = operation.evaluate(*(nodes[source] for source in operation.sources))
        if isinstance(operation, Layer):
            low = report[operation.name].channels.low.reshape(-1, *(1,) * (v.ndim - 2))
            v = (v - low) % 2**bits + low
        nodes[operation.name] = v
    return network.output.dequantize(network.output.integers(nodes[network.output.source]))
