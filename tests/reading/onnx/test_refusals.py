"""What is refused names node, operator and remedy; hostile files are errors of ours, soon."""

import resource
import subprocess
import sys
from contextlib import suppress

import numpy as np
import onnx
import pytest
from graphs import QONNX, Graph
from onnx import TensorProto, helper, numpy_helper

from secateur.errors import (
    FileFormatError,
    NotFiniteError,
    SecateurError,
    UnsupportedOperatorError,
)
from secateur.network import Quantize
from secateur.reading.onnx import explain, read_onnx

CODES = (12,)
IMAGE = (4, 8, 8)


def codes(g, bits=4):
    return g.quant(g.input, 0.25, bits)


def weights(g, *shape):
    return g.weights(*shape, scale=0.5)


REFUSED = {
    "no quantiser": (CODES, lambda g: g.node("MatMul", g.input, weights(g, 12, 5)),
        "MatMul", r"has not been quantised; put a Quant.*input=Quantize"),
    "an accumulator that is not quantised": (
        CODES, lambda g: g.node("MatMul", g.node("MatMul", codes(g), weights(g, 12, 5)),
                                weights(g, 5, 5)),
        "MatMul", "has not been quantised; put a Quant"),
    "float weights": (CODES, lambda g: g.node("MatMul", codes(g), g.rng.normal(size=(12, 5))),
        "MatMul", "has float weights; put a Quant"),
    "weights beyond int64": (CODES, lambda g: g.node(
        "MatMul", codes(g), g.constant(np.full((12, 5), 2.0**63))),
        "MatMul", "has weights of more than 32 bits; quantise them to fewer"),
    "blocks": (CODES, lambda g: g.node("MatMul", codes(g), g.quant(
        g.rng.normal(size=(12, 5)), 2.0 ** -np.arange(12.0)[:, None], 4)),
        "MatMul", r"block-wise.*for each output channel"),
    "a zero point between integers": (CODES, lambda g: g.node("MatMul", codes(g), g.node(
        "DequantizeLinear", g.constant(np.ones((12, 5)), np.int8), np.ones(()),
        g.node("Add", np.full((), 0.25), np.full((), 0.25)))),
        "DequantizeLinear", "no whole number; store it as an integer"),
    "blocks of dequantised weights": (CODES, lambda g: g.node("MatMul", codes(g), g.node(
        "DequantizeLinear", g.constant(np.ones((12, 5)), np.int8), np.ones((6, 5)),
        g.constant(np.zeros((6, 5)), np.int8), block_size=2, axis=0)),
        "DequantizeLinear", r"every block of 2 \(block_size\).*; quantise per tensor"),
    "blocks of quantised samples": (CODES, lambda g: g.node(
        "QuantizeLinear", g.input, np.ones((6, 6)), g.constant(np.zeros((6, 6)), np.int8),
        block_size=2, axis=1),
        "QuantizeLinear", r"every block of 2 \(block_size\).*; quantise per tensor"),
    "blocks without a size": (CODES, lambda g: g.node("MatMul", codes(g), g.node(
        "DequantizeLinear", g.constant(np.ones((12, 5)), np.int8), np.ones((6, 5)), axis=0)),
        "DequantizeLinear", r"shape \(6, 5\), block-wise; quantise per tensor"),
    "blocks that do not broadcast": (CODES, lambda g: g.node("MatMul", codes(g), g.quant(
        g.rng.normal(size=(12, 5)), np.ones((6, 5)), 4)),
        "Quant", r"scales of shape \(6, 5\).*constant of \(12, 5\); they do not fit"),
    "blocks by a reshape": (CODES, lambda g: g.node("MatMul", codes(g), g.node("Reshape", g.quant(
        g.rng.normal(size=(3, 4, 5)), 2.0 ** -np.arange(15.0).reshape(3, 1, 5), 4),
        g.constant([12, 5], np.int64))),
        "MatMul", r"weights of shape \(5, 12\).*block-wise.*one scale for each output channel"),
    "contracted scales": (IMAGE, lambda g: g.node("Conv", g.quant(
        g.input, 2.0 ** -np.arange(4.0).reshape(1, 4, 1, 1), 4), weights(g, 5, 4, 3, 3)),
        "Conv", "sums up elements of different scales; put a Quant"),
    "sums of scales": (CODES, lambda g: g.node("Add", x := codes(g), g.quant(
        g.node("Relu", g.node("Mul", x, 2.0)), np.pi, 4)),
        "Add", r"adds codes of scales \[0.25, 3.14.*one quantiser"),
    "products": ((5, 5), lambda g: g.node("Mul", x := codes(g), g.quant(g.node(
        "MatMul", x, weights(g, 5, 5)), 0.5, 4)),
        "Mul", "multiplies values that depend on the data in two ways, by 'input' and 'Quant_3'; "
        "one table reads one accumulator: make one factor constant"),
    "gates over pixels": (IMAGE, lambda g: g.node("Mul", x := codes(g), g.node(
        "Sigmoid", g.node("GlobalAveragePool", x))),
        "Mul", r"shapes \[\(4, 1, 1\), \(4, 8, 8\)\]; only functions of one accumulator"),
    "quotients": ((5, 5), lambda g: g.node("Div", x := codes(g), g.quant(g.node(
        "MatMul", x, weights(g, 5, 5)), 0.5, 4)), "Div", "divides values.*make one factor"),
    "a fractional exponent": (CODES, lambda g: g.node("Pow", codes(g), 0.5),
        "Pow", "exponent 0.5; one of 1 to 8"),
    "products of matrices": ((3, 3), lambda g: g.node("MatMul", x := codes(g), x),
        "MatMul", "two values that depend on the data"),
    "an unknown operator": (CODES, lambda g: g.node("Cumsum", codes(g)),
        "Cumsum", "no network has this operator; take it out"),
    "an unknown domain's operator": (
        CODES, lambda g: g.node("FusedThing", codes(g), domain="com.example"),
        "FusedThing", "no network has this operator"),
    "control flow": (CODES, lambda g: g.node("If", codes(g), then_branch=helper.make_graph(
        [], "then", [], []), else_branch=helper.make_graph([], "else", [], [])),
        "If", "no network has this operator"),
    "a rounding": (CODES, lambda g: g.quant(g.input, 0.25, 4, mode="STOCHASTIC"),
        "Quant", "rounds by 'STOCHASTIC'; ROUND"),
    "bits": (CODES, lambda g: g.quant(g.input, 0.25, 4.5), "Quant", "bit width 4.5.*whole"),
    "too many bits": (CODES, lambda g: g.quant(g.input, 0.25, 64), "Quant", "64 bits; 1 to 32"),
    "a zero point": (CODES, lambda g: g.quant(g.input, 0.25, 4, zero=0.5),
        "Quant", "zero point 0.5; it has to be"),
    "a scale": (CODES, lambda g: g.quant(g.input, -0.25, 4), "Quant", "not above 0"),
    "a data-dependent scale": (CODES, lambda g: g.quant(g.input, g.input, 4),
        "Quant", "depends on the data; it has to be a constant"),
    "a transposed batch": ((12, 5), lambda g: g.node("Transpose", codes(g), perm=[1, 0, 2]),
        "Transpose", "batch axis has to stay first"),
    "a lost batch": ((12, 5), lambda g: g.node(
        "Reshape", codes(g), g.constant([-1, 5], np.int64)),
        "Reshape", "the batch not first; keep"),
    "two activations over pixels": (IMAGE, lambda g: g.node("Tanh", g.node(
        "Mul", g.node("Sigmoid", codes(g)), g.rng.normal(size=(8, 8)))),
        "the graph", "ends in what differs within a channel"),
    "softmax inside": (CODES, lambda g: g.node("MatMul", g.node("Softmax", codes(g)),
        weights(g, 12, 5)), "MatMul", "known in the clear only; end the model there"),
    "softmax over pixels": (IMAGE, lambda g: g.node("Softmax", codes(g), axis=2),
        "Softmax", "not over their first axis; over the channels only"),
    "too many best": (CODES, lambda g: g.node(
        "TopK", codes(g), g.constant([13], np.int64), outputs=2)[1],
        "TopK", r"ranks \[13\] of samples of shape \(12,\); one to all of the channels"),
    "the best pixels": (IMAGE, lambda g: g.node(
        "TopK", codes(g), g.constant([2], np.int64), outputs=2)[1], "TopK", "axis=1"),
    "ranked twice": (CODES, lambda g: g.node("ArgMax", g.node(
        "TopK", codes(g), g.constant([2], np.int64), outputs=2)[0], axis=1),
        "ArgMax", "ranked already; rank the channels once"),
    "a logarithm": (CODES, lambda g: g.node("Log", codes(g)), "Log", "no Softmax's"),
    "a mean of nothing": (IMAGE, lambda g: g.node(
        "AveragePool", codes(g), kernel_shape=[2, 2], pads=[2] * 4),
        "AveragePool", "nothing but padding.*pad less"),
    "scores of other divisors": (IMAGE, lambda g: g.node(
        "AveragePool", codes(g), kernel_shape=[3, 3], pads=[1] * 4),
        "the graph", "ends in what differs within a channel; put a Quant"),
    "contracted divisors": (IMAGE, lambda g: g.node("Conv", g.node(
        "AveragePool", codes(g), kernel_shape=[3, 3], pads=[1] * 4), weights(g, 5, 4, 3, 3)),
        "Conv", "sums up elements of different scales; put a Quant"),
    "a window too large": (IMAGE, lambda g: g.node("AveragePool", codes(g), kernel_shape=[9, 1]),
        "AveragePool", "do not fit"),
    "dilated windows": (IMAGE, lambda g: g.node(
        "MaxPool", codes(g), kernel_shape=[3, 3], dilations=[2, 2]), "MaxPool", "dilated"),
    "stride 0": (IMAGE, lambda g: g.node(
        "Conv", codes(g), weights(g, 4, 4, 3, 3), strides=[0, 1]), "Conv", "strides"),
    "groups": (IMAGE, lambda g: g.node(
        "Conv", codes(g), weights(g, 4, 4, 3, 3), group=3), "Conv", "do not fit"),
    "training": (IMAGE, lambda g: g.node(
        "BatchNormalization", codes(g), *np.ones((4, 4)), training_mode=1),
        "BatchNormalization", "evaluation mode"),
    "samples expanded": (CODES, lambda g: g.node("Add", codes(g), np.ones((1, 3, 12))),
        "Add", "batch axis"),
    "a constant for every sample": (CODES, lambda g: g.node("Add", codes(g), g.rng.normal(
        size=(6, 12))), "Add", "constant for every sample"),
    "floats cut to integers": (CODES, lambda g: g.node("Cast", codes(g), to=TensorProto.INT32),
        "Cast", "cuts floats to integers; round them"),
    "linear interpolation": (IMAGE, lambda g: g.node(
        "Resize", codes(g), "", np.array([1, 1, 2, 2]), mode="linear"), "Resize", "'linear'"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_name_node_operator_and_remedy(case):
    shape, build, operator, problem = REFUSED[case]
    g = Graph(*shape)
    model = g.model(build(g))
    with pytest.raises(UnsupportedOperatorError, match=problem) as caught:
        read_onnx(model)
    error = caught.value
    assert error.operator == operator
    assert error.remedy
    assert error.node in {*(n.name for n in g.nodes), *(o for n in g.nodes for o in n.output)}
    assert str(explain(model)).splitlines()[-1] == f"refused: {error}"


def test_an_explanation_goes_on_after_a_refusal():
    g = Graph(12)
    x = g.node("Cumsum", codes(g))
    y = g.node("Erosion", codes(g))
    text = explain(g.model(g.node("Add", x, y)))
    assert text.network is None
    assert [e.operator for e in text.refused] == ["Cumsum", "Erosion"]
    assert text.lines[-1].became.startswith("waits for")


def value_info(name, *shape, kind=TensorProto.FLOAT):
    return helper.make_tensor_value_info(name, kind, shape)


def model_of(nodes, inputs, outputs, constants=(), opset=13):
    graph = helper.make_graph(nodes, "test", inputs, outputs, list(constants))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


IDENTITY = [helper.make_node("Identity", ["x"], ["y"])]


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        (model_of(IDENTITY, [value_info("x", 1, "n")], [value_info("y", 1)]), "dynamic extent"),
        (model_of(IDENTITY, [value_info("x", 1, 0)], [value_info("y", 1)]), "dynamic extent"),
        (model_of(IDENTITY, [value_info("x", 3)], [value_info("y", 3)]), "axis 0 is the batch"),
        (
            model_of(IDENTITY, [value_info("x", 1, 2), value_info("z", 1, 2)], [value_info("y")]),
            r"2 inputs \('x', 'z'\).*extract_model",
        ),
        (
            model_of(IDENTITY, [value_info("x", 1, 2)], [value_info("y"), value_info("x")]),
            "2 outputs",
        ),
        (model_of(IDENTITY, [value_info("x", 1, 2)], [value_info("y")], opset=6), "opset 6"),
        (model_of(IDENTITY, [value_info("x", 1, 2)], [value_info("y")], opset=99), "opset 99"),
        (
            model_of(IDENTITY, [value_info("x", 1, 2, kind=TensorProto.STRING)], [value_info("y")]),
            "element type 8",
        ),
        (
            model_of(IDENTITY, [value_info("x", 1, 1 << 40)], [value_info("y")]),
            "tensors of up to",
        ),
    ],
)
def test_graphs_that_no_network_has(model, problem):
    with pytest.raises(UnsupportedOperatorError, match=problem):
        read_onnx(model)


