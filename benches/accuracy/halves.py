"""Half of the neurons: what they cost, and what they save, on digits at P = 5.

The hidden layers of 64-32-32-10 lose half of their neurons while they train, in rounds by the
norm of their weights, each layer its half or both together, then the accumulators of the rest are
chosen among their weights until the end. Beside them stand the whole network and one that has half
of the neurons from the start; all with 2-bit weights, activations and inputs, the same samples and
as many steps.

Protocol, fixed before any held-out sample was looked at: epochs, layers and schedule were chosen
on validation splits (what was tried stands in RESULTS.md), then each is measured on the held-out
samples with three seeds. Complexity is that of the backend that is installed, from compiling alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

import secateur
from benches.accuracy.datasets import Dataset, Split, dataset
from benches.accuracy.methods import Setting, finished, quantized
from benches.results import table as markdown
from secateur.pruning import Accumulator, Structured
from secateur.pruning.schedule import Gradual, Reselect
from secateur.sweeps import Record, Results, grid, sweep

JOURNAL = Path(__file__).parent / "halves.jsonl"
BITS = 5
#: Training steps between two selections of the whole network, as in the comparison.
EVERY = 5
#: Passes of the quantised network, four times those of the comparison.
EPOCHS = 60
#: Name → neurons of the hidden layers at the start.
METHODS = {
    "whole": (32, 32),
    "half of each layer, in rounds": (32, 32),
    "half of both layers, in rounds": (32, 32),
    "24 and 8 from the start": (24, 8),
}
POINTS = grid(seed=range(3), method=list(METHODS), epochs=[EPOCHS])
#: The same on validation splits, one a seed.
VALIDATION = tuple(point | {"split": "validation"} for point in POINTS)


@dataclass(frozen=True)
class _Setting(Setting):
    """A setting whose network has `hidden` neurons and trains for `epochs`."""

    hidden: tuple[int, ...] = (32, 32)
    epochs: int = EPOCHS

    @property
    def data(self) -> Dataset:
        return _data(self.split, self.seed, self.hidden, self.epochs)


@lru_cache(maxsize=4)
def _data(split: Split, seed: int, hidden: tuple[int, ...], epochs: int) -> Dataset:
    data = dataset("digits", split, seed)
    return replace(data, recipe=replace(data.recipe, hidden=hidden, quantized_epochs=epochs))


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return accuracy, proved width, neurons left and the complexity of the circuit.

    The accuracy is held-out, or on the split that `point` names.
    """
    torch.set_num_threads(1)
    method, epochs = point["method"], point["epochs"]
    split = point.get("split", "test")
    setting = _Setting(
        "digits", split, point["seed"], BITS, 2, 2, 2, hidden=METHODS[method], epochs=epochs
    )
    model, data = quantized(setting), setting.data
    if "rounds" in method:
        scope: Literal["layer", "global"] = "layer" if "each" in method else "global"
        steps = epochs * 4 // 5 * len(data.train[0]) // data.recipe.batch_size
        pruner = secateur.Pruner(
            model,
            [Structured(0.5, scope=scope), Accumulator(BITS)],
            schedule=Gradual(steps // 10, steps // 2, EVERY),
        )
    else:
        pruner = secateur.Pruner(model, Accumulator(BITS), schedule=Reselect(EVERY))
    network = secateur.shrink(finished(model, setting, pruner))
    x, y = data.held_out
    return {
        "accuracy": float((network.predict(x).argmax(1) == y).mean()),
        "width": secateur.analyze(network).accumulator_bits,
        "lookups": sum(len(layer.codes) for layer in list(network.layers)[:-1]),
        "complexity": float(secateur.price(network).complexity),
    }


def run(points: Iterable[Mapping[str, Any]] = POINTS, journal: Path = JOURNAL) -> Results:
    """Return the results of all points, evaluating what the journal does not hold."""
    return sweep(points, measure, journal=journal)


def table(results: Iterable[Record]) -> str:
    """Return a table of Markdown: one row a method, means over the seeds."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for record in results:
        found.setdefault(record.point["method"], []).append(record.values)
    rows = []
    for method, values in found.items():
        accuracy = np.array([v["accuracy"] for v in values])
        error = accuracy.std(ddof=1) / len(accuracy) ** 0.5 if len(accuracy) > 1 else 0.0
        lookups, complexity = (np.mean([v[k] for v in values]) for k in ("lookups", "complexity"))
        whole = np.mean([v["complexity"] for v in found["whole"]])
        width = max(v["width"] for v in values)
        cells = [f"{accuracy.mean():.4f} ± {error:.4f}", f"{width:.0f}", f"{lookups:.0f}"]
        rows.append([method, *cells, f"{complexity:.2e}", f"{complexity / whole:.2f}"])
    header = ["network", "accuracy", "proved bits", "lookups", "complexity", "of the whole"]
    return markdown(header, rows)


if __name__ == "__main__":
    print(table(run()), "On validation splits:", table(run(VALIDATION)), sep="\n\n")
