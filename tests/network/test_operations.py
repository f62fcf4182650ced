"""The reference arithmetic of every operation, held against torch's and against hand sums."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur.errors import DtypeError, NetworkError, ShapeError
from secateur.network import (
    Add,
    Concat,
    Conv,
    FunctionTable,
    Linear,
    Lookup,
    MaxPool,
    Quantize,
    Reshape,
    SumPool,
    Transpose,
)

IDENTITY = FunctionTable((), Quantize(1.0, -1000, 1000))


def test_linear_is_a_dot_product_plus_bias():
    layer = Linear("fc", "input", np.array([[1, -2], [3, 0]], np.int8), np.array([10, 0]))
    assert layer.evaluate(np.array([[1, 2], [0, -1]])).tolist() == [[7, 3], [12, 0]]
    assert layer.shape((2,)) == (2,)


@given(
    axes=st.integers(1, 3),
    groups=st.sampled_from([1, 2]),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    padding=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_convolution_is_torchs(axes, groups, stride, dilation, padding, seed):
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(seed)
    x = random.integers(-8, 8, size=(2, 4, *(5 + a for a in range(axes))))
    codes = random.integers(-8, 8, size=(6, 4 // groups, *(2,) * axes), dtype=np.int8)
    bias = random.integers(-8, 8, size=6)
    layer = Conv(
        "conv",
        "input",
        codes,
        bias,
        stride=(stride,) * axes,
        padding=((padding, padding),) * axes,
        dilation=(dilation,) * axes,
        groups=groups,
    )
    conv = getattr(torch.nn.functional, f"conv{axes}d")
    expected = conv(
        *(torch.from_numpy(a.astype(np.float64)) for a in (x, codes, bias)),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
    ).numpy()
    assert (layer.evaluate(x) == expected).all()
    assert layer.shape(x.shape[1:]) == expected.shape[1:]


def test_convolution_pads_each_side_as_told():
    layer = Conv("conv", "input", np.ones((1, 1, 2), np.int8), padding=((2, 0),))
    assert layer.evaluate(np.array([[[1, 2, 3]]])).tolist() == [[[0, 1, 3, 5]]]


@pytest.mark.parametrize("tap", [1, 300])
def test_convolution_of_no_sample(tap):
    layer = Conv("conv", "input", np.full((2, 1, 2, 2), tap), groups=2)
    assert layer.evaluate(np.zeros((0, 2, 4, 5), int)).shape == (0, 2, 3, 4)
    assert layer.rows(np.zeros((0, 2, 4, 5), int)).shape == (2, 0, 4)


def test_lookup_drops_bits_then_scales_then_shifts_then_looks_up():
    lookup = Lookup(
        "act", "fc", IDENTITY, factor=np.array([2]), offset=np.array([1]), rounding_bits=2
    )
    v = np.array([[-3, -2, -1, 1, 2, 5, 6]])
    assert lookup.evaluate(v).tolist() == [[-7, -7, -7, 1, 1, 9, 9]]


def test_pools_add_and_choose_within_windows():
    x = np.array([[[1, 5, -2, 3]]])
    total = SumPool("pool", "input", (2,), (2,), ((1, 1),))
    greatest = MaxPool("pool", "input", (2,), (2,), ((1, 1),))
    assert total.evaluate(x).tolist() == [[[1, 3, 3]]]
    assert greatest.evaluate(-x).tolist() == [[[-1, 2, -3]]]
    assert total.shape((1, 4)) == greatest.shape((1, 4)) == (1, 3)


def test_graph_operations_move_elements_and_nothing_else():
    x = np.arange(12).reshape(1, 2, 3, 2)
    assert Reshape("flat", "input", (12,)).evaluate(x).tolist() == [list(range(12))]
    assert (Transpose("t", "input", (2, 0, 1)).evaluate(x)[0] == x[0].transpose(2, 0, 1)).all()
    assert Concat("cat", ("a", "b"), 1).evaluate(x, x).shape == (1, 2, 6, 2)
    assert (Add("sum", ("a", "b"), np.array([1, -1])).evaluate(x, x)[0, 1] == 2 * x[0, 1] - 1).all()


@pytest.mark.parametrize(
    ("operation", "sources", "message"),
    [
        (Linear("fc", "x", np.ones((2, 3), np.int8)), [(4,)], r"'fc'.*\(3,\).*\(4,\)"),
        (Conv("cv", "x", np.ones((2, 3, 2), np.int8)), [(4, 9)], r"'cv'.*3 channels.*\(4, 9\)"),
        (Conv("cv", "x", np.ones((2, 3, 5), np.int8)), [(3, 4)], r"'cv'.*does not fit \(4,\)"),
        (Add("sum", ("x", "y")), [(2,), (3,)], r"'sum'.*different shapes"),
        (Concat("cat", ("x", "y"), 0), [(2, 2), (3, 4)], r"'cat'.*cannot join"),
        (SumPool("sp", "x", (2,), (1,), ((0, 0),)), [(2, 3, 4)], r"'sp'.*pools 1"),
        (Reshape("flat", "x", (5,)), [(2, 3)], r"'flat'.*cannot reshape"),
        (Transpose("t", "x", (0, 0)), [(2, 3)], r"'t'.*do not order"),
    ],
)
def test_shapes_that_do_not_fit_name_the_layer(operation, sources, message):
    with pytest.raises(NetworkError, match=message) as caught:
        operation.shape(*sources)
    assert caught.value.layer == operation.name


def test_codes_must_be_integers_and_biases_int64():
    with pytest.raises(DtypeError, match=r"'fc'.*float64.*quantize first"):
        Linear("fc", "x", np.array([[np.nan]]))
    with pytest.raises(ShapeError, match=r"'fc'.*\(0, 3\)"):
        Linear("fc", "x", np.ones((0, 3), np.int8))
    with pytest.raises(DtypeError, match=r"'fc': bias is float64"):
        Linear("fc", "x", np.ones((2, 3), np.int8), np.zeros(2))
    with pytest.raises(ShapeError, match=r"'fc': bias has shape \(3,\), expected \(2,\)"):
        Linear("fc", "x", np.ones((2, 3), np.int8), np.zeros(3, int))
    with pytest.raises(NetworkError, match=r"'cv'.*3 output channels.*2 groups"):
        Conv("cv", "x", np.ones((3, 1, 1), np.int8), groups=2)
    with pytest.raises(NetworkError, match=r"'cv': stride is \(1, 1\)"):
        Conv("cv", "x", np.ones((3, 1, 1), np.int8), stride=(1, 1))
    with pytest.raises(NetworkError, match=r"'mp'.*nothing else"):
        MaxPool("mp", "x", (2,), (1,), ((2, 0),))