@pytest.mark.parametrize(
    ("nodes", "problem"),
    [
        ([helper.make_node("Add", ["x", "lost"], ["y"])], "lacks 'lost'"),
        (
            [
                helper.make_node("Add", ["x", "b"], ["a"]),
                helper.make_node("Add", ["x", "a"], ["b"]),
            ],
            "has a cycle",
        ),
        ([*IDENTITY, *IDENTITY], "more than one tensor called 'y'"),
        ([helper.make_node("Identity", ["x"], ["z"])], "gives 'y', which no node makes"),
    ],
)
def test_graphs_that_are_none(nodes, problem):
    with pytest.raises(FileFormatError, match=problem):
        read_onnx(model_of(nodes, [value_info("x", 1, 2)], [value_info("y")]))


def test_nodes_may_stand_in_any_order():
    nodes = [helper.make_node("Add", ["z", "one"], ["y"]), helper.make_node("Neg", ["x"], ["z"])]
    one = numpy_helper.from_array(np.array([1.0], np.float32), "one")
    model = model_of(nodes, [value_info("x", 1, 2)], [value_info("y")], [one])
    network = read_onnx(model, input=Quantize(0.5, -4, 3))
    assert network.predict(np.array([[0.5, -1.0]])).tolist() == [[0.5, 2.0]]


