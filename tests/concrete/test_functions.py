"""Every function of the table compiles, answers right, and is no wider than with samples."""

from __future__ import annotations

import os

import numpy as np
import pytest
from functions import CASES, sampled

from backends import on_each_backend
from secateur import concrete
from secateur.errors import BackendError

#: Every fifth case in a check; SECATEUR_FUNCTIONS=all in the environment takes all of them.
CHECKED = CASES if os.environ.get("SECATEUR_FUNCTIONS") == "all" else CASES[::5]

#: What a backend refuses whatever the widths, and so do we, by its own words.
REFUSED = {
    "concrete-numpy": {
        "copy": "np.copy' is not supported",
        "shape, ndim, size, len": "has no len",
    },
    "concrete-python": {},
}

#: Wider than with samples, and why: operands of a comparison are moved above zero,
#: [0, 6] and [-2, 1] to [2, 8] and [0, 3], say. In concrete-numpy they would come out wrong where
#: they are, or fail; in concrete-python most take another strategy, at up to five times the price.
_ORDERS = {f"x {order} y, right signed" for order in ("<", "<=", ">", ">=")}
_EQUALITIES = {"x == y, right signed", "x != y, right signed"}
WIDER = {
    "concrete-numpy": _EQUALITIES,
    "concrete-python": _EQUALITIES | _ORDERS | {"where, right signed", "where of vectors"},
}


def results(value):
    """All results of a function, as integers."""
    return [
        np.asarray(v).astype(np.int64) for v in (value if isinstance(value, tuple) else (value,))
    ]


def sampled_width(backend, function, case):
    """The width of the backend's own circuit, from samples; None where it compiles none."""
    try:
        return widest(backend, sampled(backend, function, case))
    except Exception:
        return None


def compiled(backend, case, **options):
    if case.modern and backend.name == "concrete-numpy":
        pytest.skip("concrete-python alone has it")
    return concrete.compile(case.of(backend.namespace), case.ranges, clear=case.clear, **options)


def widest(backend, circuit):
    return max(backend.widths(circuit.graph).values())


@on_each_backend
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_it_compiles_and_answers_right(backend, case):
    if case.name in REFUSED[backend.name]:
        with pytest.raises(BackendError, match=REFUSED[backend.name][case.name]):
            compiled(backend, case)
        return
    circuit = compiled(backend, case)
    function = case.of(backend.namespace)
    for sample in case.samples(40):
        right = results(function(*(np.array(v) for v in sample)))
        for given, expected in zip(results(circuit.emulate(*sample)), right, strict=True):
            assert np.array_equal(given, expected), sample


@pytest.mark.slow
@on_each_backend
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case.name)
def test_it_is_no_wider_than_with_samples(backend, case):
    if case.name in REFUSED[backend.name]:
        pytest.skip("refused")
    circuit = compiled(backend, case)
    width = sampled_width(backend, case.of(backend.namespace), case)
    if width is None:
        pytest.skip("its own compiler refuses")
    assert (widest(backend, circuit) > width) == (case.name in WIDER[backend.name])


@pytest.fixture(scope="session")
def keys(tmp_path_factory):
    """A folder of keys: circuits of the same parameters share theirs."""
    return tmp_path_factory.mktemp("keys")


@pytest.mark.encrypted
@pytest.mark.slow
@on_each_backend
@pytest.mark.parametrize("case", CASES[::9], ids=lambda case: case.name)
def test_it_answers_right_encrypted(backend, case, keys):
    if case.name in REFUSED[backend.name]:
        pytest.skip("refused")
    cache = {"use_insecure_key_cache": True, "insecure_key_cache_location": str(keys)}
    circuit = compiled(backend, case, p_error=1e-6, enable_unsafe_features=True, **cache)
    if widest(backend, circuit) > 5:
        pytest.skip("takes too long to make keys for")
    function = case.of(backend.namespace)
    samples = case.samples(600)
    for sample in (samples[0], samples[len(samples) // 2], samples[-1]):
        right = results(function(*(np.array(v) for v in sample)))
        for given, expected in zip(
            results(circuit.encrypt_run_decrypt(*sample)), right, strict=True
        ):
            assert np.array_equal(given, expected), sample
