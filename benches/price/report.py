"""The section of prices in RESULTS.md, and its figure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from benches.price.ours import STEPS
from benches.results import table
from secateur.sweeps import Record

HEAD = ["network", "rounding", "accuracy", "complexity", "corners that differ", "seeds"]
OURS = "secateur "

#: What ours may cost of theirs at their accuracy: of our rounding, against which of theirs.
AGAINST = (
    ("exact", "exact", 0.5),
    ("approximate", "approximate", 0.7),
    ("exact", "approximate", 1),
)
#: On digits: rounding, accuracy, the most that it may cost.
ABSOLUTE = (("exact", 0.975, 8.9e9), ("exact", 0.98, 1.4e10), ("approximate", 0.975, 6.2e9))
#: Points of accuracy that steps of 2^r may lose.
LOSS = 0.005
#: Accumulator bits of both hidden layers → what rounding may leave of their complexity.
SAVING = {6: 1 / 3, 8: 1 / 8}


class Row(NamedTuple):
    """A network and rounding: of one seed, or the means over `seeds`.

    Args:
        corners: how many of 200 differ.
    """

    name: str
    rounding: str
    accuracy: float
    complexity: float
    corners: float
    seeds: int = 1

    @property
    def ours(self) -> bool:
        """Whether it is one of secateur's."""
        return self.name.startswith(OURS)

    @property
    def kind(self) -> str:
        """Of the rounding: exact, where nothing is rounded, too; or approximate."""
        return "approximate" if self.rounding.startswith("approximate") else "exact"


def ours_rows(records: Iterable[Record]) -> list[Row]:
    """Return one row for each of our results and roundings."""
    rows: list[Row] = []
    for record in records:
        v: Mapping[str, Any] = record.values
        name = OURS + label(record.point)
        rows.append(Row(name, "none", v["accuracy"], v["none"], 0))
        if any(record.point["dropped"]):
            rows.append(Row(name, "exact", v["accuracy"], v["exact"], v["corners_wrong"]))
        if record.point["about"]:
            accuracy, wrong = v["approximate_accuracy"], v["approximate_corners_wrong"]
            rows.append(Row(name, "approximate", accuracy, v["approximate"], wrong))
    return rows


def label(point: Mapping[str, Any]) -> str:
    """Return a point of ours in a few characters."""
    minus = "∼" if point["about"] else "−"
    widths = "·".join(
        f"{bits}{minus}{drop}" if drop else str(bits)
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
        rows.append(Row(name, r["rounding"], r["accuracy"], r["complexity"], r["corners_wrong"]))
    return rows


def means(rows: Sequence[Row]) -> list[Row]:
    """Return the means over seeds, the cheapest first."""
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.name, row.rounding].append((row.accuracy, row.complexity, row.corners))
    found = [
        Row(*key, *map(float, np.mean(values, axis=0)), seeds=len(values))
        for key, values in grouped.items()
    ]
    return sorted(found, key=lambda row: row.complexity)


def front(rows: Iterable[Row]) -> list[Row]:
    """Return those of `rows` that are more accurate than everything cheaper."""
    found: list[Row] = []
    for row in sorted(rows, key=lambda row: (row.complexity, -row.accuracy)):
        if not found or row.accuracy > found[-1].accuracy:
            found.append(row)
    return found


def cheapest(rows: Iterable[Row], kind: str, accuracy: float) -> Row | None:
    """Return the cheapest of our `rows` of at least that accuracy."""
    fitting = [r for r in rows if r.ours and r.kind == kind and r.accuracy >= accuracy - 1e-9]
    return min(fitting, key=lambda row: row.complexity, default=None)


