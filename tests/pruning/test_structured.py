"""Whole channels go, with what reads them, together with those that they are added to."""

from dataclasses import replace

import numpy as np
import pytest
from layers import layer, problem

from networks import EXAMPLES, Builder, example
from secateur.errors import OptionError
from secateur.pruning import Structured, TaylorSaliency, structured
from secateur.pruning.apply import apply_strategy
from secateur.pruning.couplings import couplings_of
from secateur.pruning.prune import problem_of, prune
from secateur.pruning.saliency import MagnitudeSaliency
from secateur.pruning.shrink import shrink


def chain(*weights):
    """An MLP of these weights, each all ones times a row's strength."""
    b = Builder((len(weights[0][0]),), 0, 3)
    for rows in weights:
        if b.operations:
            b.activation()
        b.linear(np.array(rows, np.int8))
    return b.network()


def test_the_weakest_neurons_go_with_the_columns_that_read_them():
    network = chain([[1, 1], [3, 3], [2, 2], [4, 4]], [[1, 2, 3, 4]])
    masks = apply_strategy(problem_of(network), "structured", sparsity=0.5)
    assert masks["linear0"].any(axis=1).tolist() == [False, True, False, True]
    assert masks["linear2"].tolist() == [[False, True, False, True]]


def test_the_output_stays_and_so_does_the_strongest_of_every_layer():
    network = chain([[1, 1], [3, 3]], [[1, 1], [2, 2]], [[1, 2], [3, 4]])
    for scope in ("layer", "global"):
        masks = apply_strategy(problem_of(network), "structured", sparsity=1.0, scope=scope)
        assert masks["linear0"].any(axis=1).tolist() == [False, True]
        assert masks["linear2"].any(axis=1).tolist() == [False, True]
        assert masks["linear4"].any(axis=1).tolist() == [True, True]


def test_over_all_layers_the_weakest_go_wherever_they_are():
    network = chain([[1, 1], [1, 1], [2, 2]], [[9, 9, 9], [8, 8, 8], [7, 7, 7]], [[1, 1, 1]])
    masks = apply_strategy(problem_of(network), "structured", sparsity=0.34, scope="global")
    assert masks["linear0"].any(axis=1).tolist() == [False, False, True]
    assert masks["linear2"].any(axis=1).all()


def test_the_norm_decides_who_is_weakest():
    # Row 0 wins by its largest weight, row 1 by the sum of them.
    network = chain([[4, 0, 0], [2, 2, 1]], [[1, 1]])
    for norm, stays in ((1.0, 1), (2.0, 0), (10.0, 0)):
        masks = apply_strategy(problem_of(network), "structured", norm=norm)
        assert masks["linear0"].any(axis=1).tolist() == [stays == 0, stays == 1]


@pytest.mark.parametrize("norm", [0.0, -1.0, float("inf")])
def test_a_norm_is_finite_and_above_0(norm):
    with pytest.raises(OptionError, match="norm is"):
        apply_strategy(problem(layer([[1]])), "structured", norm=norm)


def test_channels_that_are_added_go_together():
    b = Builder((2,), 0, 3)
    b.linear(np.array([[1, 1], [1, 2], [3, 3], [1, 1]], np.int8))
    b.activation()
    skip = b.at
    b.linear(np.array([[9, 9, 9, 9], [1, 1, 1, 1], [1, 1, 1, 1], [1, 2, 1, 1]], np.int8))
    b.add(skip, b.at)
    b.linear(np.array([[1, 2, 3, 4]], np.int8))
    masks = apply_strategy(problem_of(b.network()), "structured", sparsity=0.5)
    # Channel 0 is weak in the first layer, but strong in the one that is added to it.
    stays = np.array([True, False, True, False])
    assert (masks["linear0"] == stays[:, None]).all()
    assert (masks["linear2"] == stays[:, None] & stays).all()
    assert (masks["linear4"] == stays).all()


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - {"reshaped"}))  # (2, 3) needs all six
def test_what_goes_can_be_shrunk_away(name):
    network = example(name, seed=1)
    small = shrink(prune(network, "structured", sparsity=0.6))
    for coupling in couplings_of(network):
        if coupling.removable.all() and len(coupling.removable) > 2:
            assert len(small[coupling.producer].codes) < len(network[coupling.producer].codes)


