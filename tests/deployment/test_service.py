"""`secateur serve`: honest clients are answered, whatever the others do.

SECATEUR_LOAD=full tries what the server is made for: 8 clients with 50 requests each beside
1,000 malformed messages.
"""

from __future__ import annotations

import asyncio
import datetime
import ipaddress
import json
import os
import pickle
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from multiprocessing import Pipe
from pathlib import Path

import httpx
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient

from backends import BACKENDS
from networks import Builder
from secateur.backends import Specs
from secateur.circuits.circuit import compile
from secateur.deployment import Client
from secateur.deployment.app import Limits, Service
from secateur.deployment.keystore import KeyStore
from secateur.deployment.messages import Message, sha256
from secateur.deployment.serving import tokens_of
from secateur.deployment.workers import Workers as Pool
from secateur.errors import (
    ArgumentError,
    AuthenticationError,
    FileFormatError,
    ForeignKeysError,
    MessageError,
    MismatchError,
    PassphraseError,
    ServiceError,
    StoreFullError,
    WorkerDiedError,
    WorkerTimeoutError,
)

FULL = os.environ.get("SECATEUR_LOAD") == "full"
CLIENTS, REQUESTS, MALFORMED, KILLS, KILL_S = (8, 50, 1000, 6, 10) if FULL else (2, 6, 60, 2, 3)


def classifier(sign=1):
    b = Builder((3,), -1, 1, scale=0.5)
    b.linear(np.array([[1, -2, 0], [1, 1, -1]]) * sign, np.array([1, 0]))
    b.activation("relu", 0, 1)
    b.linear(np.array([[1, -1], [2, 2]]))
    network = b.network(factor=[1, 3], offset=[0, -1])
    return replace(network, output=replace(network.output, labels=("no", "yes"), tail="softmax"))


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda b: b.name)
def saved(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("saved") / "circuit"
    compile(classifier(), request.param.name, p_error=2**-40).save(directory)
    return directory


class Serving:
    """A server in a process of its own."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "secateur", "serve", directory, "--port", "0", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.url = self.process.stdout.readline().strip()
        self.log: list[str] = []
        threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True).start()

    def workers(self) -> list[int]:
        """The processes that compute."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                parent = int(status.read_text().rpartition(")")[2].split()[1])
                command = (status.parent / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == self.process.pid and b"spawn_main" in command:
                found.append(int(status.parent.name))
        return found

    def __enter__(self) -> Serving:
        return self

    def __exit__(self, *failure: object) -> None:
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="module")
def serving(saved):
    options = ("--receive-seconds", "60", "--keys-per-owner", str(CLIENTS + 3))
    with Serving(saved, *options) as running:
        yield running


def malformed(random, client, honest):
    """Endless requests that no client of ours makes: (method, path, content)."""
    circuit, keys = client.circuit, client.key_id
    question = Message.open(honest, "input", circuit, client.specs.input_bytes)
    stranger = "f" * 64
    while True:
        payload = bytearray(question.payload)
        cut = random.randrange(len(honest))
        # Into the backend's own header now and then, which ends a worker of some.
        for _ in range(random.choice([1, 3])):
            place = random.choice([len(payload), 80])
            payload[random.randrange(place)] ^= 1 << random.randrange(8)
        altered = bytearray(honest)
        altered[random.randrange(len(altered))] ^= 1
        zeros = bytes(len(payload))
        yield from random.sample(
            [
                ("POST", "/run", honest[:cut]),
                ("POST", "/run", bytes(altered)),
                ("POST", "/run", replace(question, payload=bytes(payload)).seal()),
                ("POST", "/run", replace(question, payload=zeros).seal()),
                ("POST", "/run", replace(question, payload=b"").seal()),
                ("POST", "/run", replace(question, circuit=stranger).seal()),
                ("POST", "/run", replace(question, keys=stranger).seal()),
                ("POST", "/run", replace(question, keys="-1").seal()),
                ("POST", "/run", replace(question, kind="result").seal()),
                ("POST", "/run", honest + bytes(100_000)),
                ("POST", "/run", b"[" * 1000 + b"\n"),
                ("PUT", f"/keys/{keys[:-1]}0", honest),
                ("PUT", "/keys/-1", honest),
                ("PUT", "/keys/..%2f..%2fetc", honest),
                ("PUT", f"/keys/{stranger}", bytes(100)),
                ("HEAD", "/keys/-1", None),
                ("DELETE", f"/keys/{stranger}", None),
                ("POST", "/keys", honest),
                ("GET", "/run", None),
            ],
            8,
        )


