"""`RESULTS.md`: one file, a marked section for each suite, each rewritten by its own command."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_section(name: str, text: str, path: Path = RESULTS) -> None:
    """Put `text` in the place of section `name` of the file; the rest stays as it is."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, after = path.read_text() if path.exists() else "# Results\n", ""
    if begin in before:
        before, _, rest = before.partition(begin)
        after = rest.partition(end)[2].lstrip("\n")
    section = f"{begin}\n{text.strip()}\n{end}\n"
    path.write_text(before.rstrip("\n") + "\n\n" + section + ("\n" + after if after else ""))
