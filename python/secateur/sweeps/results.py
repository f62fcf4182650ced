"""Results of a sweep: every point with what came of it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import ColumnError
from secateur.extras import needed_for
from secateur.show.tables import Table, Tabular
from secateur.sweeps.journal import Recorded
from secateur.sweeps.pareto import front
from secateur.sweeps.records import Record

_COLUMN_KINDS: tuple[Any, ...] = (bool, int | float, str)


@dataclass(frozen=True)
class Latest:
    """The last record of every point, in the order of the points, of records as written."""

    written: Iterable[Record]

    def __iter__(self) -> Iterator[Record]:
        last = {record.key: record for record in self.written}
        return iter(sorted(last.values(), key=lambda record: record.index))


@dataclass(frozen=True, eq=False)
class Results(Tabular):
    """What came of the points of a sweep, one record per point.

    Args:
        source: the records in their order; read when they are first asked for.

    Example:
        >>> from secateur.sweeps import grid, sweep
        >>> results = sweep(grid(n=[1, 2]), lambda point: {"square": point["n"] ** 2})
        >>> len(results), results.numbers("square"), results.best("square").point
        (2, array([1., 4.]), {'n': 2})
    """

    source: Iterable[Record]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Results:
        """Return the results in a journal: also of an older release, also one still growing.

        Raises:
            OSError: it cannot be read.
            FileFormatError, FileVersionError: it is no journal, or newer than this library.
            JournalError: a line of it is damaged.
        """
        return cls(tuple(Latest(Recorded(path))))

    @cached_property
    def records(self) -> tuple[Record, ...]:
        """The records in their order."""
        return tuple(self.source)

    def __len__(self) -> int:
        return len(self.records)

    def __str__(self) -> str:
        return str(self.table())

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    @property
    def failures(self) -> Results:
        """The points that failed."""
        return Results(tuple(r for r in self if r.failed))

    @cached_property
    def columns(self) -> Mapping[str, list[Any]]:
        """Name → one entry per record, None where it has none.

        The fields of the points come first, then what evaluate gave, then
        `sweep.wall_s` (seconds that evaluating took) and `sweep.failure` (why there is
        no result).
        """
        rows = [{**r.point, **r.values} for r in self]
        fields = dict.fromkeys(name for r in self for name in r.point)
        names = fields | dict.fromkeys(name for r in self for name in r.values)
        columns: dict[str, list[Any]] = {name: [row.get(name) for row in rows] for name in names}
        columns["sweep.wall_s"] = [r.outcome.wall_s for r in self]
        columns["sweep.failure"] = [
            f"{r.outcome.failure.type}: {r.outcome.failure.message}" if r.outcome.failure else None
            for r in self
        ]
        return columns

    def numbers(self, name: str) -> NDArray[np.float64]:
        """Return a column as float64 [records], NaN where a record has no entry.

        Raises:
            ColumnError: there is no such column, or it holds something else than numbers.
        """
        if name not in self.columns:
            raise ColumnError(
                f"the results have no column {name!r}; there are {', '.join(self.columns)}",
                name=name,
                known=tuple(self.columns),
            )
        column = self.columns[name]
        for value in column:
            if not isinstance(value, float | int | None):
                raise ColumnError(f"column {name!r} holds {value!r}, which is no number", name=name)
        return np.array([np.nan if v is None else v for v in column], dtype=np.float64)

    def pareto(self, gain: str, cost: str, *, floor: float | None = None) -> Results:
        """Return the points that no other beats in both respects, the cheapest first.

        Args:
            gain: column that is better where greater, such as "accuracy".
            cost: column that is better where less, such as "complexity".
            floor: the least gain that counts; a network that learned nothing is cheap.

        Raises:
            ColumnError: no such column, or no numbers in it.
        """
        gains, costs = self.numbers(gain), self.numbers(cost)
        if floor is not None:
            gains = np.where(gains >= floor, gains, np.nan)
        on = np.flatnonzero(front(gains, costs))
        cheapest_first = on[np.argsort(costs[on], kind="stable")]
        return Results(tuple(self.records[i] for i in cheapest_first))

    def best(self, gain: str, *, at_most: Mapping[str, float] | None = None) -> Record:
        """Return the record with the greatest `gain`, the first of several.

        Args:
            gain: column that is better where greater.
            at_most: column → greatest value permitted, such as {"complexity": 1e9}.

        Raises:
            ColumnError: no such column, no numbers in it, or no record within the limits.
        """
        within = ~np.isnan(self.numbers(gain))
        for name, limit in (at_most or {}).items():
            within &= self.numbers(name) <= limit
        if not within.any():
            raise ColumnError(
                f"none of {len(self)} points has {gain!r} within {dict(at_most or {})}", name=gain
            )
        return self.records[int(np.argmax(np.where(within, self.numbers(gain), -np.inf)))]

    def table(self) -> Table:
        """Return the columns as a table, one row per point."""
        columns = self.columns
        return Table(tuple(columns), list(zip(*columns.values(), strict=True)))

    def to_parquet(self, path: str | os.PathLike[str]) -> None:
        """Write the columns to a Parquet file; those of several kinds of value as JSON text.

        Raises:
            MissingExtraError: pandas or pyarrow is not installed.
        """
        frame = self.to_pandas()
        for name, column in self.columns.items():
            if not any(all(isinstance(v, kind | None) for v in column) for kind in _COLUMN_KINDS):
                frame[name] = [json.dumps(v) for v in column]
        with needed_for("Parquet"):
            import pyarrow  # noqa: F401
        frame.to_parquet(path, engine="pyarrow", index=False)
