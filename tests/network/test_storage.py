"""A network read back is the network that was written; a file that is not is refused."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given

from networks import EXAMPLES, Builder, example, inputs, networks
from secateur.errors import FileFormatError, FileVersionError, NetworkError
from secateur.narrowing import narrow
from secateur.network import (
    Layer,
    Transpose,
    storage,
    tables,
)
from secateur.network.arrays import Frozen
from secateur.network.storage import fingerprint, load, save


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


def rewritten(path, change):
    """Put a header changed by `change` in the file, the arrays left alone."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    outer = json.loads(content[8 : 8 + length])
    header = json.loads(outer["__metadata__"]["secateur"])
    change(header)
    outer["__metadata__"]["secateur"] = json.dumps(header)
    packed = json.dumps(outer).encode()
    path.write_bytes(len(packed).to_bytes(8, "little") + packed + content[8 + length :])


class TestRoundTrip:
    @given(network=networks())
    def test_gives_the_same_integers_and_the_same_hash(self, network, tmp_path_factory):
        path = tmp_path_factory.mktemp("net") / "n.safetensors"
        save(network, path)
        again = load(path)
        x = inputs(network, limit=128)
        assert (again(x) == network(x)).all()
        assert fingerprint(again) == fingerprint(network)

    @pytest.mark.parametrize("name", EXAMPLES)
    def test_keeps_every_field(self, name, path):
        network = example(name)
        save(network, path)
        for a, b in zip(load(path).operations, network.operations, strict=True):
            assert type(a) is type(b)
            for field in dataclasses.fields(a):
                ours, theirs = getattr(a, field.name), getattr(b, field.name)
                if isinstance(theirs, np.ndarray):
                    assert ours.dtype == theirs.dtype
                    assert ours.shape == theirs.shape
                    assert (ours == theirs).all()
                elif field.name != "table":
                    assert ours == theirs

    def test_keeps_floats_to_the_last_bit(self, path):
        b = Builder((1,), 0, 3, scale=0.1)
        b.lookup(tables.FunctionTable((), tables.Quantize(1 / 3, 0, 9)))
        save(b.network(), path)
        again = load(path)
        assert again.input.scale == 0.1
        assert again["lookup0"].table.quantize.scale == 1 / 3

    def test_keeps_what_people_call_things(self, path):
        network = example("mlp")
        input = dataclasses.replace(network.input, bias=np.arange(6.0), features=tuple("abcdef"))
        output = dataclasses.replace(network.output, labels=(3, 1, "x"), tail="softmax")
        save(dataclasses.replace(network, input=input, output=output), path)
        again = load(path)
        assert again.input.bias.tolist() == [0, 1, 2, 3, 4, 5]
        assert again.input.features == tuple("abcdef")
        assert (again.output.labels, again.output.tail) == ((3, 1, "x"), "softmax")

    def test_keeps_what_narrowing_made(self, path):
        network = narrow(example("convolutional"))
        save(network, path)
        x = inputs(network)
        assert (load(path)(x) == network(x)).all()

    def test_every_operation_and_step_has_a_name_in_files(self):
        known = set(storage._KINDS.values())
        kinds = [kind for kind in subclasses(Frozen) if dataclasses.is_dataclass(kind)]
        kinds.remove(Layer)  # what Linear and Conv have in common
        assert len(kinds) >= 15
        assert set(kinds) <= known


def subclasses(kind):
    """The subclasses of a class, and theirs, of this library."""
    for each in kind.__subclasses__():
        if each.__module__.startswith("secateur."):
            yield each
            yield from subclasses(each)


class TestFingerprint:
    def test_differs_where_one_code_does(self):
        network = example("mlp")
        layer = next(network.layers)
        codes = layer.codes.copy()
        codes[0, 0] += 1
        changed = network.with_operations(dataclasses.replace(layer, codes=codes))
        assert fingerprint(changed) != fingerprint(network)

    def test_is_the_same_for_equal_networks(self):
        assert fingerprint(example("mlp", 3)) == fingerprint(example("mlp", 3))


class TestDamage:
    def test_every_truncation_is_refused(self, path):
        save(example("mlp"), path)
        content = path.read_bytes()
        for length in range(0, len(content), 7):
            path.write_bytes(content[:length])
            with pytest.raises(FileFormatError) as raised:
                load(path)
            assert raised.value.path == str(path)

    def test_every_flipped_byte_is_refused(self, path):
        network = example("signed_mlp")
        save(network, path)
        content = path.read_bytes()
        for at in range(0, len(content), 5):
            path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
            with pytest.raises((FileFormatError, FileVersionError)):
                load(path)

    def test_another_file_of_tensors_is_refused(self, path):
        from safetensors.numpy import save_file

        save_file({"weight": np.ones(3)}, path)
        with pytest.raises(FileFormatError, match="no network of this library"):
            load(path)

    def test_a_missing_file_is_the_systems_error(self, path):
        with pytest.raises(FileNotFoundError):
            load(path)

    def test_a_later_version_is_named(self, path):
        save(example("mlp"), path)
        rewritten(path, lambda header: header.update(version=99))
        with pytest.raises(FileVersionError, match="format version 99") as raised:
            load(path)
        assert (raised.value.version, raised.value.known) == (99, 1)

    @pytest.mark.parametrize(
        "forge",
        [
            lambda graph: graph["operations"][0].update({"$kind": "os.system"}),
            lambda graph: graph["operations"][0].update(codes={"$tensor": "nothing"}),
            lambda graph: graph["operations"][0].update(source="nowhere"),
            lambda graph: graph["operations"][0].update(surprise=1),
            lambda graph: graph["operations"][0].pop("name"),
            lambda graph: graph.pop("input"),
            lambda graph: graph.update({"$kind": "quantize"}),
        ],
    )
    def test_a_forged_header_is_refused_even_with_its_hash_made_right(self, path, forge):
        network = example("mlp")
        save(network, path)
        tensors = storage._read(path.read_bytes(), storage._safetensors())[1]

        def change(header):
            forge(header["network"])
            del header["sha256"]
            header["sha256"] = storage._hash(header, tensors)

        rewritten(path, change)
        with pytest.raises(FileFormatError, match="valid network"):
            load(path)


class TestSave:
    def test_an_operation_of_another_library_is_refused_by_name(self, path):
        class Negate(Transpose):
            pass

        network = example("mlp")
        odd = dataclasses.replace(
            network, operations=(*network.operations, Negate("odd", network.output.source, (0,)))
        )
        with pytest.raises(NetworkError, match="Negate"):
            save(odd, path)
        assert not path.exists()

    def test_leaves_the_old_file_where_the_new_one_cannot_be_written(self, tmp_path):
        path = tmp_path / "net.safetensors"
        path.mkdir()
        with pytest.raises(OSError, match=r"net\.safetensors"):
            save(example("mlp"), path)
        assert os.listdir(tmp_path) == ["net.safetensors"]

    def test_replaces_what_was_there(self, path):
        save(example("mlp", 0), path)
        save(example("mlp", 1), path)
        assert fingerprint(load(path)) == fingerprint(example("mlp", 1))

    def test_missing_safetensors_is_named_with_its_extra(self):
        code = (
            "import sys; sys.modules['safetensors'] = None\n"
            "from secateur.errors import MissingExtraError\n"
            "from secateur.network.storage import load\n"
            "try: load('net')\n"
            "except MissingExtraError as error: print(error.extra, error.package)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert run.stdout.split() == ["files", "safetensors"], run.stderr
