"""What a strategy sees: shapes, costs, proved ranges, lazily computed data."""

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given
from layers import layer, problem, small_layers

from secateur import bounds
from secateur.errors import (
    AccumulatorOverflowError,
    MissingDataError,
    SaliencyError,
    ShapeError,
    UnknownLayerError,
    UnknownSaliencyError,
)
from secateur.pruning.problem import Coupling, Geometry


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("mask", np.ones((3, 2), bool)),
        ("bias", np.zeros(3, int)),
        ("low", np.zeros(2, int)),
        ("high", np.zeros((2, 3), int)),
    ],
)
def test_arrays_that_do_not_fit_are_refused_by_name(argument, value):
    with pytest.raises(ShapeError, match=f"layer 'fc': {argument} has shape") as caught:
        layer([[1, 2, 3], [4, 5, 6]], **{argument: value})
    assert (caught.value.layer, caught.value.shape) == ("fc", value.shape)


def roots(array):
    """The array and all that it is a view of."""
    while isinstance(array, np.ndarray):
        yield array
        array = array.base


def test_arrays_cannot_be_written_by_any_way_and_their_owner_still_can():
    codes, low = np.array([[1, 2]]), np.array(0)
    image = Geometry((2,), low, np.array(3), (), (), ())
    seen = layer(codes, low, scale=np.ones(1), geometry=image)
    pairs = np.array([[0, 0]])
    fed = problem(
        seen,
        couplings=(Coupling("fc", "fc", pairs, np.ones(1, bool)),),
        activate=lambda: {"fc": codes.astype(float)},
        differentiate=lambda: {"fc": codes.astype(float)[None]},
    )
    given = [getattr(seen, n) for n in ("weight", "codes", "low", "high", "bias", "mask", "costs")]
    given += [seen.scale, image.low, image.high, fed.couplings[0].columns]
    given += [fed.couplings[0].removable, fed.activations["fc"], fed.gradients["fc"]]
    for array in (root for each in given for root in roots(each)):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        assert array.flags.c_contiguous
    codes[0, 0] = 5
    assert seen.codes[0, 0] == 1


def test_what_is_frozen_already_is_not_copied_again():
    seen = layer(np.array([[1, 2]]))
    masked = problem(seen).with_masks({"fc": np.array([[True, False]])})["fc"]
    assert np.shares_memory(masked.codes, seen.codes)


def test_arrays_in_any_order_of_memory_are_seen_alike():
    codes = np.arange(12).reshape(3, 4)
    for same in (codes, np.asfortranarray(codes), codes[::-1][::-1], codes.astype(">i8")):
        seen = layer(same)
        assert seen.codes.tolist() == codes.tolist()
        assert seen.codes.flags.c_contiguous


@given(small_layers())
def test_a_cost_is_what_removing_the_weight_saves(drawn):
    spans = drawn.ranges().high - drawn.ranges().low
    for channel, column in np.argwhere(drawn.mask):
        without = drawn.mask.copy()
        without[channel, column] = False
        narrower = drawn.ranges(without)
        assert spans[channel] - drawn.costs[channel, column] == (
            narrower.high[channel] - narrower.low[channel]
        )


def test_groups_have_ranges_of_their_own():
    grouped = layer(
        [[[1, 1]], [[2, 1]], [[1, 1]], [[1, -3]]],
        low=[[[0, 0]], [[-1, 0]]],
        high=[[[1, 2]], [[3, 4]]],
        groups=2,
    )
    assert grouped.ranges().low.tolist() == [0, 0, -1, -13]
    assert grouped.ranges().high.tolist() == [3, 4, 7, 3]
    assert grouped.costs.tolist() == [[[1, 2]], [[2, 2]], [[4, 4]], [[4, 12]]]


def test_ranges_follow_the_border_patterns_where_the_geometry_is_known():
    # No window of a 3×3 kernel lies inside a 2×2 image: each meets four taps of nine.
    image = Geometry((1, 2, 2), np.array(0), np.array(3), (1, 1), ((1, 1), (1, 1)), (1, 1))
    ones = np.ones((1, 1, 3, 3), int)
    assert layer(ones, geometry=image).ranges() == bounds.Ranges([0], [12])
    assert layer(ones).ranges() == bounds.Ranges([0], [27])


