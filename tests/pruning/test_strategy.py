"""Specifications are complete, or refused with what is amiss."""

from dataclasses import dataclass, field

import pytest

from secateur.errors import SpecificationError
from secateur.pruning.strategy import Promise, SaliencySpec, StrategySpec


@dataclass(frozen=True)
class Options:
    share: float = field(default=0.5, metadata={"doc": "of something"})


@dataclass
class Thawed:
    share: float = 0.5


@dataclass(frozen=True)
class NoDefault:
    share: float


@dataclass(frozen=True)
class Reserved:
    seed: int = 0


def keep(problem, options):
    return {}


COMPLETE = {"name": "keep-all", "summary": "keeps all", "options": Options, "apply": keep}


def test_a_complete_specification_is_taken_and_promises_nothing():
    spec = StrategySpec(**COMPLETE)
    assert spec.promises == Promise()
    assert spec.promises.accumulator_bits(Options()) is None


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("name", "Keep All"),
        ("name", "keep_all"),
        ("name", 3),
        ("summary", ""),
        ("summary", "two\nlines"),
        ("options", Options()),
        ("options", dict),
        ("options", Thawed),
        ("options", NoDefault),
        ("options", Reserved),
        ("apply", {"fc": True}),
        ("promises", {"bits": 8}),
    ],
)
def test_what_is_amiss_is_named(argument, value):
    with pytest.raises(SpecificationError, match=r"strategy ('keep-all'|name)") as caught:
        StrategySpec(**{**COMPLETE, argument: value})
    assert caught.value.argument == argument


@pytest.mark.parametrize(("argument", "value"), [("name", "No!"), ("score", 1.0)])
def test_a_saliency_too(argument, value):
    complete = {"name": "ones", "summary": "all alike", "score": lambda problem, layer: 1}
    SaliencySpec(**complete)
    with pytest.raises(SpecificationError, match="saliency") as caught:
        SaliencySpec(**{**complete, argument: value})
    assert caught.value.argument == argument
