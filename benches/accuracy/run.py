"""The sweep: choices made on validation splits, then measured on the held-out samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benches.accuracy.datasets import DATASETS
from benches.accuracy.measure import measure
from benches.accuracy.methods import METHODS, Training
from secateur.sweeps import Record, Results, sweep

BITS = (4, 5, 6, 7, 8)
#: Those that a data set is measured at, where they are not all of these.
WIDTHS = {"mnist_5k, convolutional": (5, 6, 8)}
#: Data sets of which no channel has room for all of its weights.
WIDE = ("mnist_5k", "mnist_5k, convolutional")
SEEDS = (0, 1, 2)
#: Further ones for methods whose means over `SEEDS` are closer to ours than `CLOSE`.
MORE_SEEDS = (3, 4, 5, 6, 7, 8, 9)
#: Further ones for choices whose means over `SEEDS` are closer to the best than `CLOSE`.
RUN_OFF_SEEDS = MORE_SEEDS[:3]
CLOSE = 0.01
CHOICE = ("weight_bits", "activation_bits", "input_bits", "training")
Choice = tuple[int, int, int, Training]
OURS = next(iter(METHODS))
#: Those whose accumulators fit P bits.
FITTING = tuple(method for method in METHODS if method != "unpruned")
#: Those that hold the norms of weights, and may start from as many as these have room for.
BOUNDED = ("A2Q+", "A2Q")
JOURNAL = Path(__file__).parent / "journal.jsonl"


def choices(dataset: str, bits: int, method: str) -> tuple[Choice, ...]:
    """Return what `method` has its choice of at P = `bits`."""
    if dataset == "checkerboard":
        # Two coordinates want nearly all the bits that an accumulator has room for.
        formats = [(2, 2, bits - less) for less in (1, 2, 4) if bits - less > 1]
    elif bits <= 6:
        formats = [(2, 2, 2), (2, 1, 1)]
    elif dataset in WIDE:
        formats = [(2, 2, 2), (3, 2, 2), (3, 3, 3)]
    else:
        formats = [(2, 2, 2), (3, 2, 2), (2, bits - 4, bits - 4), (3, 3, 3), (4, 3, 3)]
    trainings: tuple[Training, ...] = ("tables", "norms") if dataset == "digits" else ("tables",)
    if dataset == "digits" and bits > 6:
        # With fewer bits the accumulators limit what a network learns, and not the samples.
        trainings += ("taught",)
    if method in BOUNDED and (dataset in WIDE or (dataset == "digits" and bits <= 6)):
        # More weights than their norms have room for all round to 0 where they start together.
        trainings += ("sparse",)
    return tuple((*format_, training) for training, format_ in product(trainings, formats))


def candidates(dataset: str, seeds: Sequence[int] = SEEDS) -> Iterator[dict[str, Any]]:
    """Yield the points that choices are made by, each seed with a validation split of its own."""
    for seed, bits, method in product(seeds, WIDTHS.get(dataset, BITS), METHODS):
        for choice in choices(dataset, bits, method):
            yield _point(dataset, "validation", method, bits, choice, seed)


def finals(
    dataset: str, chosen: Mapping[tuple[str, int], Choice], seeds: Sequence[int] = SEEDS
) -> Iterator[dict[str, Any]]:
    """Yield the points that are reported."""
    for seed in seeds:
        for (method, bits), choice in chosen.items():
            yield _point(dataset, "test", method, bits, choice, seed)


def _point(
    dataset: str, split: str, method: str, bits: int, choice: Choice, seed: int
) -> dict[str, Any]:
    point = {"dataset": dataset, "split": split, "method": method, "bits": bits, "seed": seed}
    return point | dict(zip(CHOICE, choice, strict=True))


def choose(records: Iterable[Record], dataset: str) -> dict[tuple[str, int], Choice]:
    """Return (method, P) → the contender of the greatest mean validation accuracy."""
    return {
        key: max(close, key=lambda choice: mean(close[choice], "accuracy"))
        for key, close in contenders(records, dataset).items()
    }


def contenders(
    records: Iterable[Record], dataset: str
) -> dict[tuple[str, int], dict[Choice, list[Record]]]:
    """Return (method, P) → the choices that are close to the best over the first splits.

    Each comes with its validation records of all splits.
    """
    tried: dict[tuple[str, int], dict[Choice, list[Record]]] = {}
    for record in where(records, dataset=dataset, split="validation"):
        by_choice = tried.setdefault((record.point["method"], record.point["bits"]), {})
        by_choice.setdefault(tuple(record.point[name] for name in CHOICE), []).append(record)
    close = {}
    for key, by_choice in tried.items():
        means = {c: mean(of_first_seeds(r), "accuracy") for c, r in by_choice.items()}
        close[key] = {c: by_choice[c] for c in means if max(means.values()) - means[c] < CLOSE}
    return close


def run_offs(records: Iterable[Record], dataset: str) -> Iterator[dict[str, Any]]:
    """Yield the points of further splits, where contenders are several."""
    for seed, close in product(RUN_OFF_SEEDS, contenders(records, dataset).values()):
        if len(close) > 1:
            yield from (records[0].point | {"seed": seed} for records in close.values())


def reported(results: Iterable[Record], dataset: str, method: str, bits: int) -> list[Record]:
    """Return the held-out records of all seeds, of what was chosen and of nothing else."""
    choice = choose(results, dataset).get((method, bits))
    if choice is None:
        return []
    fields = dict(zip(CHOICE, choice, strict=True))
    return where(results, dataset=dataset, split="test", method=method, bits=bits, **fields)


def of_first_seeds(records: Iterable[Record]) -> list[Record]:
    """Return the records of `SEEDS`, which every method has."""
    return [record for record in records if record.point["seed"] in SEEDS]


def rivals(results: Iterable[Record], dataset: str, bits: int) -> dict[str, list[Record]]:
    """Return our records and those of all methods that are close to them; none where none is."""
    records = {method: reported(results, dataset, method, bits) for method in FITTING}
    means = {m: mean(of_first_seeds(r), "accuracy") for m, r in records.items() if r}
    if OURS not in means:
        return {}
    close = [method for method in means if abs(means[method] - means[OURS]) < CLOSE]
    return {method: records[method] for method in close} if len(close) > 1 else {}


def rematches(results: Iterable[Record], dataset: str) -> Iterator[dict[str, Any]]:
    """Yield the points of further seeds."""
    for bits in BITS:
        for records, seed in product(rivals(results, dataset, bits).values(), MORE_SEEDS):
            yield records[0].point | {"seed": seed}


def run(
    journal: Path = JOURNAL,
    datasets: Sequence[str] = DATASETS,
    seeds: Sequence[int] = SEEDS,
    splits: Sequence[int] = SEEDS,
    executor: int | None = os.cpu_count(),
) -> Results:
    """Return all results, evaluating only what the journal does not hold yet.

    With fewer than all `splits`, choices are made by these alone, and those that are close are
    not told apart by further ones; running again with all goes on from there.
    """
    swept = partial(sweep, evaluate=measure, executor=executor, journal=journal)
    for dataset in datasets:
        swept(candidates(dataset, splits))
        if len(splits) == len(SEEDS):
            swept(run_offs(Results.read(journal), dataset))
        swept(finals(dataset, choose(Results.read(journal), dataset), seeds))
        if len(splits) == len(seeds) == len(SEEDS):
            swept(rematches(Results.read(journal), dataset))
    return Results.read(journal)


def where(records: Iterable[Record], **fields: Any) -> list[Record]:
    """Return the records that did not fail whose point has all of `fields`."""
    return [r for r in records if not r.failed and all(r.point[k] == v for k, v in fields.items())]


def mean(records: Iterable[Record], name: str) -> float:
    """Return the mean of one value over `records`."""
    return float(np.mean([record.values[name] for record in records]))
