"""A saved circuit answers as its network does, and refuses what does not belong to it."""

import copy
import json
import os
import pickle
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from backends import BACKENDS
from networks import Builder, inputs
from secateur.circuits.certificate import Certificate, verify
from secateur.circuits.circuit import Circuit, compile
from secateur.circuits.storage import read_part
from secateur.deployment import Client, Server
from secateur.deployment.messages import Message, sha256
from secateur.errors import (
    DtypeError,
    FileFormatError,
    FileVersionError,
    ForeignKeysError,
    InputRangeError,
    MessageError,
    MismatchError,
    MissingExtraError,
    ShapeError,
    UnpicklableError,
)
from secateur.narrowing import narrow
from secateur.network import Network
from secateur.network.storage import load

EXAMPLE = Path(__file__).parents[2] / "examples" / "deployment"
SERVER_FILES = ("circuit.mlir", "options.json", "specs.json", "manifest.json")
CLIENT_FILES = ("interface.json", "specs.json", "manifest.json")


def small_network(sign: int = 1) -> Network:
    b = Builder((3,), -1, 1, scale=0.5)
    b.linear(np.array([[1, -2, 0], [1, 1, -1]]) * sign, np.array([1, 0]))
    b.activation("relu", 0, 1)
    b.linear(np.array([[1, -1], [2, 2]]))
    return b.network(factor=[1, 3], offset=[0, -1])


@dataclass(frozen=True)
class Saved:
    """A circuit and the directory that it was saved in."""

    network: Network
    circuit: Circuit
    directory: Path


@pytest.fixture(scope="module", params=BACKENDS, ids=lambda b: b.name)
def saved(request, tmp_path_factory):
    network = small_network()
    circuit = compile(narrow(network), request.param.name, global_p_error=0.01)
    directory = tmp_path_factory.mktemp("saved") / "circuit"
    circuit.save(directory)
    return Saved(network, circuit, directory)


@pytest.fixture
def copied(saved, tmp_path):
    """The saved circuit in a place of its own, to be damaged."""
    saved.circuit.save(tmp_path / "circuit")
    return tmp_path / "circuit"


@pytest.fixture(scope="module")
def client(saved):
    return Client.load(saved.directory / "client")


@pytest.fixture(scope="module")
def server(saved):
    return Server.load(saved.directory / "server")


@pytest.fixture(scope="module")
def keys(server, client):
    return server.keys(client.evaluation_keys())


class TestSave:
    def test_writes_three_parts(self, saved):
        for part, files in (("server", SERVER_FILES), ("client", CLIENT_FILES)):
            assert {p.name for p in (saved.directory / part).iterdir()} == set(files)
        x = inputs(saved.network)
        for name in ("network", "narrowed"):
            network = load(saved.directory / "network" / f"{name}.safetensors")
            certificate = Certificate.load(saved.directory / "network" / f"{name}.certificate.json")
            assert (network(x) == saved.network(x)).all()
            assert verify(certificate, network).holds
        assert certificate == saved.circuit.certificate

    def test_the_client_part_holds_no_codes(self, saved):
        assert not set(read_part(saved.directory / "client", "client").files) & {
            "circuit.mlir",
            "network.safetensors",
        }

    def test_overwrites_nothing(self, saved, tmp_path):
        (tmp_path / "mine").write_text("mine")
        with pytest.raises(FileExistsError, match="exists already"):
            saved.circuit.save(tmp_path)
        assert [p.name for p in tmp_path.iterdir()] == ["mine"]

    def test_gives_the_same_circuit_twice(self, saved, copied):
        same = [read_part(d / "server", "server") for d in (saved.directory, copied)]
        assert same[0] == same[1]