def peak_bytes(pid):
    """The most memory that a process has had."""
    status = (Path("/proc") / str(pid) / "status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if "VmHWM" in line).split()[1])


def tell(seconds, statuses, serving):
    """Print what the load was, where it was asked for."""
    if FULL:
        metrics = httpx.get(f"{serving.url}/metrics").text
        deaths = re.search(r"^secateur_worker_deaths_total (\S+)", metrics, re.MULTILINE)[1]
        figures = {
            "answered": len(seconds),
            "median_s": round(float(np.median(seconds)), 2),
            "longest_s": round(max(seconds), 2),
            "malformed": dict(Counter(statuses)),
            "worker_deaths": float(deaths),
            "server_peak_mb": peak_bytes(serving.process.pid) // 10**6,
            "workers_peak_mb": [peak_bytes(pid) // 10**6 for pid in serving.workers()],
        }
        print("\n" + json.dumps(figures))


@pytest.mark.encrypted
def test_honest_clients_are_answered_whatever_others_do(saved, serving, capsys):
    clients = [Client.load(saved / "client") for _ in range(CLIENTS)]
    for client in clients:
        client.keygen()
    network = classifier()
    stop, statuses, seconds = threading.Event(), [], []
    at_rest = peak_bytes(serving.process.pid)

    def honest(client, seed):
        x = np.random.default_rng(seed).uniform(-1, 1, (REQUESTS, 3))
        expected = network.output.answer(network.predict(x))
        with client.connect(serving.url, timeout_s=600) as connection:
            connection.send_keys()
            for sample, label in zip(x, expected, strict=True):
                start = time.monotonic()
                assert connection.predict(sample) == label
                seconds.append(time.monotonic() - start)
        return REQUESTS

    def hostile(seed):
        randomness = random.Random(seed)
        made = malformed(randomness, clients[0], clients[0].encrypt([0, 1, 0]))
        with httpx.Client(base_url=serving.url, timeout=600) as http:
            for _ in range(MALFORMED // 2):
                try:
                    method, path, content = next(made)
                    statuses.append(http.request(method, path, content=content).status_code)
                except httpx.TransportError:
                    statuses.append(0)  # sent away before it had said all

    def slow():
        """Says a byte a second, and never ends."""
        with socket.create_connection(("127.0.0.1", int(serving.url.rpartition(":")[2]))) as line:
            line.sendall(b"POST /run HTTP/1.1\r\nHost: x\r\nContent-Length: 30000\r\n\r\n")
            while not stop.wait(1):
                try:
                    line.sendall(b"x")
                except OSError:
                    return

    def silent():
        with socket.create_connection(("127.0.0.1", int(serving.url.rpartition(":")[2]))) as line:
            line.settimeout(120)
            assert line.recv(1) == b""  # the server has enough of it

    def killer():
        for _ in range(KILLS):
            stop.wait(KILL_S)
            for worker in serving.workers()[:1]:
                os.kill(worker, signal.SIGKILL)

    with clients[0].connect(serving.url, timeout_s=600) as connection:
        connection.send_keys()
    with ThreadPoolExecutor(CLIENTS + 8) as threads:
        others = [threads.submit(f) for f in (slow, slow, silent, silent, killer)]
        hostiles = [threads.submit(hostile, seed) for seed in (1, 2)]
        try:
            answered = list(threads.map(honest, clients, range(CLIENTS)))
            for each in hostiles:
                each.result()
        finally:
            stop.set()
        for each in others:
            each.result()
    assert answered == [REQUESTS] * CLIENTS
    assert len(statuses) == MALFORMED // 2 * 2
    assert not [s for s in statuses if s >= 500 and s != 503]
    assert serving.process.poll() is None
    assert httpx.get(f"{serving.url}/health").json()["status"] == "ok"
    deadline = time.monotonic() + 60
    while len(serving.workers()) < 2:
        assert time.monotonic() < deadline, "workers that were killed are not replaced"
        time.sleep(0.5)
    metrics = httpx.get(f"{serving.url}/metrics").text
    assert 'secateur_answers_total{route="run",status="200"}' in metrics
    assert f"secateur_keys {CLIENTS}.0" in metrics
    assert peak_bytes(serving.process.pid) < at_rest + 200_000_000
    with capsys.disabled():
        tell(seconds, statuses, serving)
    # A backend's own last words stand between.
    logged = [json.loads(line) for line in serving.log if line.startswith("{")]
    assert {"route", "status", "seconds"} <= logged[-1].keys()


@pytest.mark.encrypted
def test_keys_are_sent_once_and_again_when_they_were_forgotten(saved, serving, tmp_path):
    file = tmp_path / "me.keys"
    client = Client.load(saved / "client", file, "correct horse")
    x = np.array([0.6, -9.0, 0.2])
    with client.connect(serving.url, timeout_s=600) as connection:
        answer = connection.predict(x)
        known = httpx.head(f"{serving.url}/keys/{client.key_id}").status_code
        connection.drop_keys()
        dropped = httpx.head(f"{serving.url}/keys/{client.key_id}").status_code
        assert (known, dropped) == (200, 404)
        assert connection.predict(x) == answer
        assert connection.predict_proba(x).sum() == pytest.approx(1)
    again = Client.load(saved / "client", file, "correct horse")
    assert again.key_id == client.key_id
    with again.connect(serving.url, timeout_s=600) as connection:
        assert connection.predict(x) == answer
        connection.drop_keys()
    with pytest.raises(PassphraseError, match="does not open"):
        Client.load(saved / "client", file, "wrong horse")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(PassphraseError):
        Client.load(saved / "client", file, "correct horse")
    file.write_bytes(b"keys")
    with pytest.raises(FileFormatError):
        Client.load(saved / "client", file, "correct horse")
    with pytest.raises(ArgumentError, match="passphrase"):
        Client.load(saved / "client", file)


@pytest.mark.encrypted
def test_a_server_of_another_circuit_is_refused(saved, serving, tmp_path):
    backend = json.loads((saved / "client" / "manifest.json").read_text())["backend"]["name"]
    compile(classifier(-1), backend).save(tmp_path / "other")
    with pytest.raises(MismatchError, match="one saved circuit"):
        Client.load(tmp_path / "other" / "client").connect(serving.url)
    with pytest.raises(ServiceError, match="gave no answer") as raised:
        Client.load(saved / "client").connect("http://127.0.0.1:9")
    assert raised.value.status is None


def self_signed(directory):
    """A certificate for this machine, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(address, critical=False)
        .sign(key, hashes.SHA256())
    )
    files = directory / "certificate.pem", directory / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.mark.encrypted
def test_tls_and_tokens_by_flags(saved, tmp_path):
    certificate, key = self_signed(tmp_path)
    (tmp_path / "tokens").write_text("ann 0123456789abcdef\n")
    options = {
        "--tls-certificate": certificate,
        "--tls-key": key,
        "--tokens": tmp_path / "tokens",
        "--keys": tmp_path / "keys",
        "--workers": "1",
    }
    client = Client.load(saved / "client")
    x = np.array([0.6, -9.0, 0.2])
    with Serving(saved, *(word for pair in options.items() for word in pair)) as running:
        assert running.url.startswith("https://127.0.0.1:")
        trusted = {"verify": str(certificate), "timeout_s": 600}
        with pytest.raises(ServiceError, match="a valid token is needed") as raised:
            client.connect(running.url, **trusted)
        assert raised.value.status == 401
        with client.connect(running.url, "0123456789abcdef", **trusted) as connection:
            assert connection.predict(x) in ("no", "yes")
        with pytest.raises(ServiceError, match=r"(?i)certificate"):
            client.connect(running.url, "0123456789abcdef")
    assert [path.name for path in (tmp_path / "keys").glob("*/*")] == [client.key_id]


class Workers:
    """In place of processes: answers, or what they raise."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.wait_s = 0.0

    async def run(self, message, path, id):
        await asyncio.sleep(self.wait_s)
        if self.error is not None:
            raise self.error
        return b"result"

    async def check(self, path, id):
        await self.run(b"", path, id)

    async def start(self):
        pass

    async def stop(self):
        pass


SPECS = Specs((3,), (2,), 1, 10, 10, 30, 30)
CIRCUIT = "c" * 64
KEYS = bytes(20)
NAME = sha256(KEYS)


def sealed(kind="input", payload=bytes(30), keys=NAME, circuit=CIRCUIT):
    return Message(kind, circuit, keys, payload).seal()


@pytest.fixture
def service(tmp_path, monkeypatch):
    workers = Workers()
    monkeypatch.setattr("secateur.deployment.app.Workers", lambda *arguments: workers)
    owners = {"token of ann": "ann", "token of bob": "bob"}
    store = KeyStore(tmp_path, 3600, 2, 3)
    limits = Limits(workers=1, waiting=1, receive_s=60)
    made = Service(tmp_path, CIRCUIT, SPECS, store, limits, owners.get)
    with TestClient(made.app()) as http:
        http.headers["Authorization"] = "Bearer token of ann"
        yield http, workers, made


def error_of(response):
    return response.status_code, response.json()["error"]["type"]


def put(http, content=KEYS):
    message = sealed("evaluation keys", content, sha256(content))
    return http.put(f"/keys/{sha256(content)}", content=message).status_code


class TestService:
    def test_answers(self, service):
        http, _, _ = service
        assert http.get("/circuit").json() == {
            "circuit": CIRCUIT,
            "evaluation_key_bytes": 20,
            "input_bytes": 30,
            "output_bytes": 30,
        }
        assert error_of(http.post("/run", content=sealed())) == (404, "UnknownKeys")
        assert [put(http), put(http)] == [201, 200]
        assert http.post("/run", content=sealed()).content == b"result"
        assert http.delete(f"/keys/{NAME}").status_code == 204
        assert http.delete(f"/keys/{NAME}").status_code == 404

    def test_tokens_are_asked_for_and_owners_kept_apart(self, service):
        http, _, _ = service
        assert put(http) == 201
        bob = {"Authorization": "Bearer token of bob"}
        assert http.post("/run", content=sealed(), headers=bob).status_code == 404
        assert http.delete(f"/keys/{NAME}", headers=bob).status_code == 404
        for wrong in ("Bearer token of eve", "Bearer", "Basic token of ann", ""):
            refused = http.get("/circuit", headers={"Authorization": wrong})
            assert error_of(refused) == (401, "Unauthorized")
        assert http.get("/metrics", headers={"Authorization": ""}).status_code == 401
        assert http.get("/health", headers={"Authorization": ""}).status_code == 200

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            (b"", (422, "MessageError")),
            (sealed()[:-1], (422, "MessageError")),
            (sealed(payload=bytes(29)), (422, "MessageError")),
            (sealed(payload=bytes(4130)), (422, "MessageError")),
            (sealed("result"), (422, "MessageError")),
            (sealed(circuit="d" * 64), (409, "MismatchError")),
            (sealed(keys="../" * 21 + "x"), (404, "UnknownKeys")),
            (bytes(10_000), (413, "TooLarge")),
        ],
    )
    def test_messages_that_are_none_are_refused(self, service, message, expected):
        http, _, _ = service
        put(http)
        assert error_of(http.post("/run", content=message)) == expected

    def test_bodies_without_a_length_are_cut_off(self, service):
        http, _, _ = service
        endless = http.post("/run", content=(bytes(1000) for _ in range(10)))
        assert error_of(endless) == (413, "TooLarge")

    def test_keys_are_bound_to_their_name(self, service):
        http, _, _ = service
        other = bytes([1]) * 20
        lying = sealed("evaluation keys", other, NAME)
        assert error_of(http.put(f"/keys/{NAME}", content=lying)) == (
            409,
            "ForeignKeysError",
        )
        honest = sealed("evaluation keys", other, sha256(other))
        assert error_of(http.put(f"/keys/{NAME}", content=honest))[0] == 409

    def test_keys_are_capped(self, service):
        http, _, _ = service
        assert [put(http, bytes([n]) * 20) for n in range(3)] == [201, 201, 507]
        http.headers["Authorization"] = "Bearer token of bob"
        assert [put(http, bytes([n]) * 20) for n in range(2)] == [201, 507]

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (WorkerDiedError("died"), (422, "WorkerDiedError")),
            (WorkerTimeoutError("slow"), (504, "WorkerTimeoutError")),
            (ValueError("secret"), (500, "InternalError")),
        ],
    )
    def test_what_workers_raise_is_answered(self, service, error, expected):
        http, workers, made = service
        put(http)
        workers.error = error
        assert error_of(http.post("/run", content=sealed())) == expected
        assert error_of(http.put(f"/keys/{'0' * 64}", content=sealed()))[0] == 422
        other = bytes([1]) * 20
        assert put(http, other) == expected[0]
        assert made.keys.find("ann", sha256(other)) is None

    def test_too_many_at_a_time_are_sent_away(self, service):
        http, workers, _ = service
        put(http)
        workers.wait_s = 1.0
        with ThreadPoolExecutor(6) as threads:
            answers = list(threads.map(lambda _: http.post("/run", content=sealed()), range(6)))
        statuses = sorted(a.status_code for a in answers)
        assert statuses[0] == 200
        assert statuses[-1] == 503
        assert {a.headers["Retry-After"] for a in answers if a.status_code == 503} == {"1"}


