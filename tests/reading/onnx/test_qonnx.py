"""Networks of QONNX mean the same integers to us as to qonnx's own executor."""

import numpy as np
import pytest
from graphs import BATCH, LAST, QONNX, Graph, by_qonnx

from secateur import Range, analyze
from secateur.errors import ArgumentError
from secateur.network import Quantize
from secateur.reading.onnx import read_onnx

pytest.importorskip("qonnx")

IMAGE = (4, 8, 8)
#: A scale that is no power of two, so that float32 and float64 differ, but whose products with
#: the weights' scales are never next to a tie of the tables below.
ODD = np.float32(0.1171875)


def image(g, bits=4, **options):
    """The input, quantised."""
    return g.quant(g.input, 0.25, bits, **options)


def conv(g, x, out=6, channels=4, kernel=(3, 3), **options):
    groups = options.get("group", 1)
    return g.node("Conv", x, g.weights(out, channels // groups, *kernel), **options)


def relu(g, x, bits=4, scale=0.5, **options):
    return g.quant(g.node("Relu", x), scale, bits, signed=0, **options)


CASES = {}


def case(*shape, scale=4.0, batch=BATCH):
    """Register a function that builds a network for samples of `shape`."""

    def register(build):
        CASES[build.__name__] = (build, shape, scale, batch)
        return build

    return register


@case(12)
def linear(g):
    x = relu(g, g.node("MatMul", image(g), g.node("Transpose", g.weights(8, 12), perm=[1, 0])))
    return g.node("Gemm", x, g.weights(5, 8), g.rng.normal(size=5), transB=1, alpha=0.5, beta=2.0)


@case(12)
def gemm_untransposed(g):
    return g.node("Gemm", image(g), g.weights(12, 5, scale=0.25))


@case(3, 12)
def products_of_rows(g):
    return relu(g, g.node("MatMul", image(g), g.node("Transpose", g.weights(5, 12), perm=[1, 0])))


@case(2, 3, 12)
def products_of_rows_of_rows(g):
    return g.node("MatMul", image(g), g.weights(12, 5, scale=0.5))


@case(12, 5)
def products_from_the_left(g):
    return g.node("MatMul", g.weights(7, 12), image(g))


@case(*IMAGE)
def convolutions(g):
    x = relu(g, conv(g, image(g), pads=[1, 0, 2, 1], strides=[2, 1]))
    x = relu(g, conv(g, x, out=6, channels=6, group=3, dilations=[1, 2]))
    x = relu(g, conv(g, x, out=6, channels=6, kernel=(2, 3), auto_pad="SAME_UPPER"))
    return g.node("Add", conv(g, x, 4, 6, (1, 1)), g.rng.normal(size=(4, 1, 1)))


@case(*IMAGE)
def same_padding_below(g):
    return conv(g, image(g), auto_pad="SAME_LOWER", strides=[3, 3], kernel=(4, 2))


@case(4, 16)
def convolutions_along_a_line(g):
    return conv(g, image(g), kernel=(3,), pads=[1, 1])


@case(2, 4, 5, 6)
def convolutions_in_space(g):
    return conv(g, image(g), channels=2, kernel=(2, 3, 2), pads=[0, 1, 0, 1, 1, 0])


@case(*IMAGE)
def biases_with_grids_of_their_own(g):
    fine, coarse = (g.quant(g.rng.normal(size=6), s, 8) for s in (2.0**-9, 0.5))
    x = g.node("Conv", image(g), g.weights(6, 4, 3, 3), fine)
    return g.node("Conv", relu(g, x), g.weights(6, 6, 3, 3), coarse)


@case(*IMAGE)
def batch_norm_with_negative_factors(g):
    gamma, beta, mean = (g.rng.normal(size=6) for _ in range(3))
    x = g.node("BatchNormalization", conv(g, image(g)), gamma, beta, mean, g.rng.random(6) + 0.5)
    return g.quant(x, 0.37, 4)


@case(8, 8, 4, batch=1)
def channels_last(g):
    x = g.shaped(g.quant(g.input, 0.25, 4), 1, 8, 8, 4)
    w = g.shaped(g.weights(6, 3, 3, 4), 6, 3, 3, 4)
    x = g.node("Conv", x, w, domain=LAST, pads=[1] * 4, kernel_shape=[3, 3],
               strides=[1, 1], dilations=[1, 1], group=1)  # fmt: skip
    gamma, beta, mean = (g.rng.normal(size=6) for _ in range(3))
    x = g.shaped(x, 1, 8, 8, 6)
    x = g.node("BatchNormalization", x, gamma, beta, mean, np.ones(6), domain=LAST, epsilon=1e-5,
               momentum=0.9)  # fmt: skip
    x = g.quant(g.node("Relu", g.shaped(x, 1, 8, 8, 6)), np.linspace(0.2, 0.7, 6), 4, signed=0)
    x = g.shaped(x, 1, 8, 8, 6)
    x = g.node("MaxPool", x, domain=LAST, kernel_shape=[2, 2], strides=[2, 2],
               pads=[0] * 4)  # fmt: skip
    return g.node("Transpose", g.quant(x, 0.31, 4), perm=[0, 3, 1, 2])


@case(*IMAGE)
def residual_adds(g):
    x = image(g)
    y = g.quant(conv(g, x, out=4, pads=[1] * 4), 0.25, 4)
    z = g.quant(conv(g, y, out=4, pads=[1] * 4), 0.75, 4)
    return relu(g, g.node("Add", g.node("Add", x, y), z), scale=1.0)


@case(*IMAGE)
def residual_adds_with_zero_points(g):
    x = image(g, zero=3.0, signed=0)
    y = g.quant(conv(g, x, out=4, pads=[1] * 4), 0.5, 4, zero=5.0, signed=0)
    return relu(g, g.node("Add", x, y), zero=1.0)


@case(*IMAGE)
def differences(g):
    x = image(g)
    y = g.quant(conv(g, x, out=4, pads=[1] * 4), 0.25, 4)
    return g.node("Sub", 1.0, g.node("Sub", x, g.node("Neg", y)))


@case(*IMAGE)
def joined_channels_of_different_scales(g):
    x = image(g)
    y = g.quant(conv(g, x, out=3, pads=[1] * 4), 0.625, 3)
    joined = g.quant(g.node("Concat", x, y, axis=1), 0.3, 4)
    return conv(g, joined, channels=7)


@case(*IMAGE)
def average_pools(g):
    x = g.node("AveragePool", image(g), kernel_shape=[2, 2], strides=[2, 2])
    x = relu(g, conv(g, x, kernel=(2, 2)))
    return g.node("GlobalAveragePool", x)


@case(*IMAGE)
def padded_average_pools(g):
    pads = {"pads": [1, 1, 1, 1], "count_include_pad": 1}
    return g.node("AveragePool", image(g), kernel_shape=[3, 3], strides=[2, 2], **pads)


@case(*IMAGE)
def max_pools(g):
    x = g.node("MaxPool", image(g), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])
    x = g.node("MaxPool", conv(g, x), kernel_shape=[2, 2])
    return g.node("GlobalMaxPool", x)


@case(*IMAGE)
def reductions(g):
    x = image(g)
    means = g.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    return relu(g, g.node("Gemm", means, g.weights(5, 4), transB=1), scale=0.25)


@case(*IMAGE)
def sums_over_channels(g):
    return g.node("ReduceSum", image(g), g.constant([1, -1], np.int64), keepdims=1)


@case(*IMAGE)
def truncated_pools(g):
    x = image(g, signed=0)
    x = g.node("AveragePool", x, kernel_shape=[4, 4], strides=[4, 4])
    x = g.node("Mul", x, 16.0)
    x = g.node("Trunc", x, 0.25, 0.0, 8.0, 4.0, rounding_mode="FLOOR", domain=QONNX)
    return conv(g, x, kernel=(1, 1))


@case(12)
def bipolar(g):
    x = g.node("BipolarQuant", g.node("MatMul", image(g), g.weights(12, 8, scale=0.5)), 0.5,
               domain=QONNX)  # fmt: skip
    w = g.node("BipolarQuant", g.rng.normal(size=(8, 5)), 0.25, domain=QONNX)
    return g.node("MatMul", x, w)


@case(12)
def one_signed_bit(g):
    x = g.quant(g.node("MatMul", image(g), g.weights(12, 8, scale=0.5)), 0.5, 1)
    return g.node("MatMul", x, g.quant(g.rng.normal(size=(8, 5)), 0.25, 1))


@case(12)
def weights_that_are_codes_times_scale_already(g):
    codes, scale = g.rng.integers(-7, 8, (5, 12)), g.rng.random((5, 1)).astype(np.float32)
    w = g.quant(codes.astype(np.float32) * scale, scale, 4)
    return g.node("Gemm", image(g), w, transB=1)


@case(12)
def integer_weights_without_a_quantiser(g):
    return g.node("Mul", g.node("MatMul", image(g), g.rng.integers(-9, 9, (12, 5))), ODD)


@case(12)
def factors_and_offsets_around_layers(g):
    x = g.node("Div", g.node("Sub", g.node("Mul", image(g), 2.0), 1.0), 0.25)
    x = g.node("MatMul", x, g.weights(12, 5, scale=0.5))
    return g.node("Add", g.node("Mul", x, g.rng.normal(size=5)), g.rng.normal(size=(1, 5)))


@case(*IMAGE)
def flattening_by_shape_arithmetic(g):
    x = relu(g, conv(g, image(g)))
    batch = g.node("Gather", g.node("Shape", x), g.constant(0, np.int64), axis=0)
    rows = g.node("Unsqueeze", batch, g.constant([0], np.int64))
    x = g.node("Reshape", x, g.node("Concat", rows, g.constant([-1], np.int64), axis=0))
    return g.node("Gemm", x, g.weights(5, 216), transB=1)


@case(*IMAGE)
def views(g):
    x = g.node("Transpose", image(g), perm=[0, 2, 3, 1])
    x = g.node("Reshape", x, g.constant([0, 16, -1], np.int64))
    x = g.node("Unsqueeze", x, g.constant([1], np.int64))
    x = g.node("Squeeze", x, g.constant([1], np.int64))
    return g.node("Identity", g.node("Flatten", x))


@case(*IMAGE)
def tables_over_any_axis(g):
    x = g.node("Mul", image(g), g.rng.normal(size=(1, 1, 8)))
    x = g.quant(g.node("Add", x, g.rng.normal(size=(8, 1))), 0.31, 5)
    return g.quant(g.node("Mul", x, g.rng.normal(size=(1, 4, 8, 8))), 0.17, 5)


@case(*IMAGE)
def depthwise_over_scales_of_their_own(g):
    x = g.quant(g.input, 2.0 ** -np.arange(1, 5).reshape(1, 4, 1, 1), 4)
    return g.node("Conv", x, g.weights(4, 1, 3, 3), group=4)


@case(12)
def a_relu_before_the_first_quantiser(g):
    return g.node("MatMul", relu(g, g.input), g.weights(12, 5, scale=0.5))


@case(*IMAGE)
def thresholds_for_each_channel(g):
    steps = np.sort(g.rng.normal(size=(6, 7)), axis=1)
    x = g.node("MultiThreshold", conv(g, image(g)), steps, out_scale=0.5, out_bias=-1.5,
               out_dtype="INT4", data_layout="NCHW", domain=QONNX)  # fmt: skip
    return conv(g, x, out=3, channels=6)


@case(5, 6)
def thresholds_over_the_last_axis(g):
    x = g.node("MatMul", image(g), g.weights(6, 4, scale=0.25))
    steps = np.sort(g.rng.normal(size=(4, 3)), axis=1)
    return g.node("MultiThreshold", x, steps, out_dtype="UINT2", data_layout="NWC",
                  domain=QONNX)  # fmt: skip


@case(12)
def thresholds_shared_by_all(g):
    x = g.node("MatMul", image(g), g.weights(12, 5, scale=0.25))
    return g.node("MultiThreshold", x, np.arange(-1.0, 1.0, 0.25)[None], out_dtype="UINT4",
                  domain=QONNX)  # fmt: skip


@case(*IMAGE)
def slopes_for_each_channel(g):
    x = g.node("PRelu", conv(g, image(g)), g.rng.normal(size=(6, 1, 1)))
    return g.quant(x, 0.3, 4)


@case(12)
def squares(g):
    x = g.node("Pow", g.node("MatMul", image(g), g.weights(12, 5, scale=0.0625)), 2.0)
    return relu(g, x)


@case(*IMAGE)
def slices(g):
    def ints(*values):
        return g.constant(values, np.int64)

    x = g.node("Slice", image(g), ints(1, 6), ints(2**31, 0), ints(2, 3), ints(2, -2))
    x = relu(g, conv(g, x, kernel=(3, 2)))
    return g.node("Gather", x, ints(4, 0, 5), axis=1)


@case(*IMAGE)
def splits(g):
    a, b, c = g.node("Split", image(g), g.constant([1, 2, 1], np.int64), axis=1, outputs=3)
    x = relu(g, conv(g, g.node("Concat", c, b, axis=1), channels=3))
    a = g.node("Slice", a, g.constant([1, 1], np.int64), g.constant([7, 7], np.int64),
               g.constant([2, 3], np.int64))  # fmt: skip
    return g.node("Concat", x, g.node("Mul", a, 2.0), axis=1)


@case(*IMAGE)
def padding(g):
    pads = g.constant([0, 0, 1, 2, 0, 1, 0, 1], np.int64)
    x = g.node("Pad", image(g, signed=0, zero=3.0), pads, 0.5)
    x = relu(g, conv(g, x, channels=5))
    for mode in ("reflect", "edge"):
        x = g.node("Pad", x, g.constant([0, 0, 2, 1, 0, 0, 1, 3], np.int64), mode=mode)
    return g.node("Pad", x, g.constant([0, -1, 0, -2, 0, 0, 0, 0], np.int64))


@case(*IMAGE)
def pixels_repeated(g):
    x = relu(g, conv(g, image(g)))
    x = g.node("Resize", x, "", [1, 1, 2, 3], mode="nearest", nearest_mode="floor",
               coordinate_transformation_mode="asymmetric")  # fmt: skip
    x = g.node("Resize", x, "", [1, 1, 3, 1], mode="nearest")
    return conv(g, x, channels=6)


@case(*IMAGE)
def blocks_of_pixels(g):
    x = g.node("DepthToSpace", image(g), blocksize=2, mode="DCR")
    x = relu(g, g.node("Conv", x, g.weights(8, 1, 3, 3)))
    x = g.node("DepthToSpace", x, blocksize=2, mode="CRD")
    return conv(g, g.node("SpaceToDepth", x, blocksize=4), channels=32, kernel=(1, 1))


@case(*IMAGE)
def transposed_convolutions(g):
    w = g.quant(g.rng.normal(size=(4, 3, 3, 2)), 0.25, 4)
    x = g.node("ConvTranspose", image(g), w, g.rng.normal(size=6), group=2, strides=[2, 3],
               pads=[1, 0, 0, 1], output_padding=[1, 0], dilations=[1, 2])  # fmt: skip
    w = g.quant(g.rng.normal(size=(6, 2, 2, 2)), 0.25, 4)
    return g.node("ConvTranspose", relu(g, x), w)


@case(*IMAGE)
def tails_that_are_scores(g):
    return g.node("Add", g.node("Mul", g.node("Flatten", image(g)), 0.5), -1.0)


@pytest.mark.parametrize("name", CASES)
def test_every_construction(name):
    build, shape, scale, batch = CASES[name]
    g = Graph(*shape, batch=batch, seed=sum(map(ord, name)))
    model = g.model(build(g))
    network = read_onnx(model)
    analyze(network)
    x = (g.rng.normal(size=(batch, *shape)) * scale / 2).astype(np.float32)
    theirs, ours = by_qonnx(model, x), network.predict(x)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


FUNCTIONS = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.1},
    "HardSigmoid": {"alpha": 0.3, "beta": 0.4},
    "HardSwish": {},
    "Sigmoid": {},
    "Tanh": {},
    "Elu": {"alpha": 0.7},
    "Selu": {},
    "Celu": {"alpha": 1.5},
    "Softplus": {},
    "Softsign": {},
    "Abs": {},
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function(name):
    g = Graph(12, opset=14, seed=1)
    x = g.node("MatMul", image(g, 5), g.weights(12, 40, scale=0.0625))
    x = g.node(name, g.node("Add", x, g.rng.normal(size=40) * 0.01), **FUNCTIONS[name])
    compare(g, g.quant(x, 0.0371, 6), samples=4.0)