def small():
    g = Graph(6)
    x = g.quant(g.node("Relu", g.node("MatMul", codes(g), weights(g, 6, 4))), 0.5, 3, signed=0)
    return g.model(g.node("Gemm", x, g.weights(3, 4), g.rng.normal(size=3), transB=1))


def test_every_truncation_is_an_error_of_ours(tmp_path):
    content = small().SerializeToString()
    path = tmp_path / "model.onnx"
    for length in range(0, len(content), 3):
        path.write_bytes(content[:length])
        with pytest.raises(SecateurError):
            read_onnx(path)


def test_flipped_bits_are_read_or_an_error_of_ours():
    content = small().SerializeToString()
    for at in range(len(content)):
        flipped = bytes([content[at] ^ (1 << at % 8)])
        with suppress(SecateurError):
            read_onnx(content[:at] + flipped + content[at + 1 :])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -1.0])
@pytest.mark.parametrize("at", range(3))
def test_scales_that_are_none(value, at):
    g = Graph(6)
    scales = [0.25, 0.5, 0.5]
    scales[at] = value
    x = g.node("MatMul", g.quant(g.input, scales[0], 4), g.quant(np.ones((6, 4)), scales[1], 4))
    with pytest.raises((NotFiniteError, UnsupportedOperatorError)):
        read_onnx(g.model(g.quant(x, scales[2], 4)))


