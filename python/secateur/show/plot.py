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
from numpy.typing import ArrayLike, NDArray

from secateur.analysis import RangeReport, analyze
from secateur.network import Network
from secateur.ranges import Ranges
from secateur.show.charts import COLOURS, Axis
from secateur.show.tables import printable, text
from secateur.sweeps.results import Results

_MARKERS = "osD^vPX"


def pareto(
    results: Results,
    gain: str = "accuracy",
    cost: str = "complexity",
    *,
    by: str = "strategy",
    floor: float | None = None,
) -> Figure:
    """Return every point of a sweep by its cost and gain, with the Pareto front as a line.

    Args:
        results: of the sweep; points that failed are left out.
        gain: column that is better where greater.
        cost: column that is better where less.
        by: column whose values are told apart by colour and marker; where there is none, all
            points are alike.
        floor: the least gain that counts for the front; points below it are drawn pale.

    Raises:
        ColumnError: no such column, or gain or cost hold no numbers.

    Example:
        >>> from secateur.sweeps import grid, sweep
        >>> points = grid(strategy=["accumulator", "magnitude"], bits=[4, 5, 6])
        >>> def evaluate(point):
        ...     return {"accuracy": point["bits"] / 7, "complexity": 10.0 ** point["bits"]}
        >>> figure = pareto(sweep(points, evaluate))
        >>> figure.axes[0].get_xlabel()
        'complexity (less is better)'
    """
    gains, costs = results.numbers(gain), results.numbers(cost)
    known = results.columns.get(by, [""] * len(results))
    groups = np.array(["" if value is None else str(value) for value in known])
    shown = np.isfinite(gains) & np.isfinite(costs)
    figure, axes = _figure(7.0, 4.2)
    front, least = results.pareto(gain, cost, floor=floor), -np.inf if floor is None else floor
    if len(front):
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
        here = (groups == group) & shown
        if not here.any():
            continue
        axes.scatter(
            costs[here],
            gains[here],
            s=30,
            alpha=np.where(gains[here] >= least, 0.8, 0.2),  # type: ignore[arg-type]
            color=COLOURS[i % len(COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            linewidths=0.5,
            edgecolors="white",
            zorder=2,
            label=printable(group) or None,
        )
    if shown.any():
        x, y = Axis.of(costs[shown]), Axis.of(gains[shown])
        axes.set(xscale=x.scale, xlim=(x.low, x.high), yscale=y.scale, ylim=(y.low, y.high))
        axes.set_xticks(x.ticks, [text(t) for t in x.ticks])
        axes.set_yticks(y.ticks, [text(t) for t in y.ticks])
        axes.minorticks_off()
    axes.set_xlabel(f"{cost} (less is better)")
    axes.set_ylabel(f"{gain} (more is better)")
    _legend(axes, by)
    return figure


Shown = Network | RangeReport | Ranges | Mapping[str, Ranges] | tuple[ArrayLike, ArrayLike]


def ranges(shown: Shown) -> Figure:
    """Return the range of every channel as a line, with the width of the widest in bits.

    Args:
        shown: a network or a report of `analyze`, of which the accumulators are shown; `Ranges`
            or arrays (low, high), integers [channels]; or several `Ranges` by their names.

    Example:
        >>> figure = ranges(([-3, 0], [4, 7]))
        >>> figure.axes[0].get_ylabel()
        'proved range'
    """
    figure, axes = _figure(7.0, 4.2)
    at, ticks = 0, []
    for i, (name, found) in enumerate(_named(shown).items()):
        low, high = found.low.ravel(), found.high.ravel()
        x = at + np.arange(len(low))
        # As floats: matplotlib subtracts ends, which int64 may not hold.
        axes.vlines(x, low * 1.0, high * 1.0, color=COLOURS[i % len(COLOURS)], linewidth=2)
        axes.annotate(
            f"{found.bits().max(initial=0)} bits",
            (float(x.mean()), float(high.max())),
            xytext=(0, 4),
            textcoords="offset points",
            ha="center",
        )
        ticks.append((float(x.mean()), printable(name)))
        at += len(x) + 2
    axes.axhline(0, color="#999999", linewidth=0.8, zorder=0)
    axes.set_xticks([x for x, _ in ticks], [name for _, name in ticks])
    axes.set_xlabel("accumulator, one line per channel")
    axes.set_ylabel("proved range")
    axes.margins(y=0.12)
    return figure


def _named(shown: Shown) -> Mapping[str, Ranges]:
    if isinstance(shown, Network):
        shown = analyze(shown)
    if isinstance(shown, RangeReport):
        return {node.name: node.channels for node in shown.accumulators}
    if isinstance(shown, tuple):
        shown = Ranges(*shown)
    named = {"": shown} if isinstance(shown, Ranges) else shown
    return {name: found for name, found in named.items() if found.low.size}


def profile(columns: Mapping[str, NDArray[Any]]) -> Figure:
    """Return the proved width of every layer over the sparsity.

    Args:
        columns: what `sweep_bounds` gives for `Sparsities`.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from secateur.sweeps import Sparsities, sweep_bounds
        >>> figure = profile(sweep_bounds(network, Sparsities([0, 0.5, 1])))
        >>> figure.axes[0].get_ylabel()
        'accumulator bits'
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
    _legend(axes, "layer")
    return figure


def _legend(axes: Axes, title: str) -> None:
    """Add a legend where something has a label."""
    if axes.get_legend_handles_labels()[1]:
        axes.legend(title=title, frameon=False, loc="best")


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.6)
    axes.set_axisbelow(True)
    return figure, axes