def _gelu_by_tanh(g, x):
    cubic = g.node("Mul", g.node("Pow", x, 3.0), 0.044715)
    inner = g.node("Tanh", g.node("Mul", g.node("Add", x, cubic), np.sqrt(2 / np.pi)))
    return g.node("Mul", 0.5, g.node("Mul", x, g.node("Add", inner, 1.0)))


def _quantised_gate(g, x):
    return g.node("Mul", x, g.quant(g.node("Sigmoid", x), 1 / 64, 6, signed=0))


#: Name → what is written out: (graph, accumulator) ↦ floats.
WRITTEN_OUT = {
    "silu": lambda g, x: g.node("Mul", x, g.node("Sigmoid", x)),
    "a quantised gate": _quantised_gate,
    "a quantised gate of codes": lambda g, x: _quantised_gate(g, g.quant(x, 0.07, 6)),
    "codes and gate of one accumulator": lambda g, x: g.node(
        "Mul", g.quant(x, 0.05, 6), g.quant(g.node("Sigmoid", x), 1 / 64, 6, signed=0)
    ),
    "gelu": lambda g, x: g.node(
        "Mul", g.node("Mul", x, 0.5), g.node("Add", 1.0, g.node("Erf", g.node("Div", x, 2**0.5)))
    ),
    "gelu by tanh": _gelu_by_tanh,
    "hardswish": lambda g, x: g.node(
        "Mul", x, g.node("Div", g.node("Clip", g.node("Add", x, 3.0), 0.0, 6.0), 6.0)
    ),
    "mish": lambda g, x: g.node("Mul", x, g.node("Tanh", g.node("Softplus", x))),
    "softsign": lambda g, x: g.node("Div", x, g.node("Add", 1.0, g.node("Abs", x))),
    "sigmoid": lambda g, x: g.node("Div", 1.0, g.node("Add", 1.0, g.node("Exp", g.node("Neg", x)))),
    "sigmoid, reciprocal": lambda g, x: g.node(
        "Reciprocal", g.node("Add", 1.0, g.node("Exp", g.node("Neg", x)))
    ),
    "leaky relu": lambda g, x: g.node("Max", x, g.node("Mul", x, 0.1)),
    "ends for each channel": lambda g, x: g.node(
        "Min", g.node("Max", x, -0.3), np.linspace(0.1, 0.5, 40)
    ),
    "square": lambda g, x: g.node("Mul", x, x),
    "a fraction": lambda g, x: g.node("Sub", x, g.node("Floor", x)),
    "a sum of three": lambda g, x: g.node("Sum", x, g.node("Tanh", x), g.node("Sigmoid", x), 0.25),
}


