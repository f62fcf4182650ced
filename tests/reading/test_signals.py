"""Signals: what waits between two integer operations is the same wherever it is moved."""

import numpy as np
import pytest

from secateur.errors import UnsupportedModuleError
from secateur.network import Activation, Conv, Lookup, Quantize, Reshape, Transpose
from secateur.reading.signals import Assembly

GRID = Quantize(0.25, -8, 7)


def assembly():
    return Assembly(lambda name, problem: UnsupportedModuleError(f"{name}: {problem}"), "round it")


def floats_of(build, shape, samples=20):
    """The input codes, and the output floats of the network that `build` makes of a signal."""
    a = assembly()
    a.give("end", build(a, a.take(shape, GRID)))
    network = a.network()
    codes = np.random.default_rng(0).integers(-8, 8, (samples, *shape))
    return network, codes, network.output.dequantize(network(codes))


def test_what_differs_anywhere_becomes_tables_per_element():
    rng = np.random.default_rng(1)
    for differing in [(3, 1, 1), (1, 4, 1), (1, 1, 5), (3, 4, 1), (1, 4, 5), (3, 4, 5)]:
        factor, offset = rng.normal(size=differing), rng.normal(size=differing)

        def build(a, x, factor=factor, offset=offset):
            x = x.scaled(factor, offset).then(Activation("relu"))
            return a.quantize("q", x, Quantize(0.5, 0, 7))

        network, codes, found = floats_of(build, (3, 4, 5))
        wanted = np.maximum(codes * 0.25 * factor + offset, 0) / 0.5
        assert (found == np.clip(np.rint(wanted), 0, 7) * 0.5).all(), differing
        assert sum(isinstance(o, Lookup) for o in network.operations) == 1


def test_moves_carry_scales_with_them():
    factor = np.random.default_rng(2).normal(size=(3, 1, 5))

    def build(a, x):
        x = a.transpose("t", x.scaled(factor, 0.5), (2, 0, 1))
        return a.quantize("q", a.reshape("r", x, (60,)), Quantize(0.1, -99, 99))

    _, codes, found = floats_of(build, (3, 4, 5))
    wanted = (codes * 0.25 * factor + 0.5).transpose(0, 3, 1, 2).reshape(-1, 60)
    assert (found == np.clip(np.rint(wanted / 0.1), -99, 99) * 0.1).all()


def test_moves_in_a_row_become_one_and_those_that_undo_each_other_none():
    def build(a, x):
        x = a.transpose("a", a.transpose("b", x, (2, 0, 1)), (1, 2, 0))
        return a.reshape("c", a.reshape("d", a.transpose("e", x, (1, 0, 2)), (4, 15)), (60,))

    network, codes, found = floats_of(build, (3, 4, 5))
    assert [type(o) for o in network.operations] == [Transpose, Reshape]
    assert (found == codes.transpose(0, 2, 1, 3).reshape(-1, 60) * 0.25).all()


@pytest.mark.parametrize("shape", [(6,), (2, 3), (2, 3, 4)])
@pytest.mark.parametrize(("p", "q"), [(1, 1), (2, 1), (3, 4), (64, 63)])
def test_sums_of_scales_in_the_ratio_of_small_integers_are_exact(shape, p, q):
    def build(a, x):
        return a.add("sum", [x.scaled(p, 1.0), x.scaled(q)])

    network, codes, found = floats_of(build, shape)
    np.testing.assert_allclose(found, codes * 0.25 * (p + q) + 1.0, rtol=1e-12)
    assert sum(isinstance(o, Conv) for o in network.operations) == (p != 1) + (q != 1)


def test_sums_of_other_scales_are_refused():
    with pytest.raises(UnsupportedModuleError, match=r"sum: adds codes of scales \[0.25, 0.785"):
        floats_of(lambda a, x: a.add("sum", [x, x.scaled(np.pi)]), (3,))
    with pytest.raises(UnsupportedModuleError, match="sum: adds codes of scales"):
        floats_of(lambda a, x: a.add("sum", [x, x.scaled(0.0)]), (3,))