@pytest.mark.encrypted
class TestWorkers:
    """Processes that end when they are idle, at work, or too slow."""

    @pytest.fixture(scope="class")
    def client(self, saved):
        client = Client.load(saved / "client")
        (saved.parent / "keys").write_bytes(client.evaluation_keys())
        return client

    def asked(self, saved, client, act, timeout_s=60.0):
        """Run `act(workers, path, keys id, question)` with one worker; count the deaths."""
        path, deaths = saved.parent / "keys", []

        async def main():
            workers = Pool(
                saved / "server",
                1,
                timeout_s,
                2,
                client.specs.output_bytes,
                lambda: deaths.append(1),
            )
            await workers.start()
            try:
                await act(workers, path, client.key_id, client.encrypt([0, 1, 0]))
            finally:
                await workers.stop()

        asyncio.run(main())
        return len(deaths)

    def test_one_that_died_idle_is_replaced(self, saved, client):
        async def act(workers, path, id, question):
            worker = workers._workers[0]
            first = worker.process.pid
            os.kill(first, signal.SIGKILL)
            while worker.process.pid == first or not worker.process.is_alive():
                await asyncio.sleep(0.1)
            assert await workers.run(question, path, id)

        assert self.asked(saved, client, act) == 1

    def test_one_that_dies_at_work_is_asked_again(self, saved, client):
        async def act(workers, path, id, question):
            answering = asyncio.create_task(workers.run(question, path, id))
            await asyncio.sleep(0.05)
            os.kill(workers._workers[0].process.pid, signal.SIGKILL)
            assert await answering

        assert self.asked(saved, client, act) == 1

    def test_one_that_dies_twice_is_the_requests_fault(self, saved, client):
        async def act(workers, path, id, question):
            answering = asyncio.create_task(workers.run(question, path, id))
            died = set()
            while not answering.done():
                worker = workers._workers[0]
                pid, busy = worker.process.pid, worker.ready and worker not in workers._idle
                if busy and pid not in died:
                    os.kill(pid, signal.SIGKILL)
                    died.add(pid)
                await asyncio.sleep(0.01)
            with pytest.raises(WorkerDiedError, match="exit code -9"):
                await answering
            assert await workers.run(question, path, id)

        assert self.asked(saved, client, act) == 2

    def test_one_that_is_too_slow_is_ended(self, saved, client):
        async def act(workers, path, id, question):
            with pytest.raises(WorkerTimeoutError, match=r"more than 0\.001 seconds"):
                await workers.run(question, path, id)
            workers._workers[0].timeout_s = 60
            assert await workers.run(question, path, id)
            with pytest.raises(MessageError, match="truncated"):
                await workers.run(question[:-1], path, id)

        assert self.asked(saved, client, act, timeout_s=0.001) == 1

    def test_one_whose_backend_stumbled_is_replaced(self, saved, client, tmp_path):
        honest = client.evaluation_keys().partition(b"\n")[2]
        none = bytes(len(honest))
        (tmp_path / "none").write_bytes(
            Message("evaluation keys", client.circuit, sha256(none), none).seal()
        )

        async def act(workers, path, id, question):
            with pytest.raises((MessageError, WorkerDiedError)):
                await workers.check(tmp_path / "none", sha256(none))
            assert await workers.run(question, path, id)

        assert self.asked(saved, client, act) in (1, 2)

    def test_one_whose_answers_are_none_is_ended(self, saved, client):
        async def act(workers, path, id, question):
            worker = workers._workers[0]
            process, (ours, theirs) = worker.process, Pipe()
            worker.pipe.close()
            worker.pipe = ours
            theirs.send_bytes(pickle.dumps(print))
            assert await workers.run(question, path, id)
            assert process.exitcode is not None

        assert self.asked(saved, client, act) == 1

    def test_what_hinders_them_is_raised_at_the_start(self, saved, tmp_path):
        async def main():
            workers = Pool(tmp_path, 2, 60, 2, 0, lambda: None)
            await workers.start()

        with pytest.raises(FileFormatError, match="holds no part"):
            asyncio.run(main())


