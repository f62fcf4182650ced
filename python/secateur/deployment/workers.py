"""Workers: processes in which the backend runs, so that bytes can end them but not the server.

A worker that dies takes one request with it, and another takes its place. The request is
tried once more, since whoever stops a worker does not mean it; one that ends two is the cause.
A worker whose backend stumbles over keys that are none says so and ends. Every worker has a
pipe of its own, so that none can hold up another, and says nothing on it but frames of bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import signal
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from secateur.deployment.frames import (
    LONGEST_ERROR,
    Question,
    answer_of,
    error_frame,
    is_last,
    result_frame,
)
from secateur.deployment.messages import LONGEST_HEADER, LONGEST_LINE
from secateur.deployment.server import EvaluationKeys, Server
from secateur.errors import WorkerDiedError, WorkerTimeoutError, told

log = logging.getLogger("secateur.serve")

# What forks a process that serves would take its sockets along.
_SPAWN = multiprocessing.get_context("spawn")

#: How often idle workers are looked after, and one that does not begin is begun again.
_LOOK_S = 0.5

#: How often one that ends while it begins is begun again before anybody is told.
_TRIES = 3

#: Reading a client's keys takes longer than most runs: who finds them in a worker's memory is
#: served before others, each of whom is passed over at most so often.
_OVERTAKEN = 8


class Workers:
    """Processes that each have the circuit.

    Args:
        directory: the server part of a saved circuit.
        count: how many.
        timeout_s: seconds that one request may take.
        resident_keys: how many clients' evaluation keys a worker keeps in memory.
        output_bytes: of an encrypted result, as the circuit's specs say.
        deaths: called for every worker that died or was too slow.
    """

    def __init__(
        self,
        directory: Path,
        count: int,
        timeout_s: float,
        resident_keys: int,
        output_bytes: int,
        deaths: Callable[[], None],
    ) -> None:
        self._deaths = deaths
        longest = max(output_bytes + LONGEST_HEADER + LONGEST_LINE + 1, LONGEST_ERROR)
        self._workers = [
            _Worker(str(directory), resident_keys, timeout_s, longest) for _ in range(count)
        ]
        self._threads = ThreadPoolExecutor(count)
        self._idle: list[_Worker] = []
        self._turns: list[_Turn] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Wait until every worker has compiled the circuit; raises what one of them did."""
        try:
            await asyncio.gather(*(self._in_thread(worker.begin) for worker in self._workers))
        except BaseException:
            await self.stop()
            raise
        self._idle = list(self._workers)
        self._keep(self._watch())

    async def stop(self) -> None:
        """End all workers, in the middle of what they do."""
        for task in self._tasks:
            task.cancel()
        for worker in self._workers:
            worker.close()
        await asyncio.to_thread(self._threads.shutdown)

    async def run(self, message: bytes, path: Path, id: str) -> bytes:
        """Return the encrypted result of a message, with the keys in the file at `path`.

        Raises:
            MessageError, MismatchError, ForeignKeysError: see `Server.run`.
            FileNotFoundError: there is no such file.
            WorkerDiedError: two workers ended over it.
            WorkerTimeoutError: it took too long.
        """
        try:
            return await self._ask(message, path, id)
        except WorkerDiedError:
            return await self._ask(message, path, id)

    async def check(self, path: Path, id: str) -> None:
        """Let a worker read the keys in the file at `path`; raises what `run` does."""
        await self.run(b"", path, id)

    async def _ask(self, message: bytes, path: Path, id: str) -> bytes:
        worker = await self._take(id)
        asked = asyncio.get_running_loop().run_in_executor(
            self._threads, worker.ask, message, path, id
        )
        # Whoever asks may go away; the worker is given back once it has answered.
        asked.add_done_callback(lambda _: self._give(worker))
        return await asyncio.shield(asked)

    async def _take(self, id: str) -> _Worker:
        """Return a worker that nobody else has, best of all one with the keys in memory."""
        if all(worker.down for worker in self._workers):
            raise RuntimeError(self._workers[0].down)
        if self._idle:
            worker = min(self._idle, key=lambda w: (id not in w.resident, len(w.resident)))
            self._idle.remove(worker)
            return worker
        turn = _Turn(id, asyncio.get_running_loop().create_future())
        self._turns.append(turn)
        try:
            return await turn.worker
        except asyncio.CancelledError:
            if turn in self._turns:
                self._turns.remove(turn)
            elif not turn.worker.cancelled() and turn.worker.exception() is None:
                self._give(turn.worker.result())
            raise

    def _give(self, worker: _Worker) -> None:
        """Hand a worker on to who waits for one, or begin it again where it ended."""
        if worker.closed:
            return
        if not worker.ready:
            self._deaths()
            self._keep(self._revive(worker))
        elif not self._turns:
            self._idle.append(worker)
        else:
            turn = next(
                (t for t in self._turns if t.id in worker.resident or t.overtaken >= _OVERTAKEN),
                self._turns[0],
            )
            for earlier in self._turns[: self._turns.index(turn)]:
                earlier.overtaken += 1
            self._turns.remove(turn)
            turn.worker.set_result(worker)

    async def _revive(self, worker: _Worker) -> None:
        """Begin a worker again, until it does."""
        tries = 0
        while not worker.ready:
            tries += 1
            try:
                await self._in_thread(worker.begin)
            except Exception as error:
                if isinstance(error, WorkerDiedError) and tries < _TRIES:
                    continue  # stopped by somebody while it began
                log.exception("a worker does not begin")
                worker.down = f"no worker begins: {told(error)}"
                self._send_away()
                await asyncio.sleep(_LOOK_S)
        worker.down = None
        self._give(worker)

    def _send_away(self) -> None:
        """Let nobody wait for workers that do not begin."""
        if all(worker.down for worker in self._workers):
            for turn in self._turns:
                turn.worker.set_exception(RuntimeError(self._workers[0].down))
            self._turns.clear()

    async def _watch(self) -> None:
        """Begin again what died while nobody asked it."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for worker in [w for w in self._idle if not w.process.is_alive()]:
                self._idle.remove(worker)
                worker.ready = False
                self._give(worker)

    def _keep(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_thread(self, task: Callable[[], None]) -> None:
        await asyncio.get_running_loop().run_in_executor(self._threads, task)


@dataclass(eq=False)
class _Turn:
    """Who waits for a worker, with which keys, and how often others went first."""

    id: str
    worker: asyncio.Future[_Worker]
    overtaken: int = field(default=0)


class _Worker:
    """One process, or the next one after its end.

    Attributes:
        ready: it has the circuit, and may be asked.
        down: why it could not begin, where that is so.
        resident: names of the evaluation keys in its memory, the last used at the end.
    """

    def __init__(self, directory: str, resident_keys: int, timeout_s: float, longest: int) -> None:
        self.directory, self.resident_keys = directory, resident_keys
        self.timeout_s, self.longest = timeout_s, longest
        self.ready, self.closed = False, False
        self.down: str | None = None
        self.resident: OrderedDict[str, None] = OrderedDict()
        self._ending = threading.Lock()
        self._spawn()

    def begin(self) -> None:
        """Wait until a process has the circuit; raises what hinders it."""
        if not self.process.is_alive():
            self._again()
        self._answer()  # compiling takes as long as it takes
        self.ready = True

    def ask(self, message: bytes, path: Path, id: str) -> bytes:
        """Return the process's answer, or raise what it raised; it has to be `ready`."""
        question = Question(id, path, self._room_for(id), message).seal()
        late, process = threading.Event(), self.process

        def too_late() -> None:
            late.set()
            process.kill()

        # Ends whatever holds this thread up: an answer that does not come, or half of one, or
        # a question that is not read.
        watch = threading.Timer(self.timeout_s, too_late)
        watch.start()
        try:
            # What has ended takes no question, and is found to give no answer.
            with contextlib.suppress(OSError):
                self.pipe.send_bytes(question)
            return self._answer()
        except WorkerDiedError as died:
            if not late.is_set():
                raise
            raise WorkerTimeoutError(
                f"the request took more than {self.timeout_s} seconds", seconds=self.timeout_s
            ) from died
        finally:
            watch.cancel()

    def close(self) -> None:
        """End the process for good."""
        with self._ending:
            self.closed, self.ready = True, False
            self.process.kill()
            self.process.join()

    def _room_for(self, id: str) -> tuple[str, ...]:
        """Make room for the keys; return those that make it."""
        leaving = []
        self.resident[id] = None
        self.resident.move_to_end(id)
        while len(self.resident) > self.resident_keys:
            leaving.append(self.resident.popitem(last=False)[0])
        return tuple(leaving)

    def _answer(self) -> bytes:
        try:
            frame = self.pipe.recv_bytes(self.longest)
        except (EOFError, ConnectionError) as gone:
            self.process.join(5)  # ended by itself, or is about to: its exit code tells why
            raise self._ended() from gone
        except OSError as endless:
            raise self._ended() from endless
        if is_last(frame):
            self._ended()
        try:
            return answer_of(frame)
        except WorkerDiedError as broken:
            raise self._ended() from broken

    def _ended(self) -> WorkerDiedError:
        """End the process at once, if it has not; return the error that says so."""
        self.ready = False
        self.process.kill()
        self.process.join()
        code = self.process.exitcode
        return WorkerDiedError(
            f"workers ended over this request (exit code {code}): "
            "its bytes are none that a client of ours made",
            exit_code=code,
        )

    def _again(self) -> None:
        with self._ending:
            self.pipe.close()
            if not self.closed:
                self._spawn()

    def _spawn(self) -> None:
        self.ready = False
        self.resident.clear()
        self.pipe, theirs = _SPAWN.Pipe()
        self.process = _SPAWN.Process(target=_work, args=(theirs, self.directory), daemon=True)
        self.process.start()
        theirs.close()


def _work(pipe: Connection, directory: str) -> None:
    """Answer questions until the other end is closed."""
    # Ctrl-C is the server's: it ends its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keys: dict[str, EvaluationKeys] = {}
    with contextlib.suppress(EOFError, OSError):
        try:
            server = Server.load(directory)
        except Exception as error:
            pipe.send_bytes(error_frame(error))
            return
        pipe.send_bytes(result_frame(b""))
        while True:
            question = Question.open(pipe.recv_bytes())
            for id in question.forget:
                keys.pop(id, None)
            try:
                if question.keys not in keys:
                    keys[question.keys] = server.keys(question.path.read_bytes())
                used = keys[question.keys]
                answer = server.run(question.message, used) if question.message else b""
                pipe.send_bytes(result_frame(answer))
            except Exception as error:
                # A backend that raised may have written where it should not, or kept what it
                # took: nobody else is to be served by it.
                stumbled = not isinstance(error, FileNotFoundError) and error.__cause__ is not None
                pipe.send_bytes(error_frame(error, stumbled))
                if stumbled:
                    return
