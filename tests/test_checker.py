"""The independent checker: it agrees with the library, and no single change escapes it."""

import ast
import copy
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from networks import EXAMPLES, Builder, example, networks
from secateur import checker
from secateur.analysis import analyze
from secateur.circuits.certificate import Certificate
from secateur.network import (
    Activation,
    Affine,
    FunctionTable,
    Layer,
    Quantize,
)
from secateur.network.activations import ACTIVATIONS
from secateur.network.kinds import OPERATIONS
from secateur.network.storage import save
from secateur.network.tables import COMBINATIONS, ROUNDINGS, Bend, Combine, Count
from secateur.network.taking import Place, Take

SOURCE = Path(checker.__file__)
ONE = np.ones(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A certificate and a network, with ends that a search attained, as files."""
    directory = tmp_path_factory.mktemp("checker")
    network = example("residual")
    save(network, directory / "network")
    Certificate.of(analyze(network, attain=3.0)).save(directory / "certificate")
    return directory / "certificate", directory / "network"


def test_it_needs_nothing_but_python_and_is_short():
    tree = ast.parse(SOURCE.read_text())
    imported = {
        name.partition(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert imported <= set(sys.stdlib_module_names)
    assert len(SOURCE.read_text().splitlines()) <= 400


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_agrees_on_every_architecture(name, tmp_path):
    network = example(name)
    save(network, tmp_path / "network")
    Certificate.of(analyze(network, attain=0.5)).save(tmp_path / "certificate")
    assert checker.check(str(tmp_path / "certificate"), str(tmp_path / "network")) == []


def test_it_knows_every_kind_of_operation_and_of_step():
    assert {o.kind for o in OPERATIONS} == set(checker._OPERATIONS)
    assert set(ACTIVATIONS) == set(checker._ACTIVATIONS)
    assert set(ROUNDINGS) == set(checker._ROUNDINGS)
    assert set(COMBINATIONS) == set(checker._BOTH)


@pytest.mark.parametrize("low", [-3, 0])
@pytest.mark.parametrize(
    "steps",
    [
        (Bend(np.array([0.25, 2.0, -0.5])),),
        (Bend(np.array([0.5])), Affine(np.array([1.0, -2.0, 0.5]), np.array([0.25]))),
        (Count(np.array([[-1.0, 0.5], [0.0, 2.0], [1.5, 1.5]])),),
        (Activation("square"), Quantize(0.5, 0, 9), Activation("tanh")),
        (Combine("multiply", (), (Activation("sigmoid"),)),),
        (
            Combine(
                "maximum",
                (Combine("divide", (Activation("erf"),), (Affine(ONE, ONE * 9.5),)),),
                (Bend(np.array([0.25, 2.0, -0.5])), Combine("add", (), (Activation("exp"),))),
            ),
            Combine("minimum", (Quantize(0.5, -4, 9),), (Activation("abs"),)),
        ),
    ],
    ids=str,
)
def test_it_agrees_on_steps_and_on_elements_taken_and_placed(low, steps, tmp_path):
    b = Builder((3, 2), low, 3)
    b.put(Take("taken", b.at, 1, np.array([1, 0])), b.bound)
    b.put(Place("placed", b.at, 1, np.array([-1, 0, 1, 1]), 2), b.bound)
    b.conv(np.arange(-4, 5).reshape(3, 3, 1), stride=(2,))
    b.lookup(FunctionTable(steps, Quantize(0.75, -4, 4)))
    network = b.network()
    save(network, tmp_path / "network")
    Certificate.of(analyze(network, attain=1.0)).save(tmp_path / "certificate")
    assert checker.check(str(tmp_path / "certificate"), str(tmp_path / "network")) == []


@settings(max_examples=100)
@given(networks())
def test_it_agrees_on_any_network(tmp_path_factory, network):
    directory = tmp_path_factory.mktemp("any")
    save(network, directory / "network")
    Certificate.of(network).save(directory / "certificate")
    assert checker.check(str(directory / "certificate"), str(directory / "network")) == []


def test_it_runs_as_a_script_without_the_library(files, tmp_path):
    def run(certificate, network):
        command = [sys.executable, "-I", str(SOURCE), str(certificate), str(network)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    right = run(*files)
    assert (right.returncode, right.stdout) == (0, "the proof holds\n")
    wrong = run(files[0], files[0])
    assert wrong.returncode == 1
    assert "damaged" in wrong.stdout
    assert run(files[0], tmp_path / "nothing").returncode == 1


def rehashed(content):
    content.pop("sha256", None)
    text = json.dumps(content, sort_keys=True)
    return content | {"sha256": hashlib.sha256(text.encode()).hexdigest()}


def places(value, path=()):
    """Every number, string and None in a JSON value, by the way to it."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from places(inner, (*path, key))
    else:
        yield path, value


def changed(value, path, new):
    """A copy of a JSON value with another value at one place."""
    whole = copy.deepcopy(value)
    at = whole
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = new
    return whole


def others(value):
    """Values that may stand in place of one, each a lie."""
    if isinstance(value, bool) or value is None:
        return []
    return [value - 1, value + 1] if isinstance(value, int) else [value + "0"]


def test_every_single_change_of_a_certificate_is_refused(files, tmp_path):
    certificate, network = files
    content = json.loads(certificate.read_text())
    lie = tmp_path / "lie"
    tried = 0
    for path, value in places(content):
        for new in others(value):
            lie.write_text(json.dumps(changed(content, path, new)))
            assert checker.check(str(lie), str(network)), (path, value, new)
            tried += 1
    assert tried >= 200


def test_its_own_hash_made_right_saves_no_lie(files, tmp_path):
    """What a witness is called, and where an end is no longer called attained, is no lie."""
    certificate, network = files
    content = json.loads(certificate.read_text())
    lie = tmp_path / "lie"
    tried = 0
    for path, value in places(content):
        if path[0] in ("secateur", "sha256", "witnesses") or "witnesses" in path:
            continue
        for new in others(value):
            lie.write_text(json.dumps(rehashed(changed(content, path, new))))
            assert checker.check(str(lie), str(network)), (path, value, new)
            tried += 1
    assert tried >= 80


def test_a_sound_end_cannot_pass_for_attained(files, tmp_path):
    certificate, network = files
    content = json.loads(certificate.read_text())
    # The same witness for both ends of every channel: no channel here is constant.
    for node in content["nodes"]:
        node["witnesses"] = [[0, 0] for _ in node["witnesses"]]
    lie = tmp_path / "lie"
    lie.write_text(json.dumps(rehashed(content)))
    found = checker.check(str(lie), str(network))
    assert any("its witness reaches" in line for line in found)


def test_every_changed_code_of_a_network_is_refused(files, tmp_path):
    certificate, _ = files
    network = example("residual")
    tried = 0
    for layer in network.layers:
        assert isinstance(layer, Layer)
        for at in np.ndindex(layer.codes.shape):
            codes = layer.codes.copy()
            codes[at] += 1
            other = network.with_operations(
                type(layer)(layer.name, layer.source, codes, layer.bias)
            )
            save(other, tmp_path / "other")
            assert checker.check(str(certificate), str(tmp_path / "other"))
            tried += 1
    assert tried >= 40


def test_every_damaged_byte_of_a_network_is_refused(files, tmp_path):
    certificate, network = files
    content = network.read_bytes()
    for at in range(0, len(content), max(1, len(content) // 200)):
        damaged = content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :]
        (tmp_path / "damaged").write_bytes(damaged)
        assert checker.check(str(certificate), str(tmp_path / "damaged")), at
