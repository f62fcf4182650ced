"""The section of prices in RESULTS.md, and its figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benches.results import table
from secateur.sweeps import Results

HEAD = ["network", "rounding", "accuracy", "complexity", "corners that differ", "seeds"]
#: Label, rounding, accuracy, complexity, corners wrong of 200; of one seed.
Row = tuple[str, str, float, float, float]


def ours_rows(results: Results) -> list[Row]:
    """Return one row for each of our results and roundings."""
    rows: list[Row] = []
    for record in results:
        if record.failed:
            continue
        v: Mapping[str, Any] = record.values
        name = "secateur " + label(record.point)
        rows += [
            (name, "none", v["accuracy"], v["none"], 0),
            (name, "exact", v["accuracy"], v["exact"], v["corners_wrong"]),
            (
                name,
                "approximate",
                v["approximate_accuracy"],
                v["approximate"],
                v["approximate_corners_wrong"],
            ),
        ]
    return rows


def label(point: Mapping[str, Any]) -> str:
    """Return a point of ours in a few characters."""
    widths = "·".join(
        f"{bits}−{drop}" if drop else str(bits)
        for bits, drop in zip(point["bits"], (*point["dropped"], 0), strict=True)
    )
    kept = "" if set(point["kept"]) == {1.0} else " fewer neurons"
    return f"{widths}, {'/'.join(map(str, point['formats']))}{kept}"


def their_rows(results: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Return one row for each of Concrete ML's results."""
    rows: list[Row] = []
    for r in results:
        pruned = f" {r['pruned']:.0%} pruned" if r.get("pruned") else ""
        name = f"Concrete ML {r['method']} {r['bits']} bits{pruned}"
        rows.append((name, r["rounding"], r["accuracy"], r["complexity"], r["corners_wrong"]))
    return rows


def means(rows: Sequence[Row]) -> list[tuple[str, str, float, float, float, int]]:
    """Return the means over seeds, the cheapest first."""
    grouped = defaultdict(list)
    for name, rounding, *values in rows:
        grouped[name, rounding].append(values)
    found = [
        (*key, *map(float, np.mean(values, axis=0)), len(values)) for key, values in grouped.items()
    ]
    return sorted(found, key=lambda row: row[3])


def section(by_dataset: Mapping[str, Sequence[Row]], figure: str) -> str:
    """Return the section as Markdown."""
    parts = [
        f"""## Prices

`python -m benches.price`, on Python 3.11 or 3.12. Held-out accuracy against the complexity of
the circuit, at a p_error of 2^-40 per lookup, from compiling alone. Both sides share data, split,
architecture (digits 64-32-32-10, mnist_5k 784-64-64-10), the float network that training starts
from, epochs, batches, optimiser and seeds; Concrete ML's classifier trains a network of its own
for as many epochs. What differs: secateur prunes to the bits given for each layer (less those
that are dropped before a lookup), Concrete ML takes widths from its calibration samples. Exact
circuits of secateur compute the network's integers by proof; approximate ones of both sides are
simulated. Corners are 200 inputs whose features are each at an end of their range in training;
one differs where the simulated circuit gives other integers than the model in the clear. Which
networks of ours are listed was drawn up beside runs on validation splits, before the test split.

![Accuracy against complexity]({figure})
"""
    ]
    for dataset, rows in by_dataset.items():
        cells = [
            [name, rounding, f"{accuracy:.4f}", f"{cost:.2e}", f"{wrong:.0f}", str(seeds)]
            for name, rounding, accuracy, cost, wrong, seeds in means(rows)
        ]
        parts.append(f"### {dataset}\n\n{table(HEAD, cells)}\n")
    return "\n".join(parts)


def draw(by_dataset: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Save accuracy against complexity, one panel for each data set."""
    figure = Figure(figsize=(5 * len(by_dataset), 4), layout="constrained")
    panels = figure.subplots(1, len(by_dataset), squeeze=False)[0]
    marks = {"none": "s", "exact": "o", "approximate": "^"}
    for panel, (dataset, rows) in zip(panels, by_dataset.items(), strict=True):
        for name, rounding, accuracy, cost, _, _ in means(rows):
            colour = "tab:blue" if name.startswith("secateur") else "tab:orange"
            mark = marks.get(rounding.split()[0], "o")
            panel.plot(cost, accuracy, mark, color=colour, alpha=0.8)
        best = max(row[2] for row in rows)
        panel.set(xscale="log", title=dataset, xlabel="complexity", ylabel="held-out accuracy")
        panel.set_ylim(best - 0.08, best + 0.005)
    for text, colour in (("secateur", "tab:blue"), ("Concrete ML", "tab:orange")):
        panels[0].plot([], [], "o", color=colour, label=text)
    for text, mark in marks.items():
        panels[0].plot([], [], mark, color="grey", label=f"rounding: {text}")
    panels[0].legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=120)
