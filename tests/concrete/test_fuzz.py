"""Random programs against Python: SECATEUR_FUZZ_PROGRAMS=5000 asks for that many."""

from __future__ import annotations

import os

import numpy as np
import pytest
from functions import sampled
from programs import program

from backends import on_each_backend
from secateur import concrete
from secateur.errors import SecateurError

PROGRAMS = int(os.environ.get("SECATEUR_FUZZ_PROGRAMS", "25"))


def right_by_itself(backend, function, case):
    """Say whether the backend's own compiler takes a function from samples, and is right."""
    try:
        emulate = backend.emulator(sampled(backend, function, case))
    except Exception:
        return False
    return all(
        np.array_equal(emulate(*sample), function(*(np.array(v) for v in sample)))
        for sample in case.samples(100)
    )


@on_each_backend
@pytest.mark.parametrize("seed", range(PROGRAMS))
def test_no_program_is_wrong(backend, seed):
    text, case = program(seed, modern=backend.name == "concrete-python")
    function = case.of(backend.namespace)
    circuit = refusal = None
    try:
        circuit = concrete.compile(function, case.ranges)
    except SecateurError as error:  # anything else is a failure
        refusal = error
    if circuit is None:
        # Sums of truth values may be right by chance: where no two are true at once.
        if "truth values alone" not in str(refusal):
            assert not right_by_itself(backend, function, case), f"{text}\n{refusal}"
        pytest.skip(f"refused: {refusal}")
    for sample in case.samples(24):
        right = np.asarray(function(*(np.array(v) for v in sample))).astype(np.int64)
        assert np.array_equal(circuit.emulate(*sample), right), f"{text}\n{sample}"
        assert circuit.output.contains(right).all(), f"{text}\n{sample}"
