"""Options: what is accepted, what is refused, and what the message tells."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
import pytest

from secateur.errors import BitsError, OptionError
from secateur.pruning import Accumulator
from secateur.pruning.apply import steps_of
from secateur.pruning.options import Option, _fits, describe, from_text, made
from secateur.pruning.problem import Saliency


@dataclass(frozen=True)
class Some:
    """For tests."""

    name: ClassVar[str] = "some"
    bits: int | Mapping[str, int] = field(default=8, metadata={"doc": "width"})
    share: float = 0.5
    scope: Literal["layer", "global"] = "layer"
    limit: int | None = None
    quick: bool = False
    saliency: str | Saliency = "magnitude"

    def __post_init__(self):
        if self.limit == 13:
            raise BitsError("limit 13 has an error of the tree", argument="limit", bits=13)
        if isinstance(self.share, int | float) and not 0 <= self.share <= 1:
            raise ValueError(f"share is {self.share}, expected 0 to 1")

    def masks(self, problem):
        return {}


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
    assert made(Some, given) == Some(**given)


def test_numpy_scalars_become_pythons():
    options = made(Some, {"bits": np.int64(6), "share": np.float32(0.5)})
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
        ("saliency", 3, "str | Saliency"),
    ],
)
def test_what_they_do_not_is_refused_with_what_is_accepted(name, value, expected):
    with pytest.raises(OptionError, match=f"option '{name}' is .*{expected}") as caught:
        made(Some, {name: value})
    assert (caught.value.strategy, caught.value.option, caught.value.value) == ("some", name, value)
    with pytest.raises(OptionError, match=f"option '{name}' is .*{expected}"):
        steps_of(Some(**{name: value}), {})


def test_an_unknown_option_gets_near_names_and_all_there_are():
    with pytest.raises(
        OptionError, match=r"'bit'; did you mean bits\? .*share \(float\)"
    ) as caught:
        made(Some, {"bit": 6})
    assert set(caught.value.accepted) == {"bits", "share", "scope", "limit", "quick", "saliency"}


def test_what_the_strategy_itself_refuses_names_it():
    with pytest.raises(OptionError, match=r"'some' refuses .*share is 2, expected 0 to 1"):
        made(Some, {"share": 2})


def test_errors_of_the_tree_pass_as_they_are():
    with pytest.raises(BitsError, match="limit 13"):
        made(Some, {"limit": 13})


def test_options_describe_themselves():
    assert describe(Some)[0] == Option("bits", "int | Mapping[str, int]", 8, "width")
    assert [o.name for o in describe(Some)] == [
        "bits",
        "share",
        "scope",
        "limit",
        "quick",
        "saliency",
    ]


def test_types_that_answer_to_no_isinstance_take_anything():
    class Named(Protocol):
        name: str

    assert all(_fits(3, hint) for hint in (Any, Named))


def test_what_has_no_default_has_to_be_given():
    @dataclass(frozen=True)
    class Needy:
        """Wants something."""

        name: ClassVar[str] = "needy"
        share: float

        def masks(self, problem):
            return {}

    assert describe(Needy)[0] == Option("share", "float", None, "")
    assert made(Needy, {"share": 1}).share == 1
    with pytest.raises(OptionError, match=r"'needy' refuses its options: .*'share'"):
        made(Needy, {})


@pytest.mark.parametrize(
    ("option", "text", "value"),
    [
        ("bits", "6", 6),
        ("bits", '{"fc1": 6}', {"fc1": 6}),
        ("share", "1e-3", 0.001),
        ("scope", "global", "global"),
        ("limit", "null", None),
        ("quick", "true", True),
        ("saliency", "fisher", "fisher"),
        ("saliency", "6", "6"),
        ("saliency", "null", "null"),
    ],
)
def test_text_is_read_as_its_option_is_typed(option, text, value):
    assert from_text(Some, {option: text}) == {option: value}


@pytest.mark.parametrize(
    ("option", "text"),
    [("bits", "six"), ("bits", "6.0"), ("bits", "true"), ("quick", "yes"), ("nothing", "1")],
)
def test_text_that_is_nothing_of_the_kind_is_refused_like_any_value(option, text):
    with pytest.raises(OptionError):
        made(Some, from_text(Some, {option: text}))


def test_a_mapping_that_changes_later_changes_no_strategy():
    widths = {"fc": 6}
    strategy = Accumulator(widths)
    widths["fc"] = 60
    assert strategy.bits == {"fc": 6}
