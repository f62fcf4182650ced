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
from secateur.pruning import Accumulator
from secateur.pruning.schedule import Reselect

P_ERROR = 2.0**-40
#: Training steps between two selections of the pruner.
EVERY = 5
COMPRESSED = {"compress_input_ciphertexts": True, "compress_evaluation_keys": True}

#: Bits of each accumulator, of these dropped before its lookups, of weights, activations and
#: input; whether the bits are dropped about; the part of the neurons that each hidden layer has.
Candidate = dict[str, Any]


def _candidate(
    bits: tuple[int, ...],
    dropped: tuple[int, ...],
    formats: tuple[int, ...],
    about: bool = False,
    kept: tuple[float, ...] = (1.0, 1.0),
) -> Candidate:
    return {"bits": bits, "dropped": dropped, "formats": formats, "about": about, "kept": kept}


#: The same widths and formats with free steps and with steps of 2^dropped: what the steps cost.
STEPS = (
    (_candidate((6, 6, 7), (0, 0), (3, 2, 2)), _candidate((6, 6, 7), (2, 2), (3, 2, 2))),
    (_candidate((8, 8, 7), (0, 0), (3, 3, 3)), _candidate((8, 8, 7), (4, 4), (3, 3, 3))),
)

CANDIDATES: dict[str, tuple[Candidate, ...]] = {
    "digits": (
        _candidate((5, 5, 6), (1, 1), (3, 2, 2)),
        _candidate((6, 6, 6), (2, 2), (3, 2, 2)),
        _candidate((7, 7, 6), (3, 3), (4, 3, 3)),
        _candidate((8, 8, 5), (4, 4), (4, 3, 3), about=True),
        _candidate((6, 6, 6), (2, 2), (3, 2, 2), about=True),
        _candidate((6, 6, 5), (3, 3), (3, 2, 2), about=True),
        _candidate((8, 8, 6), (4, 3), (5, 3, 3), about=True),
        _candidate((9, 8, 7), (4, 4), (5, 4, 3), about=True),
        _candidate((9, 9, 7), (4, 4), (5, 4, 3), about=True),
    ),
    "mnist_5k": (
        _candidate((6, 6, 6), (2, 2), (3, 2, 2)),
        _candidate((8, 8, 6), (4, 4), (4, 3, 2), about=True),
        _candidate((5, 5, 6), (1, 1), (3, 2, 2)),
        _candidate((7, 7, 6), (3, 3), (3, 3, 2), kept=(0.96875, 0.96875)),
        _candidate((8, 8, 6), (4, 4), (3, 3, 1), about=True),
        _candidate((9, 8, 7), (4, 4), (3, 3, 2), about=True),
        _candidate((10, 10, 7), (5, 5), (4, 3, 3), about=True),
    ),
}


def points(split: str, seeds: range, dataset: str) -> Iterator[dict[str, Any]]:
    """Yield the points of one data set and split."""
    candidates = list(CANDIDATES.get(dataset, ()))
    candidates += [c for pair in STEPS for c in pair if c not in candidates]
    for seed in seeds:
        for candidate in candidates:
            yield {"dataset": dataset, "split": split, "seed": seed, **candidate}


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
    dropped = dict(zip(layers, point["dropped"], strict=False))
    model = secateur.coarsen(model, dropped, bits, about=point["about"])
    strategy = Accumulator(bits=bits, dropped_about=dropped if point["about"] else {})
    pruner = secateur.Pruner(model, strategy, schedule=Reselect(EVERY))
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
        approximate_accuracy: simulated.
        corners_wrong, approximate_corners_wrong: of 200 corners of the training samples' own
            range, how many give other integers in the simulated circuit than in the network.
        input_bytes, key_bytes and their packed_ likes: of the exact circuit, as its backend
            sends them, and compressed by its own options.
    """
    made, given = network(point)
    x, y = given.held_out
    values: dict[str, float | int] = {
        "accuracy": float((made.predict(x).argmax(1) == y).mean()),
        "none": float(_compiled(made, "none").price.complexity),
    }
    corners = made.quantize_input(given.corners())
    for rounding in ("exact", "approximate") if point["about"] else ("exact",):
        circuit = _compiled(made, rounding)
        values[rounding] = float(circuit.price.complexity)
        wrong = (circuit.simulate(corners) != made(corners)).any(axis=1).sum()
        if rounding == "exact":
            values["corners_wrong"] = int(wrong)
            small = _compiled(made, rounding, COMPRESSED).price
            for prefix, price in ("", circuit.price), ("packed_", small):
                values[prefix + "key_bytes"] = price.evaluation_key_bytes
                values[prefix + "input_bytes"] = price.input_bytes
            continue
        values["approximate_corners_wrong"] = int(wrong)
        outputs = made.output.dequantize(circuit.simulate(made.quantize_input(x)))
        values["approximate_accuracy"] = float((outputs.argmax(1) == y).mean())
    return values


def _compiled(
    made: Network, rounding: Any, configuration: Mapping[str, Any] | None = None
) -> secateur.Circuit:
    return secateur.compile(
        made, "concrete-python", p_error=P_ERROR, rounding=rounding, configuration=configuration
    )
