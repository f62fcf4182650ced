"""What backends say of their circuits, beside what they then really make."""

from __future__ import annotations

import numpy as np
import pytest

from backends import BACKENDS, on_each_backend
from networks import Builder, example, inputs
from secateur.backends import BACKENDS as NAMES, backend_named
from secateur.circuits.circuit import compile
from secateur.errors import ArgumentError, MissingExtraError

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
