from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from executors import dask, two_processes

from secateur.errors import OptionError, PointError, UnknownStrategyError
from secateur.sweeps import Recipe, grid, sweep

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")


def build():
    return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))


def data():
    random = np.random.default_rng(0)
    centres = 2 * random.normal(size=(3, 6))
    targets = random.integers(0, 3, 240)
    samples = (centres[targets] + 0.3 * random.normal(size=(240, 6))).astype(np.float32)
    return samples[:160], targets[:160], samples[160:], targets[160:]


POINTS = grid(strategy=["accumulator", "l1-ball"], bits=[4], seed=[0, 1])


@pytest.fixture
def recipe(tmp_path):
    return Recipe(build, data, float_epochs=30, epochs=15, cache=tmp_path / "cache")


def content(results):
    return [(r.point, r.values, r.outcome.failure) for r in results]


def test_a_point_is_trained_pruned_proved_and_priced(recipe):
    values = recipe({"strategy": "accumulator", "bits": 5, "seed": 0})
    assert values["float_accuracy"] > 0.9
    assert values["accuracy"] > 0.8
    layers = [name for name in values if name.startswith("bits.")]
    assert len(layers) == 2
    assert values["accumulator_bits"] == max(values[name] for name in layers) <= 5
    assert values["complexity"] > 0
    assert 0 < values["sparsity"] < 1
    assert "encrypted_agreement" not in values


@pytest.mark.slow
@pytest.mark.parametrize("executor", [two_processes, dask], indirect=True)
def test_workers_agree_and_train_each_float_network_once(recipe, executor, tmp_path):
    alone = sweep(POINTS, recipe)
    assert not alone.failures.records
    elsewhere = replace(recipe, cache=tmp_path / "elsewhere")
    assert content(sweep(POINTS, elsewhere, executor=executor)) == content(alone)
    for cache in (recipe.cache, elsewhere.cache):
        assert len([p for p in cache.iterdir() if p.suffix != ".lock"]) == 2  # one for each seed


def test_threads_wait_for_each_other_and_agree(recipe):
    points = grid(strategy=["accumulator"], bits=[4], seed=[0, 1])
    with ThreadPoolExecutor(2) as threads:
        assert content(sweep(points, recipe, executor=threads)) == content(sweep(points, recipe))


def test_a_field_of_the_recipe_may_be_an_axis(recipe):
    points = grid(strategy=["accumulator"], bits=[6], activation_bits=[1, 3])
    narrow, wide = sweep(points, recipe)
    assert wide.values["sparsity"] > narrow.values["sparsity"]


def test_the_cache_is_no_part_of_the_sweep(recipe, tmp_path):
    journal = tmp_path / "runs.jsonl"
    points = grid(strategy=["accumulator"], bits=[6])
    sweep(points, recipe, journal=journal)
    moved = replace(recipe, cache=tmp_path / "elsewhere")
    sweep(points, moved, journal=journal)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("point", "error", "complaint"),
    [
        ({"strategy": ["accumulator"], "sparsity": [0.5]}, OptionError, "no option 'sparsity'"),
        ({"strategy": ["magnitude", "accumulator"], "bits": [5]}, OptionError, "no option 'bits'"),
        ({"strategy": ["accumulator"], "bits": [5, "wide"]}, OptionError, "'wide'"),
        ({"strategy": ["accumulatr"]}, UnknownStrategyError, "accumulatr"),
        ({"bits": [4]}, PointError, "field 'strategy'"),
    ],
)
def test_what_is_wrong_with_a_point_is_said_before_anything_is_trained(
    recipe, point, error, complaint
):
    with pytest.raises(error, match=complaint):
        sweep(grid(**point), recipe)
    assert not recipe.cache.exists()


@pytest.mark.encrypted
@pytest.mark.slow
def test_encrypted_samples_decrypt_to_the_networks_integers(recipe):
    point = {"strategy": "accumulator", "bits": 3, "activation_bits": 1, "encrypted_samples": 3}
    assert recipe(point)["encrypted_agreement"] == 1.0