@pytest.mark.parametrize("name", WRITTEN_OUT)
def test_functions_of_one_accumulator_are_one_table(name):
    g = Graph(12, seed=1)
    x = g.node("MatMul", image(g, 5), g.weights(12, 40, scale=0.0625))
    x = g.node("Add", x, g.rng.normal(size=40) * 0.01)
    compare(g, g.quant(WRITTEN_OUT[name](g, x), 0.0371, 6), samples=4.0)


def test_a_product_differs_over_any_axis():
    g = Graph(*IMAGE)
    x = g.node("Mul", image(g), g.rng.normal(size=(1, 1, 8)))
    gate = g.node("Sigmoid", g.node("Add", x, g.rng.normal(size=(4, 8, 1))))
    compare(g, g.quant(g.node("Mul", gate, x), 0.05, 5))


@pytest.mark.parametrize("ends", [(-0.5, 0.75), (None, 0.5), (-0.25, None)])
def test_clipped_floats(ends):
    g = Graph(12)
    x = g.node("MatMul", image(g), g.weights(12, 20, scale=0.0625))
    bounds = ["" if e is None else g.constant(e) for e in ends]
    compare(g, g.quant(g.node("Clip", x, *bounds), 0.033, 6))


@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize("narrow", [0, 1])
@pytest.mark.parametrize("zero", [0.0, 3.0, -2.0])
@pytest.mark.parametrize(
    "mode", ["ROUND", "half_even", "CEIL", "floor", "UP", "Down", "HALF_UP", "HALF_DOWN"]
)
def test_every_rounding_at_its_ties(mode, zero, narrow, signed):
    """Accumulators are multiples of a quarter code, so that every fourth is a tie."""
    g = Graph(6)
    x = g.quant(g.input, 0.125, 5)
    x = g.node("MatMul", x, g.constant(np.eye(6)))
    x = g.quant(x, 0.5, 3, zero=zero, signed=signed, narrow=narrow, mode=mode, kind="IntQuant")
    model = g.model(x)
    network = read_onnx(model)
    codes = np.arange(-16, 16)[:, None].repeat(6, 1)
    g.shape = (len(codes), 6)
    x = (codes * 0.125).astype(np.float32)
    assert (network.predict(x) == by_qonnx(g.model(model.graph.output[0].name), x)).all()