class TestKeyStore:
    id = "a" * 64

    def add(self, store, owner="ann", id=id):
        with store.adding(owner, id) as file:
            file.write(b"keys")

    def test_unused_keys_are_forgotten(self, tmp_path):
        store = KeyStore(tmp_path, 100, 2, 2)
        self.add(store)
        path = store.find("ann", self.id)
        assert path.read_bytes() == b"keys"
        os.utime(path, (time.time() - 101,) * 2)
        assert store.find("ann", self.id) is None
        assert len(store) == 0

    def test_expired_keys_make_room(self, tmp_path):
        store = KeyStore(tmp_path, 100, 1, 1)
        self.add(store)
        with pytest.raises(StoreFullError, match="1 evaluation keys") as raised:
            self.add(store, "bob")
        assert (raised.value.kept, raised.value.most) == (1, 1)
        os.utime(store.find("ann", self.id), (time.time() - 101,) * 2)
        self.add(store, "bob")
        assert store.find("bob", self.id)

    def test_what_was_not_finished_is_not_there(self, tmp_path):
        store = KeyStore(tmp_path, 100, 2, 2)
        with pytest.raises(OSError, match="disk"), store.adding("ann", self.id):
            raise OSError("no disk")
        assert not list(tmp_path.glob("*/*"))

    @pytest.mark.parametrize("id", ["", "-1", "..", "../x", "A" * 64, "a" * 63, "a" * 64 + "\n"])
    def test_other_names_are_none(self, tmp_path, id):
        store = KeyStore(tmp_path, 100, 2, 2)
        self.add(store)
        assert store.find("ann", id) is None
        assert not store.remove("ann", id)


