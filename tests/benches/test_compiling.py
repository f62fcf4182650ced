"""The bench of compiling: it runs, small, and tells the backend's part from ours."""

from time import process_time

import pytest

pytest.importorskip("brevitas")

from backends import BACKENDS
from benches import compiling
from secateur.backends import backend_named

pytestmark = pytest.mark.skipif(not BACKENDS, reason="no backend is installed")


def test_every_row_has_ratios_to_the_backend():
    name = "MLP 64-32-32-10"
    label, lookups, own, *ratios = compiling.row(name, repeats=1)
    assert label == name
    assert 0 < int(lookups) <= 64
    assert float(own) > 0
    assert all(float(ratio) > 0 for ratio in ratios)


@pytest.mark.parametrize("unaided", [True, False])
def test_the_two_parts_are_the_whole(unaided):
    network = compiling.CASES["MLP 64-32-32-10"]()
    compile_before = type(backend_named(None)).compile
    start = process_time()
    ours, theirs = compiling.seconds(network, unaided)
    whole = process_time() - start
    assert 0 < ours < whole
    assert 0 < theirs < whole
    assert ours + theirs <= whole
    assert type(backend_named(None)).compile is compile_before