def differentiated(network, gradients):
    """The problem of a network whose layers have these gradients, one for each sample."""
    return replace(problem_of(network), differentiate=lambda: gradients)


def test_magnitude_by_value_is_magnitude_by_name():
    """By the norm of 2 the first channel stays, by a sum of magnitudes the second would."""
    network = chain([[5, 0, 0], [2, 2, 2]], [[1, 1]])
    for saliency in ("magnitude", MagnitudeSaliency()):
        masks = prune(network, Structured(sparsity=0.5, saliency=saliency))
        assert masks["linear0"].codes.any(axis=1).tolist() == [True, False]
        masks = prune(network, Structured(sparsity=0.5, norm=1.0, saliency=saliency))
        assert masks["linear0"].codes.any(axis=1).tolist() == [False, True]


def test_a_norm_that_no_saliency_looks_at_is_refused():
    for saliency in ("taylor", TaylorSaliency(), "activation"):
        with pytest.raises(OptionError, match=r"norm.*unless channels are compared by magnitude"):
            Structured(norm=1.0, saliency=saliency)


def test_taylor_adds_up_what_reads_a_channel_before_it_squares():
    network = chain([[1, 1], [3, 3], [2, 2]], [[1, 2, 1], [1, 1, 2]])
    gradients = {
        "linear0": np.zeros((2, 3, 2)),
        # Each entry of channel 1 is large and they cancel; those of channel 0 agree.
        "linear2": np.array([[[1, 4, 1], [1, -8, 1]], [[1, 4, 0], [1, -8, 0]]]) / 4,
    }
    masks = apply_strategy(
        differentiated(network, gradients), "structured", sparsity=1 / 3, saliency="taylor"
    )
    assert masks["linear0"].any(axis=1).tolist() == [True, False, True]
    by_weight = apply_strategy(
        differentiated(network, {**gradients, "linear0": np.ones((1, 3, 2))}),
        "structured",
        sparsity=1 / 3,
        saliency="fisher",
    )
    assert by_weight["linear0"].any(axis=1).tolist() == [False, True, True]


def test_taylor_counts_a_column_that_a_group_feeds_together_once():
    b = Builder((2,), 0, 3)
    b.linear(np.array([[1, 1], [1, 2]], np.int8))
    b.activation()
    skip = b.at
    b.linear(np.array([[1, 1], [1, 1]], np.int8))
    b.add(skip, b.at)
    b.linear(np.array([[1, 1]], np.int8))
    given = differentiated(
        b.network(),
        {
            "linear0": np.zeros((1, 2, 2)),
            "linear2": np.array([[[0.0, 1.5], [0.0, 0.0]]]),
            "linear4": np.array([[[1.0, 0.0]]]),
        },
    )
    # Channel 0 is worth 1, twice counted 2; channel 1 is worth 1.5 by what reads it before.
    masks = apply_strategy(given, "structured", sparsity=0.5, saliency="taylor")
    assert masks["linear4"].tolist() == [[False, True]]


@pytest.mark.parametrize("name", ["mlp", "convolutional", "convolutional_1d", "concatenated"])
def test_taylor_is_what_all_that_goes_with_a_channel_is_worth(name):
    network, random = example(name, seed=2), np.random.default_rng(0)
    gradients = {x.name: random.normal(size=(3, *x.codes.shape)) for x in network.layers}
    given = differentiated(network, gradients)
    channels = structured.channels_of(given)
    strength = structured.strength(given, channels, Structured(saliency=TaylorSaliency()))
    heads = np.unique(channels.group[channels.removable])
    assert len(heads) > 1
    for head in heads:
        masks = structured.without(channels.group == head, channels, given)
        worth = np.zeros(3)
        for each in given.layers:
            rows = channels.start[each.name] + np.arange(len(each.codes))
            own = (channels.group[rows] == head).reshape(-1, *(1,) * (each.weight.ndim - 1))
            read = each.mask & ~masks[each.name] & ~own
            worth += (each.weight * gradients[each.name] * read).reshape(3, -1).sum(axis=1)
        assert np.isclose(strength[head], (worth**2).mean())
