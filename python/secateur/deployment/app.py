"""The service: one circuit over HTTP, for many clients at a time.

    GET    /health      is it there; for load balancers, without a token
    GET    /metrics     for Prometheus
    GET    /circuit     which circuit, and how large its messages are
    HEAD   /keys/{id}   are these evaluation keys known
    PUT    /keys/{id}   a message of evaluation keys
    DELETE /keys/{id}   forget them
    POST   /run         a message of an encrypted input; answers with one of a result

What is refused is a JSON object `{"error": {"type", "message"}}`. No log holds a ciphertext,
a key or a token.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from secateur.backends import Specs
from secateur.deployment.keystore import KeyStore
from secateur.deployment.messages import LONGEST_HEADER, LONGEST_LINE, Arriving, Message
from secateur.deployment.workers import Workers
from secateur.errors import (
    ForeignKeysError,
    MessageError,
    MismatchError,
    SecateurError,
    StoreFullError,
    WorkerDiedError,
    WorkerTimeoutError,
)

log = logging.getLogger("secateur.serve")

#: Bytes a second, below which a message is too slow to arrive.
SLOWEST = 250_000

#: A bearer token, or None where none was sent ↦ who it is, or None where nobody is.
Authenticate = Callable[[str | None], str | None]

#: Error → status of the answer.
_STATUS: dict[type[SecateurError], int] = {
    ForeignKeysError: 409,
    MismatchError: 409,
    MessageError: 422,
    StoreFullError: 507,
    WorkerDiedError: 422,
    WorkerTimeoutError: 504,
}


@dataclass(frozen=True)
class Limits:
    """What a server puts up with.

    Args:
        workers: processes that compute.
        waiting: inputs that may wait for one; more are sent away for now.
        uploads: messages of evaluation keys that may arrive at a time.
        connections: open ones; more are sent away.
        run_s: seconds that one computation may take.
        receive_s: seconds that a request may take to arrive, beside those for its length.
        first_s: seconds until a connection has sent the first line and headers of a request.
        resident_keys: clients whose keys each worker keeps in memory.
        keys_per_owner, keys_in_all: evaluation keys that are kept on disk.
        expiry_s: seconds without use after which they are forgotten.
    """

    workers: int = 2
    waiting: int = 64
    uploads: int = 8
    connections: int = 1024
    run_s: float = 120.0
    receive_s: float = 120.0
    first_s: float = 10.0
    resident_keys: int = 4
    keys_per_owner: int = 16
    keys_in_all: int = 256
    expiry_s: float = 7 * 24 * 3600.0


class RefusalError(Exception):
    """An answer that is none: its status, its kind, its reason."""

    def __init__(self, status: int, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.status, self.kind = status, kind


class _Room:
    """Counts requests in and out, and sends away those that are too many."""

    def __init__(self, most: int, gauge: Gauge) -> None:
        self.most, self.gauge, self.inside = most, gauge, 0

    def __enter__(self) -> None:
        if self.inside >= self.most:
            raise RefusalError(503, "Busy", "too many requests are waiting; try again")
        self.inside += 1
        self.gauge.set(self.inside)

    def __exit__(self, *failure: object) -> None:
        self.inside -= 1
        self.gauge.set(self.inside)


class Service:
    """One circuit behind HTTP.

    Args:
        directory: the server part of a saved circuit.
        circuit: its name, the hash of its manifest.
        specs: sizes of its keys and ciphertexts.
        keys: where clients' evaluation keys are kept.
        limits: what is put up with.
        authenticate: who a token belongs to; everybody is one owner where it is None.
    """

    def __init__(
        self,
        directory: Path,
        circuit: str,
        specs: Specs,
        keys: KeyStore,
        limits: Limits,
        authenticate: Authenticate | None = None,
    ) -> None:
        self.directory, self.circuit, self.specs = directory, circuit, specs
        self.keys, self.limits, self.authenticate = keys, limits, authenticate
        self.registry = CollectorRegistry()
        self.answers = Counter(
            "secateur_answers", "Answers", ["route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "secateur_run_seconds",
            "Time of a computation, waiting included",
            registry=self.registry,
        )
        self.deaths = Counter(
            "secateur_worker_deaths", "Workers that died or were too slow", registry=self.registry
        )
        busy = Gauge("secateur_runs", "Inputs in work or waiting", registry=self.registry)
        uploading = Gauge("secateur_uploads", "Keys that arrive", registry=self.registry)
        stored = Gauge("secateur_keys", "Evaluation keys that are kept", registry=self.registry)
        stored.set_function(lambda: len(self.keys))
        self._runs = _Room(limits.workers + limits.waiting, busy)
        self._uploads = _Room(limits.uploads, uploading)

    def app(self) -> Starlette:
        """Return the ASGI application; workers live from its start to its end."""
        routes = [
            Route("/health", self._answering(self.health), methods=["GET"]),
            Route("/metrics", self._answering(self.metrics), methods=["GET"]),
            Route("/circuit", self._answering(self.about), methods=["GET"]),
            Route("/keys/{id}", self._answering(self.has_keys), methods=["HEAD"]),
            Route("/keys/{id}", self._answering(self.put_keys), methods=["PUT"]),
            Route("/keys/{id}", self._answering(self.drop_keys), methods=["DELETE"]),
            Route("/run", self._answering(self.run), methods=["POST"]),
        ]
        return Starlette(routes=routes, lifespan=self._lifespan)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        limits = self.limits
        self.workers = Workers(
            self.directory,
            limits.workers,
            limits.run_s,
            limits.resident_keys,
            self.specs.output_bytes,
            self.deaths.inc,
        )
        await self.workers.start()
        try:
            yield
        finally:
            await self.workers.stop()

    async def health(self, request: Request, owner: str) -> Response:
        return JSONResponse({"status": "ok", "circuit": self.circuit})

    async def metrics(self, request: Request, owner: str) -> Response:
        return Response(generate_latest(self.registry), media_type="text/plain; version=0.0.4")

    async def about(self, request: Request, owner: str) -> Response:
        specs = self.specs
        return JSONResponse(
            {
                "circuit": self.circuit,
                "evaluation_key_bytes": specs.evaluation_key_bytes,
                "input_bytes": specs.input_bytes,
                "output_bytes": specs.output_bytes,
            }
        )

    async def has_keys(self, request: Request, owner: str) -> Response:
        known = self.keys.find(owner, request.path_params["id"]) is not None
        return Response(status_code=200 if known else 404)

    async def put_keys(self, request: Request, owner: str) -> Response:
        id = request.path_params["id"]
        if self.keys.find(owner, id) is not None:
            return Response(status_code=200)  # the same keys: they are named by their hash
        size = self.specs.evaluation_key_bytes
        with self._uploads, self.keys.adding(owner, id) as file:
            # Keys may be larger than what the memory holds of them: they go to the disk as
            # they come.
            arriving = Arriving("evaluation keys", self.circuit, size)

            async def write(piece: bytes) -> None:
                arriving.take(piece)
                await asyncio.to_thread(file.write, piece)

            await self._receive(request, size, write)
            if arriving.end() != id:
                raise RefusalError(409, "ForeignKeysError", "the keys have another name")
            file.flush()
            await self.workers.check(Path(file.name), id)
        return Response(status_code=201)

    async def drop_keys(self, request: Request, owner: str) -> Response:
        known = self.keys.remove(owner, request.path_params["id"])
        return Response(status_code=204 if known else 404)

    async def run(self, request: Request, owner: str) -> Response:
        # Who is slow to send does not take the place of one who waits.
        body = await self._body(request, self.specs.input_bytes)
        with self._runs:
            opened = Message.open(body, "input", self.circuit, self.specs.input_bytes)
            path = self.keys.find(owner, opened.keys)
            if path is None:
                raise _unknown_keys()
            with self.seconds.time():
                try:
                    result = await self.workers.run(body, path, opened.keys)
                except FileNotFoundError:  # forgotten meanwhile
                    raise _unknown_keys() from None
        return Response(result, media_type="application/octet-stream")

    async def _body(self, request: Request, size: int) -> bytes:
        """Return the body of a request, which may be as long as the specs say, and as slow."""
        body = bytearray()

        async def keep(piece: bytes) -> None:
            body.extend(piece)

        await self._receive(request, size, keep)
        return bytes(body)

    async def _receive(
        self, request: Request, size: int, take: Callable[[bytes], Awaitable[None]]
    ) -> None:
        """Give the body of a request to `take`, piece by piece, within the limits."""
        most = size + LONGEST_HEADER + LONGEST_LINE
        stated = request.headers.get("content-length", "0")
        if not stated.isdecimal() or int(stated) > most:
            raise RefusalError(
                413, "TooLarge", f"no message of this kind has more than {most} bytes"
            )

        async def receive() -> None:
            length = 0
            async for piece in request.stream():
                length += len(piece)
                if length > most:
                    raise RefusalError(413, "TooLarge", f"the message has more than {most} bytes")
                await take(piece)

        try:
            await asyncio.wait_for(receive(), self.limits.receive_s + size / SLOWEST)
        except (asyncio.TimeoutError, TimeoutError):
            raise RefusalError(408, "TooSlow", "the message did not arrive in time") from None

    def _owner(self, request: Request) -> str:
        if self.authenticate is None or request.url.path == "/health":
            return ""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        owner = self.authenticate(token if scheme.lower() == "bearer" else None)
        if owner is None:
            raise RefusalError(401, "Unauthorized", "a valid token is needed")
        return owner

    def _answering(self, handle: Callable[[Request, str], Any]) -> Callable[[Request], Any]:
        """Return the endpoint that answers whatever comes of `handle`, counts it and logs it."""
        name = handle.__name__

        async def endpoint(request: Request) -> Response:
            start, owner = time.perf_counter(), ""
            try:
                owner = self._owner(request)
                response = await handle(request, owner)
            except RefusalError as refusal:
                response = _error(refusal.status, refusal.kind, str(refusal))
            except ClientDisconnect:
                response = _error(400, "Disconnected", "the client went away")
            except SecateurError as error:
                status = next((s for kind, s in _STATUS.items() if isinstance(error, kind)), 500)
                response = _error(status, type(error).__name__, str(error))
            except Exception:
                log.exception("a request failed")
                response = _error(500, "InternalError", "the request failed; see the server's log")
            self.answers.labels(name, str(response.status_code)).inc()
            if name not in ("health", "metrics"):
                facts = {
                    "route": name,
                    "status": response.status_code,
                    "seconds": round(time.perf_counter() - start, 4),
                    "owner": owner,
                    "client": request.client.host if request.client else None,
                }
                log.info(json.dumps(facts))
            return response

        return endpoint


def _unknown_keys() -> RefusalError:
    return RefusalError(404, "UnknownKeys", "no such evaluation keys; send them first")


def _error(status: int, kind: str, reason: str) -> Response:
    headers = {503: {"Retry-After": "1"}, 401: {"WWW-Authenticate": "Bearer"}}.get(status)
    return JSONResponse(
        {"error": {"type": kind, "message": reason}}, status_code=status, headers=headers
    )
