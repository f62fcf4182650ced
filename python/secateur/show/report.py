"""The report of a sweep: one HTML file that opens anywhere, without a network."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from secateur.show.charts import COLOURS, Axis
from secateur.show.tables import size, text
from secateur.sweeps.records import Record
from secateur.sweeps.results import Results

# The chart's plane in the coordinates of its SVG.
_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 700, 15, 370


def write_report(
    results: Results,
    path: str | os.PathLike[str],
    *,
    gain: str = "accuracy",
    cost: str = "complexity",
    by: str = "strategy",
    floor: float | None = None,
    title: str = "Sweep",
) -> None:
    """Write the report of a sweep: Pareto chart, widths of every layer, sortable table, failures.

    Args:
        results: of the sweep.
        path: of the HTML file.
        gain: column that is better where greater.
        cost: column that is better where less.
        by: column whose values the chart tells apart by colour; where there is none, all
            points are alike.
        floor: the least gain that counts for the front.
        title: of the page.

    Raises:
        ColumnError: no such column as gain or cost, or no numbers in it.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> from secateur.sweeps import grid, sweep
        >>> points = grid(strategy=["accumulator", "magnitude"], bits=[4, 5, 6])
        >>> def evaluate(point):
        ...     return {"accuracy": point["bits"] / 7, "complexity": 10.0 ** point["bits"]}
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = folder.name + "/report.html"
        >>> write_report(sweep(points, evaluate), path)
        >>> "Pareto" in open(path, encoding="utf-8").read()
        True
    """
    front = results.pareto(gain, cost, floor=floor)
    template = Template(files("secateur.show").joinpath("report.html").read_text(encoding="utf-8"))
    page = template.substitute(
        title=escape(title),
        summary=_summary(results, front, gain),
        chart=_chart(results, front, gain, cost, by),
        widths=_widths(front, gain, cost),
        table=_points(results, front),
        failures=_failures(results.failures),
    )
    # Strings of user code may hold what UTF-8 cannot.
    Path(path).write_text(page, encoding="utf-8", errors="backslashreplace")


def _summary(results: Results, front: Results, gain: str) -> str:
    failed = len(results.failures)
    hours = sum(r.outcome.wall_s for r in results) / 3600
    parts = [
        f"{len(results)} points",
        f"{failed} failed",
        f"{hours:.2f} hours of evaluation",
        f"{len(front)} on the Pareto front",
    ]
    if len(front):
        best = front.records[-1]
        parts.append(f"best {escape(gain)} {text(best.values[gain])} at {escape(_name(best))}")
    return " · ".join(parts)


def _name(record: Record) -> str:
    return ", ".join(f"{name} {value}" for name, value in record.point.items())


# The chart.


def _chart(results: Results, front: Results, gain: str, cost: str, by: str) -> str:
    costs, gains = results.numbers(cost), results.numbers(gain)
    shown = np.flatnonzero(np.isfinite(costs) & np.isfinite(gains))
    if not len(shown):
        return ""
    x, y = _Side(costs[shown], _LEFT, _RIGHT), _Side(gains[shown], _BOTTOM, _TOP)
    groups = [str(r.point.get(by, "")) for r in results]
    colour = {
        group: COLOURS[i % len(COLOURS)]
        for i, group in enumerate(dict.fromkeys(groups[i] for i in shown))
    }
    marks = [
        *_grid(x, y, cost, gain),
        *_front(front, x, y, gain, cost),
        *(
            f'<circle cx="{x.at(costs[i]):.1f}" cy="{y.at(gains[i]):.1f}" r="4.5" '
            f'fill="{colour[groups[i]]}" fill-opacity="0.75" stroke="white"><title>'
            f"{escape(_name(results.records[i]))}&#10;{escape(gain)} {text(gains[i])}, "
            f"{escape(cost)} {text(costs[i])}</title></circle>"
            for i in shown
        ),
        *_legend(colour, by),
    ]
    return (
        f"<h2>{escape(gain)} against {escape(cost)}</h2>"
        '<p class="note">One dot per point; hover over it for what it is. '
        "The line is the Pareto front.</p>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(gain)} against {escape(cost)}">{"".join(marks)}</svg>'
    )


class _Side:
    """An axis from one coordinate of the page to another."""

    def __init__(self, values: Any, start: float, stop: float) -> None:
        self._axis = Axis.of(values)
        self._start, self._stop = start, stop

    def at(self, value: float) -> float:
        """Return the coordinate of `value`."""
        return self._start + self._axis.place(value) * (self._stop - self._start)

    @property
    def ticks(self) -> list[float]:
        return self._axis.ticks


def _grid(x: _Side, y: _Side, cost: str, gain: str) -> Iterable[str]:
    for tick in x.ticks:
        at = f"{x.at(tick):.1f}"
        yield f'<path d="M{at} {_TOP}V{_BOTTOM}" stroke="#eee"/>'
        yield f'<text x="{at}" y="{_BOTTOM + 18}" text-anchor="middle">{text(tick)}</text>'
    for tick in y.ticks:
        at = f"{y.at(tick):.1f}"
        yield f'<path d="M{_LEFT} {at}H{_RIGHT}" stroke="#eee"/>'
        yield (
            f'<text x="{_LEFT - 8}" y="{at}" text-anchor="end" '
            f'dominant-baseline="middle">{text(tick)}</text>'
        )
    yield f'<path d="M{_LEFT} {_TOP}V{_BOTTOM}H{_RIGHT}" fill="none" stroke="#888"/>'
    middle = (_LEFT + _RIGHT) / 2
    yield f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{escape(cost)}</text>'
    middle = (_TOP + _BOTTOM) / 2
    yield (
        f'<text transform="translate(16 {middle}) rotate(-90)" text-anchor="middle">'
        f"{escape(gain)}</text>"
    )


def _front(front: Results, x: _Side, y: _Side, gain: str, cost: str) -> Iterable[str]:
    if not len(front):
        return
    corners = [
        (x.at(c), y.at(g))
        for c, g in zip(front.numbers(cost), front.numbers(gain), strict=True)
        if np.isfinite(c) and np.isfinite(g)
    ]
    if not corners:
        return
    steps = "".join(f"H{cx:.1f}V{cy:.1f}" for cx, cy in corners[1:])
    yield (
        f'<path d="M{corners[0][0]:.1f} {corners[0][1]:.1f}{steps}" fill="none" '
        'stroke="#222" stroke-width="1.5"/>'
    )


def _legend(colour: dict[str, str], by: str) -> Iterable[str]:
    if set(colour) == {""}:
        return
    yield f'<text x="{_RIGHT + 20}" y="{_TOP + 10}" font-weight="600">{escape(by)}</text>'
    for i, (group, fill) in enumerate(colour.items()):
        at = _TOP + 32 + 20 * i
        yield f'<circle cx="{_RIGHT + 26}" cy="{at - 4}" r="5" fill="{fill}"/>'
        yield f'<text x="{_RIGHT + 38}" y="{at}">{escape(group)}</text>'


# The tables.


def _widths(front: Results, gain: str, cost: str) -> str:
    """The widths of every layer along the front, where evaluate gave columns `bits.LAYER`."""
    names = [name for name in front.columns if name.startswith("bits.")]
    if not names:
        return ""
    widest = max((v or 0 for name in names for v in front.columns[name]), default=0)
    head = _cells("th", ["point", gain, cost, *(n.removeprefix("bits.") for n in names)])
    rows = []
    for record in front:
        shown = [_name(record), record.values.get(gain), record.values.get(cost)]
        bits = "".join(_shaded(record.values.get(name), widest) for name in names)
        rows.append(f"<tr>{_cells('td', shown)}{bits}</tr>")
    return (
        "<h2>Widths along the Pareto front</h2>"
        '<p class="note">Accumulator bits of every layer, the darker the wider.</p>'
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _shaded(bits: Any, widest: Any) -> str:
    if bits is None:
        return "<td></td>"
    part = bits / widest if widest else 0
    colour = "#fff" if part > 0.6 else "#222"
    return f'<td style="background:rgba(0,114,178,{part:.2f});color:{colour}">{text(bits)}</td>'


def _points(results: Results, front: Results) -> str:
    names = list(results.columns)
    if not len(results.failures):
        names.remove("sweep.failure")
    worded = [any(isinstance(v, str) for v in results.columns[name]) for name in names]
    head = "".join(
        f'<th{" class=text" if t else ""}><button type="button">{escape(name)}</button></th>'
        for name, t in zip(names, worded, strict=True)
    )
    best = {record.key for record in front}
    rows = []
    for i, record in enumerate(results):
        marked = ' class="front"' if record.key in best else ""
        values = _cells("td", [_readable(name, results.columns[name][i]) for name in names])
        rows.append(f"<tr{marked}>{values}</tr>")
    return (
        f'<table id="points"><thead><tr>{head}</tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


@dataclass(frozen=True)
class _Bytes:
    """A number of bytes, shown in the unit that suits it and sorted as it is."""

    count: float

    def __str__(self) -> str:
        return size(self.count)


def _readable(name: str, value: Any) -> Any:
    return _Bytes(value) if name.endswith("_bytes") and isinstance(value, int | float) else value


def _cells(tag: str, values: Sequence[Any]) -> str:
    return "".join(
        f'<{tag} class="text">{escape(v)}</{tag}>'
        if isinstance(v, str)
        else f"<{tag}{_data(v)}>{escape(text(v))}</{tag}>"
        for v in values
    )


def _data(value: Any) -> str:
    """The full number beside what is shown of it, for sorting."""
    if isinstance(value, _Bytes):
        value = value.count
    elif not isinstance(value, float):
        return ""
    return f' data-value="{value!r}"'


def _failures(failures: Results) -> str:
    if not len(failures):
        return ""
    parts = [f"<h2>{len(failures)} failures</h2>"]
    for record in failures:
        failure = record.outcome.failure
        assert failure is not None
        parts.append(
            f"<details><summary>{escape(_name(record))}: {escape(failure.type)}: "
            f"{escape(failure.message)}</summary><pre>{escape(failure.traceback)}</pre></details>"
        )
    return "".join(parts)
