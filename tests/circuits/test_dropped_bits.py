"""Rounding in circuits: exact at a lower price, approximate for less and within its bounds."""

import json
from dataclasses import replace

import numpy as np
import pytest

from backends import on_each_backend
from networks import Builder, inputs
from secateur import analyze, compile, price, verify
from secateur.circuits.certificate import Certificate
from secateur.circuits.circuit import Circuit
from secateur.errors import ArgumentError, BackendError
from secateur.narrowing import narrow, round_harmlessly
from secateur.network import ExplicitTable

STRICT = {"p_error": 2.0**-40}


def stepped(width=6, dropped=3, channels=4, entries=None):
    """Two layers whose tables step every 2^dropped accumulators; every channel has its phase."""
    random = np.random.default_rng(width)
    b = Builder((4,), 0, 7)
    reach = (1 << width) - (1 << dropped)
    codes = np.zeros((channels, 4), np.int64)
    for row in codes:
        while np.abs(row).sum() * 7 <= reach - 7:
            row[random.integers(4)] += random.choice([-1, 1])
    b.linear(codes.astype(np.int8))
    low = np.minimum(codes, 0).sum(axis=1) * 7
    keys = np.arange(1 << width) + random.integers(1 << dropped, size=(channels, 1))
    b.lookup(ExplicitTable(np.minimum(keys >> dropped, 3), low))
    b.linear(random.integers(-2, 3, size=(2, channels)).astype(np.int8))
    return b.network()


def on_python(backend):
    if backend.name != "concrete-python":
        pytest.skip("concrete-python alone rounds")


@on_each_backend
@pytest.mark.parametrize(("width", "dropped"), [(4, 1), (5, 2), (6, 3)])
def test_exact_rounding_gives_the_same_integers(backend, width, dropped):
    network = stepped(width, dropped)
    circuit = compile(network, backend.name, **STRICT)
    x = inputs(network, limit=60)
    assert (circuit.report.network(inputs(network)) == network(inputs(network))).all()
    assert (circuit.simulate(x) == network(x)).all()


@on_each_backend
def test_bits_are_dropped_where_that_is_cheaper(backend):
    network = stepped(6, 3)
    rounded = price(network, backend.name, **STRICT)
    plain = price(network, backend.name, rounding="none", **STRICT)
    dropped = [layer.rounding_bits for layer in rounded.layers if layer.elements]
    if backend.name == "concrete-numpy":
        assert rounded == plain
        assert dropped == [0]
    else:
        assert dropped[0] in (2, 3)
        assert rounded.complexity < plain.complexity / 2.5
        assert rounded.lookups == plain.lookups * (1 + dropped[0])


@on_each_backend
def test_a_user_may_choose_the_bits(backend):
    network = round_harmlessly(narrow(stepped(6, 3)), {"lookup1": 1})
    found = price(network, backend.name, **STRICT)
    assert [layer.rounding_bits for layer in found.layers if layer.elements] == [1]
    x = inputs(network, limit=40)
    assert (compile(network, backend.name, **STRICT).simulate(x) == network(x)).all()


@on_each_backend
def test_approximate_rounding_goes_astray_by_one_block_at_most(backend):
    on_python(backend)
    network = stepped(6, 3)
    circuit = compile(network, backend.name, rounding="approximate", **STRICT)
    exact = compile(network, backend.name, **STRICT)
    assert circuit.price.complexity < exact.price.complexity
    report = circuit.report
    lookup = report.network["lookup1"]
    source = report["linear0"].channels
    half = 1 << lookup.rounding_bits - 1
    assert source.low.min() >= half
    assert source.hull().high + half < 1 << source.hull().bits("unsigned")
    x = inputs(network, limit=100)
    got = circuit.simulate(x)
    # Codes of neighbouring blocks differ by 1 here, so that no output differs by more than this.
    most = np.abs(network["linear2"].codes).sum(axis=1)
    assert (np.abs(got - network(x)) <= most).all()
    assert (got == network(x)).all(axis=1).mean() > 0.3
    output = analyze(network)["linear2"].channels
    assert ((got >= output.low) & (got <= output.high)).all()


