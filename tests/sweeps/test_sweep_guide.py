"""The guide to sweeps runs as it is written."""

import doctest
from pathlib import Path


def test_every_example_of_the_guide():
    guide = Path(__file__).parents[2] / "docs" / "sweeps.md"
    failed, tried = doctest.testfile(
        str(guide), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert tried > 15
    assert not failed
