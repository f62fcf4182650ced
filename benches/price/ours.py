"""What secateur makes of the same training set: a network per point, compiled by the backend."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import brevitas.nn as qnn
import torch

import secateur
from benches.price.data import RECIPES, Task, task
from secateur.network import Network
from secateur.pruning.schedule import Reselect

P_ERROR = 2.0**-40
#: Training steps between two selections of the pruner.
EVERY = 5
#: How many held-out samples and corners are simulated, where circuits do not compute exactly.
SIMULATED = 200

#: Bits of each accumulator, of these dropped before its lookups, and of weights, activations and
#: input; the part of the neurons that is kept of each hidden layer.
CANDIDATES = (
    {"bits": (4, 4, 6), "dropped": (0, 0), "formats": (2, 2, 2)},
    {"bits": (5, 5, 6), "dropped": (1, 1), "formats": (3, 2, 2)},
    {"bits": (6, 5, 6), "dropped": (2, 1), "formats": (3, 2, 2)},
    {"bits": (6, 5, 6), "dropped": (2, 1), "formats": (3, 2, 2), "kept": (0.94, 0.88)},
    {"bits": (6, 6, 6), "dropped": (2, 2), "formats": (3, 2, 2)},
    {"bits": (6, 6, 7), "dropped": (2, 2), "formats": (3, 2, 2)},
    {"bits": (7, 6, 6), "dropped": (3, 2), "formats": (3, 2, 2)},
    {"bits": (8, 8, 6), "dropped": (4, 4), "formats": (3, 3, 2)},
)


def points(split: str, seeds: range, dataset: str) -> Iterator[dict[str, Any]]:
    """Yield the points of one data set and split."""
    for seed in seeds:
        for candidate in CANDIDATES:
            yield {"dataset": dataset, "split": split, "seed": seed, "kept": (1.0, 1.0)} | candidate


def network(point: Mapping[str, Any]) -> tuple[Network, Task]:
    """Return the trained network of a point, and what it was trained on."""
    torch.set_num_threads(1)
    recipe = RECIPES[point["dataset"]]
    hidden = tuple(round(n * k) for n, k in zip(recipe.hidden, point["kept"], strict=True))
    given = task(replace(recipe, hidden=hidden), point["split"], point["seed"])
    weight_bits, activation_bits, input_bits = point["formats"]
    model = secateur.quantize(
        given.model, weight_bits, activation_bits, given.given[0], input_bits=input_bits
    ).train()
    layers = [name for name, m in model.named_modules() if isinstance(m, qnn.QuantLinear)]
    bits = dict(zip(layers, point["bits"], strict=True))
    model = secateur.coarsen(model, dict(zip(layers, point["dropped"], strict=False)), bits)
    pruner = secateur.Pruner(model, "accumulator", bits=bits, schedule=Reselect(EVERY))
    settling = max(1, recipe.quantized_epochs // 5)
    given.train_on(model, recipe.quantized_epochs - settling, pruner=pruner)
    pruner.finish()
    given.train_on(model, settling)
    return secateur.freeze(model), given


def measure(point: Mapping[str, Any]) -> dict[str, float | int]:
    """Return what a point comes to.

    Returns:
        accuracy: of the integers, which exact circuits decrypt.
        none, exact, approximate: complexity with lookups so rounded.
        approximate_accuracy: simulated, on some of the held-out samples.
        corners_wrong, approximate_corners_wrong: of 200 corners of the training samples' own
            range, how many give other integers in the simulated circuit than in the network.
    """
    made, given = network(point)
    x, y = given.held_out
    values: dict[str, float | int] = {
        "accuracy": float((made.predict(x).argmax(1) == y).mean()),
        "none": float(_compiled(made, "none").price.complexity),
    }
    corners = made.quantize_input(given.corners())
    for rounding in ("exact", "approximate"):
        circuit = _compiled(made, rounding)
        values[rounding] = float(circuit.price.complexity)
        if point["split"] != "test":
            continue
        wrong = (circuit.simulate(corners) != made(corners)).any(axis=1).sum()
        values["corners_wrong" if rounding == "exact" else "approximate_corners_wrong"] = int(wrong)
        if rounding == "approximate":
            codes = made.quantize_input(x[:SIMULATED])
            outputs = made.output.dequantize(circuit.simulate(codes))
            values["approximate_accuracy"] = float((outputs.argmax(1) == y[:SIMULATED]).mean())
    return values


def _compiled(made: Network, rounding: Any) -> secateur.Circuit:
    return secateur.compile(made, "concrete-python", p_error=P_ERROR, rounding=rounding)
