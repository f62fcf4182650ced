"""Options: what is accepted, what is refused, and what the message tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pytest

from secateur.errors import BitsError, OptionError
from secateur.pruning.options import Option, describe, options_of
from secateur.pruning.strategy import StrategySpec


@dataclass(frozen=True)
class Options:
    bits: int | Mapping[str, int] = field(default=8, metadata={"doc": "width"})
    share: float = 0.5
    scope: Literal["layer", "global"] = "layer"
    limit: int | None = None
    quick: bool = False

    def __post_init__(self):
        if self.limit == 13:
            raise BitsError("limit 13 has an error of the tree", argument="limit", bits=13)
        if not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected 0 to 1")


SPEC = StrategySpec("some", "for tests", Options, lambda problem, options: {})


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"bits": 6},
        {"bits": {"fc1": 6, "fc2": 5}},
        {"share": 1},
        {"share": 0.25, "scope": "global"},
        {"limit": None},
        {"limit": 3, "quick": True},
    ],
)
def test_what_the_types_allow_is_taken(given):
    assert options_of(SPEC, given) == Options(**given)


def test_numpy_scalars_become_pythons():
    options = options_of(SPEC, {"bits": np.int64(6), "share": np.float32(0.5)})
    assert (type(options.bits), type(options.share)) == (int, float)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("bits", "6", r"int | Mapping\[str, int\]"),
        ("bits", 6.0, "int"),
        ("bits", True, "int"),
        ("bits", {"fc1": "6"}, "int"),
        ("bits", {1: 6}, "int"),
        ("share", "half", "float"),
        ("share", False, "float"),
        ("scope", "all", "'layer' or 'global'"),
        ("limit", 1.5, r"int | None"),
        ("quick", 1, "bool"),
    ],
)
def test_what_they_do_not_is_refused_with_what_is_accepted(name, value, expected):
    with pytest.raises(OptionError, match=f"option '{name}' is .*{expected}") as caught:
        options_of(SPEC, {name: value})
    assert (caught.value.strategy, caught.value.option, caught.value.value) == ("some", name, value)


def test_an_unknown_option_gets_near_names_and_all_there_are():
    with pytest.raises(
        OptionError, match=r"'bit'; did you mean bits\? .*share \(float\)"
    ) as caught:
        options_of(SPEC, {"bit": 6})
    assert set(caught.value.accepted) == {"bits", "share", "scope", "limit", "quick"}


def test_what_the_strategy_itself_refuses_names_it():
    with pytest.raises(OptionError, match=r"'some' refuses .*share is 2, expected 0 to 1"):
        options_of(SPEC, {"share": 2})


def test_errors_of_the_tree_pass_as_they_are():
    with pytest.raises(BitsError, match="limit 13"):
        options_of(SPEC, {"limit": 13})


def test_options_describe_themselves():
    assert describe(SPEC)[0] == Option("bits", "int | Mapping[str, int]", 8, "width")
    assert [o.name for o in describe(SPEC)] == ["bits", "share", "scope", "limit", "quick"]
