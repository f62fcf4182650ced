"""Events: what a sweep tells its caller while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from secateur.sweeps.records import Record


@dataclass(frozen=True)
class Event:
    """One point is settled: evaluated now, or found in the journal.

    Args:
        record: what is known of the point.
        skipped: True where the journal had it already.
        succeeded, failed: how many points of this run have been evaluated, with which end.
        found: how many the journal had.
        total: how many points there are; None where they are not counted beforehand.

    Example:
        >>> from secateur.sweeps import grid, sweep
        >>> def tell(event):
        ...     print(event.record.point, event.succeeded, "of", event.total)
        >>> results = sweep(grid(n=[1, 2]), lambda p: {"square": p["n"] ** 2}, on_event=tell)
        {'n': 1} 1 of 2
        {'n': 2} 2 of 2
    """

    record: Record
    skipped: bool
    succeeded: int
    failed: int
    found: int
    total: int | None

    @property
    def settled(self) -> int:
        """How many points are settled so far."""
        return self.succeeded + self.failed + self.found
