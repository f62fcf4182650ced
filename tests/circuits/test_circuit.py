"""Circuits: what they decrypt to is what the network computes, worst cases included."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import secateur
from backends import on_each_backend
from networks import EXAMPLES, Builder, biases, codes, example, inputs
from secateur.analysis import analyze
from secateur.circuits.circuit import compile, price
from secateur.errors import (
    ArgumentError,
    DtypeError,
    InputRangeError,
    NetworkError,
    NotFiniteError,
    ShapeError,
    WidthError,
)
from secateur.narrowing import narrow
from secateur.network import ExplicitTable, Input


def witnesses(network, most=8):
    """Inputs that attain both ends of the exact ranges of every node, at most `most` of them."""
    report = analyze(network)
    found = [
        report.witness(node.name, channel, end)
        for node in report
        if node.kind != "input"
        for channel in np.flatnonzero(node.exact)
        for end in ("low", "high")
    ]
    return np.unique(np.array(found).reshape(-1, *network.input.shape), axis=0)[:most]


def tiny_mlp(random):
    b = Builder((6,), 0, 1)
    b.linear(codes(random, 4, 6, magnitude=1), biases(random, 4))
    b.activation(low=0, high=1)
    b.linear(codes(random, 3, 4), biases(random, 3))
    return b.network(factor=(2, -1, 3), offset=(0, 5, -7))


def tiny_signed(random):
    """Signed inputs, a signed table, a table of its own for every channel."""
    b = Builder((3,), -2, 1)
    b.lookup(ExplicitTable(np.array([[1, -1, 0, 1], [0, 0, 1, -1], [1, 0, 0, -1]]), np.full(3, -2)))
    b.linear(np.array([[1, -1, 0], [1, 1, -2]], np.int8))
    return b.network()


def tiny_conv(random):
    """Padding, stride, dilation and groups."""
    b = Builder((2, 3, 3), 0, 1)
    grouped = np.array([[[[1, 0], [1, -1]]], [[[0, 1], [-1, 1]]]], np.int8)
    b.conv(grouped, np.array([1, 0]), padding=((1, 0), (0, 1)), groups=2)
    b.activation(low=0, high=1)
    b.conv(np.array([[[[1, 1]], [[-1, 1]]]], np.int8), stride=(2, 1), dilation=(1, 2))
    return b.network()


def tiny_pools(random):
    b = Builder((1, 2, 4), 0, 3)
    b.max_pool((2, 2), (2, 2), ((0, 0), (0, 0)))
    b.sum_pool((1, 2), (1, 2), ((0, 0), (0, 0)))
    b.reshape((1,))
    return b.network()


def tiny_residual(random):
    """A residual add and a concatenation, one spatial axis, transposed."""
    b = Builder((2, 3), 0, 1)
    b.conv(np.array([[[1], [1]], [[-1], [1]]], np.int8))
    b.activation(low=0, high=1)
    b.add("input", b.at)
    added = b.at
    b.activation(low=0, high=1)
    b.concat(added, b.at)
    b.transpose((1, 0))
    b.reshape((12,))
    b.linear(np.tile(np.array([[1, -1, 0, 1]], np.int8), (1, 3)))
    return b.network()


def tiny_rounding(random):
    b = Builder((5,), 0, 1)
    b.linear(np.array([[1, 1, 1, 1, 1], [1, -1, 1, -1, 1]], np.int8))
    values = np.array([[3, 1, 0, 2, 1, 3, 2, 0, 1, 3, 2]])
    b.lookup(ExplicitTable(values, np.array([-4])), rounding_bits=1)
    return b.network()


def emulated(network, backend, x):
    """What the emitted program gives, modulo its own widths."""
    return compile(network, backend.name).emulate(x)


TINY = [tiny_mlp, tiny_signed, tiny_conv, tiny_pools, tiny_residual, tiny_rounding]


@pytest.mark.encrypted
@on_each_backend
@pytest.mark.parametrize("build", TINY, ids=lambda f: f.__name__)
def test_decrypted_equals_the_network(backend, build):
    network = build(np.random.default_rng(1))
    circuit = compile(network, backend.name)
    assert circuit.price.widest <= 4
    x = np.concatenate([witnesses(network), inputs(network, limit=64)[-4:]])
    assert (circuit.encrypt_run_decrypt(x) == network(x)).all()


@on_each_backend
@pytest.mark.parametrize("name", EXAMPLES)
def test_emulated_equals_the_network(backend, name):
    network = example(name)
    x = np.concatenate([witnesses(network), inputs(network, limit=64)[:8]])
    assert (emulated(network, backend, x) == network(x)).all()


@on_each_backend
@pytest.mark.parametrize("low", [0, 5, -3, "half", "all"])
@pytest.mark.parametrize(
    ("bits", "dropped"), [(2, 1), (5, 2), (5, 5), (6, 1), (6, 3), (6, 5), (8, 2), (8, 6)]
)
def test_dropped_bits_are_the_same_in_network_and_circuit(backend, bits, dropped, low):
    """Every width, sign and offset of an accumulator that takes all of its values."""
    low = {"half": -(1 << (bits - 1)), "all": -(1 << bits) - 1}.get(low, low)
    b = Builder((bits,), 0, 1)
    b.linear(np.array([1 << np.arange(bits)] * 2), np.array([low, low + 3]))
    values = np.random.default_rng(bits).integers(-3, 4, size=(2, (2 << bits) + 8))
    start = low - (1 << dropped)
    b.lookup(ExplicitTable(values, np.array([start, start])), rounding_bits=dropped)
    network = b.network()
    x = np.arange(1 << bits)[:, None] >> np.arange(bits) & 1
    assert (emulated(network, backend, x) == network(x)).all()


@on_each_backend
def test_a_free_offset_saves_a_bit(backend):
    b = Builder((3,), 0, 3)
    b.linear(np.array([[5, 6, -5]], np.int8))  # [-15, 33]: 7 bits signed, a span of 6
    b.activation()
    b.linear(np.array([[1], [-1]], np.int8))
    network = b.network()
    circuit = compile(network, backend.name)
    assert circuit.price.bits["linear0"] == 6
    assert circuit.price.widest == 6
    x = np.concatenate([witnesses(network), inputs(network)])[:20]
    assert (emulated(network, backend, x) == network(x)).all()


@on_each_backend
def test_a_constant_wider_than_the_circuit_still_counts(backend):
    b = Builder((2,), 0, 1)
    b.linear(np.array([[1, 1], [1, -1]], np.int8), np.array([90, -70]))
    network = b.network()
    circuit = compile(network, backend.name)
    assert circuit.price.widest <= 3
    x = inputs(network)
    assert (emulated(network, backend, x) == network(x)).all()


def wide():
    b = Builder((3,), 0, 255)
    b.linear(np.array([[1, 0, 0], [127, 127, 100], [1, 1, 127], [127, 127, 127]], np.int8))
    b.activation()
    b.linear(np.array([[9, 9, 9, 9]], np.int8))
    b.activation()
    return b.network()


@on_each_backend
def test_a_width_over_the_limit_is_refused(backend):
    network = wide()
    with pytest.raises(WidthError) as caught:
        compile(network, backend.name)
    assert caught.value.layer == "linear0"
    assert caught.value.channels == (1, 3)
    assert (caught.value.bits, caught.value.limit) == (17, 16)
    assert 'secateur.prune(network, "accumulator", bits=16)' in str(caught.value)


def test_the_call_that_the_refusal_names_repairs_it():
    repaired = narrow(secateur.prune(wide(), "accumulator", bits=16))
    assert analyze(repaired)["linear0"].bits("unsigned") == 16


@on_each_backend
def test_inputs_that_the_proof_does_not_cover_are_refused(backend):
    network = example("mlp")
    circuit = compile(network, backend.name)
    x = np.zeros(6, int)
    x[2] = 4
    with pytest.raises(InputRangeError, match=r"value 4 at \(0, 2\) lies outside \[0, 3\]"):
        circuit.encrypt(x)
    with pytest.raises(InputRangeError):
        circuit.simulate(x[None])
    with pytest.raises(DtypeError, match="float64"):
        circuit.encrypt(np.zeros(6))
    with pytest.raises(ShapeError, match="one sample"):
        circuit.encrypt(np.zeros((2, 6), int))
    with pytest.raises(ShapeError):
        circuit.encrypt_run_decrypt(np.zeros((2, 7), int))


@on_each_backend
def test_batches_samples_and_nothing(backend):
    network = example("mlp")
    circuit = compile(network, backend.name)
    x = inputs(network)[:3]
    assert circuit.simulate(x).shape == (3, 3)
    assert (circuit.simulate(x[1]) == network(x[1])).all()
    assert circuit.simulate(x[:0]).shape == (0, 3)
    assert circuit.simulate(x).dtype == np.int64


@on_each_backend
def test_the_price_is_known_before_any_key(backend):
    network = example("mlp")
    circuit = compile(network, backend.name)
    found = price(network, backend.name)
    assert found == circuit.price
    assert found.lookups == 5
    assert found.bits["lookup1"] <= found.widest == found.bits["linear0"] == 5
    assert found.complexity > 0
    assert found.evaluation_key_bytes > found.secret_key_bytes > 0
    assert found.input_bytes > found.output_bytes > 0
    assert not circuit.timings.keys() & {"keygen", "encrypt", "run"}


@on_each_backend
def test_more_bits_cost_more(backend):
    narrow, wide = (
        price(example("mlp"), backend.name),
        price(EXAMPLES["mlp"](np.random.default_rng(0), magnitude=7), backend.name),
    )
    assert wide.widest > narrow.widest
    assert wide.complexity > narrow.complexity


@on_each_backend
def test_probabilities_of_error_reach_the_backend(backend):
    network = example("mlp")
    loose = compile(network, backend.name, p_error=0.05)
    strict = compile(network, backend.name, p_error=1e-9)
    overall = compile(network, backend.name, global_p_error=1e-9)
    assert loose.compiled.p_error > strict.compiled.p_error
    assert strict.compiled.p_error <= 1e-9
    assert overall.compiled.global_p_error <= 1e-9
    assert loose.price.complexity < strict.price.complexity


@on_each_backend
def test_str_shows_ranges_widths_and_price(backend):
    text = str(compile(example("mlp"), backend.name))
    assert text.startswith(f"circuit of {backend.name} ")
    lines = [line.split() for line in text.splitlines()]
    (row,) = [line for line in lines if line[0] == "linear0"]
    assert (row[1], row[-1]) == ("linear", "5")
    assert "5 bits, 5 lookups" in text


@pytest.mark.encrypted
@on_each_backend
def test_keys_are_kept_on_disk_only_where_that_is_asked_for(backend, tmp_path):
    network = tiny_mlp(np.random.default_rng(1))
    cached = {
        "enable_unsafe_features": True,
        "use_insecure_key_cache": True,
        "insecure_key_cache_location": str(tmp_path),
    }
    circuit = compile(network, backend.name, configuration=cached)
    circuit.keygen()
    assert list(tmp_path.iterdir())
    assert circuit.timings["keygen"] > 0
    again = compile(network, backend.name, configuration=cached)
    x = inputs(network)[-1]
    # The keys are those of the first circuit: its ciphertext is understood by the second.
    assert (again.decrypt(again.run(circuit.encrypt(x))) == network(x)).all()
    assert {"encrypt"} <= circuit.timings.keys()
    assert {"run", "decrypt"} <= again.timings.keys()


def classifier():
    b = Builder((2,), 0, 3)
    b.linear(np.array([[1, 0], [0, 1], [-1, -1]], np.int8))
    network = b.network(offset=(0, 0, 4))
    input = Input((2,), np.array(0), np.array(3), [0.5, 10.0], features=("x", "y"))
    output = replace(network.output, labels=("first", "second", "none"), tail="softmax")
    return replace(network, input=input, output=output)


@pytest.mark.encrypted
@on_each_backend
def test_floats_in_labels_out(backend):
    circuit = compile(classifier(), backend.name)
    x = np.array([[1.5, 0.1], [0.2, 30.0], [0.1, -70.0]])
    assert circuit.predict(x).tolist() == ["first", "second", "none"]
    assert circuit.predict(x[1]) == "second"
    chances = circuit.predict_proba(x[:1])
    floats = circuit.network.predict(x[:1])
    assert chances == pytest.approx(circuit.network.output.probabilities(floats))
    assert circuit.predict(x[:0]).shape == (0,)


@on_each_backend
def test_tables_are_read_by_the_names_of_their_columns(backend):
    class Table:
        columns = ("x", "y")

        def __array__(self, dtype=None, copy=None):
            return np.array([[1.5, 0.1]])

    circuit = compile(classifier(), backend.name)
    assert circuit.interface.predict(Table(), circuit.simulate).tolist() == ["first"]
    Table.columns = ("y", "x")
    with pytest.raises(ArgumentError, match="columns are y, x; the network was made for x, y"):
        circuit.predict(Table())
    with pytest.raises(ShapeError, match=r"\(1, 3\), expected \('batch', 2\)"):
        circuit.predict(np.zeros((1, 3)))
    with pytest.raises(NotFiniteError, match="NaN"):
        circuit.predict(np.array([[0.0, np.nan]]))
    tailless = compile(example("mlp"), backend.name)
    with pytest.raises(NetworkError, match="no softmax"):
        tailless.predict_proba(np.zeros((1, 6)))
    assert "keygen" not in tailless.timings  # refused before the work


@on_each_backend
@pytest.mark.parametrize("p_error", [0, 1, -0.1, 2.0, float("nan"), "0.1"])
def test_probabilities_that_are_none_are_refused(backend, p_error):
    for name in ("p_error", "global_p_error"):
        with pytest.raises(ArgumentError, match=f"{name} is .*above 0 and below 1"):
            compile(example("mlp"), backend.name, **{name: p_error})


@on_each_backend
def test_options_that_the_backend_has_not_are_refused(backend):
    with pytest.raises(ArgumentError, match=f"{backend.name} takes no such options.*warp_speed"):
        compile(example("mlp"), backend.name, configuration={"warp_speed": 9})


@on_each_backend
def test_progress_of_a_batch_is_drawn_on_terminals(backend, terminal):
    shown = terminal()
    network = example("mlp")
    compile(network, backend.name).simulate(inputs(network)[:2])
    assert "2/2" in shown.getvalue()


@on_each_backend
def test_nothing_is_drawn_elsewhere(backend, capsys):
    network = example("mlp")
    compile(network, backend.name).simulate(inputs(network)[:2])
    assert capsys.readouterr().err == ""
