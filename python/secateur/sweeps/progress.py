"""Progress of a sweep, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from secateur.sweeps.events import Event

Tell = Callable[[Event], None]


@contextmanager
def watch(on_event: Tell | None) -> Iterator[Tell]:
    """Yield what to tell events: `on_event`, or a progress bar on stderr.

    The bar needs a terminal and rich; without one of them nobody is told.
    """
    if on_event is not None:
        yield on_event
    elif not sys.stderr.isatty():
        yield _silent
    else:
        try:
            import rich  # noqa: F401
        except ImportError:
            yield _silent
        else:
            with _bar() as tell:
                yield tell


def _silent(event: Event) -> None:
    pass


@contextmanager
def _bar() -> Iterator[Tell]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[rate]:.3g}/s"),
        TextColumn("[red]{task.fields[failed]} failed"),
        TextColumn("{task.fields[best]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("", total=None, rate=0.0, failed=0, best="")
        best = Best()

        def tell(event: Event) -> None:
            elapsed_s = progress.tasks[0].elapsed or 1.0
            progress.update(
                task,
                completed=event.settled,
                total=event.total,
                rate=(event.succeeded + event.failed) / elapsed_s,
                failed=event.failed,
                best=best.after(event),
            )

        yield tell


class Best:
    """The best point so far: the most accurate, or the greatest in the first number given."""

    def __init__(self) -> None:
        self._value = float("-inf")
        self._text = ""

    def after(self, event: Event) -> str:
        """Return what to show of the best point, `event`'s taken into account."""
        values = event.record.values
        name = "accuracy" if "accuracy" in values else next(iter(values), "")
        value = values.get(name)
        if isinstance(value, int | float) and value > self._value:
            point = " ".join(f"{k}={v}" for k, v in event.record.point.items())
            self._value, self._text = value, f"best {name} {value:.4g} at {point}"
        return self._text