@pytest.mark.parametrize("axis", [0, 1])
def test_joined_signals_keep_their_scales(axis):
    def build(a, x):
        joined = a.concat("join", [x.scaled(3.0, 1.0), x], axis)
        return a.quantize("q", joined, Quantize(0.25, -99, 99))

    _, codes, found = floats_of(build, (2, 3))
    wanted = np.concatenate([codes * 0.75 + 1, codes * 0.25], axis=axis + 1)
    assert (found == wanted).all()


def test_maxima_commute_with_what_never_falls():
    def build(a, x):
        x = x.scaled(np.array([0.5, 2.0])[:, None, None]).then(Activation("relu"))
        return a.quantize("q", a.max_pool("m", x, (2, 2), (2, 2), ((0, 0),) * 2), GRID)

    _, codes, found = floats_of(build, (2, 4, 4))
    relu = np.maximum(codes * 0.25 * np.array([0.5, 2.0])[:, None, None], 0)
    most = relu.reshape(-1, 2, 2, 2, 2, 2).max(axis=(3, 5))
    assert (found == np.clip(np.rint(most / 0.25), -8, 7) * 0.25).all()


@pytest.mark.parametrize(
    "falling",
    [
        lambda x: x.scaled(-1.0),
        lambda x: x.scaled(np.arange(1.0, 5.0).reshape(1, 1, 4)),
        lambda x: x.then(Activation("abs")),
        lambda x: x.then(Activation("leaky_relu", {"negative_slope": -0.5})),
    ],
)
def test_maxima_of_what_may_fall_are_refused(falling):
    with pytest.raises(UnsupportedModuleError, match="m: takes maxima"):
        floats_of(
            lambda a, x: a.max_pool("m", falling(x), (2, 2), (2, 2), ((0, 0),) * 2), (2, 4, 4)
        )


def test_averages_of_biased_accumulators_are_exact_without_padding():
    bias = np.array([1.0, -2.0])[:, None, None]

    def build(a, x, pads=((0, 0),) * 2):
        return a.sum_pool("p", x.scaled(2.0, bias), (2, 2), (2, 2), pads, 4)

    _, codes, found = floats_of(build, (2, 4, 4))
    wanted = (codes * 0.5 + bias).reshape(-1, 2, 2, 2, 2, 2).mean(axis=(3, 5))
    assert (found == wanted).all()
    with pytest.raises(UnsupportedModuleError, match="p: pads what has a bias"):
        floats_of(lambda a, x: build(a, x, ((1, 1), (0, 0))), (2, 4, 4))


def test_the_input_takes_the_scale_and_bias_before_its_quantiser():
    a = assembly()
    x = a.take((3,))
    mean, deviation = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 2.0])
    x = x.scaled(1.0, -mean).scaled(1 / deviation)
    a.give("end", a.quantize("q", x, GRID))
    floats = np.random.default_rng(3).normal(size=(50, 3))
    codes = np.clip(np.rint((floats - mean) / deviation / 0.25), -8, 7)
    assert (a.network().quantize_input(floats) == codes).all()


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (lambda a, x: a.quantize("q", x.scaled(-1.0), GRID), "negates or bends"),
        (lambda a, x: a.quantize("q", x, Quantize(1.0, 0, 1, "floor")), "rounds the input"),
        (
            lambda a, x: a.quantize("q", a.reshape("r", x.scaled([1.0, 2.0]), (1, 2)), GRID),
            "after moving",
        ),
        (lambda a, x: a.add("add", [x, x]), "has not been quantised; round it"),
    ],
)
def test_inputs_that_no_quantiser_can_take_are_refused(build, problem):
    a = assembly()
    with pytest.raises(UnsupportedModuleError, match=problem):
        build(a, a.take((2,)))


def test_two_quantisers_of_the_input_are_refused():
    a = assembly()
    x = a.take((2,))
    a.quantize("first", x, GRID)
    assert a.quantize("again", x, GRID).grid == GRID
    with pytest.raises(UnsupportedModuleError, match="second: the input meets two"):
        a.quantize("second", x, Quantize(0.5, -8, 7))


def test_operations_that_the_output_does_not_need_are_left_out():
    def build(a, x):
        a.quantize("unused", x.scaled(3.0), Quantize(1.0, 0, 1))
        return a.quantize("used", x.scaled(3.0), Quantize(1.0, 0, 3))

    network, _, _ = floats_of(build, (2,))
    assert [o.name for o in network.operations] == ["used"]