class TestTokens:
    def test_belong_to_owners(self, tmp_path):
        file = tmp_path / "tokens"
        file.write_text("# ours\nann 0123456789abcdef\n\nbob fedcba9876543210\n")
        owner = tokens_of(file)
        assert [owner("0123456789abcdef"), owner("fedcba9876543210")] == ["ann", "bob"]
        assert [owner(None), owner(""), owner("0123456789abcde"), owner("ann")] == [None] * 4

    @pytest.mark.parametrize("line", ["ann", "ann short", "ann 0123456789abcdef more"])
    def test_lines_of_another_form_are_refused(self, tmp_path, line):
        (tmp_path / "tokens").write_text(f"\n{line}\n")
        with pytest.raises(AuthenticationError, match="line 2"):
            tokens_of(tmp_path / "tokens")


def test_messages_are_as_long_as_the_specs_say():
    for length in (0, 29, 30 + 4096):
        with pytest.raises(MessageError, match=f"has {length} bytes, the circuit's specs say 30"):
            Message.open(sealed(payload=bytes(length)), "input", CIRCUIT, 30)
    with pytest.raises(ForeignKeysError, match="evaluation keys goes with keys kkk"):
        Message.open(sealed("evaluation keys", KEYS, "k" * 64), "evaluation keys", CIRCUIT, 20)
    assert Message.open(sealed(), "input", CIRCUIT, 30).payload == bytes(30)
