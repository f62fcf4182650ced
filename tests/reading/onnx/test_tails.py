"""Tails are left to the clear side; the command line reads as the library does."""

import json

import numpy as np
import onnx
import pytest
from graphs import BATCH, Graph, by_onnxruntime

from secateur import load
from secateur.errors import UnsupportedOperatorError
from secateur.reading.onnx import explain, read_onnx


def scores(g):
    x = g.node("QuantizeLinear", g.input, 0.25, g.constant(7, np.uint8))
    x = g.node("DequantizeLinear", x, 0.25, g.constant(7, np.uint8))
    codes = g.constant(g.rng.integers(-9, 10, (5, 6)), np.int8)
    w = g.node("DequantizeLinear", codes, 0.125, g.constant(0, np.int8))
    return g.node("Gemm", x, w, g.rng.normal(size=5), transB=1)


def samples(g):
    return (g.rng.normal(size=(BATCH, 6)) * 3).astype(np.float32)


@pytest.mark.parametrize("opset", [11, 13])
def test_softmax(opset):
    g = Graph(6, opset=13)
    model = g.model(g.node("Softmax", scores(g)))
    model.opset_import[0].version = opset
    network, x = read_onnx(model), samples(g)
    assert network.output.tail == "softmax"
    chances = network.output.probabilities(network.predict(x))
    np.testing.assert_allclose(chances, by_onnxruntime(model, x), atol=1e-6)


def test_sigmoid():
    g = Graph(6)
    model = g.model(g.node("Sigmoid", scores(g)))
    network, x = read_onnx(model), samples(g)
    assert network.output.tail == "sigmoid"
    chances = network.output.probabilities(network.predict(x))
    np.testing.assert_allclose(chances, by_onnxruntime(model, x), atol=1e-6)


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("operator", ["ArgMax", "TopK"])
def test_classes(operator, softmax):
    g = Graph(6)
    x = scores(g)
    x = g.node("Softmax", x) if softmax else x
    if operator == "ArgMax":
        y = g.node("ArgMax", x, axis=1, keepdims=0)
    else:
        y = g.node("TopK", x, g.constant([1], np.int64), outputs=2)[1]
    model = g.model(y, kind=onnx.TensorProto.INT64)
    network, x = read_onnx(model), samples(g)
    answers = network.output.answer(network.predict(x))
    np.testing.assert_array_equal(answers, by_onnxruntime(model, x).reshape(-1))
    assert network.output.tail == ("softmax" if softmax else None)


def test_the_command_reads_and_explains(tmp_path):
    from click.testing import CliRunner

    from secateur.cli import main

    g = Graph(6)
    model = g.model(g.quant(g.node("Relu", scores(g)), 0.5, 3, signed=0))
    onnx.save(model, tmp_path / "model.onnx")
    paths = [str(tmp_path / "model.onnx"), str(tmp_path / "net.safetensors")]
    shown = CliRunner().invoke(main, ["read", *paths])
    assert shown.exit_code == 0, shown.output
    assert shown.output.strip() == str(explain(model))
    told = json.loads(CliRunner().invoke(main, ["read", *paths, "--json"]).output)
    assert [n["operator"] for n in told["nodes"]] == [n.op_type for n in model.graph.node]
    assert told["ties"][0]["near"] is not None
    x = samples(g)
    np.testing.assert_array_equal(load(paths[1]).predict(x), read_onnx(model).predict(x))


def test_the_command_gives_the_input_its_grid_or_says_what_is_refused(tmp_path):
    from click.testing import CliRunner

    from secateur.cli import main

    g = Graph(6)
    model = g.model(g.node("MatMul", g.input, g.weights(6, 3, scale=0.5)))
    onnx.save(model, tmp_path / "model.onnx")
    paths = [str(tmp_path / "model.onnx"), str(tmp_path / "net.safetensors")]
    refused = CliRunner().invoke(main, ["read", *paths])
    assert refused.exit_code == 1
    assert "refused: node 'MatMul" in refused.output
    assert not (tmp_path / "net.safetensors").exists()
    done = CliRunner().invoke(main, ["read", *paths, "--input", "0.5", "0", "7"])
    assert done.exit_code == 0, done.output
    assert load(paths[1]).input.scale == 0.5


def test_ties_are_counted_where_codes_change():
    """Accumulators in halves of a code: every other entry between the ends is a tie."""
    g = Graph(1)
    x = g.quant(g.quant(g.input, 0.5, 4), 1.0, 3)
    (tie,) = explain(g.model(x)).ties
    assert (tie.entries, tie.near) == (16, 7)


def test_outputs_that_are_no_scores_are_refused():
    g = Graph(6)
    with pytest.raises(UnsupportedOperatorError, match="does not depend on the input"):
        read_onnx(g.model(g.node("Identity", np.ones(3))))
