"""The sweep: formats chosen on validation splits, then measured on the held-out samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benches.accuracy.datasets import DATASETS
from benches.accuracy.measure import measure
from benches.accuracy.methods import METHODS
from secateur.sweeps import Record, Results, sweep

BITS = (4, 5, 6, 7, 8)
SEEDS = (0, 1, 2)
FORMAT = ("weight_bits", "activation_bits", "input_bits")
Format = tuple[int, int, int]
JOURNAL = Path(__file__).parent / "journal.jsonl"


def formats(dataset: str, bits: int) -> tuple[Format, ...]:
    """Return what each method has its choice of at P = `bits`."""
    if dataset == "checkerboard":
        # Two coordinates want nearly all the bits that an accumulator has room for.
        return tuple((2, 2, bits - less) for less in (1, 2, 4) if bits - less > 1)
    if bits <= 6:
        return (2, 2, 2), (2, 1, 1)
    return (2, 2, 2), (3, 2, 2), (2, bits - 4, bits - 4), (3, 3, 3)


def candidates(dataset: str) -> Iterator[dict[str, Any]]:
    """Yield the points that formats are chosen by, each seed with a validation split of its own."""
    for seed, bits in product(SEEDS, BITS):
        for format_, method in product(formats(dataset, bits), METHODS):
            yield _point(dataset, "validation", method, bits, format_, seed)


def finals(dataset: str, chosen: Mapping[tuple[str, int], Format]) -> Iterator[dict[str, Any]]:
    """Yield the points that are reported."""
    for seed in SEEDS:
        for (method, bits), format_ in chosen.items():
            yield _point(dataset, "test", method, bits, format_, seed)


def _point(
    dataset: str, split: str, method: str, bits: int, format_: Format, seed: int
) -> dict[str, Any]:
    point = {"dataset": dataset, "split": split, "method": method, "bits": bits, "seed": seed}
    return point | dict(zip(FORMAT, format_, strict=True))


def choose(records: Iterable[Record], dataset: str) -> dict[tuple[str, int], Format]:
    """Return (method, P) → the format of the greatest mean validation accuracy, else the first."""
    candidates: dict[tuple[str, int], dict[Format, list[Record]]] = {}
    for record in where(records, dataset=dataset, split="validation"):
        by_format = candidates.setdefault((record.point["method"], record.point["bits"]), {})
        by_format.setdefault(tuple(record.point[name] for name in FORMAT), []).append(record)
    return {
        key: max(by_format, key=lambda f: mean(by_format[f], "accuracy"))
        for key, by_format in candidates.items()
    }


def run(journal: Path = JOURNAL) -> Results:
    """Return all results, evaluating only what the journal does not hold yet."""
    settle = partial(sweep, evaluate=measure, executor=os.cpu_count(), journal=journal)
    for dataset in DATASETS:
        settle(finals(dataset, choose(settle(candidates(dataset)), dataset)))
    return Results.read(journal)


def where(records: Iterable[Record], **fields: Any) -> list[Record]:
    """Return the records that did not fail whose point has all of `fields`."""
    return [r for r in records if not r.failed and all(r.point[k] == v for k, v in fields.items())]


def mean(records: Iterable[Record], name: str) -> float:
    """Return the mean of one value over `records`."""
    return float(np.mean([record.values[name] for record in records]))
