"""Geometry of every mode: the same integers as onnxruntime's."""

import numpy as np
import pytest
from graphs import Graph, by_onnxruntime

from secateur import analyze
from secateur.errors import UnsupportedOperatorError
from secateur.reading.onnx import read_onnx

#: No multiple of it lies next to a tie of the scales here.
LAST = 0.37137


def quantised(g, x, scale):
    scale, zero = g.constant(scale), g.constant(0, np.int8)
    return g.node("DequantizeLinear", g.node("QuantizeLinear", x, scale, zero), scale, zero)


def weights(g, *shape):
    codes = g.constant(g.rng.integers(-9, 10, shape), np.int8)
    return g.node("DequantizeLinear", codes, 0.12371, g.constant(0, np.int8))


def ints(g, *values):
    return g.constant(values, np.int64)


def compare(build, *shape, opset=19):
    """Codes of a node of codes are onnxruntime's."""
    g = Graph(*shape, opset=opset)
    model = g.model(quantised(g, build(g, quantised(g, g.input, 0.25)), LAST))
    network = read_onnx(model)
    analyze(network)
    x = (g.rng.normal(size=g.shape) * 2).astype(np.float32)
    theirs, ours = by_onnxruntime(model, x), network.predict(x)
    assert ours.shape == theirs.shape
    assert (np.rint(theirs / LAST) == np.rint(ours / LAST)).all()


COORDINATES = [
    *("asymmetric", "half_pixel", "pytorch_half_pixel", "half_pixel_symmetric", "align_corners"),
]
NEAREST = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"]


@pytest.mark.parametrize("nearest", NEAREST)
@pytest.mark.parametrize("coordinates", COORDINATES)
def test_the_nearest_pixel_of_every_mode(coordinates, nearest):
    modes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    for factors in ([2, 3], [1.5, 1], [0.5, 2.5]):
        compare(
            lambda g, x, f=factors: g.node("Resize", x, "", [1, 1, *f], mode="nearest", **modes),
            *(2, 6, 4),
        )


def test_sizes_and_axes_of_a_resize():
    compare(lambda g, x: g.node("Resize", x, "", "", ints(g, 6, 2, 9, 5), mode="nearest"), 2, 6, 4)
    compare(lambda g, x: g.node("Resize", x, "", [3, 2], mode="nearest", axes=[2, 3]), *(2, 6, 4))


@pytest.mark.parametrize("options", [
    {"output_shape": [12, 13]}, {"output_shape": [11, 14], "output_padding": [1, 0]},
    {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"auto_pad": "VALID"},
    {"pads": [1, 0, 0, 1], "output_padding": [1, 0]}, {"dilations": [2, 1]},
], ids=str)  # fmt: skip
def test_transposed_convolutions_of_every_extent(options):
    compare(
        lambda g, x: g.node("ConvTranspose", x, weights(g, 4, 5, 3, 3), strides=[2, 2], **options),
        *(4, 6, 6),
    )


CASES = {
    "products from the left": ((2, 12, 3), lambda g, x: g.node("MatMul", weights(g, 5, 12), x)),
    "tiles": ((3, 4), lambda g, x: g.node("Tile", x, ints(g, 1, 2, 3))),
    "expanded": ((3, 1), lambda g, x: g.node("Expand", x, ints(g, 1, 1, 4))),
    "expanded to itself": ((3,), lambda g, x: g.node("Expand", x, ints(g, 3))),
    "steps back": ((3, 4), lambda g, x: g.node(
        "Slice", x, ints(g, -1, 100), ints(g, -100, -100), ints(g, 1, -1), ints(g, -2, -3))),
    "a shape of products": ((4, 3), lambda g, x: g.node("Reshape", x, g.node("Concat", g.node(
        "Slice", g.node("Shape", x), ints(g, 0), ints(g, 1)), g.node("ReduceProd", g.node(
            "Slice", g.node("Shape", x), ints(g, 1), ints(g, 3)), keepdims=1), axis=0))),
    "indices that nobody reads": ((2, 6, 6), lambda g, x: g.node(
        "MaxPool", x, kernel_shape=[2, 2], outputs=2)[0]),
    "a wrapped frame": ((2, 6, 6), lambda g, x: g.node(
        "Pad", x, ints(g, 0, 0, 2, 1, 0, 0, 1, 2), mode="wrap")),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_every_move(name):
    shape, build = CASES[name]
    compare(build, *shape)


@pytest.mark.parametrize("nearest", NEAREST[2:])
@pytest.mark.parametrize("coordinates", ["half_pixel", "half_pixel_symmetric", "align_corners"])
def test_halves_meet_the_pixel_that_their_mode_prefers(coordinates, nearest):
    """Five pixels of two: the one in the middle stands at 1/2, which float32 may miss."""
    g = Graph(1, 2, opset=19)
    x = g.quant(g.input, 1.0, 4)
    modes = {"coordinate_transformation_mode": coordinates, "nearest_mode": nearest}
    network = read_onnx(
        g.model(g.node("Resize", x, "", "", ints(g, 6, 1, 5), mode="nearest", **modes))
    )
    last = nearest == "round_prefer_ceil"
    assert network(np.array([[3, 7]])).tolist() == [[3, 3, 7 if last else 3, 7, 7]]


REFUSED = {
    "an unknown mode": (lambda g, x: g.node(
        "Resize", x, "", [1, 1, 2, 2], coordinate_transformation_mode="tf_crop_and_resize"),
        "'tf_crop_and_resize'.*align_corners and floor"),
    "an aspect ratio": (lambda g, x: g.node(
        "Resize", x, "", "", ints(g, 6, 2, 9, 9), keep_aspect_ratio_policy="not_larger"),
        "keep_aspect_ratio_policy; leave"),
    "no pixel": (lambda g, x: g.node("Resize", x, "", [1, 1, 0.1, 1]), "at least one pixel"),
    "a larger batch": (lambda g, x: g.node("Tile", x, ints(g, 2, 1, 1, 1)), "batch axis has to"),
    "indices": (lambda g, x: g.node("Add", *g.node("MaxPool", x, kernel_shape=[2, 2], outputs=2)),
        "reads 't2_1', an output that only"),
    "a mask": (lambda g, x: g.node("Mul", *g.node("Dropout", x, outputs=2)), "reads 't2_1'"),
    "a zero point of another type": (lambda g, x: g.node(
        "DequantizeLinear", g.node("QuantizeLinear", x, 0.5, g.constant(0, np.int8)), 0.5,
        g.constant(0, np.uint8)), "from -128 to 127 and a zero point of element type 2; store"),
    "weights of another type": (lambda g, x: g.node("Conv", x, g.node(
        "DequantizeLinear", g.constant(np.ones((3, 2, 1, 1)), np.int8), 0.5,
        g.constant(0, np.uint8))), "element type 3 and a zero point of element type 2"),
    "ends turned round": (lambda g, x: g.node("Clip", x, 2.0, -1.0), "min 2.0 above max -1.0"),
    "a frame off the grid": (lambda g, x: g.node(
        "Pad", x, ints(g, 0, 0, 1, 1, 0, 0, 1, 1), 0.3), "no code of its samples; pad before"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_moves_that_are_refused(name):
    build, problem = REFUSED[name]
    g = Graph(2, 6, 4, opset=19)
    with pytest.raises(UnsupportedOperatorError, match=problem):
        read_onnx(g.model(build(g, quantised(g, g.input, 0.25))))
