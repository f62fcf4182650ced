"""Applying strategies: resolution, chains, and everything a strategy can get wrong."""

from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, ClassVar

import numpy as np
import pytest
from layers import layer, problem

from secateur.errors import (
    BrokenPromiseError,
    InfeasibleError,
    MaskError,
    OptionError,
    SpecificationError,
    StrategyFailedError,
    UnknownLayerError,
    UnknownStrategyError,
)
from secateur.pruning import Accumulator, Magnitude, Structured
from secateur.pruning.apply import apply_strategy
from secateur.pruning.problem import Saliency
from secateur.ranges import Range, Ranges


@dataclass(frozen=True)
class Mine:
    """For a test: gives masks and widths of the problem as it is told."""

    name: ClassVar[str] = "mine"
    give: Any = lambda problem: {}
    promise: Any = lambda problem: None

    def masks(self, problem):
        return self.give(problem)

    def widths(self, problem):
        return self.promise(problem)


TWO = problem(layer([[3, -1, 2]], name="one"), layer([[1, 2], [3, 1]], name="two"))


def test_the_result_says_which_strategy_of_which_version_made_it():
    masks = apply_strategy(TWO, "magnitude", sparsity=0.5)
    (step,) = masks.steps
    assert step.strategy == Magnitude(sparsity=0.5)
    assert (step.distribution, step.version) == ("secateur", version("secateur"))
    assert set(masks) == {"one", "two"}
    assert masks.sparsity == 4 / 7


def test_a_strategy_of_ones_own_has_no_distribution():
    (step,) = apply_strategy(TWO, Mine()).steps
    assert (step.distribution, step.version) == (None, None)


def test_a_registered_strategy_keeps_its_origin_by_value():
    (step,) = apply_strategy(TWO, Magnitude()).steps
    assert (step.distribution, step.version) == ("secateur", version("secateur"))


SAME = [
    (Accumulator(bits=3), "accumulator", {"bits": 3}),
    (Magnitude(0.5, "global"), "magnitude", {"sparsity": 0.5, "scope": "global"}),
    (Structured(), "structured", {}),
]


@pytest.mark.parametrize(("value", "name", "options"), SAME, ids=lambda x: str(x))
def test_by_value_and_by_name_are_the_same(value, name, options):
    ways = [
        apply_strategy(TWO, value),
        apply_strategy(TWO, name, **options),
        apply_strategy(TWO, [value]),
        apply_strategy(TWO, ((name, options),)),
    ]
    assert all(w.steps == ways[0].steps for w in ways)
    assert all((w[n] == ways[0][n]).all() for w in ways for n in w)


def test_a_saliency_may_be_a_value():
    @dataclass(frozen=True)
    class Smallest:
        """Small weights matter most."""

        name: ClassVar[str] = "smallest"

        def score(self, problem, layer):
            return 9 - np.abs(layer.weight)

    assert isinstance(Smallest(), Saliency)
    masks = apply_strategy(TWO, Magnitude(sparsity=0.34, saliency=Smallest()))
    assert masks["one"].tolist() == [[False, True, True]]


def test_layers_left_out_keep_their_masks():
    masks = apply_strategy(TWO, Mine(lambda p: {"one": np.zeros((1, 3), bool)}))
    assert not masks["one"].any()
    assert masks["two"].all()


def test_each_link_of_a_chain_sees_the_masks_of_the_one_before():
    seen = []

    def look(given):
        seen.append(given["one"].mask.tolist())
        return {}

    masks = apply_strategy(
        TWO, [Magnitude(sparsity=0.34), Mine(look), ("accumulator", {"bits": 3})]
    )
    assert seen == [[[True, False, True]]]
    assert [step.strategy.name for step in masks.steps] == ["magnitude", "mine", "accumulator"]
    assert (TWO["one"].ranges(masks["one"]).bits() <= 3).all()


def test_the_promises_of_a_whole_chain_are_proved_at_its_end():
    wide = Mine(promise=lambda p: {"one": 3, "two": 3})
    with pytest.raises(BrokenPromiseError):
        apply_strategy(TWO, [wide])
    masks = apply_strategy(TWO, [wide, ("accumulator", {"bits": 3})])
    assert all((x.ranges(masks[x.name]).bits() <= 3).all() for x in TWO.layers)


@pytest.mark.parametrize("what", [["magnitude", "accumulator"], Accumulator(), [Accumulator()]])
def test_options_go_with_a_name_alone(what):
    with pytest.raises(OptionError, match="options stand in the strategy itself") as caught:
        apply_strategy(TWO, what, bits=6)
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
        [(Magnitude(), {})],
    ],
)
def test_what_is_no_strategy_is_refused(what):
    with pytest.raises(SpecificationError, match="is no strategy; expected one, such as"):
        apply_strategy(TWO, what)


def test_a_class_is_none_and_the_error_says_so():
    with pytest.raises(SpecificationError, match=r"give a strategy: Magnitude\(\.\.\.\)"):
        apply_strategy(TWO, Magnitude)