def marks(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Yield what ours cost at each accuracy that theirs reaches: rows of a table.

    Args:
        rows: means.
    """
    for kind, against, most in AGAINST:
        for row in front(r for r in rows if not r.ours and r.kind == against):
            best = cheapest(rows, kind, row.accuracy)
            ratio = best.complexity / row.complexity if best else None
            verdict = "met" if ratio is not None and ratio <= most else "missed"
            yield [
                f"{row.accuracy:.4f}",
                f"{row.name.removeprefix('Concrete ML ')}, {row.rounding}",
                f"{row.complexity:.2e}",
                f"{kind}: {best.name.removeprefix(OURS)}" if best else f"{kind}: none reaches it",
                f"{best.complexity:.2e}" if best else "",
                f"{ratio:.2f}" if ratio is not None else "",
                f"{most:g}",
                verdict,
            ]


def absolute(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Yield the marks of digits that name an accuracy and a complexity: rows of a table."""
    for kind, accuracy, most in ABSOLUTE:
        best = cheapest(rows, kind, accuracy)
        yield [
            f"{kind}, accuracy {accuracy} or more",
            f"{best.complexity:.2e} ({best.name.removeprefix(OURS)})"
            if best
            else "none reaches it",
            f"{most:.1e}",
            "met" if best and best.complexity <= most else "missed",
        ]


def steps(rows: Sequence[Row]) -> Iterator[list[str]]:
    """Yield what steps of 2^r lose and save: rows of a table."""
    named = {(row.name, row.rounding): row for row in rows}
    for free, coarse in STEPS:
        before, after = (
            named.get((OURS + label(candidate), rounding))
            for candidate, rounding in ((free, "none"), (coarse, "exact"))
        )
        plain = named.get((OURS + label(coarse), "none"))
        if before is None or after is None or plain is None:
            continue
        most = SAVING[coarse["bits"][0]]
        lost, ratio = before.accuracy - after.accuracy, after.complexity / plain.complexity
        for what, value, mark, good in (
            ("points lost", f"{100 * lost:.2f}", f"{100 * LOSS:.1f}", lost <= LOSS + 1e-9),
            ("complexity, of unrounded", f"{ratio:.3f}", f"{most:.3f}", ratio <= most),
        ):
            yield [label(coarse), what, value, mark, "met" if good else "missed"]


def section(by_dataset: Mapping[str, Sequence[Row]], figure: str, sizes: str = "") -> str:
    """Return the section as Markdown."""
    parts = [
        f"""## Prices

`python -m benches.price`, on Python 3.11 or 3.12. Held-out accuracy against the complexity of
the circuit, at a p_error of 2^-40 per lookup, from compiling alone. Both sides share data, split,
architecture (digits 64-32-32-10, mnist_5k 784-64-64-10), the float network that training starts
from, epochs, batches, optimiser and seeds; Concrete ML's classifier trains a network of its own
for as many epochs. What differs: secateur prunes to the bits given for each layer (less those
that are dropped before a lookup; ∼ where they are dropped about, with half a block free at both
ends), Concrete ML takes widths from its calibration samples. Exact circuits of secateur compute
the network's integers by proof; approximate ones of both sides are simulated. Corners are 200
inputs whose features are each at an end of their range in training; one differs where the
simulated circuit gives other integers than the model in the clear. Which networks of ours are
listed was drawn up beside runs on validation splits, before the test split.

![Accuracy against complexity]({figure})
"""
    ]
    for dataset, rows in by_dataset.items():
        averaged = means(rows)
        cells = [
            [
                *(row.name, row.rounding),
                *(f"{row.accuracy:.4f}", f"{row.complexity:.2e}"),
                *(f"{row.corners:.0f}", str(row.seeds)),
            ]
            for row in averaged
        ]
        parts.append(f"### {dataset}\n\n{table(HEAD, cells)}\n")
        if any(row.seeds < max(r.seeds for r in averaged) for row in averaged):
            parts.append(
                "Not every network was measured on every seed; the column says on how many.\n"
            )
        parts.append(
            "Ours at each accuracy that Concrete ML reaches at its price: the cheapest of at least "
            "that accuracy.\n\n"
            + table(
                ["accuracy", "theirs", "complexity", "ours", "complexity", "ratio", "mark", ""],
                marks(averaged),
            )
            + "\n"
        )
        if dataset == "digits":
            parts.append(table(["mark", "cheapest", "at most", ""], absolute(averaged)) + "\n")
        parts.append(
            "What steps of 2^r lose against free steps at the same widths, and what is left of the "
            "price.\n\n"
            + table(["network", "what", "value", "at most", ""], steps(averaged))
            + "\n"
        )
        parts.append(corners(averaged))
    return "\n".join([*parts, sizes])


def corners(rows: Sequence[Row]) -> str:
    """Return how many of 200 corners differ on each side, from means over seeds."""
    lines = []
    for side, ours in (("secateur", True), ("Concrete ML", False)):
        for kind in ("exact", "approximate"):
            counts = [r.corners for r in rows if (r.ours, r.kind) == (ours, kind)]
            if counts:
                lines.append([side, kind, f"{min(counts):.0f} to {max(counts):.0f}"])
    return (
        "Corners of 200 whose integers differ from the clear model's, over all networks.\n\n"
        + table(["circuits", "rounding", "corners"], lines)
        + "\n"
    )


def sizes(records: Iterable[Record]) -> str:
    """Return what is sent of our exact circuits, compressed by the backend's options and not."""
    found = [record.values for record in records]
    if not found:
        return ""

    def span(values: Iterable[float]) -> str:
        found = list(values)
        return f"{min(found):.3g} to {max(found):.3g}"

    keys = span(v["packed_key_bytes"] / v["key_bytes"] for v in found)
    inputs = span(v["input_bytes"] / 1e6 for v in found)
    packed = span(v["packed_input_bytes"] / 1e3 for v in found)
    return (
        f"Compressed by the backend's own options, evaluation keys of the {len(found)} exact "
        f"circuits of secateur take {keys} of their size; inputs {packed} kB in place of {inputs} "
        "MB.\n"
    )


def draw(by_dataset: Mapping[str, Sequence[Row]], path: Path) -> None:
    """Save accuracy against complexity, one panel for each data set."""
    figure = Figure(figsize=(5 * len(by_dataset), 4), layout="constrained")
    panels = figure.subplots(1, len(by_dataset), squeeze=False)[0]
    symbols = {"none": "s", "exact": "o", "approximate": "^"}
    for panel, (dataset, rows) in zip(panels, by_dataset.items(), strict=True):
        for row in means(rows):
            colour = "tab:blue" if row.ours else "tab:orange"
            symbol = symbols.get(row.rounding.split()[0], "o")
            panel.plot(row.complexity, row.accuracy, symbol, color=colour, alpha=0.8)
        best = max(row.accuracy for row in rows)
        panel.set(xscale="log", title=dataset, xlabel="complexity", ylabel="held-out accuracy")
        panel.set_ylim(best - 0.08, best + 0.005)
    for text, colour in (("secateur", "tab:blue"), ("Concrete ML", "tab:orange")):
        panels[0].plot([], [], "o", color=colour, label=text)
    for text, symbol in symbols.items():
        panels[0].plot([], [], symbol, color="grey", label=f"rounding: {text}")
    panels[0].legend(fontsize="small", loc="lower right")
    figure.savefig(path, dpi=120)
