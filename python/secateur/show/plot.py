"""Plots of what the library proves and measures, as matplotlib figures.

Nothing is shown or saved here: `figure.savefig(path)` does that, and a notebook shows what a
cell returns.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from secateur.analysis import RangeReport
from secateur.errors import ColumnError
from secateur.show.charts import COLOURS, Axis
from secateur.show.tables import text
from secateur.sweeps.results import Results

_MARKERS = "osD^vPX"


def pareto(
    results: Results, gain: str = "accuracy", cost: str = "complexity", *, by: str = "strategy"
) -> Figure:
    """Return every point of a sweep by its cost and gain, with the Pareto front as a line.

    Args:
        results: of the sweep; points that failed are left out.
        gain: column that is better where greater.
        cost: column that is better where less.
        by: column whose values are told apart by colour and marker.

    Raises:
        ColumnError: no such column, or gain or cost hold no numbers.
    """
    if by not in results.columns:
        raise ColumnError(
            f"the results have no column {by!r}; there are {', '.join(results.columns)}",
            name=by,
            known=tuple(results.columns),
        )
    gains, costs = results.numbers(gain), results.numbers(cost)
    groups = np.array([str(v) for v in results.columns[by]])
    figure, axes = _figure(7.0, 4.2)
    front = results.pareto(gain, cost)
    axes.step(
        front.numbers(cost),
        front.numbers(gain),
        where="post",
        color="#999999",
        linewidth=1.2,
        zorder=1,
        label="Pareto front",
    )
    for i, group in enumerate(dict.fromkeys(groups.tolist())):
        here = groups == group
        axes.scatter(
            costs[here],
            gains[here],
            s=30,
            alpha=0.8,
            color=COLOURS[i % len(COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            linewidths=0.5,
            edgecolors="white",
            zorder=2,
            label=group,
        )
    shown = np.isfinite(gains) & np.isfinite(costs)
    if shown.any():
        x, y = Axis.of(costs[shown]), Axis.of(gains[shown])
        axes.set(xscale=x.scale, xlim=(x.low, x.high), yscale=y.scale, ylim=(y.low, y.high))
        axes.set_xticks(x.ticks, [text(t) for t in x.ticks])
        axes.set_yticks(y.ticks, [text(t) for t in y.ticks])
        axes.minorticks_off()
    axes.set_xlabel(cost)
    axes.set_ylabel(gain)
    axes.legend(title=by, frameon=False, loc="lower right")
    return figure


def ranges(report: RangeReport) -> Figure:
    """Return the proved range of every channel of every accumulator, with its width in bits.

    Args:
        report: of `analyze`.
    """
    figure, axes = _figure(7.0, 4.2)
    at, ticks = 0, []
    for i, node in enumerate(report.accumulators):
        channels = node.channels
        x = at + np.arange(len(channels.low))
        axes.vlines(x, channels.low, channels.high, color=COLOURS[i % len(COLOURS)], linewidth=2)
        axes.annotate(
            f"{node.bits()} bits",
            (float(x.mean()), float(channels.high.max())),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
        )
        ticks.append((float(x.mean()), node.name))
        at += len(x) + 2
    axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    axes.set_xticks([x for x, _ in ticks], [name for _, name in ticks])
    axes.set_xlabel("accumulator, one line per channel")
    axes.set_ylabel("proved range")
    axes.margins(y=0.12)
    return figure


def profile(columns: Mapping[str, NDArray[Any]]) -> Figure:
    """Return the proved width of every layer over the sparsity.

    Args:
        columns: what `sweep_bounds` gives for `Sparsities`.
    """
    figure, axes = _figure(7.0, 4.2)
    names = [name.removeprefix("bits.") for name in columns if name.startswith("bits.")]
    for i, name in enumerate(names):
        order = np.argsort(columns[f"sparsity.{name}"], kind="stable")
        axes.step(
            columns[f"sparsity.{name}"][order],
            columns[f"bits.{name}"][order],
            where="post",
            color=COLOURS[i % len(COLOURS)],
            label=name,
        )
    axes.set_xlabel("fraction of the layer's weights removed")
    axes.set_ylabel("accumulator bits")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(title="layer", frameon=False)
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes
