"""A connection: a client asks the server of its circuit about floats, and nobody reads along."""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.circuits.interface import Interface
from secateur.errors import MismatchError, ServiceError
from secateur.extras import needed_for
from secateur.network import Floats, Integers

with needed_for("a connection to a server"):
    import httpx

#: How often a busy server, or one that cannot be reached, is asked again.
_TRIES = 8


class Keyholder(Protocol):
    """What a connection needs of its client, which holds the keys."""

    @property
    def circuit(self) -> str: ...
    @property
    def interface(self) -> Interface: ...
    @property
    def key_id(self) -> str: ...
    def evaluation_keys(self) -> bytes: ...
    def encrypt(self, x: ArrayLike) -> bytes: ...
    def decrypt(self, message: bytes) -> Integers: ...


@dataclass(frozen=True, eq=False)
class Connection:
    """A client's way to its server; `with client.connect(url) as connection` closes it.

    The evaluation keys are sent when the server does not know them, at most once a use.

    Args:
        client: what encrypts and decrypts.
        url: where the server is.
        http: open connections.
    """

    client: Keyholder
    url: str
    http: httpx.Client = field(repr=False)

    @classmethod
    def open(
        cls, client: Keyholder, url: str, token: str | None, timeout_s: float, verify: str | bool
    ) -> Connection:
        """Return a connection whose server is known to have the client's circuit."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        trusted = ssl.create_default_context(cafile=verify) if isinstance(verify, str) else verify
        http = httpx.Client(base_url=url, headers=headers, timeout=timeout_s, verify=trusted)
        connection = cls(client, url, http)
        try:
            about = connection._ask("GET", "/circuit")
            try:
                found = str(about.json()["circuit"])
            except (ValueError, KeyError, TypeError) as error:
                raise connection._failed(about.status_code, "it is no server of ours") from error
            if found != client.circuit:
                raise MismatchError(
                    f"the server at {url} has circuit {found[:12]}…, this client "
                    f"{client.circuit[:12]}…; load both from one saved circuit",
                    what="circuit",
                    expected=client.circuit,
                    found=found,
                )
        except BaseException:
            http.close()
            raise
        return connection

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Return what the network's output answers: labels where it has them, floats otherwise.

        Args:
            x: floats [batch, *input shape], one sample, or a table with the features' names.

        Raises:
            ArgumentError, ShapeError, NotFiniteError: see `Interface.codes`.
            ServiceError: the server refuses, or cannot be reached.
        """
        return self.client.interface.predict(x, self.infer)

    def predict_proba(self, x: ArrayLike) -> Floats:
        """Return the probability of every class, float64 [batch, classes]."""
        return self.client.interface.predict_proba(x, self.infer)

    def infer(self, codes: Integers) -> Integers:
        """Return the network's integers for a batch of codes, computed on encrypted data."""
        results = [self._infer(sample) for sample in codes]
        return np.array(results, dtype=np.int64).reshape(len(codes), *self.client.interface.shape)

    def send_keys(self) -> None:
        """Give the server the evaluation keys, unless it has them."""
        path = f"/keys/{self.client.key_id}"
        if self._ask("HEAD", path, accept=(404,)).status_code == 404:
            self._ask("PUT", path, self.client.evaluation_keys())

    def drop_keys(self) -> None:
        """Let the server forget the evaluation keys."""
        self._ask("DELETE", f"/keys/{self.client.key_id}", accept=(404,))

    def close(self) -> None:
        """Close the connection."""
        self.http.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _infer(self, sample: Integers) -> Integers:
        message = self.client.encrypt(sample)
        answer = self._ask("POST", "/run", message, accept=(404,))
        if answer.status_code == 404:
            self.send_keys()
            answer = self._ask("POST", "/run", message)
        return self.client.decrypt(answer.content)

    def _ask(
        self, method: str, path: str, content: bytes | None = None, accept: tuple[int, ...] = ()
    ) -> httpx.Response:
        """Return the answer, asking again where the server is busy."""
        for attempt in range(_TRIES):
            try:
                answer = self.http.request(method, path, content=content)
            except httpx.TransportError as error:
                if attempt == _TRIES - 1 or isinstance(error, httpx.TimeoutException):
                    raise self._failed(None, str(error) or type(error).__name__) from error
            except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
                raise self._failed(None, str(error)) from error
            else:
                if answer.is_success or answer.status_code in accept:
                    return answer
                if answer.status_code != 503 or attempt == _TRIES - 1:
                    raise self._failed(answer.status_code, _reason(answer))
            time.sleep(0.1 * 1.6**attempt)
        raise AssertionError("unreachable")

    def _failed(self, status: int | None, reason: str) -> ServiceError:
        return ServiceError(
            f"the server at {self.url} gave no answer: {reason}",
            url=self.url,
            status=status,
            reason=reason,
        )


def _reason(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"status {answer.status_code}"
