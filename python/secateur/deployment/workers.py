"""Workers: processes in which the backend runs, so that bytes can end them but not the server.

A worker that dies takes one request with it, and another takes its place. The request is
tried once more, since whoever stops a worker does not mean it; one that ends two is the cause.
"""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any

from pebble import ProcessExpired, ProcessPool

from secateur.deployment.server import EvaluationKeys, Server
from secateur.errors import WorkerDiedError, WorkerTimeoutError


class Workers:
    """A pool of processes that each have the circuit.

    Args:
        directory: the server part of a saved circuit.
        count: how many.
        timeout_s: seconds that one request may take.
        resident_keys: how many clients' evaluation keys a worker keeps in memory.
        deaths: called for every worker that died or was too slow.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        timeout_s: float,
        resident_keys: int,
        deaths: Callable[[], None],
    ) -> None:
        self.timeout_s = timeout_s
        self._deaths = deaths
        self._pool: Any = ProcessPool(
            max_workers=count,
            initializer=_start,
            initargs=(str(directory), resident_keys),
            # What forks a process that serves would take its sockets along.
            context=multiprocessing.get_context("spawn"),
        )

    async def run(self, message: bytes, path: Path, id: str) -> bytes:
        """Return the encrypted result of a message, with the keys in the file at `path`.

        Raises:
            MessageError, MismatchError, ForeignKeysError: see `Server.run`.
            WorkerDiedError: two workers ended over it.
            WorkerTimeoutError: it took too long.
        """
        result: bytes = await self._do(_run, message, str(path), id)
        return result

    async def check(self, path: Path, id: str) -> None:
        """Let a worker read the keys in the file at `path`; raises what `run` does."""
        await self._do(_check, str(path), id)

    def stop(self) -> None:
        """End all workers, in the middle of what they do."""
        self._pool.stop()
        self._pool.join()

    async def _do(self, task: Callable[..., Any], *arguments: Any) -> Any:
        for attempt in (1, 2):
            future = self._pool.schedule(task, args=list(arguments), timeout=self.timeout_s)
            try:
                return await asyncio.wrap_future(future)
            except ProcessExpired as death:
                self._deaths()
                if attempt == 2:
                    raise WorkerDiedError(
                        f"two workers ended over this request (exit code {death.exitcode}): "
                        "its bytes are none that a client of ours made",
                        exit_code=death.exitcode,
                    ) from death
            except (FutureTimeoutError, TimeoutError) as slow:
                self._deaths()
                raise WorkerTimeoutError(
                    f"the request took more than {self.timeout_s} seconds",
                    seconds=self.timeout_s,
                ) from slow
        raise AssertionError("unreachable")


class _Resident:
    """What a worker process holds: the circuit, and the keys that it used last."""

    def __init__(self, directory: str, capacity: int) -> None:
        self.server = Server.load(directory)
        self.capacity = capacity
        self.keys: OrderedDict[str, EvaluationKeys] = OrderedDict()

    def keys_of(self, path: str, id: str) -> EvaluationKeys:
        if id not in self.keys:
            while len(self.keys) >= self.capacity:
                self.keys.popitem(last=False)
            self.keys[id] = self.server.keys(Path(path).read_bytes())
        self.keys.move_to_end(id)
        return self.keys[id]


_resident: _Resident | None = None


def _start(directory: str, capacity: int) -> None:
    global _resident
    _resident = _Resident(directory, capacity)


def _here() -> _Resident:
    assert _resident is not None  # the pool starts every process with `_start`
    return _resident


def _run(message: bytes, path: str, id: str) -> bytes:
    return _here().server.run(message, _here().keys_of(path, id))


def _check(path: str, id: str) -> None:
    _here().keys_of(path, id)
