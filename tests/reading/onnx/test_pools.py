"""Pools: the same integers as onnxruntime's and qonnx's, at the borders, too."""

import itertools

import numpy as np
import pytest
from graphs import BATCH, QONNX, Graph, by_onnxruntime, by_qonnx
from onnx import TensorProto

from secateur import analyze
from secateur.reading.onnx import explain, read_onnx

KERNELS = [(3, 3), (2, 3)]
STRIDES = [(2, 2), (1, 3), (3, 2)]
PADS = [(0, 0, 0, 0), (1, 1, 1, 1), (0, 1, 1, 0)]


def compare(operator, biased=False, **attributes):
    """Codes that a table makes of a pool of codes: ours against onnxruntime's pool."""
    g = Graph(3, 7, 9, opset=19)
    x = g.input
    for scale in (0.25, 0.037):
        scale = g.constant(scale)
        zero = g.constant(0, np.int8)
        x = g.node("DequantizeLinear", g.node("QuantizeLinear", x, scale, zero), scale, zero)
        if x == "t1_0":
            x = g.node("Add", x, g.rng.normal(size=(3, 1, 1))) if biased else x
            x = g.node(operator, x, **attributes)
    model = g.model(x)
    network = read_onnx(model)
    analyze(network)
    x = (g.rng.normal(size=g.shape) * 2).astype(np.float32)
    theirs, ours = by_onnxruntime(model, x), network.predict(x)
    assert ours.shape == theirs.shape
    assert (np.rint(theirs / 0.037) == np.rint(ours / 0.037)).all()


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("pads", PADS)
@pytest.mark.parametrize("padded", [0, 1])
def test_every_mean(padded, pads, ceil):
    """Divisors that differ at the borders, windows that are cut off, biases, dilations."""
    for kernel, stride in itertools.product(KERNELS, STRIDES):
        common = {"kernel_shape": kernel, "strides": stride, "pads": pads, "ceil_mode": ceil}
        compare("AveragePool", count_include_pad=padded, **common)
    compare("AveragePool", biased=True, count_include_pad=padded, **common)
    compare("AveragePool", dilations=(2, 1), count_include_pad=padded, **common)


@pytest.mark.parametrize("ceil", [0, 1])
@pytest.mark.parametrize("pads", PADS)
def test_every_maximum(pads, ceil):
    for kernel, stride in itertools.product(KERNELS, STRIDES):
        compare("MaxPool", kernel_shape=kernel, strides=stride, pads=pads, ceil_mode=ceil)


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("operator", ["AveragePool", "MaxPool"])
def test_padding_that_the_shape_tells(operator, mode):
    compare(operator, kernel_shape=(3, 2), strides=(2, 2), auto_pad=mode)


def test_a_table_for_each_divisor_and_no_more():
    """Positions lead their tables: 7 · 9 of them, not 3 · 7 · 9."""
    g = Graph(3, 7, 9)
    x = g.node("AveragePool", g.quant(g.input, 0.25, 3), kernel_shape=[3, 3], pads=[1] * 4)
    model = g.model(g.quant(x, 0.1, 3))
    network = read_onnx(model)
    (table,) = (o.table for o in network.operations if o.kind == "lookup")
    assert table.channels == 63
    assert "divisors differ" in str(explain(model))


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("signed", [0, 1])
@pytest.mark.parametrize(("bits", "kept"), [(4, 4), (3, 9), (2, 3)])
def test_averages_that_qonnx_truncates(bits, kept, signed, layout):
    shape = (3, 7, 9) if layout == "NCHW" else (7, 9, 3)
    g = Graph(*shape, batch=1)
    x = g.quant(g.input, 1.0, bits, signed=signed)
    g.shaped(x, 1, *shape)
    x = g.node("QuantAvgPool2d", x, kernel=3, stride=2, ibits=bits, obits=kept, signed=signed,
               data_layout=layout, domain=QONNX)  # fmt: skip
    model = g.model(x)
    network = read_onnx(model)
    analyze(network)
    x = (g.rng.normal(size=g.shape) * 2**bits).astype(np.float32)
    assert (network.predict(x) == by_qonnx(model, x)).all()
    assert network.output.source in network.shapes


@pytest.mark.parametrize("mode", ["FLOOR", "ROUND", "CEIL"])
@pytest.mark.parametrize("padded", [0, 1])
def test_truncated_means_at_the_borders(padded, mode):
    g = Graph(3, 6, 6, batch=BATCH)
    x = g.quant(g.input, 0.25, 4, signed=0)
    x = g.node("AveragePool", x, kernel_shape=[2, 2], strides=[2, 2], pads=[1] * 4,
               count_include_pad=padded)  # fmt: skip
    x = g.node("Mul", x, 4.0)
    x = g.node("Trunc", x, 0.25, 0.0, 6.0, 4.0, rounding_mode=mode, domain=QONNX)
    model = g.model(x, kind=TensorProto.FLOAT)
    network = read_onnx(model)
    x = (g.rng.normal(size=g.shape) * 2).astype(np.float32)
    assert (network.predict(x) == by_qonnx(model, x)).all()