class TestLoad:
    @pytest.mark.parametrize(
        ("part", "name"),
        [("server", n) for n in SERVER_FILES] + [("client", n) for n in CLIENT_FILES],
    )
    @pytest.mark.parametrize("damage", ["truncated", "missing"])
    def test_a_damaged_file_is_named(self, copied, part, name, damage):
        path = copied / part / name
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[:-3])
        with pytest.raises(FileFormatError) as raised:
            {"server": Server, "client": Client}[part].load(copied / part)
        assert str(copied / part) in raised.value.path

    def test_one_altered_byte_is_enough(self, copied):
        path = copied / "server" / "circuit.mlir"
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1", b"2", 1))
        with pytest.raises(FileFormatError, match=r"circuit\.mlir does not match its hash"):
            Server.load(copied / "server")

    def test_one_part_is_not_another(self, copied):
        with pytest.raises(FileFormatError, match="is missing"):
            Server.load(copied / "client")

    def test_the_directory_of_all_parts_is_not_one(self, saved):
        with pytest.raises(FileFormatError, match="directories of their own"):
            Client.load(saved.directory)

    @pytest.mark.parametrize(
        ("change", "found"),
        [
            (lambda manifest: manifest.update(version=99), 99),
            (lambda manifest: manifest["backend"].update(version="0.0.1"), "0.0.1"),
        ],
    )
    def test_another_version_is_refused(self, copied, change, found):
        path = copied / "client" / "manifest.json"
        manifest = json.loads(path.read_text())
        change(manifest)
        path.write_text(json.dumps(manifest))
        with pytest.raises(FileVersionError, match=r"save (it|the circuit) again") as raised:
            Client.load(copied / "client")
        assert raised.value.version == found

    def test_a_backend_that_is_not_installed_is_named(self, copied):
        path = copied / "client" / "manifest.json"
        other = {"concrete-numpy": "concrete-python", "concrete-python": "concrete-numpy"}
        manifest = json.loads(path.read_text())
        manifest["backend"]["name"] = other[manifest["backend"]["name"]]
        path.write_text(json.dumps(manifest))
        with pytest.raises(MissingExtraError, match=manifest["backend"]["name"]):
            Client.load(copied / "client")

    def test_parameters_that_do_not_compile_again_are_refused(self, copied):
        """A server whose backend would compile to other keys than the clients make."""
        path = copied / "server" / "specs.json"
        # The first whole number of a key's parameters, one more than it was.
        more = re.compile(rb"(?<=: )\d{3,}(?=[,}])")
        specs = more.sub(lambda number: b"%d" % (int(number[0]) + 1), path.read_bytes(), count=1)
        manifest = json.loads((copied / "server" / "manifest.json").read_text())
        manifest["parts"]["server"]["specs.json"] = sha256(specs)
        path.write_bytes(specs)
        (copied / "server" / "manifest.json").write_text(json.dumps(manifest))
        with pytest.raises(MismatchError, match="other parameters"):
            Server.load(copied / "server")


def rewrite(part, name, content):
    """Put another content in place of a file, and its hash into the manifest: a forgery."""
    (part / name).write_bytes(content)
    forge(part, lambda manifest: manifest["parts"][part.name].update({name: sha256(content)}))


def forge(part, change):
    manifest = json.loads((part / "manifest.json").read_text())
    changed = change(manifest)
    (part / "manifest.json").write_text(json.dumps(changed or manifest))


