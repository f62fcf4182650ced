"""Applying strategies: resolution, chains, and everything a strategy can get wrong."""

from dataclasses import dataclass, field
from importlib.metadata import version

import numpy as np
import pytest
from layers import layer, problem

from secateur.errors import (
    BrokenPromiseError,
    MaskError,
    OptionError,
    SpecificationError,
    StrategyFailedError,
    UnknownLayerError,
    UnknownStrategyError,
)
from secateur.pruning.apply import apply_strategy
from secateur.pruning.plugins import strategies
from secateur.pruning.strategy import Promise, StrategySpec


@dataclass(frozen=True)
class NoOptions:
    pass


@dataclass(frozen=True)
class Bits:
    bits: int = field(default=3, metadata={"doc": "promised"})


NOTHING = Promise()


def strategy(give, promises=NOTHING, options=NoOptions):
    return StrategySpec("mine", "for a test", options, lambda p, o: give(p), promises)


TWO = problem(layer([[3, -1, 2]], name="one"), layer([[1, 2], [3, 1]], name="two"))


def test_the_result_says_which_strategy_of_which_version_made_it():
    masks = apply_strategy(TWO, "magnitude", sparsity=0.5)
    (step,) = masks.steps
    assert (step.spec.name, step.options.sparsity) == ("magnitude", 0.5)
    assert (step.distribution, step.version) == ("secateur", version("secateur"))
    assert set(masks) == {"one", "two"}
    assert masks.sparsity == 4 / 7


def test_a_specification_of_ones_own_has_no_distribution():
    (step,) = apply_strategy(TWO, strategy(lambda p: {})).steps
    assert (step.distribution, step.version) == (None, None)


def test_a_registered_specification_keeps_its_origin():
    (step,) = apply_strategy(TWO, strategies()["magnitude"]).steps
    assert (step.distribution, step.version) == ("secateur", version("secateur"))


def test_layers_left_out_keep_their_masks():
    masks = apply_strategy(TWO, strategy(lambda p: {"one": np.zeros((1, 3), bool)}))
    assert not masks["one"].any()
    assert masks["two"].all()


def test_each_link_of_a_chain_sees_the_masks_of_the_one_before():
    seen = []

    def look(given):
        seen.append(given["one"].mask.tolist())
        return {}

    masks = apply_strategy(
        TWO, [("magnitude", {"sparsity": 0.34}), strategy(look), ("accumulator", {"bits": 3})]
    )
    assert seen == [[[True, False, True]]]
    assert [step.spec.name for step in masks.steps] == ["magnitude", "mine", "accumulator"]
    assert (TWO["one"].ranges(masks["one"]).bits() <= 3).all()


def test_the_promises_of_a_whole_chain_are_proved_at_its_end():
    promise = Promise(accumulator_bits=lambda options: 3)
    wide = strategy(lambda p: {}, promise)
    with pytest.raises(BrokenPromiseError):
        apply_strategy(TWO, [wide])
    masks = apply_strategy(TWO, [wide, ("accumulator", {"bits": 3})])
    assert all((x.ranges(masks[x.name]).bits() <= 3).all() for x in TWO.layers)


def test_a_chain_takes_no_options_beside_its_links():
    with pytest.raises(OptionError, match="stand beside") as caught:
        apply_strategy(TWO, ["magnitude", "accumulator"], bits=6)
    assert caught.value.option == "bits"


@pytest.mark.parametrize(
    "what",
    [
        None,
        3,
        [None],
        [("magnitude", {}, 1)],
        [("magnitude", 0.5)],
        [(None, {})],
        ["magnitude", {}],
    ],
)
def test_what_is_no_strategy_is_refused(what):
    with pytest.raises(SpecificationError, match="is no strategy; expected a name"):
        apply_strategy(TWO, what)


def test_an_unknown_strategy_gets_near_names_and_where_others_come_from():
    with pytest.raises(
        UnknownStrategyError, match=r"mean magnitude.*entry point in group"
    ) as caught:
        apply_strategy(TWO, "magnitud")
    assert caught.value.near == ["magnitude"]
    assert "accumulator" in caught.value.known


