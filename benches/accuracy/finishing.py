"""What `finish()` costs: accuracy before and after it, for every schedule and strategy."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import secateur
from benches.accuracy.methods import Setting, quantized, train
from secateur.pruning import Strategy
from secateur.pruning.schedule import Gradual, Iterative, OneShot, Reselect, Schedule
from secateur.sweeps import Record, Results, grid, sweep
from secateur.training import accuracy

JOURNAL = Path(__file__).parent / "finishing.jsonl"

#: Name → steps of the whole training ↦ the schedule.
SCHEDULES: Mapping[str, Callable[[int], Schedule]] = {
    "one shot at the start": lambda steps: OneShot(),
    "one shot": lambda steps: OneShot(steps // 4),
    "iterative": lambda steps: Iterative(4, steps // 8, steps // 8),
    "gradual": lambda steps: Gradual(steps // 8, steps * 5 // 8),
    "re-selected, with an end": lambda steps: Reselect(end=steps * 3 // 4),
    "re-selected": lambda steps: Reselect(),
}
#: Name → span bits ↦ the strategy.
STRATEGIES: Mapping[str, Callable[[int], Strategy]] = {
    "accumulator": lambda bits: secateur.Accumulator(bits),
    "accumulator, learned scales": lambda bits: secateur.Accumulator(bits, scales="learned"),
    "l1-ball": lambda bits: secateur.L1Ball(bits),
    "connections": lambda bits: secateur.Connections(bits),
}
POINTS = grid(bits=[5, 6], method=list(STRATEGIES), schedule=list(SCHEDULES), seed=range(3))


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return the held-out accuracy on digits before and after `finish`, and what that removed.

    Nothing is tuned after it.
    """
    torch.set_num_threads(1)
    setting = Setting("digits", "test", point["seed"], point["bits"], 2, 2, 2)
    model, data = quantized(setting), setting.data
    steps = data.recipe.quantized_epochs * len(data.train[0]) // data.recipe.batch_size
    pruner = secateur.Pruner(
        model,
        STRATEGIES[point["method"]](point["bits"]),
        schedule=SCHEDULES[point["schedule"]](steps),
    )
    train(model, data, data.recipe.quantized_epochs, pruner)
    before = accuracy(model, *data.held_out)
    removed = sum(pruner.finish().removed.values())
    return {
        "before": before,
        "after": accuracy(model, *data.held_out),
        "removed": removed,
        "width": secateur.analyze(secateur.freeze(model)).accumulator_bits,
    }


def run(journal: Path = JOURNAL) -> Results:
    """Return the results of all points, evaluating what the journal does not hold."""
    return sweep(POINTS, measure, journal=journal)


def table(results: Iterable[Record]) -> str:
    """Return a table of Markdown: mean accuracy before → after, by strategy, bits and schedule."""
    found: dict[tuple[str, int], dict[str, list[tuple[float, float]]]] = {}
    for record in results:
        point = record.point
        row = found.setdefault((point["method"], point["bits"]), {})
        pair = record.values["before"], record.values["after"]
        row.setdefault(point["schedule"], []).append(pair)
    lines = [["strategy", "P", *SCHEDULES], ["---"] * (2 + len(SCHEDULES))]
    for (strategy, bits), row in found.items():
        cells = [np.mean(row[name], axis=0) if name in row else None for name in SCHEDULES]
        shown = ["" if c is None else f"{c[0]:.3f} → {c[1]:.3f}" for c in cells]
        lines.append([strategy, str(bits), *shown])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    print(table(run()))
