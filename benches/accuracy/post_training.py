"""Pruning without training: error correction against masks alone, on digits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch

import secateur
from benches.accuracy.methods import Setting, unpruned
from secateur.pruning import Strategy
from secateur.sweeps import Record, Results, grid, sweep

JOURNAL = Path(__file__).parent / "post_training.jsonl"
METHODS = ("accumulator", "accumulator by activation", "compensated")
POINTS = grid(weight_bits=[2, 3], bits=[8, 7, 6, 5, 4], method=list(METHODS), seed=range(3))


def _strategy(method: str, bits: int) -> Strategy:
    if method == "compensated":
        return secateur.Compensated(bits)
    return secateur.Accumulator(bits, saliency="activation" if "by" in method else "magnitude")


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return held-out accuracy on digits of one trained network, pruned and not trained again.

    All are calibrated on the training samples. Activations and inputs have 2 bits.
    """
    torch.set_num_threads(1)
    setting = Setting("digits", "test", point["seed"], 16, point["weight_bits"], 2, 2)
    network = unpruned(setting)
    samples = network.quantize_input(setting.data.given[0])
    start = perf_counter()
    pruned = secateur.prune(network, _strategy(point["method"], point["bits"]), samples=samples)
    wall_s = perf_counter() - start
    x, y = setting.data.held_out
    codes = np.concatenate([layer.codes.reshape(-1) for layer in pruned.layers])
    return {
        "accuracy": float((pruned.predict(x).argmax(1) == y).mean()),
        "unpruned_accuracy": float((network.predict(x).argmax(1) == y).mean()),
        "unpruned_width": secateur.analyze(network).accumulator_bits,
        "width": secateur.analyze(pruned).accumulator_bits,
        "sparsity": float(np.mean(codes == 0)),
        "prune_s": wall_s,
    }


def run(journal: Path = JOURNAL) -> Results:
    """Return the results of all points, evaluating what the journal does not hold."""
    return sweep(POINTS, measure, journal=journal)


def table(results: Iterable[Record]) -> str:
    """Return a table of Markdown: mean accuracy and greatest proved width, by bits and method."""
    found: dict[tuple[int, int], dict[str, list[Mapping[str, Any]]]] = {}
    for record in results:
        key = record.point["weight_bits"], record.point["bits"]
        found.setdefault(key, {}).setdefault(record.point["method"], []).append(record.values)
    lines = [["weight bits", "P", "unpruned", *METHODS], ["---"] * (3 + len(METHODS))]
    for (weight_bits, bits), row in found.items():
        every = [values for each in row.values() for values in each]
        whole = np.mean([v["unpruned_accuracy"] for v in every])
        needs = max(v["unpruned_width"] for v in every)
        cells = [f"{whole:.3f} (needs {needs} bits)"]
        for method in METHODS:
            accuracy = np.mean([v["accuracy"] for v in row[method]])
            width = max(v["width"] for v in row[method])
            cells.append(f"{accuracy:.3f} ({width} bits)")
        lines.append([str(weight_bits), str(bits), *cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table(run()))
