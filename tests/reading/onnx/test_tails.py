"""Tails are left to the clear side; the command line reads as the library does."""

import json

import numpy as np
import onnx
import pytest
from graphs import BATCH, Graph, by_onnxruntime

from secateur import load, save
from secateur.errors import UnsupportedOperatorError
from secateur.network.storage import fingerprint
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


def test_the_best_of_a_single_score_is_the_first():
    g = Graph(6)
    first = g.node("Slice", scores(g), *(g.constant([n], np.int64) for n in (0, 1, 1)))
    model = g.model(g.node("ArgMax", first, axis=1, keepdims=0), kind=onnx.TensorProto.INT64)
    network, x = read_onnx(model), samples(g)
    answers = network.output.answer(network.predict(x))
    assert (network.predict(x) > 0).any()
    assert (network.predict(x) < 0).any()
    np.testing.assert_array_equal(answers, by_onnxruntime(model, x))


TAILS = {
    "LogSoftmax": lambda g, x: g.node("LogSoftmax", x),
    "Log of Softmax": lambda g, x: g.node("Log", g.node("Softmax", x)),
    "Softmax, cast": lambda g, x: g.node("Cast", g.node("Softmax", x), to=onnx.TensorProto.FLOAT),
    "Sigmoid, scaled": lambda g, x: g.node("Sub", g.node("Mul", g.node("Sigmoid", x), 2.0), 1.0),
    "Tanh": lambda g, x: g.node("Tanh", x),
    "a SiLU": lambda g, x: g.node("Mul", x, g.node("Sigmoid", x)),
    "Relu": lambda g, x: g.node("Relu", x),
    "a factor for each": lambda g, x: g.node("Mul", g.node("Tanh", x), np.arange(5.0)),
    "ArgMax": lambda g, x: g.node("ArgMax", x, axis=1, keepdims=0),
    "ArgMax, axis kept": lambda g, x: g.node("ArgMax", x, axis=-1),
    "ArgMax, axis squeezed": lambda g, x: g.node(
        "Squeeze", g.node("ArgMax", x, axis=1), g.constant([1], np.int64)
    ),
    "ArgMax, cast": lambda g, x: g.node(
        "Cast", g.node("ArgMax", x, axis=1), to=onnx.TensorProto.INT32
    ),
    "ArgMax of Relu, ties": lambda g, x: g.node("ArgMax", g.node("Relu", x), axis=1),
    "the last ArgMax of Relu": lambda g, x: g.node(
        "ArgMax", g.node("Relu", x), axis=1, select_last_index=1
    ),
    "ArgMin": lambda g, x: g.node("ArgMin", x, axis=1),
    "the last ArgMin of Relu": lambda g, x: g.node(
        "ArgMin", g.node("Relu", x), axis=1, select_last_index=1
    ),
    "ArgMax of Sigmoid": lambda g, x: g.node("ArgMax", g.node("Sigmoid", x), axis=1),
    **{
        f"TopK of {k}, {which}, largest {largest}, {before}": (
            lambda g, x, k=k, at=at, largest=largest, before=before: g.node(
                "TopK",
                g.node(before, x),
                g.constant([k], np.int64),
                outputs=2,
                largest=largest,
            )[at]
        )
        for k in (1, 3, 5)
        for at, which in enumerate(("values", "indices"))
        for largest in (0, 1)
        for before in ("Identity", "Softmax", "LogSoftmax", "Relu")
    },
}


@pytest.mark.parametrize("name", TAILS)
def test_an_answer_is_what_the_file_gives(name):
    g = Graph(6)
    y = TAILS[name](g, scores(g))
    integers = "Arg" in name or "indices" in name
    kind = onnx.TensorProto.INT64 if integers else onnx.TensorProto.FLOAT
    model = g.model(y, kind=onnx.TensorProto.INT32 if name == "ArgMax, cast" else kind)
    network, x = read_onnx(model), samples(g)
    answers, theirs = network.output.answer(network.predict(x)), by_onnxruntime(model, x)
    np.testing.assert_allclose(answers, theirs.reshape(answers.shape), atol=1e-6)
    assert (answers.dtype.kind == "i") == integers


def test_an_answer_for_every_pixel():
    g = Graph(4, 5, 6)
    x = g.quant(g.input, 0.25, 3)
    for model, kept in (
        (g.model(g.node("ArgMax", x, axis=1, keepdims=0), kind=onnx.TensorProto.INT64), True),
        (g.model(g.node("ArgMax", x, axis=3, keepdims=0), kind=onnx.TensorProto.INT64), False),
        (g.model(g.node("Softmax", x, axis=1)), True),
    ):
        network = read_onnx(model)
        floats = (g.rng.normal(size=g.shape)).astype(np.float32)
        answers = network.output.answer(network.predict(floats))
        codes = network.input.quantize(floats) * 0.25
        if model.graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.INT64:
            assert (answers == codes.argmax(1 if kept else 3)).all()
        else:
            powers = np.exp(codes)
            np.testing.assert_allclose(answers, powers / powers.sum(1, keepdims=True))


@pytest.mark.parametrize("branches", ["values and indices", "chances and class", "scores, class"])
def test_several_readings_of_the_same_scores_are_one_output(branches):
    g = Graph(6)
    x = scores(g)
    if branches == "values and indices":
        names = g.node("TopK", g.node("Softmax", x), g.constant([2], np.int64), outputs=2)
    else:
        first = g.node("Softmax", x) if branches == "chances and class" else x
        names = [first, g.node("ArgMax", x, axis=1, keepdims=0)]
    model = g.model(names[1], kind=onnx.TensorProto.INT64)
    wanted = by_onnxruntime(model, x := samples(g))
    model.graph.output.add(name=names[0], type=onnx.TypeProto())
    network = read_onnx(model)
    assert (network.output.answer(network.predict(x)) == wanted).all()
    assert network.output.tail == (None if branches == "scores, class" else "softmax")
    if network.output.tail:
        assert network.output.probabilities(network.predict(x)).shape == (BATCH, 5)


def test_outputs_of_different_scores_are_refused():
    g = Graph(6)
    x = scores(g)
    model = g.model(g.node("ArgMax", x, axis=1))
    model.graph.output.add(name=g.node("Neg", x), type=onnx.TypeProto())
    model.graph.node.append(g.nodes[-1])
    with pytest.raises(UnsupportedOperatorError, match=r"2 outputs \('t.*extract_model"):
        read_onnx(model)
    assert "2 outputs" in str(explain(model).refused[0])


def test_a_circuit_predicts_what_the_file_gives_and_so_does_one_read_again(tmp_path):
    from secateur.circuits.interface import Interface

    g = Graph(6)
    y = g.node("TopK", g.node("Tanh", scores(g)), g.constant([3], np.int64), outputs=2)[1]
    model = g.model(y, kind=onnx.TensorProto.INT64)
    network, x = read_onnx(model), samples(g)
    wanted = by_onnxruntime(model, x)
    interface = Interface.of(network)
    for each in (interface, Interface.from_json(interface.to_json())):
        assert (each.predict(x, network) == wanted).all()
    save(network, tmp_path / "network")
    again = load(tmp_path / "network")
    assert (again.output.answer(again.predict(x)) == wanted).all()
    assert fingerprint(again) == fingerprint(network)


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
