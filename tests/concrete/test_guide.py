"""The guide to functions runs as it is written, and its gallery is right on every input."""

from __future__ import annotations

import doctest
from pathlib import Path

import numpy as np
import pytest
from functions import Case

from backends import BACKENDS, on_each_backend
from secateur import concrete

GUIDE = Path(__file__).parents[2] / "docs" / "functions.md"

# function → the boxes of its parameters
GALLERY = {
    "median": {"x": (0, 7, (3,))},
    "levenshtein": {"x": (0, 3, (2,)), "y": (0, 3, (2,))},
    "nearest": {"x": (0, 3, (2,))},
    "polynomial": {"x": (-2, 2, ())},
    "life": {"board": (0, 1, (3, 3))},
    "tree": {"x": (0, 7, (2,))},
    "value_of": {"key": (0, 7, ())},
    "average": {"x": (0, 5, (5,))},
    "regression": {"x": (0, 3, (4,))},
}

#: Those of few bits, with boxes that make fewer.
SMALL = {
    "median": {"x": (0, 3, (3,))},
    "nearest": {"x": (0, 2, (2,))},
    "life": {"board": (0, 1, (3, 3))},
    "tree": {"x": (0, 5, (2,))},
    "value_of": {"key": (0, 7, ())},
    "average": {"x": (0, 3, (4,))},
    "levenshtein": {"x": (0, 3, (2,)), "y": (0, 3, (2,))},
    "regression": {"x": (0, 1, (4,))},
    "polynomial": {"x": (-1, 1, ())},
}


@pytest.fixture(scope="module")
def guide():
    """The names that the guide defines, once it has run."""
    if not BACKENDS:
        pytest.skip("no backend is installed")
    test = doctest.DocTestParser().get_doctest(GUIDE.read_text(), {}, "functions.md", None, 0)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    runner.run(test, clear_globs=False)
    return runner, test.globs


def test_every_example_of_the_guide(guide):
    runner, names = guide
    assert runner.tries > 40
    assert not runner.failures
    assert set(GALLERY) <= set(names)


@on_each_backend
@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_is_right(backend, guide, name):
    case = Case(name, guide[1][name], GALLERY[name])
    circuit = concrete.compile(case.function, case.ranges)
    for sample in case.samples(300):
        right = np.asarray(case.function(*(np.array(v) for v in sample)))
        assert np.array_equal(circuit.emulate(*sample), right), sample
        assert circuit.output.contains(right).all()


@pytest.mark.encrypted
@on_each_backend
@pytest.mark.parametrize("name", SMALL)
def test_the_gallery_is_right_encrypted(backend, guide, name):
    case = Case(name, guide[1][name], SMALL[name])
    circuit = concrete.compile(case.function, case.ranges, p_error=1e-9)
    assert max(backend.widths(circuit.graph).values()) <= 5
    for sample in [*case.samples(200)[:1], *case.samples(200)[-2:]]:
        right = np.asarray(case.function(*(np.array(v) for v in sample)))
        assert np.array_equal(circuit.encrypt_run_decrypt(*sample), right), sample
