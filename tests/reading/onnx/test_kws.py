"""The keyword-spotting network of MLPerf Tiny, made and run by others."""

import doctest
from pathlib import Path

import numpy as np
import pytest

from secateur import analyze
from secateur.network import Linear
from secateur.reading.onnx import explain, read_onnx

KWS = Path(__file__).parents[4] / "shared" / "data" / "kws"

pytestmark = pytest.mark.skipif(not KWS.is_dir(), reason=f"{KWS} is not there")


@pytest.fixture(scope="module")
def network():
    return read_onnx(KWS / "model.onnx")


def test_predictions_are_the_recorded_ones(network):
    recorded = np.load(KWS / "inputs.npz")
    codes = recorded["codes"].astype(np.int64).reshape(-1, *network.input.shape)
    predicted = network(codes).reshape(len(codes), -1).argmax(1)
    assert (predicted == recorded["recorded_predictions"]).sum() >= 998


def test_widths_proved_and_seen(network):
    recorded = np.load(KWS / "inputs.npz")
    report = analyze(network)
    layers = [o.name for o in network.operations if isinstance(o, Linear)]
    assert [report[layer].bits() for layer in layers] == [19, 12, 13, 13]
    nodes = network.nodes(recorded["codes"].astype(np.int64).reshape(-1, *network.input.shape))
    seen = [int(np.ptp(nodes[layer])).bit_length() for layer in layers]
    assert seen == [13, 11, 10, 12]


def test_an_input_attains_what_is_proved(network):
    report = analyze(network)
    first = next(network.layers).name
    channel = int((report[first].channels.high - report[first].channels.low).argmax())
    for end in ("low", "high"):
        x = report.witness(first, channel, end)
        attained = network.nodes(x[None])[first][0, channel]
        assert attained == getattr(report[first].channels, end)[channel]


def test_no_table_entry_is_next_to_a_tie_of_small_tables(network):
    explanation = explain(KWS / "model.onnx")
    assert [t.table for t in explanation.ties] == ["Relu_12", "Relu_24", "Relu_36"]
    assert all(t.near is not None and t.near < 1e-5 * t.entries for t in explanation.ties)
    assert len(explanation.lines) == 23
    assert not explanation.refused


def test_the_guide_runs_and_says_the_truth(request, tmp_path, monkeypatch):
    (tmp_path / "kws").symlink_to(KWS)
    monkeypatch.chdir(tmp_path)
    page = request.config.rootpath / "docs" / "onnx.md"
    failed, tried = doctest.testfile(
        str(page), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert tried > 10
    assert not failed
