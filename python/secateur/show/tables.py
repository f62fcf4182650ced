"""Tables: rows below a heading, as text for a terminal and as HTML for a notebook."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any


@dataclass(frozen=True)
class Table:
    """Rows of values below a heading.

    Args:
        heading: one name per column.
        rows: one value per column each; None is left blank.

    Example:
        >>> print(Table(("layer", "bits", "of all"), [("fc", 4, 1 / 3), ("head", None, 1.5e9)]))
        layer  bits  of all
        fc     4     0.3333
        head         1.5e9
    """

    heading: Sequence[str]
    rows: Sequence[Sequence[Any]]

    @classmethod
    def of(cls, heading: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Table:
        """Return the table of mappings from column to value; what one lacks is left blank."""
        return cls(heading, [[row.get(name) for name in heading] for row in rows])

    def __str__(self) -> str:
        lines = [[text(value) for value in line] for line in (self.heading, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        )

    def html(self) -> str:
        """Return the table as HTML."""

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
