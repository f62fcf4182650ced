"""Every function of the table compiles, answers right, and is no wider than with samples."""

from __future__ import annotations

import numpy as np
import pytest
from functions import CASES

from backends import on_each_backend
from secateur import concrete
from secateur.errors import BackendError

#: What a backend refuses whatever the widths, and so do we, by its own words.
REFUSED = {
    "concrete-numpy": {
        "copy": "np.copy' is not supported",
        "shape, ndim, size, len": "has no len",
    },
    "concrete-python": {},
}

#: Wider than with samples, and why.
WIDER = {
    "x == y, right signed": "operands are moved above zero: [0, 6] and [-2, 1] to [0, 8]",
    "x != y, right signed": "the same",
}


def plain(values):
    """Arguments of their own, as the compilers take them."""
    return tuple(int(v) if v.shape == () else v.copy() for v in values)


def results(value):
    """All results of a function, as integers."""
    return [
        np.asarray(v).astype(np.int64) for v in (value if isinstance(value, tuple) else (value,))
    ]


def sampled_width(backend, function, case):
    """The width of the backend's own circuit, from samples; None where it compiles none."""
    statuses = {name: "clear" if name in case.clear else "encrypted" for name in case.boxes}
    samples = [plain(sample) for sample in case.samples(600)]
    if len(case.boxes) == 1 and backend.name == "concrete-numpy":
        samples = [sample[0] for sample in samples]
    configuration = backend.namespace.Configuration(dump_artifacts_on_unexpected_failures=False)
    try:
        compiled = backend.namespace.Compiler(function, statuses).compile(samples, configuration)
    except Exception:
        return None
    return max(backend.widths(compiled.graph).values())


@on_each_backend
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_compiles_and_answers_right(backend, case):
    if case.modern and backend.name == "concrete-numpy":
        pytest.skip("concrete-python alone has it")
    function = case.of(backend.namespace)
    if case.name in REFUSED[backend.name]:
        with pytest.raises(BackendError, match=REFUSED[backend.name][case.name]):
            concrete.compile(function, case.ranges, clear=case.clear)
        return
    circuit = concrete.compile(function, case.ranges, clear=case.clear)
    for sample in case.samples(60):
        right = results(function(*(np.array(v) for v in sample)))
        for given, expected in zip(results(circuit.emulate(*sample)), right, strict=True):
            assert np.array_equal(given, expected), sample
    sampled = sampled_width(backend, function, case)
    if sampled is not None and case.name not in WIDER:
        assert max(backend.widths(circuit.graph).values()) <= sampled