@pytest.mark.parametrize("value", [np.nan, -np.inf])
def test_weights_and_biases_that_are_no_numbers(value):
    g = Graph(6)
    with pytest.raises(NotFiniteError, match="weights hold NaN"):
        read_onnx(g.model(g.node("MatMul", codes(g), g.quant(np.full((6, 4), value), 0.5, 4))))
    g = Graph(6)
    with pytest.raises(NotFiniteError, match=r"node 'Add_1'.*holds NaN"):
        read_onnx(g.model(g.node("Add", codes(g), [value])))


def huge(**fields):
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, **fields)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"])]
    return model_of(nodes, [value_info("x", 1, 2)], [value_info("y")], [tensor])


@pytest.mark.parametrize(
    "model",
    [
        huge(dims=[1 << 31, 1 << 31]),
        huge(dims=[1 << 20, 64], raw_data=b"\0" * 8),
        huge(dims=[-1, 2], raw_data=b"\0" * 8),
        huge(dims=[2, 2], raw_data=b"\0" * 15),
        huge(dims=[2, 2], float_data=[1.0]),
    ],
)
def test_declared_sizes_are_not_believed(model):
    with pytest.raises(FileFormatError):
        read_onnx(model)


@pytest.mark.parametrize(
    "location", ["../secret", "/etc/hostname", "link", "", ".", "missing", "short"]
)
def test_no_file_outside_the_directory_is_read(tmp_path, location):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret").write_bytes(b"\0" * 16)
    (inside / "link").symlink_to(tmp_path / "secret")
    (inside / "short").write_bytes(b"\0" * 15)
    model = huge(dims=[2, 2], data_location=TensorProto.EXTERNAL)
    entry = model.graph.initializer[0].external_data.add()
    entry.key, entry.value = "location", location
    path = inside / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(FileFormatError, match=r"directory|beyond the end"):
        read_onnx(path)
    with pytest.raises(FileFormatError, match="give the path"):
        read_onnx(path.read_bytes())


