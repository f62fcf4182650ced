"""Users' own functions: right where widths from samples are wrong."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from backends import BACKENDS, on_each_backend
from secateur import concrete
from secateur.errors import (
    AccumulatorOverflowError,
    ArgumentError,
    BackendError,
    DtypeError,
    EmptyRangeError,
    InputRangeError,
    ShapeError,
    UnprovableError,
    WidthError,
)
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


HERE = r"test_compile\.py:\d+"


@on_each_backend
def test_ranges_in_every_spelling(backend):
    for given in (
        Range(0, 7),
        (0, 7),
        [0, 7],
        range(8),
        Ranges.point(0).union(7),
        range(7, -1, -7),
    ):
        assert concrete.compile(lambda x: x + 1, {"x": given}).output.hull() == Range(1, 8)
    per_element = concrete.compile(lambda x: x + 1, {"x": (np.array([0, 3]), np.array([1, 9]))})
    assert per_element.output == Ranges([1, 4], [2, 10])


@on_each_backend
def test_ranges_that_are_none(backend):
    for given in ((7, 0), range(0)):
        with pytest.raises(EmptyRangeError, match="parameter 'x'") as caught:
            concrete.compile(lambda x: x, {"x": given})
        assert caught.value.argument == "x"
    for given in (5, "0-7", (0.5, 3), (0, 1, 2), None):
        with pytest.raises(ArgumentError, match="parameter 'x' has the range"):
            concrete.compile(lambda x: x, {"x": given})


@on_each_backend
def test_clear_unused_and_default_parameters(backend):
    def function(x, scale, unused, offset=3):
        return x * scale + offset

    boxes = {"x": (0, 3), "scale": (0, 2), "unused": (0, 1)}
    circuit = concrete.compile(function, boxes, clear=["scale"])
    assert circuit.output.hull() == Range(3, 9)
    assert int(circuit.emulate(3, 2, 1)) == 9
    assert concrete.compile(
        function, {**boxes, "offset": (0, 1)}, clear=["scale"]
    ).output.hull() == (Range(0, 7))
    with pytest.raises(ArgumentError, match="clear names y"):
        concrete.compile(function, boxes, clear=["y"])
    with pytest.raises(ShapeError, match="the function takes x, scale, unused, offset"):
        concrete.compile(function, {"x": (0, 3)})


@on_each_backend
def test_an_encrypted_by_a_clear_matrix(backend):
    boxes = {"x": (0, 3), "weights": (0, 2)}
    shapes = {"x": (2,), "weights": (2, 3)}
    circuit = concrete.compile(lambda x, weights: x @ weights, boxes, shapes, clear=["weights"])
    weights = np.array([[0, 1, 2], [2, 2, 0]])
    assert np.array_equal(circuit.emulate([3, 1], weights), [2, 5, 6])
    assert circuit.output.hull() == Range(0, 12)


@on_each_backend
def test_decorators_of_both(backend):
    ns = backend.namespace

    @concrete.circuit({"x": range(4)}, p_error=0.01)
    def ours(x):
        return x + 1

    @ns.compiler({"x": "encrypted"})
    def theirs(x):
        return x + 1

    def annotated(x, y):
        return x + y

    annotated.__annotations__ = {"x": ns.tensor[ns.uint3, 2], "y": ns.int3}
    assert ours.output.hull() == Range(1, 4)
    assert concrete.compile(theirs, {"x": range(4)}).output.hull() == Range(1, 4)
    assert concrete.compile(annotated).output == Ranges([-4, -4], [10, 10])


@on_each_backend
def test_options_configurations_and_artifacts(backend, tmp_path, capsys):
    ns = backend.namespace
    configuration = ns.Configuration(p_error=0.03)
    artifacts = ns.DebugArtifacts(tmp_path / "artifacts")
    circuit = concrete.compile(
        lambda x: x // 2,
        {"x": range(8)},
        configuration=configuration,
        artifacts=artifacts,
        show_graph=True,
        show_mlir=True,
    )
    assert circuit.p_error <= 0.03
    shown = capsys.readouterr().out
    assert "Computation Graph" in shown
    assert "apply_lookup_table" in shown
    artifacts.export()
    assert list((tmp_path / "artifacts").rglob("*.txt"))
    with pytest.raises(ArgumentError, match="takes no such options"):
        concrete.compile(lambda x: x + 1, {"x": range(8)}, temperature=3)


@on_each_backend
def test_arguments_are_checked(backend):
    circuit = concrete.compile(lambda x, y: x + y, {"x": (0, 5), "y": (-1, 3)}, {"y": (2,)})
    with pytest.raises(InputRangeError, match=r"'x' has 6 at \(\)") as caught:
        circuit.encrypt(6, np.array([0, 0]))
    assert (caught.value.value, caught.value.low, caught.value.high) == (6, 0, 5)
    with pytest.raises(InputRangeError, match=r"'y' has 4 at \(1,\)"):
        circuit.simulate(0, np.array([0, 4]))
    with pytest.raises(InputRangeError):
        circuit.emulate(2**70, [0, 0])
    with pytest.raises(ShapeError, match="'y' has shape"):
        circuit.emulate(0, [0])
    with pytest.raises(ShapeError, match="the circuit takes x, y, but 1"):
        circuit.emulate(0)
    with pytest.raises(DtypeError, match="'x' has dtype float64"):
        circuit.emulate(0.5, [0, 0])


@on_each_backend
@pytest.mark.parametrize(
    "function",
    [
        lambda x: np.sqrt(x) + 1,
        lambda x: x / 2,
        lambda x: x * 0.5,
        lambda x: np.sin(x),
    ],
)
def test_results_that_are_no_integers_are_refused(backend, function):
    with pytest.raises(UnprovableError, match=f"{HERE} (gives|is) float64"):
        concrete.compile(function, {"x": range(8)})


@on_each_backend
def test_functions_that_give_floats_at_some_values_are_refused(backend):
    half = backend.namespace.univariate(lambda v: v / 2)
    with pytest.raises(UnprovableError, match=f"{HERE} gives"):
        concrete.compile(lambda x: half(x), {"x": range(8)})


@on_each_backend
def test_truth_values(backend):
    """NumPy says that ~True is False, and that True + True is True."""
    circuit = concrete.compile(lambda x: ~(x > 3), {"x": range(8)})
    assert [int(circuit.emulate(x)) for x in (3, 4)] == [1, 0]
    counting = concrete.compile(lambda x: 1 * (x > 3) + (x > 5), {"x": range(8)})
    assert [int(counting.emulate(x)) for x in (3, 4, 6)] == [0, 1, 2]
    with pytest.raises(UnprovableError, match=f"{HERE} combines truth values alone"):
        concrete.compile(lambda x: (x > 3) + (x > 5), {"x": range(8)})
    with pytest.raises(UnprovableError, match=f"{HERE} is not defined for truth values"):
        concrete.compile(lambda x: (x > 3) - (x > 5), {"x": range(8)})


@on_each_backend
def test_what_fails_while_tracing_names_the_line(backend):
    def unknown(x):
        return np.partition(x, 1)

    def broken(x):
        raise KeyError("nothing here")

    for function in (unknown, broken):
        with pytest.raises(BackendError, match=f"could not trace the function at .*{HERE}"):
            concrete.compile(function, {"x": range(8)}, {"x": (3,)})


@on_each_backend
def test_what_64_bits_do_not_hold_names_the_line(backend):
    with pytest.raises(AccumulatorOverflowError, match=f"'multiply' at .*{HERE}"):
        concrete.compile(lambda x: x * (1 << 40), {"x": (0, 1 << 30)})


@on_each_backend
def test_tables_do_not_wrap(backend):
    """NumPy says that 2**64 is 0."""
    for function in (
        lambda x: x**64,
        lambda x: (x**64 / 2.0).astype(np.int64),
        lambda x: ((x * (1 << 62)) / 2.0 + x).astype(np.int64) // (1 << 60),
    ):
        with pytest.raises(AccumulatorOverflowError, match=HERE):
            concrete.compile(function, {"x": (0, 2)})
    assert int(concrete.compile(lambda x: x**64, {"x": (-1, 1)}).emulate(-1)) == 1


@on_each_backend
def test_truth_values_of_which_one_alone_may_be_true(backend):
    circuit = concrete.compile(lambda x: (x > 3) + (x > 9), {"x": range(8)})
    assert [int(circuit.emulate(x)) for x in (3, 4)] == [0, 1]


@on_each_backend
def test_what_was_traced_is_compared_with_the_function(backend):
    """A slice is a view in NumPy, and a copy while a function is traced."""

    def view(x):
        y = x[0:2]
        y[0] = 7
        return x[0] + y[0]

    with pytest.raises(UnprovableError, match=f"{HERE} gives 14 for .* traced of it gives 7"):
        concrete.compile(view, {"x": (0, 3)}, {"x": (3,)})
    calls = []

    def counting(x):
        calls.append(x)
        return x + len(calls)

    with pytest.raises(UnprovableError, match="depends on more than its parameters"):
        concrete.compile(counting, {"x": (0, 3)})


@on_each_backend
def test_several_results(backend):
    def function(x):
        return x + 1, x * 2

    if backend.name == "concrete-numpy":
        with pytest.raises(UnprovableError, match="returns 2 values"):
            concrete.compile(function, {"x": range(4)})
    else:
        circuit = concrete.compile(function, {"x": range(4)})
        assert [r.hull() for r in circuit.output] == [Range(1, 4), Range(0, 6)]
        assert tuple(map(int, circuit.emulate(3))) == (4, 6)


@on_each_backend
def test_inputs_that_are_written_into(backend):
    def function(x):
        x[0] = 9
        return x + x[1]

    circuit = concrete.compile(function, {"x": range(8)}, {"x": (3,)})
    given = np.array([1, 2, 3])
    assert np.array_equal(circuit.emulate(given), [11, 4, 5])
    assert given.tolist() == [1, 2, 3]


@pytest.mark.parametrize("backend", [b for b in BACKENDS if b.name == "concrete-numpy"])
def test_encrypted_products_of_virtual_circuits(backend):
    circuit = concrete.compile(
        lambda x, y: x * y, {"x": (-2, 3), "y": (0, 3)}, virtual=True, enable_unsafe_features=True
    )
    assert circuit.output.hull() == Range(-6, 9)
    assert circuit.simulate(3, 3) == 9
    with pytest.raises(UnprovableError, match="virtual"):
        circuit.emulate(3, 3)
    with pytest.raises(BackendError, match="multiplication"):
        concrete.compile(lambda x, y: x * y, {"x": (-2, 3), "y": (0, 3)})


@on_each_backend
def test_rounders_adjust_themselves(backend):
    ns = backend.namespace
    rounder = ns.AutoRounder(target_msbs=3)

    def function(x):
        return ns.round_bit_pattern(x, rounder) // 8

    circuit = concrete.compile(function, {"x": range(64)}, auto_adjust_rounders=True)
    assert rounder.lsbs_to_remove == 3
    assert [int(circuit.emulate(x)) for x in (3, 4, 63)] == [0, 1, 8]


@on_each_backend
@pytest.mark.parametrize(
    "function",
    [
        lambda x: 1 if x > 2 else 0,
        lambda x: 1 < x < 4,
        lambda x: max(x, 3),
        lambda x: x or 1,
        lambda x: x in (1, 2),
    ],
)
def test_python_does_not_branch_on_encrypted_values(backend, function):
    """It would take one branch for all inputs."""
    with pytest.raises(BackendError, match=HERE):
        concrete.compile(function, {"x": range(8)})


@on_each_backend
def test_functions_that_are_none(backend):
    for function in (5, "x + 1", lambda *x: x[0], lambda **x: x["x"]):
        with pytest.raises(ArgumentError, match="takes"):
            concrete.compile(function, {"x": range(8)})
    with pytest.raises(ArgumentError, match="a mapping of its parameters"):
        concrete.compile(lambda x: x, [("x", range(8))])
    with pytest.raises(ArgumentError, match="wrap it: lambda x: f"):
        concrete.compile(np.square, {"x": range(8)})
    for clear in (["x"], "x"):
        with pytest.raises(ShapeError, match="no parameter to encrypt"):
            concrete.compile(lambda x: x + 1, {"x": range(8)}, clear=clear)
    with pytest.raises(ShapeError, match="no parameter to encrypt"):
        concrete.compile(lambda: 3)
    with pytest.raises(ShapeError, match="has no elements"):
        concrete.compile(lambda x: x + 1, {"x": range(8)}, {"x": (2, 0)})
    for constant in (10**30, np.uint64(2**63)):
        with pytest.raises(UnprovableError, match=f"the constant at .*{HERE}"):
            concrete.compile(lambda x, c=constant: x * c, {"x": range(8)})


@on_each_backend
def test_results_that_are_constant(backend):
    circuit = concrete.compile(lambda x: np.array([1, 2]), {"x": range(8)})
    assert np.array_equal(circuit.emulate(3), [1, 2])


MODERN = [b for b in BACKENDS if b.name == "concrete-python"]


@pytest.mark.parametrize("backend", MODERN)
def test_clear_indices_outside_of_what_they_index(backend):
    boxes, shapes = {"x": (0, 7), "i": (-5, 3)}, {"x": (4,)}
    with pytest.raises(UnprovableError, match=rf"'index_dynamic' at .*{HERE} indexes \[-5, 3\]"):
        concrete.compile(lambda x, i: x[i], boxes, shapes, clear="i")

    def write(x, i):
        x[i] = 1
        return x

    with pytest.raises(UnprovableError, match=rf"'assign_dynamic' at .*{HERE} indexes \[-5, 3\]"):
        concrete.compile(write, boxes, shapes, clear="i")
    with pytest.raises(UnprovableError, match="may index 65537 places"):
        concrete.compile(lambda x, i: x[i], {"x": (0, 7), "i": (0, 1 << 16)}, shapes, clear="i")


@pytest.mark.parametrize("backend", MODERN)
def test_clear_tables_have_an_entry_for_every_key(backend):
    for keys in ((-1, 2), (0, 4)):
        with pytest.raises(UnprovableError, match=r"in 4 clear values, expected keys in \[0, 3\]"):
            concrete.compile(lambda x, t: t[x], {"x": keys, "t": (0, 7)}, {"t": (4,)}, clear={"t"})
    with pytest.raises(UnprovableError, match=r"clear values of shape \(3,\), .* fill them up"):
        concrete.compile(lambda x, t: t[x], {"x": (0, 2), "t": (0, 7)}, {"t": (3,)}, clear={"t"})


@pytest.mark.parametrize("backend", MODERN)
@pytest.mark.parametrize(
    ("function", "high"),
    [
        (lambda x, y: np.where(x < y, x, y), 3),
        (lambda x, y: np.where(x >= y, y, x), 3),
        (lambda x, y: np.where(x <= y, y, x), 6),
        (lambda x, y: np.where(x > y, x, y), 6),
        (lambda x, y: np.where(x > y, x, y + 1), 7),
    ],
)
def test_choices_by_comparison_are_minima_and_maxima(backend, function, high):
    circuit = concrete.compile(function, {"x": (0, 3), "y": (2, 6)})
    assert circuit.output.hull().high == high
    for x, y in np.ndindex(4, 5):
        assert int(circuit.emulate(x, y + 2)) == int(function(x, y + 2))


@pytest.mark.parametrize("backend", MODERN)
def test_failures_of_the_backend_name_the_operation(backend):
    def function(x):
        clipped = (np.sin(x) * 4).astype(np.int64)
        clipped = clipped - np.maximum(clipped - x, 0)
        return np.minimum(clipped, abs(x - clipped))

    with pytest.raises(BackendError, match=f"AssertionError at operation 'minimum' at .*{HERE}"):
        concrete.compile(function, {"x": (0, 3)})


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", ["round_bit_pattern", "truncate_bit_pattern"])
@pytest.mark.parametrize("dropped", [-1, 63, 100])
def test_amounts_of_dropped_bits_are_checked(backend, name, dropped):
    drop = getattr(backend.namespace, name, None)
    if drop is None:
        pytest.skip(f"{backend.name} has no {name}")
    with pytest.raises(UnprovableError, match=f"'{name}'.*drops {dropped} bits, expected 0 to 62"):
        concrete.compile(lambda x: drop(x, dropped), {"x": (0, 9)})


@pytest.mark.encrypted
@pytest.mark.parametrize("backend", MODERN)
def test_arguments_are_encrypted_one_by_one(backend):
    circuit = concrete.compile(lambda x, y: x + y, {"x": (0, 3), "y": (0, 3)})
    x, nothing = circuit.encrypt(3, None)
    assert nothing is None
    _, y = circuit.encrypt(None, 2)
    assert int(circuit.decrypt(circuit.run(x, y))) == 5
    with pytest.raises(DtypeError, match="'x' has dtype object"):
        circuit.emulate(None, 2)


@pytest.mark.parametrize("backend", MODERN)
def test_modules_are_compiled_function_by_function(backend):
    fhe = backend.namespace

    @fhe.module()
    class Counter:
        @fhe.function({"x": "encrypted"})
        def up(x):  # noqa: N805
            return x + 1

    with pytest.raises(ArgumentError, match="compile its functions one by one"):
        concrete.compile(Counter, {"x": range(8)})
    assert concrete.compile(Counter.up, {"x": range(8)}).output.hull() == Range(1, 8)


@pytest.mark.parametrize("backend", MODERN)
def test_ciphertexts_of_tfhers_are_not_converted(backend):
    """They hold an integer in parts; what is decrypted would be the parts."""
    from concrete.fhe import tfhers

    parameters = tfhers.CryptoParams(
        lwe_dimension=909,
        glwe_dimension=1,
        polynomial_size=4096,
        pbs_base_log=15,
        pbs_level=2,
        lwe_noise_distribution=9.7e-07,
        glwe_noise_distribution=2.168e-19,
        encryption_key_choice=tfhers.EncryptionKeyChoice.BIG,
    )
    kind = tfhers.TFHERSIntegerType(
        False, bit_width=8, carry_width=3, msg_width=2, params=parameters
    )
    with pytest.raises(UnprovableError, match=f"'tfhers_from_native' at .*{HERE} converts"):
        concrete.compile(lambda x: tfhers.from_native(x + 1, kind), {"x": range(8)})


@on_each_backend
def test_returned_constants_are_blamed_where_the_function_begins(backend):
    with pytest.raises(UnprovableError, match=f"the constant at .*{HERE} is float64"):
        concrete.compile(lambda x: 1.5, {"x": range(8)})
