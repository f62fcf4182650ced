"""Serving: the process behind `secateur serve`."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from secateur.backends import backend_named
from secateur.circuits.storage import read_part
from secateur.errors import AuthenticationError
from secateur.extras import needed_for

with needed_for("secateur serve"):
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from secateur.deployment.app import Authenticate, Limits, Service
    from secateur.deployment.keystore import KeyStore


def serve(
    directory: str | os.PathLike[str],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits | None = None,
    keys: str | os.PathLike[str] | None = None,
    authenticate: Authenticate | None = None,
    certificate: str | None = None,
    private_key: str | None = None,
) -> None:
    """Serve the saved circuit in `directory` until the process is told to stop.

    Prints the address on stdout once connections are taken; logs JSON on stderr.

    Args:
        directory: a saved circuit, or its server part.
        host, port: where to listen; port 0 takes one that is free.
        limits: what is put up with.
        keys: directory for clients' evaluation keys; without it they end with the process.
        authenticate: who a token belongs to; None lets everybody in.
        certificate, private_key: PEM files for TLS; without them put a proxy before it.

    Raises:
        FileFormatError, FileVersionError: there is no saved circuit, or it was altered.
        MissingExtraError: the packages of the extra "serve", or the backend, are missing.
    """
    limits = limits or Limits()
    place = Path(directory)
    place = place / "server" if (place / "server").is_dir() else place
    part = read_part(place, "server")
    with part.reading("specs.json"):
        specs = backend_named(part.backend).read(part["specs.json"])
    with ExitStack() as stack:
        kept = Path(keys or stack.enter_context(tempfile.TemporaryDirectory()))
        kept.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = KeyStore(kept, limits.expiry_s, limits.keys_per_owner, limits.keys_in_all)
        service = Service(place, part.circuit, specs, store, limits, authenticate)
        config = uvicorn.Config(
            service.app(),
            host=host,
            port=port,
            http=_impatient(limits.first_s),
            ws="none",
            limit_concurrency=limits.connections,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
            log_config=None,
            server_header=False,
            ssl_certfile=certificate,
            ssl_keyfile=private_key,
        )
        _log()
        stack.enter_context(_ending_in_order())
        server = _Announcing(config)
        asyncio.run(server.serve())


def tokens_of(path: str | os.PathLike[str]) -> Authenticate:
    """Return who each token of a file belongs to: lines of an owner and a token.

    Raises:
        AuthenticationError: a line is not of this form, or a token has less than 16 characters.
        OSError: the file cannot be read.
    """
    owners: dict[str, str] = {}
    for number, line in enumerate(Path(path).read_text().splitlines(), start=1):
        words = line.split()
        if not words or line.startswith("#"):
            continue
        if len(words) != 2 or len(words[1]) < 16:
            raise AuthenticationError(
                f"{path}, line {number}: expected an owner and a token of at least 16 characters",
                path=str(path),
            )
        owners[words[1]] = words[0]
    return _Known(owners).owner


class _Known:
    def __init__(self, owners: Mapping[str, str]) -> None:
        self.owners = [(token.encode(), owner) for token, owner in owners.items()]

    def owner(self, token: str | None) -> str | None:
        """Return whose token it is; all are compared, in a time that says nothing."""
        given, found = (token or "").encode(), None
        for known, owner in self.owners:
            if hmac.compare_digest(known, given):
                found = owner
        return found


@contextmanager
def _ending_in_order() -> Iterator[None]:
    """Let SIGTERM, which uvicorn raises again once it has shut down, unwind the process.

    Left to itself it would end the process at once, and clients' keys would stay behind.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _Announcing(uvicorn.Server):
    """Says where it listens: the port may have been left to the system."""

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        for server in getattr(self, "servers", ()):
            for socket in server.sockets:
                host, port = socket.getsockname()[:2]
                scheme = "https" if self.config.is_ssl else "http"
                print(f"{scheme}://{host}:{port}", flush=True)


def _impatient(first_s: float) -> type[H11Protocol]:
    """Return uvicorn's protocol, which closes connections that take too long to begin."""

    class Impatient(H11Protocol):
        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.loop.call_later(first_s, self._check_begun)

        def _check_begun(self) -> None:
            if self.cycle is None and not self.transport.is_closing():
                self.transport.close()

    return Impatient


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        says: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created)),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        text = record.getMessage()
        says |= (
            json.loads(text)
            if record.name == "secateur.serve" and text[:1] == "{"
            else {"message": text}
        )
        if record.exc_info:
            says["traceback"] = self.formatException(record.exc_info)
        return json.dumps(says)


def _log() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json())
    for name, level in (("secateur.serve", "INFO"), ("uvicorn.error", "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(level)
