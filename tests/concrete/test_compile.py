"""Users' own functions: right where widths from samples are wrong."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from backends import on_each_backend
from secateur import concrete
from secateur.errors import BackendError, ShapeError, UnprovableError, WidthError
from secateur.ranges import Range, Ranges

EXAMPLE = Path(__file__).parents[2] / "examples" / "overflow.py"

#: Eight bits for, eight against: random samples stay near 0, the worst case is 8.
SIGNS = np.array([[1, -1] * 8]).T
WORST = (SIGNS[:, 0] > 0).astype(np.int64)


def neuron(ns):
    relu = ns.univariate(lambda v: np.maximum(v, 0))

    def function(x):
        return relu(x @ SIGNS)

    return function


def sampled(backend):
    random = np.random.default_rng(0)
    samples = [random.integers(0, 2, size=16) for _ in range(100)]
    return backend.namespace.Compiler(neuron(backend.namespace), {"x": "encrypted"}).compile(
        samples
    )


@on_each_backend
def test_the_worst_case_is_right_where_sampled_widths_are_wrong(backend):
    proved = concrete.compile(neuron(backend.namespace), {"x": Range(0, 1)}, {"x": (16,)})
    assert backend.simulate(sampled(backend), WORST) != [8]
    assert backend.simulate(proved, WORST) == [8]


@pytest.mark.encrypted
@on_each_backend
def test_the_worst_case_decrypts_right_where_sampled_widths_are_wrong(backend):
    proved = concrete.compile(neuron(backend.namespace), {"x": Range(0, 1)}, {"x": (16,)})
    assert sampled(backend).encrypt_run_decrypt(WORST) != [8]
    assert proved.encrypt_run_decrypt(WORST) == [8]
    assert proved.encrypt_run_decrypt(1 - WORST) == [0]


@on_each_backend
def test_the_example(backend, capsys):
    runpy.run_path(str(EXAMPLE))
    assert capsys.readouterr().out == (
        "in the clear: [9]\nwidth sampled: [0]\nwidth proved:  [9]\n"
    )


@on_each_backend
def test_several_parameters_scalars_and_ranges_per_element(backend):
    def function(a, b, c):
        return a * 3 + b - c[1]

    inputs = {"c": Ranges([0, -4], [1, 2]), "a": Range(-1, 2), "b": Range(0, 7)}
    circuit = concrete.compile(function, inputs)
    for a, b, c in [(-1, 0, [0, 2]), (2, 7, [1, -4]), (0, 3, [0, 0])]:
        assert circuit.graph(a, b, np.array(c)) == 3 * a + b - c[1]
    (output,) = circuit.graph.output_nodes.values()
    assert output.bounds == (-5, 17)


@on_each_backend
def test_linear_values_on_the_way_need_no_width(backend):
    relu = backend.namespace.univariate(lambda v: np.maximum(v - 40, 0))

    def function(x):
        return relu(x * 7 - x * 5 + 40)  # 40 … 46 in the end, 61 on the way

    circuit = concrete.compile(function, {"x": Range(0, 3)}, {"x": (2,)})
    x = np.array([0, 3])
    assert (backend.simulate(circuit, x) == 2 * x).all()


@on_each_backend
def test_parameters_and_ranges_must_go_together(backend):
    def function(x):
        return x + 1

    with pytest.raises(ShapeError, match="takes x, but ranges are given for y"):
        concrete.compile(function, {"y": Range(0, 1)})
    with pytest.raises(ShapeError, match=r"has shape \(3,\), but its ranges have shape \(2,\)"):
        concrete.compile(function, {"x": Ranges([0, 0], [1, 1])}, {"x": (3,)})


@on_each_backend
def test_a_lookup_that_is_too_wide_is_refused_with_its_line(backend):
    def function(x):
        return np.minimum(x * 1000, 5)

    with pytest.raises(WidthError, match=r"test_compile\.py:\d+ .* takes 17 bits, 1 more"):
        concrete.compile(function, {"x": Range(0, 100)}, {"x": (2,)})
    with pytest.raises(WidthError, match=r"test_compile\.py:\d+ .* takes 17 bits, 1 more"):
        concrete.compile(function, {"x": Range(-1, 65)}, {"x": (2,)})


@on_each_backend
def test_what_cannot_be_proved_is_refused_with_its_line(backend):
    def function(x):
        return backend.namespace.LookupTable([1, 2, 3])[x]

    with pytest.raises(UnprovableError, match=r"'tlu' at .*test_compile\.py:\d+"):
        concrete.compile(function, {"x": Range(0, 3)}, {"x": (2,)})


@on_each_backend
def test_what_the_backend_refuses_is_an_error_of_ours(backend):
    def function(x):
        return backend.conv(x, np.ones((1, 1, 2), int), None, strides=(1,), dilations=(1,), group=1)

    with pytest.raises(BackendError, match=r"(?s)compiled nothing, because: .*conv") as caught:
        concrete.compile(function, {"x": Range(0, 1)}, {"x": (1, 1, 3)})
    assert caught.value.backend == backend.name
    assert caught.value.reason in str(caught.value)


@pytest.mark.encrypted
@on_each_backend
def test_clear_constants_take_one_bit_more_than_the_circuit(backend):
    """Three bits encrypted, four in the clear: 7 and −7 are the largest codes that fit."""
    halve = backend.namespace.univariate(lambda v: v // 2)

    def function(x):
        return halve(x * np.array([7, -7, 7]) + np.array([0, 7, -7]) * np.array([1, 1, 0]))

    circuit = concrete.compile(function, {"x": Range(0, 1)}, {"x": (3,)})
    assert max(backend.widths(circuit.graph).values()) == 3
    for x in ([0, 0, 0], [1, 1, 1], [1, 0, 1]):
        assert (circuit.encrypt_run_decrypt(np.array(x)) == function(np.array(x))).all()
