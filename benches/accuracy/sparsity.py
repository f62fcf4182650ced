"""How much can go without loss: train, prune, retrain, on the float and the quantised network."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils import prune

import secateur
from benches.accuracy.methods import Setting, finished, float_network, quantized, train
from secateur.pruning.schedule import Iterative
from secateur.sweeps import Record, Results, grid, sweep
from secateur.training import accuracy

JOURNAL = Path(__file__).parent / "sparsity.jsonl"
#: Weight, activation and input bits of the quantised network.
BITS = 3
ROUNDS = 4
POINTS = grid(
    network=["float", "quantised"],
    sparsity=[0.0, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95],
    seed=range(3),
)


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return the held-out accuracy on digits with the given fraction of all weights removed.

    Han et al., "Learning both Weights and Connections for Efficient Neural Networks"
    (NeurIPS 2015): the smallest weights of the whole network go, in rounds with training
    between them and after the last.
    """
    torch.set_num_threads(1)
    setting = Setting("digits", "test", point["seed"], 16, BITS, BITS, BITS)
    prune_and_retrain = {"float": _float, "quantised": _quantised}[point["network"]]
    model = prune_and_retrain(setting, point["sparsity"])
    weights = [p for n, p in model.named_parameters() if n.endswith("weight") and p.ndim == 2]
    removed = sum(int((w == 0).sum()) for w in weights)
    return {
        "accuracy": accuracy(model, *setting.data.held_out),
        "removed": removed / sum(w.numel() for w in weights),
    }


def _float(setting: Setting, sparsity: float) -> nn.Module:
    data = setting.data
    model = copy.deepcopy(float_network(data))
    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]
    size = sum(layer.weight.numel() for layer in layers)
    for round_ in range(1, ROUNDS + 1):
        total, before = (round(size * sparsity * r / ROUNDS) for r in (round_, round_ - 1))
        prune.global_unstructured(
            [(layer, "weight") for layer in layers], prune.L1Unstructured, amount=total - before
        )
        train(model, data, data.recipe.epochs)
    for layer in layers:
        prune.remove(layer, "weight")
    return model


def _quantised(setting: Setting, sparsity: float) -> nn.Module:
    model, recipe = quantized(setting), setting.data.recipe
    steps = recipe.epochs * len(setting.data.train[0]) // recipe.batch_size
    schedule = Iterative(rounds=ROUNDS, steps=steps // (2 * ROUNDS), begin=steps // 4)
    pruner = secateur.Pruner(
        model, "magnitude", sparsity=sparsity, scope="global", schedule=schedule
    )
    finished(model, setting, pruner)
    return model


def run(journal: Path = JOURNAL) -> Results:
    """Return the results of all points, evaluating what the journal does not hold."""
    return sweep(POINTS, measure, journal=journal)


def means(results: Iterable[Record]) -> dict[str, dict[float, float]]:
    """Return network → sparsity → mean accuracy over the seeds."""
    found: dict[str, dict[float, list[float]]] = {}
    for record in results:
        by_sparsity = found.setdefault(record.point["network"], {})
        by_sparsity.setdefault(record.point["sparsity"], []).append(record.values["accuracy"])
    return {n: {s: sum(a) / len(a) for s, a in each.items()} for n, each in found.items()}


def without_loss(by_sparsity: Mapping[float, float], points: float = 0.5) -> float:
    """Return the largest sparsity up to which accuracy falls by no more than `points` percent."""
    kept = 0.0
    for sparsity, value in sorted(by_sparsity.items()):
        if by_sparsity[0.0] - value > points / 100:
            break
        kept = sparsity
    return kept