def test_constants_beside_the_model_are_read(tmp_path):
    model = small()
    path = tmp_path / "model.onnx"
    x = np.random.default_rng(0).normal(size=(5, 6))
    wanted = read_onnx(model).predict(x)
    onnx.save_model(model, path, save_as_external_data=True, location="data", size_threshold=0)
    assert (tmp_path / "data").is_file()
    assert (read_onnx(path).predict(x) == wanted).all()


BOMBS = {
    "doubling": (
        "helper.make_node('Concat', ['c0', 'c0'], ['c1'], axis=0)",
        "*[helper.make_node('Concat', [f'c{i}'] * 2, [f'c{i + 1}'], axis=0) for i in range(1, 60)]",
        "helper.make_node('Add', ['x', 'c60'], ['y'])",
    ),
    "a filled shape": (
        "helper.make_node('ConstantOfShape', ['big'], ['c'])",
        "helper.make_node('Add', ['x', 'c'], ['y'])",
    ),
    "an outer product": (
        "helper.make_node('Mul', ['row', 'column'], ['c'])",
        "helper.make_node('Add', ['x', 'c'], ['y'])",
    ),
    "a range": (
        "helper.make_node('Range', ['zero', 'much', 'one'], ['c'])",
        "helper.make_node('Add', ['x', 'c'], ['y'])",
    ),
    "padding": (
        "helper.make_node('MaxPool', ['x'], ['y'], kernel_shape=[2**30], pads=[2**30 - 1] * 2)",
    ),
    "stretched pixels": (
        "helper.make_node('Resize', ['x', '', 'factors'], ['y'])",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_memory_is_bounded(bomb):
    program = f"""
import numpy as np, resource
from onnx import helper, numpy_helper, TensorProto
import secateur
from secateur.network import Quantize
from secateur.reading.onnx import read_onnx
resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
constant = lambda name, value: numpy_helper.from_array(np.array(value), name)
constants = [constant("c0", [0.0] * 4), constant("big", [1 << 20, 1 << 20]), constant("one", 1),
             constant("row", np.ones((1, 1 << 16))), constant("column", np.ones((1 << 16, 1))),
             constant("zero", 0), constant("much", 1 << 40),
             constant("factors", np.array([1, 1, 2.0**40], np.float32))]
graph = helper.make_graph(
    [{", ".join(BOMBS[bomb])}], "bomb",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 8])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)], constants)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
try:
    read_onnx(model, input=Quantize(1.0, 0, 3))
except secateur.errors.SecateurError as error:
    print("refused:", error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith("refused:"), done.stderr
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < 4 << 20


@pytest.mark.parametrize("chained", [False, True])
def test_combinations_that_double_are_refused_or_stay_small(chained):
    """Ever more functions of one accumulator: no table of all their steps is made."""
    g = Graph(6)
    a = g.node("MatMul", codes(g), weights(g, 6, 4))
    b = g.node("Tanh", a)
    for _ in range(60):
        a, b = g.node("Mul", a, b), g.node("Sub", b, a)
        a = g.quant(a, 0.5, 4) if chained else a
    with pytest.raises(UnsupportedOperatorError, match=r"function of \d+ steps.*; put a Quant"):
        read_onnx(g.model(g.quant(a, 0.5, 4)))
    g = Graph(6)
    a = codes(g)
    for _ in range(500):
        a = g.node("Mul", a, g.node("Sigmoid", a))
    assert len(read_onnx(g.model(g.quant(a, 0.5, 4))).operations) == 1


def test_functions_within_functions_are_refused_before_the_stack_ends():
    g = Graph(6)
    x = a = codes(g)
    for _ in range(80):
        a = g.node("Mul", x, g.node("Sigmoid", g.quant(a, 0.1, 4)))
    with pytest.raises(UnsupportedOperatorError, match="nested deeper than 64; put a Quant"):
        read_onnx(g.model(a))


def test_functions_in_a_row_without_end_are_refused():
    nodes = [helper.make_node("Relu", [f"t{i}"], [f"t{i + 1}"]) for i in range(2100)]
    nodes.append(helper.make_node("Relu", ["t2100"], ["y"]))
    model = model_of(nodes, [value_info("t0", 1, 2)], [value_info("y")])
    with pytest.raises(UnsupportedOperatorError, match="more than 2048 functions away"):
        read_onnx(model, input=Quantize(0.5, -4, 3))


AXES = [
    ("Transpose", {"perm": [0, 0]}, "2 axes in the order"), ("Flatten", {"axis": 9}, "axis 9 of 2"),
    ("Squeeze", {"axes": [7]}, "axis 7 of 2"), ("Unsqueeze", {"axes": [-9]}, "axis -9 of 3"),
    ("Split", {"axis": 4}, "axis 4 of 2"), ("Concat", {"axis": -3}, "axis -3 of 2"),
    ("ReduceMean", {"axes": [5]}, "axis 5 of 2"), ("Softmax", {"axis": 2}, "axis 2 of 2"),
    ("ArgMax", {"axis": -3}, "axis -3 of 2"), ("ArgMax", {}, "along the batch axis"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "attributes", "problem"), AXES, ids=str)
def test_axes_that_there_are_not(operator, attributes, problem):
    node = helper.make_node(operator, ["x"], ["y"], name="here", **attributes)
    model = model_of([node], [value_info("x", 1, 2)], [value_info("y")], opset=11)
    with pytest.raises(UnsupportedOperatorError, match=f"node 'here'.*{problem}"):
        read_onnx(model, input=Quantize(0.5, -4, 3))


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("operator", "attribute"),
    [("LeakyRelu", "alpha"), ("Celu", "alpha"), ("Swish", "alpha"), ("Pad", "value")],
)
def test_attributes_that_are_no_numbers(operator, attribute, value):
    node = helper.make_node(operator, ["x"], ["y"], name="here", **{attribute: value})
    model = model_of([node], [value_info("x", 1, 2)], [value_info("y")], opset=10)
    with pytest.raises(NotFiniteError, match=f"node 'here'.*{attribute} is"):
        read_onnx(model, input=Quantize(0.5, -4, 3))


def test_factors_that_overflow_name_their_node():
    g = Graph(2)
    x = g.input
    for _ in range(9):
        x = g.node("Mul", x, 3e38)
    with pytest.raises(NotFiniteError, match="'Quant_9'"):
        read_onnx(g.model(g.quant(x, 1.0, 4)))


def test_constants_that_are_there_twice():
    model = small()
    model.graph.initializer.append(model.graph.initializer[0])
    with pytest.raises(FileFormatError, match="more than one tensor called 'c0'"):
        read_onnx(model)
    model = small()
    model.graph.initializer[0].float_data.append(1.0)
    with pytest.raises(FileFormatError, match=r"stores tensor 'c0' in parts, or twice"):
        read_onnx(model)


def test_functions_are_refused():
    model = small()
    model.functions.add(name="helps", domain=QONNX)
    with pytest.raises(UnsupportedOperatorError, match=r"functions \(helps\).*inliner"):
        read_onnx(model)


@pytest.mark.parametrize("content", [b"", b"not a model", b"\0" * 100])
def test_files_that_are_no_models(tmp_path, content):
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"model\.onnx"):
        read_onnx(path)


def test_a_missing_file_is_the_systems_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_onnx(tmp_path / "none.onnx")