def test_an_ill_made_strategy_is_refused_by_value_too():
    class Unnamed:
        """No frozen dataclass."""

        name = "unnamed"

        def masks(self, problem):
            return {}

    with pytest.raises(SpecificationError, match="expected a frozen dataclass"):
        apply_strategy(TWO, Unnamed())


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
        apply_strategy(TWO, Mine(give))
    for name, value in facts.items():
        assert getattr(caught.value, name) == value


def test_what_was_removed_stays_removed():
    half = problem(layer([[3, -1, 2], [1, 1, 1]], mask=[[1, 0, 1], [1, 1, 0]]))
    with pytest.raises(MaskError, match=r"channel 0: weight \(0, 1\) and 1 more were removed"):
        apply_strategy(half, Mine(lambda p: {"fc": np.ones((2, 3), bool)}))


def test_a_broken_promise_names_layer_channel_and_numbers():
    liar = Mine(promise=lambda p: {"two": 6, "one": 3})
    with pytest.raises(
        BrokenPromiseError, match=r"promised 3 span bits, but layer 'one', channel 0 .*\[-3, 15\]"
    ) as caught:
        apply_strategy(TWO, liar)
    error = caught.value
    assert (error.strategy, error.layer, error.channel) == ("mine", "one", 0)
    assert (error.low, error.high, error.bits, error.promised) == (-3, 15, 5, 3)


def test_a_promise_may_be_a_range():
    apply_strategy(TWO, Mine(promise=lambda p: {"two": Range(0, 12)}))
    with pytest.raises(BrokenPromiseError, match=r"from 0 to 11, but layer 'two', channel 1"):
        apply_strategy(TWO, Mine(promise=lambda p: {"two": Range(0, 11)}))
    apply_strategy(TWO, Mine(promise=lambda p: {"one": Range(-(10**30), 10**30)}))


@pytest.mark.parametrize("absurd", [0, -1, -(10**30)])
def test_no_width_is_too_small_to_be_held_to(absurd):
    with pytest.raises(BrokenPromiseError):
        apply_strategy(TWO, Mine(promise=lambda p: {"one": absurd}))
    apply_strategy(TWO, Mine(promise=lambda p: {"one": 10**30}))


def test_what_no_mask_narrows_is_infeasible_where_it_is_promised():
    pooled = replace(TWO, fixed={"pool": Ranges([0, 0], [48, 192])})
    apply_strategy(pooled, Accumulator(bits={"one": 3}))
    apply_strategy(pooled, Accumulator(bits={"pool": 8}))
    for strategy in (
        Accumulator(bits=7),
        Accumulator(bits={"pool": 7}),
        Accumulator(8, budget="signed"),
    ):
        with pytest.raises(
            InfeasibleError, match=r"'pool', .* \[0, 192\] .*adds up activations.*bits={layer"
        ) as caught:
            apply_strategy(pooled, strategy)
        assert (caught.value.layer, caught.value.channel) == ("pool", 1)


def test_a_promise_for_a_layer_that_is_not_there_is_refused():
    with pytest.raises(UnknownLayerError, match="'three'; there are one, two"):
        apply_strategy(TWO, Mine(promise=lambda p: {"three": 4}))


@pytest.mark.parametrize("widths", [8, {"one": "8"}, {"one": 8.0}, {"one": None}, {"one": True}])
def test_a_promise_is_whole_numbers_by_layer(widths):
    with pytest.raises(SpecificationError, match=r"'mine': widths\(\) gave .* expected"):
        apply_strategy(TWO, Mine(promise=lambda p: widths))


class UnspeakableError(Exception):
    def __str__(self):
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (KeyError("lost"), "KeyError: 'lost'"),
        (SystemExit(3), "SystemExit: 3"),
        (GeneratorExit(), "GeneratorExit"),
        (RecursionError("deep"), "RecursionError: deep"),
        (UnspeakableError(), "UnspeakableError"),
    ],
)
@pytest.mark.parametrize("method", ["give", "promise"])
def test_whatever_a_strategy_raises_is_chained_under_its_name(method, error, told):
    def fail(problem):
        raise error

    with pytest.raises(StrategyFailedError, match=f"'mine' raised {told}") as caught:
        apply_strategy(TWO, Mine(**{method: fail}))
    assert caught.value.__cause__ is error


def test_ctrl_c_is_nobodys_failure():
    def interrupt(problem):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply_strategy(TWO, Mine(interrupt))


def test_writing_into_what_a_strategy_was_given_fails_with_a_hint():
    def scribble(given):
        given["one"].codes[0, 0] = 0
        return {}

    with pytest.raises(StrategyFailedError, match=r"read-only; copy .* layer\.mask\.copy\(\)"):
        apply_strategy(TWO, Mine(scribble))


def test_no_layers_give_no_masks():
    assert dict(apply_strategy(problem(), "structured")) == {}
