"""A sweep in one call."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Executor
from contextlib import closing

from secateur.sweeps.attempt import Evaluate
from secateur.sweeps.driver import Driver
from secateur.sweeps.events import Event
from secateur.sweeps.journal import Journal, Recorded
from secateur.sweeps.log import Memory
from secateur.sweeps.points import Grid, Point, plain
from secateur.sweeps.provenance import fingerprint, provenance
from secateur.sweeps.results import Latest, Results
from secateur.sweeps.watch import watch
from secateur.sweeps.workers import check_sendable, open_workers


def sweep(
    points: Iterable[Point],
    evaluate: Evaluate,
    *,
    executor: Executor | int | None = None,
    journal: str | os.PathLike[str] | None = None,
    on_event: Callable[[Event], None] | None = None,
    retry_failed: bool = False,
) -> Results:
    """Return what `evaluate` gives for every point; a point that fails becomes a record too.

    With a journal the sweep may be stopped at any moment and run again: what the journal
    holds is not evaluated a second time, and memory does not grow with the number of points.
    The results are then those of every point in the journal, also of earlier runs.

    Args:
        points: from `grid`; from any iterable of mappings or frozen dataclasses, drawn only
            as fast as they are evaluated; or from `suggest`. A field `strategy` that is a
            string names a registered strategy.
        evaluate: point ↦ mapping of names to numbers and strings; takes each point as it was
            drawn. Where it has a method `check`, that takes a point and raises what is wrong
            with it, also before anything runs.
        executor: None, in this process; an int, that many processes of the sweep's own,
            replaced when one dies; or any `concurrent.futures.Executor`, used as it is and
            left alive.
        journal: path of the file that keeps every result; None keeps them in memory.
        on_event: called after every settled point; None shows progress on a terminal.
        retry_failed: evaluate again the points that failed in an earlier run.

    Raises:
        PointError, UnknownStrategyError: a point without an identity, or with a strategy that
            nobody knows; before anything runs, unless `points` can be drawn only once.
        SendError: `evaluate` or a point that cannot go to a worker.
        ResultError: `evaluate` gave something else than a mapping of numbers and strings.
        WorkerError: the executor broke or was shut down, or its workers cannot start.
        JournalError, JournalLockedError, JournalWriteError, FileFormatError, FileVersionError:
            see `Journal`.
        KeyboardInterrupt: on Ctrl-C; its message tells how to go on.

    Example:
        >>> from secateur.sweeps.points import grid
        >>> def area(point):
        ...     return {"area": point["width"] * point["height"]}
        >>> results = sweep(grid(width=[1, 2], height=[3, 4]), area)
        >>> results.best("area").point
        {'width': 2, 'height': 4}
    """
    check = getattr(evaluate, "check", None)
    for point in _previews(points):
        provenance(plain(point))
        if check is not None:
            check(point)
    check_sendable(evaluate, executor)
    log = Memory() if journal is None else Journal(journal, fingerprint(evaluate))
    with closing(log), watch(on_event) as tell, open_workers(executor) as workers:
        driver = Driver(points, evaluate, workers, log, tell, retry_failed)
        try:
            driver.run()
        except KeyboardInterrupt:
            raise KeyboardInterrupt(_how_to_go_on(driver, journal)) from None
    return Results(Latest(log.records if isinstance(log, Memory) else Recorded(log.path)))


def _previews(points: Iterable[Point]) -> Iterable[Point]:
    """Yield points to look at before any runs; none where `points` can be drawn only once.

    Of a grid those that hold every value of every axis together with every strategy.
    """
    if not isinstance(points, Grid):
        return points if isinstance(points, Collection) else ()
    if not all(points.axes.values()):
        return ()
    first = {name: values[0] for name, values in points.axes.items()}
    strategies = points.axes.get("strategy", ())
    bases = [first | {"strategy": strategy} for strategy in strategies] or [first]
    return (
        base | {name: value}
        for base in bases
        for name, values in points.axes.items()
        for value in values
    )


def _how_to_go_on(driver: Driver, journal: str | os.PathLike[str] | None) -> str:
    evaluated = driver.succeeded + driver.failed
    if journal is None:
        return f"stopped after {evaluated} points, which are lost; a journal would keep them"
    return (
        f"stopped after {evaluated} points, which are kept in {os.fspath(journal)}; "
        "run the same sweep again to go on"
    )
