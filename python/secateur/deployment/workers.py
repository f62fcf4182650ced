"""Workers: processes in which the backend runs, so that bytes can end them but not the server.

A worker that dies takes one request with it, and another takes its place. The request is
tried once more, since whoever stops a worker does not mean it; one that ends two is the cause.
Every worker has a pipe of its own, so that none can hold up another.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import signal
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from secateur.deployment.server import EvaluationKeys, Server
from secateur.errors import WorkerDiedError, WorkerTimeoutError

# What forks a process that serves would take its sockets along.
_SPAWN = multiprocessing.get_context("spawn")

#: How often idle workers are looked after.
_LOOK_S = 0.5


class Workers:
    """Processes that each have the circuit.

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
        self._deaths = deaths
        self._workers = [_Worker(str(directory), resident_keys, timeout_s) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count)
        self._idle: asyncio.LifoQueue[_Worker] = asyncio.LifoQueue()

    async def start(self) -> None:
        """Wait until every worker has compiled the circuit; raises what one of them did."""
        await asyncio.gather(*(self._in_thread(worker.begin) for worker in self._workers))
        for worker in self._workers:
            worker.busy = False
            self._idle.put_nowait(worker)
        self._watching = asyncio.create_task(self._watch())

    async def stop(self) -> None:
        """End all workers, in the middle of what they do."""
        self._watching.cancel()
        for worker in self._workers:
            worker.close()
        await asyncio.to_thread(self._threads.shutdown)

    async def run(self, message: bytes, path: Path, id: str) -> bytes:
        """Return the encrypted result of a message, with the keys in the file at `path`.

        Raises:
            MessageError, MismatchError, ForeignKeysError: see `Server.run`.
            WorkerDiedError: two workers ended over it.
            WorkerTimeoutError: it took too long.
        """
        result: bytes = await self._ask(message, str(path), id)
        return result

    async def check(self, path: Path, id: str) -> None:
        """Let a worker read the keys in the file at `path`; raises what `run` does."""
        await self._ask(None, str(path), id)

    async def _ask(self, *question: Any) -> Any:
        for last in (False, True):
            worker = await self._idle.get()
            try:
                return await self._in_thread(worker.ask, question)
            except WorkerTimeoutError:
                self._deaths()
                raise
            except WorkerDiedError:
                self._deaths()
                if last:
                    raise
            finally:
                self._idle.put_nowait(worker)
        raise AssertionError("unreachable")

    async def _watch(self) -> None:
        """Begin again what died while nobody asked it."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker in self._workers:
                if not worker.busy and not worker.process.is_alive():
                    self._deaths()
                    worker.spawn()

    async def _in_thread(self, task: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, task, *arguments)


class _Worker:
    """One process, or the next one after its end."""

    def __init__(self, directory: str, resident_keys: int, timeout_s: float) -> None:
        self.arguments = directory, resident_keys
        self.timeout_s = timeout_s
        self.busy, self.closed = True, False
        self.spawn()

    def spawn(self) -> None:
        """Begin a process; it has the circuit some time later."""
        self.ready = False
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(theirs, *self.arguments), daemon=True)
        self.process.start()
        theirs.close()

    def begin(self) -> None:
        """Wait until the process has the circuit; raises what hinders it."""
        if not self.ready:
            self._answer(None)  # compiling takes as long as it takes
            self.ready = True

    def ask(self, question: Any) -> Any:
        """Return the process's answer, or raise what it raised."""
        self.busy = True
        try:
            self.begin()
            # What has ended takes no question, and is found to give no answer.
            with contextlib.suppress(OSError):
                self.pipe.send(question)
            return self._answer(self.timeout_s)
        finally:
            self.busy = False

    def end(self) -> None:
        """End the process at once; one that has not started yet has nothing to end."""
        if self.process.pid is not None:
            self.process.kill()
            self.process.join()

    def close(self) -> None:
        """End the process for good."""
        self.closed = True
        self.end()

    def _answer(self, timeout_s: float | None) -> Any:
        try:
            came = self.pipe.poll(timeout_s)
            answer, error = self.pipe.recv() if came else (None, None)
        except (EOFError, OSError) as gone:
            self.process.join(5)
            code = self.process.exitcode
            self._again()
            raise WorkerDiedError(
                f"workers ended over this request (exit code {code}): "
                "its bytes are none that a client of ours made",
                exit_code=code,
            ) from gone
        if not came:
            self._again()
            raise WorkerTimeoutError(
                f"the request took more than {timeout_s} seconds", seconds=timeout_s
            )
        if error is not None:
            raise error
        return answer

    def _again(self) -> None:
        self.end()
        self.pipe.close()
        if not self.closed:
            self.spawn()


def _work(pipe: Connection, directory: str, resident_keys: int) -> None:
    """Answer questions until the other end is closed."""
    # Ctrl-C is the server's: it ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keys: OrderedDict[str, EvaluationKeys] = OrderedDict()

    def keys_of(path: str, id: str) -> EvaluationKeys:
        if id not in keys:
            while len(keys) >= resident_keys:
                keys.popitem(last=False)
            keys[id] = server.keys(Path(path).read_bytes())
        keys.move_to_end(id)
        return keys[id]

    with contextlib.suppress(EOFError, OSError):
        try:
            server = Server.load(directory)
        except Exception as error:
            pipe.send((None, error))
            return
        pipe.send((None, None))
        while True:
            message, path, id = pipe.recv()
            try:
                used = keys_of(path, id)
                answer = None if message is None else server.run(message, used)
                pipe.send((answer, None))
            except Exception as error:
                error.__cause__ = None  # a backend's own errors may not be picklable
                pipe.send((None, error))