@pytest.mark.parametrize("domain", ["", "onnx.brevitas", QONNX, "finn.custom_op.general"])
def test_operators_are_known_whatever_their_domain(domain):
    g = Graph(6)
    x = g.node("Quant", g.input, 0.5, 0.0, 3.0, signed=0, narrow=1, domain=domain)
    network = read_onnx(g.model(g.node("MatMul", x, np.eye(6))))
    assert (int(network.input.low), int(network.input.high)) == (0, 6)


@pytest.mark.parametrize(
    ("signed", "narrow", "ends"),
    [(1, 0, (-8, 7)), (1, 1, (-7, 7)), (0, 0, (0, 15)), (0, 1, (0, 14))],
)
def test_narrow_signed_codes_lack_the_least_and_unsigned_ones_the_greatest(signed, narrow, ends):
    g = Graph(6)
    network = read_onnx(g.model(image(g, signed=signed, narrow=narrow)))
    assert (int(network.input.low), int(network.input.high)) == ends


def test_the_grid_of_the_input_may_be_given():
    g = Graph(6)
    x = g.node("Div", g.node("Sub", g.node("Div", g.input, 255.0), 0.4), 0.2)
    model = g.model(g.node("MatMul", g.quant(x, 0.3, 5), g.weights(6, 4, scale=0.5)))
    network = read_onnx(model, input=Quantize(1.0, 0, 255))
    assert (int(network.input.low), int(network.input.high)) == (0, 255)
    pixels = g.rng.integers(0, 256, (BATCH, 6)).astype(np.float32)
    np.testing.assert_allclose(network.predict(pixels), by_qonnx(model, pixels), atol=1e-4)


def test_the_input_may_be_a_range_of_integers_and_nothing_else():
    g = Graph(6)
    model = g.model(g.node("MatMul", g.input, g.weights(6, 4, scale=0.5)))
    network = read_onnx(model, input=Range(-3, 9))
    assert (int(network.input.low), int(network.input.high)) == (-3, 9)
    assert (network.input.scale, network.input.bias) == (1.0, 0.0)
    with pytest.raises(ArgumentError, match=r"input is 5, expected Quantize.* or Range"):
        read_onnx(model, input=5)


def test_the_input_takes_a_mean_and_a_deviation_for_each_channel():
    g = Graph(*IMAGE)
    x = g.node("Sub", g.input, g.rng.normal(size=(4, 1, 1)))
    x = g.quant(g.node("Div", x, g.rng.random((1, 4, 1, 1)) + 0.5), 0.3, 5)
    compare(g, conv(g, x))


def compare(g, output, samples=2.0):
    """Our floats are those of qonnx."""
    model = g.model(output)
    network = read_onnx(model)
    x = (g.rng.normal(size=g.shape) * samples).astype(np.float32)
    theirs, ours = by_qonnx(model, x), network.predict(x)
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)
