"""Tables: rows below a heading, as text for a terminal, as HTML for a notebook, as files."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from secateur.extras import needed_for

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped]


class Displayed:
    """What is looked at as lines and tables: text on a terminal, HTML in a notebook.

    Example:
        >>> class Bill(Displayed):
        ...     def display(self):
        ...         return Table(("what", "bits"), [("fc", 4)]), "4 bits in all"
        >>> print(Bill())
        what  bits
        fc    4
        4 bits in all
    """

    __slots__ = ()

    def display(self) -> Iterable[Table | str]:
        """Return what it shows, from top to bottom."""
        raise NotImplementedError

    def __str__(self) -> str:
        lines = (line for part in self.display() for line in str(part).split("\n"))
        return "\n".join(map(printable, lines))

    def _repr_html_(self) -> str:
        from html import escape

        return "".join(
            part.html() if isinstance(part, Table) else f"<pre>{escape(part)}</pre>"
            for part in self.display()
        )


class Tabular:
    """What has a table can be looked at in a notebook, and exported."""

    __slots__ = ()

    def table(self) -> Table:
        """Return the table."""
        raise NotImplementedError

    def to_pandas(self) -> pandas.DataFrame:
        """Return the table as a data frame.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        table = self.table()
        with needed_for("a data frame"):
            import pandas
        return pandas.DataFrame([list(row) for row in table.rows], columns=list(table.heading))

    def to_csv(self, path: str | os.PathLike[str]) -> None:
        """Write the table as CSV, UTF-8, with its heading; what is not known is left empty.

        Raises:
            OSError: the file cannot be written.
        """
        import csv

        table = self.table()
        with open(path, "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([table.heading, *table.rows])

    def to_json(self) -> str:
        """Return the table as JSON: a list of one object per row."""
        table = self.table()
        return to_json([dict(zip(table.heading, row, strict=True)) for row in table.rows])

    def _repr_html_(self) -> str:
        return self.table().html()


@dataclass(frozen=True)
class Table(Tabular):
    """Rows of values below a heading.

    Args:
        heading: one name per column.
        rows: one value per column each; None is left blank.

    Example:
        >>> table = Table(("layer", "bits", "of all"), [("fc", 4, 1 / 3), ("head", None, 1.5e9)])
        >>> print(table)
        layer  bits  of all
        fc     4     0.3333
        head         1.5e9
        >>> print(table.to_json())
        [{"layer": "fc", "bits": 4, "of all": 0.3333333333333333},
         {"layer": "head", "bits": null, "of all": 1500000000.0}]
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, heading: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Table:
        """Return the table of mappings from column to value; what one lacks is left blank."""
        return cls(heading, [[row.get(name) for name in heading] for row in rows])

    def table(self) -> Table:
        """Return the table itself."""
        return self

    def __str__(self) -> str:
        lines = [[text(value) for value in line] for line in (self.heading, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def html(self) -> str:
        """Return the table as HTML."""
        from html import escape

        def line(tag: str, values: Sequence[Any]) -> str:
            cells = "".join(f"<{tag}>{escape(text(value))}</{tag}>" for value in values)
            return f"<tr>{cells}</tr>"

        body = "".join(line("td", row) for row in self.rows)
        return f"<table><thead>{line('th', self.heading)}</thead><tbody>{body}</tbody></table>"


def text(value: Any) -> str:
    """Return a float in four digits, anything else as it is but printable, nothing for None.

    >>> text(1.5e9), text(0.97222), text(3), text(None)
    ('1.5e9', '0.9722', '3', '')
    """
    if value is None:
        return ""
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}".replace("e+0", "e").replace("e+", "e").replace("e-0", "e-")
    return printable(str(value))


def printable(given: str) -> str:
    r"""Return `given` with its control characters written out, which a terminal would obey.

    >>> printable("a name\x1b[2J")
    'a name\\x1b[2J'
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in given)


def size(count: float) -> str:
    """Return a number of bytes in the unit that suits it.

    >>> size(512), size(68_157_440)
    ('512 B', '65 MiB')
    """
    power = 0
    while abs(count) >= 1024 and power < 4:
        count /= 1024
        power += 1
    return f"{count:.3g} {('B', 'KiB', 'MiB', 'GiB', 'TiB')[power]}"


def to_json(value: Any) -> str:
    """Return `value` as JSON: NumPy's values as Python's, null for what JSON has no number for."""
    import json

    if isinstance(value, list) and value:
        return "[" + ",\n ".join(to_json(item) for item in value) + "]"
    return json.dumps(plain(value), allow_nan=False)


def plain(value: Any) -> Any:
    """Return `value` of what JSON can hold; what it cannot becomes a string, NaN becomes None."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
