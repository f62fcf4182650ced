"""Progress: one line on the terminal while something takes its time.

Nothing is drawn where stderr is no terminal, without rich, or while another line is drawn: of
nested progress the outermost shows.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

Item = TypeVar("Item")

_TERMINAL = threading.Lock()


class Tell(Protocol):
    """What to tell how far it has come."""

    def __call__(self, done: int, total: int | None = None, note: str = "") -> None:
        """Show that `done` of `total` are done; None leaves the total as it was."""


def on_terminal() -> bool:
    """Return whether stderr is a terminal, where progress may be drawn."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def progress(what: str, total: int | None = None, *, shown: bool = True) -> Iterator[Tell]:
    """Yield what to tell the progress of `what`, which is drawn as a bar.

    Args:
        what: in a few words.
        total: how many there are to do; None where that is not known.
        shown: False draws nothing.
    """
    with _line(what, total, shown, counted=True) as tell:
        yield tell


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show `what` and the time that it takes, where nothing can be counted."""
    with _line(what, None, True, counted=False):
        yield


def track(what: str, items: Collection[Item]) -> Iterator[Item]:
    """Yield `items`; of more than one the progress is shown."""
    with progress(what, len(items), shown=len(items) > 1) as tell:
        for done, item in enumerate(items, start=1):
            yield item
            tell(done)


@contextmanager
def _line(what: str, total: int | None, shown: bool, counted: bool) -> Iterator[Tell]:
    display = _display(counted) if shown and on_terminal() else None
    if display is None or not _TERMINAL.acquire(blocking=False):
        yield _silent
        return
    try:
        with display:
            task = display.add_task(what, total=total, note="")

            def tell(done: int, total: int | None = None, note: str = "") -> None:
                display.update(task, completed=done, total=total, note=note)

            yield tell
    finally:
        _TERMINAL.release()


def _silent(done: int, total: int | None = None, note: str = "") -> None:
    pass


def _display(counted: bool) -> Any:
    try:
        from rich import progress as rich
        from rich.console import Console
    except ImportError:
        return None
    columns: list[Any] = [rich.TextColumn("{task.description}", markup=False)]
    if counted:
        columns += [rich.BarColumn(), rich.MofNCompleteColumn(), rich.TimeRemainingColumn()]
    else:
        columns += [rich.SpinnerColumn(), rich.TimeElapsedColumn()]
    columns.append(rich.TextColumn("{task.fields[note]}", markup=False))
    return rich.Progress(*columns, console=Console(stderr=True))