@on_each_backend
def test_values_far_from_every_step_do_not_go_astray(backend):
    on_python(backend)
    b = Builder((1,), 0, 7)
    b.linear(np.array([[8]], np.int8), np.array([4]))  # the middles of blocks of 8
    b.lookup(ExplicitTable(np.arange(64)[None] >> 3, np.array([0])))
    network = round_harmlessly(b.network(), {"lookup1": 3})
    circuit = compile(network, backend.name, rounding="approximate", **STRICT)
    x = inputs(network)
    assert (circuit.simulate(x) == network(x)).all()


@on_each_backend
def test_refusals(backend):
    network = stepped(4, 1)
    with pytest.raises(ArgumentError, match="rounding is 'about'; expected one of exact, approx"):
        compile(network, backend.name, rounding="about")
    if backend.name == "concrete-numpy":
        with pytest.raises(BackendError, match="concrete-python, on Python"):
            compile(network, backend.name, rounding="approximate")


@on_each_backend
@pytest.mark.parametrize("rounding", ["exact", "approximate", "none"])
def test_a_saved_circuit_is_rounded_as_it_was(backend, rounding, tmp_path):
    if rounding == "approximate":
        on_python(backend)
    circuit = compile(stepped(5, 2), backend.name, rounding=rounding, **STRICT)
    circuit.save(tmp_path / "circuit")
    again = Circuit.load(tmp_path / "circuit")
    assert again.price == circuit.price
    assert again.rounding == circuit.rounding == rounding


@on_each_backend
def test_a_price_is_a_table_and_json(backend):
    found = price(stepped(5, 2), backend.name, **STRICT)
    text = str(found)
    assert f"at p_error {found.p_error:.1e} " in text
    assert text.splitlines()[0].split() == [
        *("node", "kind", "bits", "lookups", "bits", "dropped", "about")
    ]
    told = json.loads(found.to_json())
    assert told["complexity"] == found.complexity
    assert [layer["name"] for layer in told["layers"]] == [p.name for p in found.layers]
    assert "p_error" in str(compile(stepped(5, 2), backend.name, **STRICT))


@on_each_backend
def test_estimates_come_near_what_is_compiled(backend):
    from secateur.backends.estimates import Lookups

    for width, dropped in [(4, 0), (5, 0), (6, 0), (6, 3)]:
        network = stepped(width, 3, channels=16)
        rounding = "exact" if dropped else "none"
        found = price(network, backend.name, rounding=rounding, **STRICT)
        (bits,) = [p.rounding_bits for p in found.layers if p.elements]
        about = backend.estimate([Lookups(16, found.bits["linear0"], bits)], 5, 2.0**-40)
        assert 0.6 < about / found.complexity < 1.6


@pytest.mark.encrypted
@on_each_backend
def test_a_rounded_network_decrypts_to_its_integers_on_witnesses_too(backend):
    network = stepped(5, 2)
    circuit = compile(network, backend.name)
    report = circuit.report
    ends = [
        report.witness("linear0", channel, end) for channel in range(4) for end in ("low", "high")
    ]
    x = np.concatenate([np.array(ends[:4]), inputs(network, limit=64)[-2:]])
    if backend.name == "concrete-python":
        assert any(layer.rounding_bits for layer in circuit.price.layers)
    assert (circuit.encrypt_run_decrypt(x) == network(x)).all()


def verdict(network, **changed):
    """What comes of a certificate with some facts of 'lookup1' changed."""
    certificate = Certificate.of(network)
    nodes = tuple(
        replace(node, **changed) if node.name == "lookup1" else node for node in certificate.nodes
    )
    return [str(d) for d in verify(replace(certificate, nodes=nodes), network).differences]


def test_the_certificate_says_that_rounding_is_harmless():
    rounded = round_harmlessly(narrow(stepped(6, 3)), {"lookup1": 3})
    assert not verdict(rounded)
    (node,) = [n for n in Certificate.of(rounded).nodes if n.name == "lookup1"]
    assert (node.rounding_bits, node.harmless) == (3, True)
    (found,) = verdict(rounded, rounding_bits=2)
    assert "rounding_bits is certified as 2, but is 3" in found


def test_the_certificate_says_where_rounding_changes_codes():
    network = narrow(stepped(6, 3))
    lossy = network.with_operations(replace(network["lookup1"], rounding_bits=5))
    (node,) = [n for n in Certificate.of(lossy).nodes if n.name == "lookup1"]
    assert not node.harmless
    assert not verdict(lossy)
    (found,) = verdict(lossy, harmless=True)
    assert "harmless is certified as True, but is False" in found
