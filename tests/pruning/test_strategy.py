"""What a strategy or saliency has to be, and what is amiss where it is not."""

from dataclasses import dataclass, field
from typing import ClassVar

import pytest

from secateur.errors import SpecificationError
from secateur.pruning.plugins import STRATEGIES
from secateur.pruning.problem import Saliency
from secateur.pruning.saliency import SALIENCIES
from secateur.pruning.strategy import Strategy, check_class, method_of, summary


@dataclass(frozen=True)
class KeepAll:
    """Keeps all.

    And says no more about it.
    """

    name: ClassVar[str] = "keep-all"
    share: float = field(default=0.5, metadata={"doc": "of something"})

    def masks(self, problem):
        return {}


def test_a_frozen_dataclass_with_name_summary_and_masks_is_a_strategy():
    check_class("strategy", KeepAll)
    assert isinstance(KeepAll(), Strategy)
    assert summary(KeepAll) == "Keeps all."
    assert KeepAll(share=0.25) == KeepAll(0.25)


@pytest.mark.parametrize("cls", STRATEGIES, ids=lambda c: c.name)
def test_ours_are(cls):
    check_class("strategy", cls)


@pytest.mark.parametrize("cls", SALIENCIES, ids=lambda c: c.name)
def test_our_saliencies_are_saliencies(cls):
    check_class("saliency", cls)
    assert isinstance(cls(), Saliency)


def changed(frozen=True, **attributes):
    body = {"__doc__": KeepAll.__doc__, "name": "keep-all", "masks": KeepAll.masks, **attributes}
    return dataclass(frozen=frozen)(type("Changed", (), body))


class Plain:
    """No dataclass."""

    name = "plain"
    masks = KeepAll.masks


class Heir(KeepAll):
    """Inherits from a dataclass and is none."""


@pytest.mark.parametrize(
    ("cls", "argument", "message"),
    [
        (3, "class", "expected a class"),
        (Plain, "class", r"@dataclass\(frozen=True\)"),
        (Heir, "class", r"@dataclass\(frozen=True\)"),
        (changed(frozen=False), "class", r"@dataclass\(frozen=True\)"),
        (changed(name="Keep All"), "name", "lower-case words joined by hyphens"),
        (changed(name="keep_all"), "name", "lower-case words"),
        (changed(name=3), "name", "name is 3"),
        (changed(name="keep-all", __annotations__={"name": str}), "name", "ClassVar"),
        (changed(__doc__=None), "summary", "no first line"),
        (changed(__doc__="\n  \n"), "summary", "no first line"),
        (changed(masks=None), "masks", "no method masks"),
        (changed(__annotations__={"x": "NoSuchType"}, x=1), "class", "NoSuchType"),
    ],
)
def test_what_is_amiss_is_named(cls, argument, message):
    with pytest.raises(SpecificationError, match=f"strategy .*{message}") as caught:
        check_class("strategy", cls)
    assert caught.value.argument == argument


def test_a_saliency_scores():
    with pytest.raises(SpecificationError, match=r"saliency KeepAll: it has no method score\(\)"):
        check_class("saliency", KeepAll)


def test_options_mean_nothing_by_their_names():
    @dataclass(frozen=True)
    class Named:
        """Has options that are called like methods."""

        name: ClassVar[str] = "named"
        widths: int = 3
        toward: object = print
        bits: str = "many"

        def masks(self, problem):
            return {}

    assert [method_of(Named(), m) for m in ("widths", "toward", "bits", "fitted_scales")] == [
        None
    ] * 4
    assert method_of(Named(), "masks") is not None
