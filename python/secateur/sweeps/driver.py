"""The driver: draws points, keeps the workers busy, writes down what comes back."""

from __future__ import annotations

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from concurrent.futures import BrokenExecutor, Future
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from secateur.errors import JournalWriteError, ResultError, SendError, WorkerError
from secateur.sweeps.attempt import Evaluate
from secateur.sweeps.events import Event
from secateur.sweeps.log import Log
from secateur.sweeps.points import Plain, Point, identity, plain
from secateur.sweeps.provenance import outdated, provenance
from secateur.sweeps.records import Failure, Outcome, Record
from secateur.sweeps.suggestions import Suggestions
from secateur.sweeps.workers import Workers


@dataclass(frozen=True)
class _Draw:
    """A point on its way to becoming a record."""

    point: Point
    index: int
    key: str
    content: Plain
    provenance: Mapping[str, str]

    def record(self, outcome: Outcome) -> Record:
        return Record(self.index, self.key, self.content, self.provenance, outcome)


class Driver:
    """One run of a sweep: what is in flight, and how far it has come.

    Args:
        points: drawn as fast as they are evaluated.
        evaluate: point ↦ mapping of names to numbers and strings.
        workers: where it is evaluated.
        log: what knows the points of earlier runs and keeps those of this one.
        tell: called after every settled point.
        retry_failed: evaluate the failures of earlier runs again.
    """

    def __init__(
        self,
        points: Iterable[Point],
        evaluate: Evaluate,
        workers: Workers,
        log: Log,
        tell: Callable[[Event], None],
        retry_failed: bool,
    ) -> None:
        self._points = points
        self._evaluate = evaluate
        self._workers = workers
        self._log = log
        self._tell = tell
        self._retry_failed = retry_failed
        self._window = workers.window
        if isinstance(points, Suggestions):
            self._window = min(points.ahead, self._window)
        self._total = len(points) if isinstance(points, Sized) else None
        self._draws = self._draw()
        self._in_flight: dict[Future[Any], _Draw] = {}
        # Keys of the points that are drawn and not settled: equal points wait for one result.
        self._drawn: set[str] = set()
        self._done: SimpleQueue[Future[Any]] = SimpleQueue()
        # Points that were in flight when a worker died. Which of them killed it is found by
        # evaluating each alone: `_alone` is the one that is on its own now.
        self._suspects: deque[_Draw] = deque()
        self._alone: _Draw | None = None
        self.succeeded = self.failed = self.found = 0

    def run(self) -> None:
        """Evaluate every point; where anything is raised, first keep what has come back."""
        try:
            self._fill()
            while self._in_flight:
                self._collect(self._done.get())
                self._fill()
        except JournalWriteError:
            self._cancel()
            raise
        except BaseException:
            self._cancel()
            self._keep_what_came_back()
            raise

    def _draw(self) -> Iterator[_Draw]:
        """Yield the points that have to be evaluated, settling those that are known."""
        for index, point in enumerate(self._points):
            content = plain(point)
            depends_on = provenance(content)
            key = identity(content)
            known = self._log.find(key)
            if known is not None and (
                outdated(known, depends_on) or (known.failed and self._retry_failed)
            ):
                known = None
            if known is not None:
                self.found += 1
                self._tell_of(known, skipped=True)
            elif key not in self._drawn:
                self._drawn.add(key)
                yield _Draw(point, index, key, content, depends_on)

    def _fill(self) -> None:
        """Submit points until the window is full or none is left."""
        while len(self._in_flight) < (1 if self._suspects or self._alone else self._window):
            if self._suspects:
                self._alone = draw = self._suspects.popleft()
            elif (drawn := next(self._draws, None)) is not None:
                draw = drawn
            else:
                return
            self._submit(draw)

    def _submit(self, draw: _Draw) -> None:
        try:
            future = self._workers.submit(self._evaluate, draw.point)
        except BrokenExecutor:
            # The point has not run: that it is on its own proves nothing against it.
            self._alone = None
            self._replace_workers([draw])
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise _unsendable(draw, error) from error
        except RuntimeError as error:
            raise WorkerError(
                f"the executor takes no more points ({error}); give one that is alive",
                in_flight=len(self._in_flight),
            ) from error
        else:
            self._in_flight[future] = draw
            future.add_done_callback(self._done.put)

    def _collect(self, future: Future[Any]) -> None:
        """Settle the point of a future that is done."""
        draw = self._in_flight.pop(future)
        if future.cancelled():
            raise WorkerError(
                "the executor was shut down from elsewhere; run the same sweep again on one "
                "that stays alive",
                in_flight=len(self._in_flight) + 1,
            )
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            self._replace_workers([draw])
        elif isinstance(error, pickle.PicklingError | TypeError | AttributeError):
            raise _unsendable(draw, error) from error
        elif error is not None:
            self._settle(draw, Outcome({}, 0.0, Failure(type(error).__name__, str(error))))
        else:
            self._settle(draw, future.result())

    def _settle(self, draw: _Draw, outcome: Outcome | ResultError) -> None:
        if isinstance(outcome, ResultError):
            raise outcome
        if draw is self._alone:
            self._alone = None
        record = draw.record(outcome)
        self._log.append(record)
        self._drawn.discard(draw.key)
        if record.failed:
            self.failed += 1
        else:
            self.succeeded += 1
        self._tell_of(record, skipped=False)

    def _tell_of(self, record: Record, skipped: bool) -> None:
        event = Event(record, skipped, self.succeeded, self.failed, self.found, self._total)
        if isinstance(self._points, Suggestions):
            self._points.tell(event)
        self._tell(event)

    def _replace_workers(self, lost: list[_Draw]) -> None:
        """Replace workers that died; every point that was in flight becomes a suspect."""
        self._workers.restart(self._evaluate)
        while self._in_flight:
            future = self._done.get()
            if future.cancelled() or isinstance(future.exception(), BrokenExecutor):
                lost.append(self._in_flight.pop(future))
            else:
                self._collect(future)
        if self._alone is None:
            self._suspects.extend(sorted(lost, key=lambda draw: draw.index))
        else:
            failure = Failure(
                "WorkerDied",
                "the worker process died while it evaluated this point alone "
                "(killed, out of memory, or crashed)",
            )
            self._settle(self._alone, Outcome({}, 0.0, failure))

    def _cancel(self) -> None:
        for future in self._in_flight:
            future.cancel()

    def _keep_what_came_back(self) -> None:
        while not self._done.empty():
            future = self._done.get()
            draw = self._in_flight.pop(future, None)
            if draw is None or future.cancelled() or future.exception() is not None:
                continue
            outcome = future.result()
            if isinstance(outcome, Outcome):
                self._log.append(draw.record(outcome))


def _unsendable(draw: _Draw, error: BaseException) -> SendError:
    return SendError(
        f"point {draw.point!r} cannot be evaluated by a worker process: {error}; both the "
        "point and evaluate have to be picklable, evaluate defined at the top level of a "
        "module that the workers can import",
        point=draw.point,
    )
