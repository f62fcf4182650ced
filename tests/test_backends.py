"""What backends say of their circuits, beside what they then really make."""

from __future__ import annotations

import contextlib
import sys

import numpy as np
import pytest

from backends import BACKENDS, on_each_backend
from networks import EXAMPLES, Builder, codes, example, inputs
from secateur.backends import BACKENDS as NAMES, backend_named
from secateur.circuits.circuit import compile
from secateur.circuits.lowering import lookups
from secateur.errors import ArgumentError, MissingExtraError
from secateur.network import ExplicitTable

#: Headers of serialised keys and ciphertexts are shorter than this.
HEADERS = 1000

COMPRESSED = {"compress_evaluation_keys": True, "compress_input_ciphertexts": True}


def small():
    b = Builder((3,), -1, 1)
    b.linear(np.array([[1, -2, 0], [1, 1, -1]]), np.array([1, 0]))
    b.activation("relu", 0, 1)
    b.linear(np.array([[1, -1], [2, 2]]))
    return b.network()


def options():
    """Each backend without options, and with those for compression where it has them."""
    plain = [pytest.param(b, {}, id=b.name) for b in BACKENDS]
    return plain + [
        pytest.param(b, COMPRESSED, id=f"{b.name} compressed")
        for b in BACKENDS
        if b.name == "concrete-python"
    ]


@pytest.mark.encrypted
@pytest.mark.parametrize(("backend", "configuration"), options())
def test_sizes_are_those_of_what_is_sent(backend, configuration):
    network = small()
    exported = compile(network, backend.name, configuration=configuration).export()
    says = backend.read(exported.specs)
    client, server = backend.client(exported.specs), backend.server(exported)
    client.keygen()
    x = inputs(network)[-1]
    keys, sent = client.evaluation_keys(), client.encrypt(x)
    result = server.run(sent, server.keys(keys))
    for size, payload in [
        (says.evaluation_key_bytes, keys),
        (says.input_bytes, sent),
        (says.output_bytes, result),
    ]:
        assert size <= len(payload) < size + HEADERS
    assert (says.input_shape, says.output_shape) == ((3,), (2,))


@pytest.mark.skipif("concrete-python" not in [b.name for b in BACKENDS], reason="has no options")
def test_compression_makes_keys_and_inputs_smaller():
    plain = compile(example("mlp"), "concrete-python").price
    small = compile(example("mlp"), "concrete-python", configuration=COMPRESSED).price
    assert small.evaluation_key_bytes < plain.evaluation_key_bytes / 4
    assert small.input_bytes < plain.input_bytes / 50
    assert small.output_bytes == plain.output_bytes
    assert small.complexity == plain.complexity


def per_channel(random):
    """Tables of their own for every channel of an image, some of them alike."""
    b = Builder((2, 4, 4), -1, 2)
    b.conv(codes(random, 3, 2, 2, 2), padding=((1, 0), (0, 1)))
    values = random.integers(-2, 3, size=(3, 90))
    values[2] = values[0]
    b.lookup(ExplicitTable(values, np.full(3, -40)))
    b.max_pool((2, 2), (2, 2), ((0, 0), (0, 0)))
    b.lookup(ExplicitTable(values[:, 30:50], np.full(3, -9)), rounding_bits=1)
    return b.network()


@on_each_backend
@pytest.mark.parametrize("build", [*EXAMPLES.values(), per_channel], ids=lambda f: f.__name__)
def test_tables_are_converted_as_the_backend_would(backend, build, monkeypatch):
    """Byte for byte the MLIR of the backend's own conversion and of its own evaluation."""
    network = build(np.random.default_rng(5))
    ours = compile(network, backend.name).compiled.mlir

    def looked_up(*arguments):
        result = quick(*arguments)
        node = result.computation
        table = node.properties["kwargs"]["table"]
        node.evaluator = lambda keys: backend.namespace.LookupTable.apply(keys, table)
        return result

    quick = lookups._looked_up
    monkeypatch.setattr(lookups, "_looked_up", looked_up)
    room = sys.modules[type(backend).__module__]
    monkeypatch.setattr(room, "quick_tables", lambda *modules: contextlib.nullcontext())
    assert compile(network, backend.name).compiled.mlir == ours


@on_each_backend
def test_backends_are_values_by_name(backend):
    assert backend_named(backend.name).name == backend.name
    assert backend_named().name in [b.name for b in BACKENDS]
    assert backend.version


def test_a_backend_that_is_not_installed_names_the_extra():
    missing = set(NAMES) - {b.name for b in BACKENDS}
    for name in missing:
        with pytest.raises(MissingExtraError, match=r'"secateur\[fhe\]"') as caught:
            backend_named(name)
        assert caught.value.extra == "fhe"
    with pytest.raises(ArgumentError, match="no backend is named 'seal'"):
        backend_named("seal")
