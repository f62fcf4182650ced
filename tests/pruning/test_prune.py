"""Post-training pruning: only removed codes change, and promises hold for the result."""

import numpy as np
import pytest
from hypothesis import given, strategies as st

from networks import EXAMPLES, Builder, example, inputs, networks, with_input
from secateur.analysis import analyze
from secateur.errors import InfeasibleError, InputRangeError, MissingDataError, ShapeError
from secateur.network import ExplicitTable
from secateur.pruning import Accumulator
from secateur.pruning.apply import apply_strategy
from secateur.pruning.plugins import strategies
from secateur.pruning.prune import problem_of, prune
from secateur.ranges import Ranges


@pytest.mark.parametrize("strategy", sorted(strategies().keys() - {"compensated"}))
@pytest.mark.parametrize("network", EXAMPLES)
def test_codes_are_zero_or_as_before_and_nothing_else_changes(network, strategy):
    before = example(network)
    after = prune(before, strategy)
    for old, new in zip(before.operations, after.operations, strict=True):
        if old in list(before.layers):
            assert new.codes.dtype == old.codes.dtype
            assert ((new.codes == old.codes) | (new.codes == 0)).all()
            assert {**vars(old), "codes": None} == {**vars(new), "codes": None}
        else:
            assert new is old


@given(networks(), st.integers(1, 6))
def test_every_accumulator_fits_whatever_pruning_moves(network, bits):
    widths = {layer.name: bits for layer in network.layers}
    report = analyze(prune(network, Accumulator(widths)))
    for layer in network.layers:
        assert report[layer.name].bits() <= bits


@given(networks(), st.integers(0, 2**32))
def test_input_ranges_are_sound_for_every_mask(network, seed):
    problem = problem_of(network)
    masks = apply_strategy(problem_of(network, seed=seed), "random", sparsity=0.5)
    report = analyze(prune(network, "random", seed=seed, sparsity=0.5))
    for layer in problem.layers:
        proved = layer.ranges(masks[layer.name])
        final = report[layer.name].channels
        assert (proved.low <= final.low).all()
        assert (proved.high >= final.high).all()


@pytest.mark.parametrize("name", ["residual", "pooled"])
def test_sums_that_no_mask_narrows_are_an_error_unless_they_are_left_out(name):
    network = example(name)
    sums = {n.name: n.bits() for n in analyze(network).accumulators}
    sums = {n: b for n, b in sums.items() if not hasattr(network[n], "codes")}
    assert sums
    with pytest.raises(InfeasibleError, match="masks do not narrow it") as caught:
        prune(network, "accumulator", bits=max(sums.values()) - 1)
    assert caught.value.layer in sums
    pruned = prune(network, "accumulator", bits=max(sums.values()))
    assert analyze(pruned).accumulator_bits <= max(sums.values())


def test_a_range_away_from_zero_moves_when_weights_go():
    """Inputs 5 to 6 give accumulator 10 to 12; without a weight 5 to 6, where the table is high."""
    b = Builder((2,), 5, 6)
    b.linear(np.array([[1, 1]], np.int8))
    b.lookup(ExplicitTable(np.where(np.arange(13) < 10, 9, 0)[None], np.array([0])))
    b.linear(np.array([[1]], np.int8))
    network = b.network()
    assert analyze(network)["linear2"].bits() == 0
    head = problem_of(network)["linear2"]
    assert head.ranges() == Ranges([0], [9])
    pruned = prune(network, "accumulator", bits={"linear0": 1})
    assert analyze(pruned)["linear2"].channels == Ranges([9], [9])


def test_a_pruned_network_counts_its_zeros_as_removed():
    network = prune(example("mlp"), "magnitude", sparsity=0.6)
    for layer, seen in zip(network.layers, problem_of(network).layers, strict=True):
        assert (seen.mask == (layer.codes != 0)).all()
    again = prune(network, "magnitude", sparsity=0.6)
    for one, two in zip(network.layers, again.layers, strict=True):
        assert (one.codes == two.codes).all()


def test_convolution_ranges_are_those_that_every_tap_meets():
    # One row of 2 pixels, padded left: the left tap meets padding and pixel 0.
    b = Builder((1, 2), np.array([[2, -5]]), np.array([[3, 7]]))
    b.conv(np.array([[[1, 1]]], np.int8), padding=((1, 0),))
    (seen,) = problem_of(b.network()).layers
    assert (seen.low.tolist(), seen.high.tolist()) == ([[[0, -5]]], [[[3, 7]]])
    assert seen.ranges() == Ranges([-3], [10])


def test_samples_feed_activations():
    network = example("mlp")
    x = inputs(network)[:50]
    problem = problem_of(network, samples=x)
    hidden = network.nodes(x)["lookup1"]
    assert (problem.activations["linear2"] == hidden).all()
    by_activation = prune(network, "accumulator", bits=4, saliency="activation", samples=x)
    assert (by_activation["linear0"].codes != prune(network, "magnitude")["linear0"].codes).any()


def test_samples_that_the_network_does_not_take_are_refused():
    network = example("mlp")
    with pytest.raises(ShapeError):
        prune(network, "magnitude", samples=np.zeros((4, 5), int))
    with pytest.raises(InputRangeError):
        prune(network, "magnitude", samples=np.full((4, 6), 9))


def test_a_frozen_network_has_no_gradients():
    with pytest.raises(MissingDataError, match=r"secateur\.Pruner"):
        prune(example("mlp"), "accumulator", saliency="gradient", samples=np.zeros((1, 6), int))


def test_wider_inputs_are_pruned_harder():
    network = example("mlp", seed=2)
    wide = with_input(network, 0, 30)
    kept = [
        np.count_nonzero(prune(n, "accumulator", bits=5)["linear0"].codes) for n in (network, wide)
    ]
    assert kept[1] < kept[0]
