"""From a network's file to ranges, a pruned network and a circuit, on the command line."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from backends import on_each_backend
from networks import example
from secateur import analyze, load, save
from secateur.cli import main
from secateur.pruning.prune import prune


def run(*arguments, status=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def model(tmp_path):
    network = example("mlp", 3)
    save(network, tmp_path / "net.safetensors")
    return tmp_path / "net.safetensors"


def test_bounds_are_those_of_the_analysis(model):
    report = analyze(load(model))
    told = json.loads(run("bounds", model, "--json"))
    assert told["accumulator_bits"] == report.accumulator_bits
    for node in told["nodes"]:
        found = report[node["name"]]
        assert node["low"] == found.channels.low.tolist()
        assert node["high"] == found.channels.high.tolist()
        assert node["bits"] == found.bits()
    shown = run("bounds", model)
    assert str(report) in shown
    assert f"widest accumulator: {report.accumulator_bits} bits" in shown


def test_prune_writes_what_the_library_prunes(model, tmp_path):
    output = tmp_path / "pruned.safetensors"
    told = json.loads(run("prune", model, "accumulator", output, "-o", "bits=4", "--json"))
    expected = prune(load(model), "accumulator", bits=4)
    for layer in load(output).layers:
        np.testing.assert_array_equal(layer.codes, expected[layer.name].codes)
    assert told["accumulator_bits"] == analyze(expected).accumulator_bits <= 4
    assert [x["bits"] for x in told["layers"]] == [
        analyze(expected)[x.name].bits() for x in expected.layers
    ]
    shown = run("prune", model, "accumulator", output, "-o", "bits=4", "-o", "saliency=magnitude")
    assert "widest accumulator:" in shown
    assert "4 now" in shown


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("accumulater", "x.safetensors"), "did you mean accumulator?"),
        (("accumulator", "x.safetensors", "-o", "bits=0"), "expected 1 to 63"),
        (("magnitude", "x.safetensors", "-o", "saliency=nonsense"), "no saliency is named"),
    ],
)
def test_what_the_library_refuses_ends_with_status_1(model, arguments, complaint):
    assert complaint in run("prune", model, *arguments, status=1)


def test_a_misused_command_ends_with_status_2(model):
    assert "NAME=VALUE" in run("prune", model, "magnitude", "x", "-o", "bits", status=2)
    run("bounds", "nowhere.safetensors", status=2)


def test_samples_serve_the_strategies_that_look_at_activations(model, tmp_path):
    network = load(model)
    codes = np.broadcast_to(network.input.high, (4, *network.input.shape))
    np.save(tmp_path / "codes.npy", codes)
    output = tmp_path / "pruned.safetensors"
    option = ("-o", "saliency=activation")
    assert "samples" in run("prune", model, "magnitude", output, *option, status=1)
    run("prune", model, "magnitude", output, *option, "--samples", tmp_path / "codes.npy")
    assert output.exists()


@on_each_backend
def test_compile_tells_the_cost_and_saves_the_circuit(model, tmp_path, backend):
    pruned = tmp_path / "pruned.safetensors"
    run("prune", model, "accumulator", pruned, "-o", "bits=4")
    told = json.loads(run("compile", pruned, tmp_path / "circuit", "--json"))
    assert told["backend"] == backend.name
    assert told["complexity"] > 0
    assert any((tmp_path / "circuit").iterdir())
    assert "complexity" in run("compile", pruned, "--backend", backend.name)
