"""What a sweep tells its caller, or a terminal, while it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter

from secateur.show.progress import on_terminal, progress
from secateur.sweeps.events import Event

Tell = Callable[[Event], None]


@contextmanager
def watch(on_event: Tell | None) -> Iterator[Tell]:
    """Yield what to tell events: `on_event`, or a progress bar on a terminal."""
    if on_event is not None or not on_terminal():
        yield on_event or _silent
        return
    best, start = Best(), perf_counter()
    with progress("sweep") as tell:

        def show(event: Event) -> None:
            rate = (event.succeeded + event.failed) / (perf_counter() - start)
            note = f"{rate:.3g}/s, {event.failed} failed  {best.after(event)}"
            tell(event.settled, event.total, note)

        yield show


def _silent(event: Event) -> None:
    pass


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
