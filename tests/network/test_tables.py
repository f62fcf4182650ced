"""Tables: the same integers as torch's functions, wherever a value stands."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from secateur.errors import NetworkError, NotFiniteError
from secateur.network import (
    Activation,
    Affine,
    Combine,
    Count,
    ExplicitTable,
    FunctionTable,
    Quantize,
    tabulate,
)
from secateur.network.activations import ACTIVATIONS
from secateur.network.tables import COMBINATIONS, ROUNDINGS
from secateur.ranges import Range

PARAMETERS = {
    "celu": {"alpha": 1.5},
    "elu": {"alpha": 0.7},
    "hardtanh": {"min_val": -0.5, "max_val": 2.0},
    "leaky_relu": {"negative_slope": 0.1},
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_are_those_of_torch(name):
    functional = pytest.importorskip("torch.nn.functional")
    torch = pytest.importorskip("torch")
    x = np.linspace(-20, 20, 4001)
    ours = Activation(name, PARAMETERS.get(name, {}))(x)
    if name == "gelu_tanh":
        theirs = functional.gelu(torch.from_numpy(x), approximate="tanh")
    else:
        module = torch if hasattr(torch, name) else functional
        theirs = getattr(module, name)(torch.from_numpy(x), **PARAMETERS.get(name, {}))
    np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_value_gives_the_same_float_wherever_it_stands(name):
    activation = Activation(name, PARAMETERS.get(name, {}))
    x = np.random.default_rng(0).normal(size=(7, 13)) * 4
    together = activation(x)
    alone = np.array([activation(np.array([v]))[0] for v in x.ravel()]).reshape(x.shape)
    assert (together == alone).all()


def test_unknown_activations_are_refused_with_the_known_ones():
    with pytest.raises(NetworkError, match=r"'swash'.*relu.*tanh"):
        Activation("swash")


def test_rounding_goes_to_the_even_code_and_stops_at_the_ends():
    quantize = Quantize(0.5, -1, 3)
    x = np.array([[0.25, 0.75, -0.25, -9.0, 9.0]])
    assert quantize.codes(x).tolist() == [[0, 2, 0, -1, 3]]
    assert quantize(x).tolist() == [[0.0, 1.0, 0.0, -0.5, 1.5]]


#: What each rounding makes of −1.5, −1.2, −0.5, 0, 0.5, 1.2, 1.5, 2.5.
ROUNDED = {
    "half_even": [-2, -1, 0, 0, 0, 1, 2, 2],
    "half_up": [-2, -1, -1, 0, 1, 1, 2, 3],
    "half_down": [-1, -1, 0, 0, 0, 1, 1, 2],
    "up": [-2, -2, -1, 0, 1, 2, 2, 3],
    "down": [-1, -1, 0, 0, 0, 1, 1, 2],
    "ceil": [-1, -1, 0, 0, 1, 2, 2, 3],
    "floor": [-2, -2, -1, 0, 0, 1, 1, 2],
    "sign": [-1, -1, -1, 1, 1, 1, 1, 1],
}


@pytest.mark.parametrize("rounding", ROUNDINGS)
def test_every_rounding_at_ties_and_between_them(rounding):
    x = np.array([-1.5, -1.2, -0.5, 0.0, 0.5, 1.2, 1.5, 2.5])
    assert Quantize(1.0, -9, 9, rounding).codes(x).tolist() == ROUNDED[rounding]


@pytest.mark.parametrize("rounding", ["half_up", "half_down"])
def test_the_greatest_float_below_a_half_is_below_it(rounding):
    assert Quantize(1.0, -9, 9, rounding).codes(np.array([0.5 - 2.0**-54])).tolist() == [0]


def test_rounding_may_see_the_zero_point():
    x = np.array([0.5, 1.5, -0.5])
    assert Quantize(1.0, -9, 9).codes(x).tolist() == [0, 2, 0]
    # 0.5 + 3 is a tie between 3 and 4, and 4 is even.
    assert Quantize(1.0, -9, 9, zero_point=3).codes(x).tolist() == [1, 1, -1]
    assert Quantize(1.0, -9, 9, "up", zero_point=-1).codes(x).tolist() == [0, 2, -1]


def test_unknown_roundings_are_refused_with_the_known_ones():
    with pytest.raises(NetworkError, match=r"'nearest'.*half_even"):
        Quantize(1.0, 0, 1, "nearest")


def test_steps_apply_in_order_and_per_channel():
    table = FunctionTable(
        (Affine(np.array([1.0, -2.0]), np.array([0.5, 0.0])), Activation("relu")),
        Quantize(0.5, 0, 100),
    )
    v = np.array([[3, 3], [-4, -4]])
    assert table(v).tolist() == [[7, 0], [0, 16]]
    assert table.codomain == Range(0, 100)


def test_a_combination_is_one_number_of_two_functions():
    double, third = Affine(np.array([2.0, 3.0]), np.zeros(1)), Activation("relu")
    step = Combine("minimum", (double,), (third, Affine(np.ones(1), np.array([1.0, 9.0]))))
    x = np.array([[1.0, 2.0], [-4.0, 5.0]])
    assert step(x).tolist() == [[2.0, 6.0], [-8.0, 14.0]]
    assert step.channels == 2
    assert step.restricted(np.array([False, True]))(x[:, 1:]).tolist() == [[6.0], [14.0]]
    assert not FunctionTable((step,), Quantize(1.0, 0, 9)).monotone


@pytest.mark.parametrize("name", COMBINATIONS)
def test_every_combination(name):
    a, b = np.array([[-3.0, 2.0, 0.5]]), np.array([[2.0, -1.5, 4.0]])
    step = Combine(name, (Affine(np.zeros(1), a[0]),), (Affine(np.zeros(1), b[0]),))
    wanted = {"add": a + b, "multiply": a * b, "divide": a / b}
    wanted |= {"minimum": np.minimum(a, b), "maximum": np.maximum(a, b)}
    assert (step(np.zeros((1, 3))) == wanted[name]).all()


def test_combinations_that_are_none():
    with pytest.raises(NetworkError, match=r"'power'.*add, multiply"):
        Combine("power", (), ())
    with pytest.raises(NetworkError, match="no step like 'relu'"):
        Combine("add", ("relu",), ())
    two, three = (Affine(np.ones(n), np.zeros(1)) for n in (2, 3))
    with pytest.raises(NetworkError, match=r"\[2, 3\] channels"):
        Combine("add", (two,), (three,))
    table = FunctionTable((Combine("divide", (), ()),), Quantize(1.0, -9, 9))
    assert table(np.array([[-2, 7]])).tolist() == [[1, 1]]
    with pytest.raises(NotFiniteError):
        table(np.array([[0]]))


def test_explicit_tables_refuse_accumulators_without_an_entry():
    table = ExplicitTable(np.array([[5, 6, 7], [1, 2, 3]]), np.array([-1, 0]))
    assert table(np.array([[-1, 2], [1, 0]])).tolist() == [[5, 3], [7, 1]]
    assert table.codomain == Range(1, 7)
    with pytest.raises(NetworkError, match="accumulator 3 of channel 1"):
        table(np.array([[0, 3]]))


@given(
    st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 20)), min_size=1, max_size=4),
    st.sampled_from(sorted(ACTIVATIONS)),
)
def test_entries_are_the_rule_at_every_accumulator(channels, name):
    low = np.array([start for start, _ in channels])
    high = low + np.array([span for _, span in channels])
    table = FunctionTable((Activation(name, PARAMETERS.get(name, {})),), Quantize(0.3, -9, 9))
    entries = tabulate(table, low, high)
    assert entries.shape == (len(low), int((high - low).max()) + 1)
    for c in range(len(low)):
        for i, entry in enumerate(entries[c]):
            v = np.full((1, len(low)), min(low[c] + i, high[c]))
            assert table(v)[0, c] == entry


@pytest.mark.parametrize("name", [None, *ACTIVATIONS])
@pytest.mark.parametrize("last", [*ROUNDINGS, "count"])
def test_no_step_hides_what_is_no_number(name, last):
    half = Combine("divide", (), (Affine(np.array([2.0]), np.array([0.0])),))  # x / 2x
    steps = () if name is None else (Activation(name, PARAMETERS.get(name, {})),)
    if last == "count":
        table = FunctionTable((half, *steps, Count(np.array([[0.0]]))), Quantize(1.0, -8, 8))
    else:
        table = FunctionTable((half, *steps), Quantize(0.1, -8, 8, rounding=last))
    table(np.array([[-1], [1]]))
    with pytest.raises(NotFiniteError, match="gave NaN"):
        table(np.array([[-1], [0], [1]]))
