"""What selecting every mask anew costs, against one training step, in one run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

import torch
from torch import nn

import secateur
from secateur.pruning.schedule import OneShot
from secateur.sweeps import Results, sweep

JOURNAL = Path(__file__).parent / "reselection.jsonl"
#: A million weights.
WIDTHS = (784, 1000, 200, 80)
POINTS = tuple({"bits": bits, "batch_size": 64, "rounds": 15} for bits in (6, 8))


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return median CPU seconds of a training step and of a selection, taken in turn."""
    torch.set_num_threads(1)
    secateur.bounds.set_num_threads(1)
    torch.manual_seed(0)
    samples = torch.rand(point["batch_size"], WIDTHS[0])
    classes = torch.randint(WIDTHS[-1], (len(samples),))
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(WIDTHS):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    model = secateur.quantize(nn.Sequential(*layers[:-2]), 3, 2, samples).train()
    pruner = secateur.Pruner(model, "accumulator", bits=point["bits"], schedule=OneShot())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(samples), classes).backward()
        optimizer.step()

    turns = [(_seconds(step), _seconds(pruner.select)) for _ in range(point["rounds"] + 2)][2:]
    step_s, select_s = (median(turn[i] for turn in turns) for i in (0, 1))
    return {"step_s": step_s, "select_s": select_s, "ratio": select_s / step_s}


def _seconds(work: Callable[[], object]) -> float:
    start = process_time()
    work()
    return process_time() - start


def run(journal: Path = JOURNAL) -> Results:
    """Return the measurements, taking those that the journal does not hold."""
    return sweep(POINTS, measure, journal=journal)