def test_an_accumulator_beyond_64_bits_names_its_layer():
    huge = layer([[1, 2**62, 2**62]], name="huge")
    with pytest.raises(AccumulatorOverflowError, match="layer 'huge'") as caught:
        huge.ranges()
    assert (caught.value.layer, caught.value.channel) == ("huge", 0)


def test_a_cost_beyond_64_bits_is_an_error_and_not_a_wrapped_number():
    huge = layer([[2**61]], high=4, name="huge")
    with pytest.raises(AccumulatorOverflowError, match="layer 'huge'"):
        _ = huge.costs
    assert layer([[2**61]], high=3).costs == 3 * 2**61


def test_layers_are_found_by_name():
    two = problem(layer([[1]], name="one"), layer([[2]], name="two"))
    assert two["two"].codes == 2
    with pytest.raises(UnknownLayerError, match="'three'; there are one, two"):
        two["three"]


def test_masks_are_replaced_and_the_rest_stays():
    given_one = problem(layer([[1, 2]]), seed=5)
    masked = given_one.with_masks({"fc": np.array([[True, False]])})
    assert masked["fc"].mask.tolist() == [[True, False]]
    assert given_one["fc"].mask.all()
    assert masked.seed == 5


def test_data_is_computed_when_asked_for_and_once():
    calls = []

    def activate():
        calls.append(1)
        return {"fc": np.ones((1, 2))}

    with_data = problem(layer([[1, 2]]), activate=activate)
    assert not calls
    assert with_data.activations is with_data.activations
    assert calls == [1]


@pytest.mark.parametrize("needed", ["activations", "gradients"])
def test_data_that_was_not_given_is_missed(needed):
    with pytest.raises(MissingDataError, match=needed) as caught:
        getattr(problem(layer([[1]])), needed)
    assert caught.value.needed == needed


@dataclass(frozen=True)
class Odd:
    """A score."""

    name: ClassVar[str] = "odd"
    give: Any

    def score(self, problem, layer):
        return self.give(problem, layer)


@pytest.mark.parametrize(
    ("score", "message"),
    [
        (lambda p, x: np.ones(3), r"shape \(3,\), expected \(1, 2\)"),
        (lambda p, x: np.array([[1.0, -2.0]]), r"at \(0, 1\) is -2.0"),
        (lambda p, x: np.array([[np.nan, 1.0]]), r"at \(0, 0\) is nan"),
        (lambda p, x: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda p, x: sys.exit(3), "SystemExit: 3"),
        (lambda p, x: "none", "ValueError"),
    ],
)
def test_scores_that_are_none_are_refused_with_saliency_and_layer(score, message):
    with pytest.raises(SaliencyError, match=f"'odd', layer 'fc': .*{message}") as caught:
        problem(layer([[1, 2]])).saliency(Odd(score))
    assert (caught.value.saliency, caught.value.layer) == ("odd", "fc")


def test_a_saliency_is_found_by_name_or_taken_by_value():
    ones = Odd(lambda p, x: np.ones(x.shape))
    named = problem(layer([[1, 2]]), find_saliency={"ones": ones}.__getitem__)
    assert (named.saliency("ones")["fc"] == named.saliency(ones)["fc"]).all()


def test_scales_are_fitted_where_some_can_be_chosen():
    chosen = layer([[3, -1]], weight=[[0.9, -0.3]], scale=np.array([0.3]), code_range=(-3, 3))
    assert chosen.fitted_scales(4).shape == (1,)
    with pytest.raises(MissingDataError, match="'fc' has no scales that can be chosen") as caught:
        layer([[3, -1]]).fitted_scales(4)
    assert caught.value.needed == "scales"


def test_a_problem_outside_the_host_knows_no_saliency():
    with pytest.raises(UnknownSaliencyError, match="apply_strategy"):
        problem(layer([[1]])).saliency("magnitude")
