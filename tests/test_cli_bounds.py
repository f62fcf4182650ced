"""`secateur bounds` of weights alone: what the engine says of them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner

from secateur import bounds
from secateur.cli import main

LINEAR = np.array([[1, -2, 3], [0, 4, 0]], np.int8)
CONV = np.arange(-8, 8).reshape(2, 2, 2, 2).astype(np.int16)


def run(*arguments):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture
def weights(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "weights.safetensors"
    safetensors.save_file({"fc": LINEAR, "conv": CONV, "bias": np.ones(2)}, path)
    return path


def test_the_widest_channel_is_shown_with_its_own_range(tmp_path):
    np.save(tmp_path / "fc.npy", LINEAR)
    heading, row, last = run(
        "bounds", tmp_path / "fc.npy", "--low", "-1", "--high", 15
    ).splitlines()
    assert heading.split("  ")[0] == "layer"
    assert row.split() == ["fc", "0", "-34", "62", "96", "7", "7"]
    assert last == "widest accumulator: 7 bits"


def test_every_channel_of_every_layer_on_request(weights):
    lines = run("bounds", weights, "--low", 0, "--high", 3, "--per-channel").splitlines()
    assert [line.split()[:2] for line in lines[1:-1]] == [
        [name, channel] for name in ("conv", "fc") for channel in "01"
    ]


def test_and_as_json(weights):
    told = json.loads(run("bounds", weights, "--low", -2, "--high", 3, "--json"))
    layers = {layer["name"]: layer for layer in told["layers"]}
    for name, codes in (("fc", LINEAR), ("conv", CONV)):
        expected = bounds.linear(codes.reshape(2, -1), -2, 3)
        assert layers[name]["low"] == expected.low.tolist()
        assert layers[name]["high"] == expected.high.tolist()
        assert layers[name]["bits"] == expected.bits().tolist()
    assert told["accumulator_bits"] == max(max(x["bits"]) for x in told["layers"])
