from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, strategies as st

from networks import example, networks
from secateur.analysis import analyze
from secateur.errors import MaskError, OptionError, ShapeError, UnknownLayerError
from secateur.pruning import Accumulator
from secateur.pruning.prune import problem_of, prune
from secateur.sweeps import Sparsities, Widths, sweep_bounds


def prunable(network):
    return len(list(network.layers)) > 0


def random_masks(network, seed, count):
    random = np.random.default_rng(seed)
    keep = random.random()
    return {x.name: random.random((count, *x.codes.shape)) < keep for x in network.layers}


def one(masks, i):
    return {name: mask[i] for name, mask in masks.items()}


def masked(network, masks):
    return network.with_operations(
        *(
            replace(x, codes=np.where(masks[x.name], x.codes, 0).astype(x.codes.dtype))
            for x in network.layers
        )
    )


def row(columns, i):
    return {name: column[i] for name, column in columns.items()}


@given(networks().filter(prunable), st.integers(0, 1000))
def test_no_pruned_network_leaves_what_is_proved_of_its_masks(network, seed):
    masks = random_masks(network, seed, 3)
    columns = sweep_bounds(network, [masks])
    for i in range(3):
        report = analyze(masked(network, one(masks, i)))
        for layer in network.layers:
            found = report[layer.name]
            assert columns[f"low.{layer.name}"][i] <= found.ranges.low.min()
            assert columns[f"high.{layer.name}"][i] >= found.ranges.high.max()
            assert columns[f"bits.{layer.name}"][i] >= found.bits()


@given(networks().filter(prunable), st.integers(0, 1000))
def test_masks_are_proved_as_the_problem_proves_them_one_by_one(network, seed):
    """Over every tap's range, which differs from the engine's border patterns where 0 does."""
    masks = random_masks(network, seed, 2)
    columns = sweep_bounds(network, [masks])
    problem = problem_of(network)
    for i in range(2):
        for layer in problem.layers:
            ranges = replace(layer, geometry=None).ranges(masks[layer.name][i])
            assert columns[f"bits.{layer.name}"][i] == ranges.bits("span").max()
            assert columns[f"low.{layer.name}"][i] == ranges.low.min()
            assert columns[f"high.{layer.name}"][i] == ranges.high.max()


@pytest.fixture
def network():
    return example("mlp", 3)


def test_the_first_layers_widths_are_those_of_the_analysis(network):
    first = next(network.layers)
    masks = random_masks(network, 5, 20)
    columns = sweep_bounds(network, [masks])
    bits = [analyze(masked(network, one(masks, i)))[first.name].bits() for i in range(20)]
    assert columns[f"bits.{first.name}"].tolist() == bits


def test_the_widest_layer_and_all_weights_make_the_totals(network):
    masks = random_masks(network, 5, 7)
    columns = sweep_bounds(network, [masks])
    names = [x.name for x in network.layers]
    assert (
        columns["accumulator_bits"] == np.max([columns[f"bits.{n}"] for n in names], axis=0)
    ).all()
    gone = sum((~masks[x.name] | (x.codes == 0)).reshape(7, -1).sum(1) for x in network.layers)
    total = sum(x.codes.size for x in network.layers)
    np.testing.assert_allclose(columns["sparsity"], gone / total)


def test_candidates_come_back_in_order_however_they_are_given(network, monkeypatch):
    masks = random_masks(network, 8, 50)
    expected = sweep_bounds(network, [masks])
    mixed = [
        *(one(masks, i) for i in range(5)),
        {name: mask[5:30] for name, mask in masks.items()},
        *(one(masks, i) for i in range(30, 50)),
    ]
    total = sum(x.codes.size for x in network.layers)
    for per_batch in (1, 7, 64):
        monkeypatch.setattr("secateur.sweeps.bound_only._BATCH_BYTES", per_batch * total)
        for candidates in ([masks], iter(mixed)):
            columns = sweep_bounds(network, candidates)
            assert all((columns[n] == expected[n]).all() for n in expected)


def test_a_layer_without_a_mask_is_not_pruned(network):
    first, *_ = network.layers
    columns = sweep_bounds(network, [{}, {first.name: np.zeros(first.codes.shape, bool)}])
    whole = analyze(network)
    assert columns[f"bits.{first.name}"].tolist() == [whole[first.name].bits(), 0]
    assert columns[f"sparsity.{first.name}"][1] == 1


def test_no_candidates_are_no_rows(network):
    for candidates in ([], Sparsities([]), Widths([])):
        columns = sweep_bounds(network, candidates)
        assert {len(column) for column in columns.values()} == {0}


@given(networks().filter(prunable), st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_sparsities_are_those_of_the_magnitude_strategy(network, levels):
    columns = sweep_bounds(network, Sparsities(levels))
    for i, level in enumerate(levels):
        pruned = prune(network, "magnitude", sparsity=level)
        masks = {x.name: x.codes != 0 for x in pruned.layers}
        expected = sweep_bounds(network, [masks])
        assert row(columns, i) == row(expected, 0)


def test_sparsities_may_differ_from_layer_to_layer(network):
    names = [x.name for x in network.layers]
    levels = np.random.default_rng(0).random((30, len(names)))
    columns = sweep_bounds(network, Sparsities(levels))
    for j, name in enumerate(names):
        alone = sweep_bounds(network, Sparsities(levels[:, j]))
        assert (columns[f"bits.{name}"] == alone[f"bits.{name}"]).all()


@given(networks().filter(prunable), st.lists(st.integers(1, 12), min_size=1, max_size=5))
def test_widths_are_kept_and_those_of_the_accumulator_strategy(network, widths):
    columns = sweep_bounds(network, Widths(widths))
    assert (columns["accumulator_bits"] <= widths).all()
    for i, bits in enumerate(widths):
        pruned = prune(network, Accumulator({x.name: bits for x in network.layers}))
        masks = {x.name: x.codes != 0 for x in pruned.layers}
        assert row(columns, i) == row(sweep_bounds(network, [masks]), 0)


@pytest.mark.parametrize(
    ("candidates", "error", "complaint"),
    [
        ([{"nowhere": np.ones((2, 2), bool)}], UnknownLayerError, r"'nowhere'"),
        (Sparsities([0.5, 1.5]), OptionError, r"1\.5, expected 0 to 1"),
        (Sparsities([np.nan]), OptionError, r"nan, expected 0 to 1"),
        (Sparsities(np.zeros((3, 9))), ShapeError, r"\(3, 9\), expected \[candidates\] or"),
        (Widths([0]), OptionError, r"expected 1 to 63"),
    ],
)
def test_wrong_candidates_are_named(network, candidates, error, complaint):
    with pytest.raises(error, match=complaint):
        sweep_bounds(network, candidates)


def test_wrong_masks_name_the_layer(network):
    first, second, *_ = network.layers
    with pytest.raises(MaskError, match=rf"'{first.name}': the mask is float64"):
        sweep_bounds(network, [{first.name: np.ones(first.codes.shape)}])
    with pytest.raises(MaskError, match=r"expected bool"):
        sweep_bounds(network, [{first.name: np.ones((3, *first.codes.shape[::-1]), bool)}])
    masks = random_masks(network, 0, 3)
    with pytest.raises(MaskError, match=r"as many masks for every layer"):
        sweep_bounds(network, [{**masks, second.name: masks[second.name][:2]}])