class TestForged:
    @pytest.mark.parametrize(
        "name", ["../../secret", "/etc/hostname", "..", ".", "", "a/b", "a\\b", "a\0b"]
    )
    @pytest.mark.parametrize("part", ["server", "client"])
    def test_files_outside_the_directory_are_not_read(self, copied, tmp_path, part, name):
        (tmp_path / "secret").write_bytes(b"secret")
        forge(copied / part, lambda m: m["parts"][part].update({name: sha256(b"secret")}))
        with pytest.raises(FileFormatError, match="no file of this directory"):
            {"server": Server, "client": Client}[part].load(copied / part)

    @pytest.mark.parametrize(
        "change",
        [
            lambda m: [m],
            lambda m: "manifest",
            lambda m: m | {"format": ["secateur-circuit"]},
            lambda m: m | {"backend": "concrete-numpy"},
            lambda m: m | {"backend": {"name": {}, "version": []}},
            lambda m: m | {"backend": {"name": "../concrete", "version": "1"}},
            lambda m: m | {"parts": []},
            lambda m: m | {"parts": {"client": ["interface.json"]}},
            lambda m: m | {"parts": {"client": {}}},
            lambda m: m | {"parts": {"client": {"interface.json": 7, "specs.json": None}}},
        ],
    )
    def test_manifests_of_other_types_are_refused(self, copied, change):
        forge(copied / "client", change)
        with pytest.raises(FileFormatError):
            Client.load(copied / "client")

    def test_deep_and_large_manifests_are_refused(self, copied):
        for content in (b"[" * 60000, b'{"a":' * 12000, b" " * (1 << 20)):
            (copied / "client" / "manifest.json").write_bytes(content)
            with pytest.raises(FileFormatError):
                Client.load(copied / "client")

    @pytest.mark.parametrize(
        ("end", "changed"),
        [
            ("input", {"shape": 3}),
            ("input", {"shape": []}),
            ("input", {"shape": [-3]}),
            ("input", {"shape": [2.5]}),
            ("input", {"shape": [1 << 62, 1 << 62]}),
            ("input", {"low": [0, 0]}),
            ("input", {"low": "0"}),
            ("input", {"low": 0.5}),
            ("input", {"low": 1 << 70}),
            ("input", {"low": 9}),
            ("input", {"scale": 0}),
            ("input", {"scale": None}),
            ("input", {"name": 3}),
            ("input", {"features": "abc"}),
            ("input", {"features": [1, 2, 3]}),
            ("output", {"shape": [7, 7]}),
            ("output", {"factor": {}}),
            ("output", {"factor": [1.5]}),
            ("output", {"scale": ["1"]}),
            ("output", {"labels": [[]]}),
            ("output", {"labels": ["a", "b", "c"]}),
            ("output", {"tail": []}),
            ("output", {"tail": "relu"}),
            ("other", {}),
        ],
        ids=str,
    )
    def test_interfaces_of_other_types_are_refused(self, copied, end, changed):
        ends = json.loads((copied / "client" / "interface.json").read_text())
        ends = {end: changed} if end == "other" else ends | {end: ends[end] | changed}
        rewrite(copied / "client", "interface.json", json.dumps(ends).encode())
        with pytest.raises(FileFormatError, match=r"interface\.json"):
            Client.load(copied / "client")

    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[]", b"7", b"not json", b"[" * 100_000, b"\xff\xfe"], ids=repr
    )
    @pytest.mark.parametrize(
        ("part", "name"),
        [
            ("client", "interface.json"),
            ("client", "specs.json"),
            ("server", "specs.json"),
            ("server", "options.json"),
            ("server", "circuit.mlir"),
            ("network", "options.json"),
            ("network", "network.safetensors"),
        ],
    )
    def test_files_of_another_content_are_refused(self, copied, part, name, content):
        rewrite(copied / part, name, content)
        load = {"server": Server.load, "client": Client.load, "network": Circuit.load}[part]
        if (part, name, content) == ("network", "options.json", b"{}"):
            load(copied)  # no option is an option
            return
        with pytest.raises((FileFormatError, MismatchError)):
            load(copied if part == "network" else copied / part)


class TestCircuit:
    def test_is_loaded_from_its_directory(self, saved):
        circuit = Circuit.load(saved.directory)
        assert circuit.export() == saved.circuit.export()
        x = inputs(saved.network)
        assert (circuit.emulate(x) == saved.network(x)).all()

    def test_nothing_else_is_loaded(self, copied):
        with pytest.raises(FileFormatError, match="holds no part"):
            Circuit.load(copied / "network")
        path = copied / "network" / "network.safetensors"
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(FileFormatError, match="does not match its hash"):
            Circuit.load(copied)

    def test_a_network_that_is_no_circuit_says_so(self, saved):
        with pytest.raises(FileFormatError, match=r"Circuit\.load"):
            load(saved.directory)
        with pytest.raises(FileFormatError, match="is a directory"):
            load(saved.directory.parent)

    def test_no_pickle_holds_it(self, saved):
        for copy_it in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(UnpicklableError, match=r"circuit\.save"):
                copy_it(saved.circuit)


class TestMessage:
    message = Message("input", "c" * 64, "k" * 64, b"payload\nof lines")

    def test_opens_to_what_was_sealed(self):
        assert Message.open(self.message.seal(), "input", "c" * 64, 16) == self.message

    def test_every_truncation_and_every_flipped_bit_is_refused(self):
        sealed = self.message.seal()
        for length in range(len(sealed)):
            with pytest.raises(MessageError):
                Message.open(sealed[:length], "input", "c" * 64, 16)
        for at in range(sealed.index(b"\n") + 1, len(sealed)):
            altered = sealed[:at] + bytes([sealed[at] ^ 4]) + sealed[at + 1 :]
            with pytest.raises(MessageError, match="altered"):
                Message.open(altered, "input", "c" * 64, 16)

    def test_another_kind_is_named(self):
        with pytest.raises(MessageError, match="of kind 'input'") as raised:
            Message.open(self.message.seal(), "result", "c" * 64, 16)
        assert raised.value.kind == "result"

    def test_another_circuit_is_named(self):
        with pytest.raises(MismatchError, match="ccc") as raised:
            Message.open(self.message.seal(), "input", "d" * 64, 16)
        assert (raised.value.expected, raised.value.found) == ("d" * 64, "c" * 64)


