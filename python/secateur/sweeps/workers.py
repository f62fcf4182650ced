"""Workers: where points are evaluated, whatever executor the caller has."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Protocol

from secateur.errors import ArgumentError, SendError, WorkerError
from secateur.sweeps.attempt import Evaluate, attempt
from secateur.sweeps.points import Point

#: Points in flight on an executor that does not say how many workers it has.
_WINDOW = 4096


class Workers(Protocol):
    """What evaluates points: submits them, a bounded number at a time."""

    @property
    def window(self) -> int:
        """How many points to keep in flight."""

    def submit(self, evaluate: Evaluate, point: Point) -> Future[Any]:
        """Return the future of `attempt(evaluate, point)`."""

    def restart(self, evaluate: Evaluate) -> None:
        """Replace workers that died, or raise WorkerError where that is not ours to do."""


@contextmanager
def open_workers(executor: Executor | int | None) -> Iterator[Workers]:
    """Yield the workers that `executor` stands for; an executor is never shut down.

    Args:
        executor: None for this process; a number of processes, ended afterwards; or any
            executor.
    """
    if executor is None:
        yield _Here()
    elif isinstance(executor, int):
        pool = _Pool(executor)
        try:
            yield pool
        except BaseException:
            pool.kill()
            raise
        pool.close()
    elif isinstance(executor, Executor):
        yield _Foreign(executor)
    else:
        raise TypeError(
            f"executor is {executor!r}; give None, a number of processes, or a "
            "concurrent.futures.Executor (for dask: client.get_executor())"
        )


class _Here:
    """Evaluates in this process, at once."""

    window = 1

    def submit(self, evaluate: Evaluate, point: Point) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(attempt(evaluate, point))
        return future

    def restart(self, evaluate: Evaluate) -> None:
        raise AssertionError("there is no worker that could die without this process")


class _Foreign:
    """Evaluates on the caller's executor."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        # Thread and process pools, loky's too, keep their number there.
        self.window = 2 * getattr(executor, "_max_workers", _WINDOW // 2)

    def submit(self, evaluate: Evaluate, point: Point) -> Future[Any]:
        return self._executor.submit(attempt, evaluate, point)

    def restart(self, evaluate: Evaluate) -> None:
        raise WorkerError(
            f"a worker of {type(self._executor).__name__} died and took the executor with it "
            "(killed, or out of memory): make a new executor and run the same sweep again; "
            "a number as executor replaces dead workers by itself",
            executor=type(self._executor).__name__,
        )


class _Pool:
    """Evaluates in processes of our own, started afresh where one of them dies.

    Each worker waits on the far end of a pipe whose near end only this process holds, and
    exits when that closes: nothing of a killed or interrupted sweep lives on.
    """

    def __init__(self, processes: int) -> None:
        if processes < 1:
            raise ArgumentError(
                f"executor is {processes}; a pool has at least one process",
                argument="executor",
                value=processes,
                expected="at least 1",
            )
        self.processes = processes
        self.window = 2 * processes
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        far, self._near = context.Pipe(duplex=False)
        self._executor = ProcessPoolExecutor(
            self.processes, context, initializer=_tie_to_driver, initargs=(far,)
        )

    def submit(self, evaluate: Evaluate, point: Point) -> Future[Any]:
        with _ctrl_c_held_back():
            return self._executor.submit(attempt, evaluate, point)

    def restart(self, evaluate: Evaluate) -> None:
        self.kill()
        self._start()
        try:
            with _ctrl_c_held_back():
                loaded = self._executor.submit(_load, evaluate)
            loaded.result()
        except BrokenExecutor:
            raise WorkerError(
                f"no worker process can start and load {evaluate!r}: keep the call of sweep "
                'under `if __name__ == "__main__":`, and evaluate in a module that can be '
                "imported (see the workers' messages above)",
                executor=f"{self.processes} processes",
            ) from None

    def kill(self) -> None:
        """End the workers at once, whatever they are doing."""
        self._near.close()
        with _ctrl_c_held_back():
            self._executor.shutdown(cancel_futures=True)

    def close(self) -> None:
        """End the workers, which have nothing left to do."""
        # Interrupted while it joins the pool's thread, the interpreter would never exit.
        with _ctrl_c_held_back():
            self._executor.shutdown()
        self._near.close()


@contextmanager
def _ctrl_c_held_back() -> Iterator[None]:
    """Block Ctrl-C for a moment; processes that start inside stay blocked until they are ready."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _tie_to_driver(far: Connection) -> None:
    # Ctrl-C reaches every process of the terminal; the driver alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_exit_with, args=(far,), daemon=True).start()


def _exit_with(far: Connection) -> None:
    far.poll(None)
    os._exit(1)


def _load(evaluate: Evaluate) -> None:
    """Do nothing, once `evaluate` has been read by the worker."""


def check_sendable(evaluate: Evaluate, executor: Executor | int | None) -> None:
    """Raise unless `evaluate` can be sent to the processes that `executor` stands for.

    Only plain pickling is checked, which processes of the standard library need; loky and
    dask send more.

    Raises:
        SendError: it cannot.
    """
    if isinstance(executor, int) or type(executor) is ProcessPoolExecutor:
        try:
            pickle.dumps(evaluate)
        except Exception as error:
            raise SendError(
                f"evaluate {evaluate!r} cannot be sent to a worker process ({error}); define "
                "it at the top level of a module, and give it what it needs through the "
                "point or functools.partial",
                evaluate=repr(evaluate),
            ) from error