@pytest.mark.parametrize(
    ("give", "message", "facts"),
    [
        (lambda p: None, "gave back a NoneType", {}),
        (lambda p: {"three": np.ones(1, bool)}, "'three', which is no layer; there are one, two",
         {"layer": "three"}),
        (lambda p: {"one": np.ones((3, 1), bool)}, r"shape \(3, 1\), expected \(1, 3\)",
         {"layer": "one", "shape": (3, 1), "expected": (1, 3)}),
        (lambda p: {"one": np.ones((1, 3))}, "is float64, expected an array of bool",
         {"layer": "one", "dtype": np.dtype("float64")}),
        (lambda p: {"one": [[True] * 3]}, "is list, expected an array of bool", {"layer": "one"}),
    ],
)  # fmt: skip
def test_masks_that_do_not_fit_name_strategy_layer_and_both_sides(give, message, facts):
    with pytest.raises(MaskError, match=f"'mine': .*{message}") as caught:
        apply_strategy(TWO, strategy(give))
    for name, value in facts.items():
        assert getattr(caught.value, name) == value


def test_what_was_removed_stays_removed():
    half = problem(layer([[3, -1, 2], [1, 1, 1]], mask=[[1, 0, 1], [1, 1, 0]]))
    with pytest.raises(MaskError, match=r"channel 0: weight \(0, 1\) and 1 more were removed"):
        apply_strategy(half, strategy(lambda p: {"fc": np.ones((2, 3), bool)}))


def test_a_broken_promise_names_layer_channel_and_numbers():
    liar = strategy(lambda p: {}, Promise(accumulator_bits=lambda o: o.bits), Bits)
    with pytest.raises(
        BrokenPromiseError, match=r"promised 3 span bits, but layer 'one', channel 0 .*\[-3, 15\]"
    ) as caught:
        apply_strategy(TWO, liar)
    error = caught.value
    assert (error.strategy, error.layer, error.channel) == ("mine", "one", 0)
    assert (error.low, error.high, error.bits, error.promised_bits) == (-3, 15, 5, 3)


def test_a_promise_may_be_signed_and_for_some_layers_only():
    def promising(budget):
        promise = Promise(accumulator_bits=lambda o: {"two": 4}, budget=lambda o: budget)
        return strategy(lambda p: {}, promise)

    apply_strategy(TWO, promising("span"))
    with pytest.raises(BrokenPromiseError, match=r"4 signed bits, but layer 'two', channel 0"):
        apply_strategy(TWO, promising("signed"))


def test_a_promise_for_a_layer_that_is_not_there_is_refused():
    promise = Promise(accumulator_bits=lambda o: {"three": 4})
    with pytest.raises(UnknownLayerError, match="'three'"):
        apply_strategy(TWO, strategy(lambda p: {}, promise))


@pytest.mark.parametrize("bits", ["8", 8.0, {"one": None}])
def test_a_promise_is_a_whole_number(bits):
    with pytest.raises(SpecificationError, match=r"'mine' promises .* expected an integer"):
        apply_strategy(TWO, strategy(lambda p: {}, Promise(accumulator_bits=lambda o: bits)))


def test_a_promise_that_raises_names_its_strategy():
    with pytest.raises(StrategyFailedError, match="'mine' raised AttributeError"):
        apply_strategy(TWO, strategy(lambda p: {}, Promise(accumulator_bits=lambda o: o.bits)))


def test_what_a_strategy_raises_is_chained_under_its_name():
    with pytest.raises(StrategyFailedError, match="'mine' raised KeyError: 'lost'") as caught:
        apply_strategy(TWO, strategy(lambda p: {}["lost"]))
    assert isinstance(caught.value.__cause__, KeyError)


def test_writing_into_what_a_strategy_was_given_fails():
    def scribble(given):
        given["one"].codes[0, 0] = 0
        return {}

    with pytest.raises(StrategyFailedError, match="read-only"):
        apply_strategy(TWO, strategy(scribble))


def test_no_layers_give_no_masks():
    assert dict(apply_strategy(problem(), "structured")) == {}