class TestClient:
    def test_quantises_and_dequantises_as_the_network_does(self, saved, client):
        x = np.array([0.6, -9.0, 0.2])
        assert client.quantize(x).tolist() == saved.network.quantize_input(x[None])[0].tolist()
        integers = np.array([3, -1])
        expected = saved.network.output.dequantize(integers[None])[0]
        assert client.dequantize(integers).tolist() == expected.tolist()

    def test_input_beyond_the_proof_is_refused(self, client):
        with pytest.raises(InputRangeError, match=r"\[-1, 1\]"):
            client.encrypt(np.array([0, 2, 0]))

    def test_input_of_another_shape_is_refused(self, client):
        with pytest.raises(ShapeError, match="one sample"):
            client.encrypt(np.array([[0, 1, 0]]))

    def test_floats_are_refused(self, client):
        with pytest.raises(DtypeError, match="float64"):
            client.encrypt(np.array([0.0, 1.0, 0.0]))


@pytest.mark.encrypted
class TestEncrypted:
    def test_answers_as_the_network_does(self, saved, client, server, keys):
        for x in inputs(saved.network)[::5]:
            answer = server.run(client.encrypt(x), keys)
            assert client.decrypt(answer).tolist() == saved.network(x).tolist()

    def test_bytes_that_the_backend_makes_nothing_of_are_an_error(self, saved, client):
        size = client.specs.output_bytes
        answer = Message("result", client.circuit, client.key_id, bytes(size)).seal()
        with pytest.raises(MessageError, match="backend makes nothing of it"):
            client.decrypt(answer)

    def test_inputs_that_state_other_sizes_never_reach_the_backend(
        self, saved, client, server, keys, monkeypatch
    ):
        sealed = client.encrypt(np.array([0, 1, 0]))
        size = client.specs.input_bytes
        honest = Message.open(sealed, "input", client.circuit, size)
        whole, casing = honest.payload, server.casing
        casing.check(whole)
        assert len(whole) - len(casing.head) - len(casing.tail) == size
        outside = [*range(len(casing.head)), *range(len(whole) - len(casing.tail), len(whole))]
        damaged = [bytes(size), whole + b"0", whole[1:] + b"0"]
        damaged += [whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :] for at in outside]
        monkeypatch.setattr(server.backend, "run", None)
        for payload in damaged:
            with pytest.raises(MessageError, match="does not state the sizes"):
                server.run(replace(honest, payload=payload).seal(), keys)

    def test_foreign_keys_are_refused_on_both_sides(self, saved, client, server, keys):
        stranger = Client.load(saved.directory / "client")
        question = stranger.encrypt(np.array([0, 1, 0]))
        with pytest.raises(ForeignKeysError, match="that client's keys"):
            server.run(question, keys)
        answer = server.run(client.encrypt(np.array([0, 1, 0])), keys)
        with pytest.raises(ForeignKeysError) as raised:
            stranger.decrypt(answer)
        assert raised.value.found == keys.id

    def test_a_server_of_another_circuit_is_refused(self, saved, client, keys, tmp_path):
        other = compile(narrow(small_network(sign=-1)), saved.circuit.backend.name)
        other.save(tmp_path / "other")
        server = Server.load(tmp_path / "other" / "server")
        with pytest.raises(MismatchError, match="one saved circuit"):
            server.run(client.encrypt(np.array([0, 1, 0])), keys)
        with pytest.raises(MismatchError, match="evaluation keys"):
            server.keys(client.evaluation_keys())


@pytest.mark.encrypted
def test_two_processes(tmp_path):
    """The worked example, as its docstrings tell to run it."""
    circuit = tmp_path / "circuit"
    # The server has other temporary files, as on another machine.
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    run = {"check": True, "capture_output": True, "text": True, "timeout": 600}
    subprocess.run([sys.executable, EXAMPLE / "compile.py", circuit], **run)
    network = load(circuit / "network" / "network.safetensors")
    server = subprocess.Popen(
        [sys.executable, "-m", "secateur", "serve", circuit, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"TMPDIR": str(scratch)},
    )
    with server:
        try:
            url = server.stdout.readline().strip()
            client = [sys.executable, EXAMPLE / "client.py", circuit / "client", url]
            answers = subprocess.run(client, **run).stdout
            assert list(scratch.rglob("[0-9a-f]" * 64)), "the server keeps a client's keys by id"
        finally:
            server.terminate()
    assert server.returncode == 0
    assert not list(scratch.rglob("[0-9a-f]" * 64)), "keys end with the process"
    samples = np.array([[1, 0, 1, 0], [0, 1, 1, 0], [0, 0, 0, 1]])
    expected = [" ".join(map(str, scores)) for scores in network.predict(samples)]
    assert answers.splitlines() == expected
