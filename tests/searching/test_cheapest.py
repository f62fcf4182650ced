"""Searches by price: they find, they say when they cannot, they go on after interruptions."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import secateur
from secateur.backends import backend_named
from secateur.backends.estimates import Lookups
from secateur.errors import ArgumentError, SearchError
from secateur.searching import Space, search
from secateur.searching.space import estimate, widths
from secateur.sweeps import Results

SPACE = Space(
    hidden=[(6, 4), (8,)],
    weight_bits=(2,),
    activation_bits=(2,),
    input_bits=(2,),
    accumulator_bits=(3, 4),
    read_bits=(2, 3),
    output_bits=(5,),
)
ONE = Space([(6, 4)], (2,), (2,), (2,), (4,), (3,), (5,))


def perceptron(hidden):
    sizes = (4, *hidden)
    layers = [
        module
        for fan_in, fan_out in zip(sizes, hidden, strict=False)
        for module in (nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU())
    ]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], 2))


def data():
    x = np.random.default_rng(0).random((150, 4)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


found_by = partial(search, perceptron, data(), epochs=6, batch_size=32, trials=5, finalists=2)


@pytest.mark.whole
def test_the_cheapest_that_is_good_enough_is_found(tmp_path):
    journal = tmp_path / "runs.jsonl"
    found = found_by(accuracy=0.6, space=ONE, journal=journal)
    assert found.accuracy >= 0.6
    assert found.price.complexity == min(
        r.values["complexity"]
        for r in Results.read(journal)
        if r.point["epochs"] == 1 and r.values["accuracy"] >= 0.6
    )
    assert secateur.verify(found.certificate, found.network).holds
    assert found.wall_s > 0
    again = found_by(accuracy=0.6, space=ONE, journal=journal)
    assert again.point == found.point
    x, _ = data()
    assert (again.network.predict(x) == found.network.predict(x)).all()
    assert [r.point for r in found.front] == [r.point for r in again.front]


@pytest.mark.whole
def test_an_interrupted_search_goes_on(tmp_path):
    journal, built = tmp_path / "runs.jsonl", []

    def build(hidden):
        built.append(hidden)
        if len(built) == 2:
            raise KeyboardInterrupt
        return perceptron(hidden)

    run = partial(
        search, build, data(), accuracy=0.5, space=ONE, epochs=4, trials=2, journal=journal
    )
    with pytest.raises(KeyboardInterrupt):
        run()
    assert run().accuracy >= 0.5


@pytest.mark.whole
def test_an_accuracy_that_nothing_reaches_names_the_best():
    x, y = data()
    noise = np.random.default_rng(1).integers(0, 2, len(y))
    with pytest.raises(SearchError, match="no candidate reaches an accuracy of 1") as caught:
        search(perceptron, (x, noise), accuracy=1.0, space=ONE, epochs=3, trials=1)
    assert 0 < caught.value.best < 1
    assert caught.value.point["hidden"] == [6, 4]
    assert caught.value.wall_s > 0


def test_layers_may_differ_from_one_module_to_another_only_where_names_agree():
    with pytest.raises(ArgumentError, match="layers"):
        found_by(accuracy=0.5, space=SPACE)


@pytest.mark.parametrize(
    "wrong", [{"accuracy": 0}, {"accuracy": 1.1}, {"trials": 0}, {"finalists": 0}, {"p_error": 1.0}]
)
def test_settings_that_no_search_can_have(wrong):
    (name,) = wrong
    with pytest.raises(ArgumentError, match=name):
        found_by(**{"accuracy": 0.5, "space": ONE} | wrong)


def test_estimates_rank_thousands_in_a_second():
    import time

    backend = backend_named()
    axes = ONE.axes(["0", "3"])
    point = {name: values[0] for name, values in axes.items()}
    start = time.perf_counter()
    for _ in range(2000):
        estimate(point, {"0": 6, "3": 4}, backend, 2.0**-40)
    assert time.perf_counter() - start < 5  # a thousandth of what compiling takes
    assert widths(point, ["0", "3"]) == {"0": (4, 1), "3": (4, 1)}


def test_an_estimate_is_the_backends():
    backend = backend_named()
    point = {"bits.a": 6, "read.a": 3, "bits.output": 6}
    expected = backend.estimate([Lookups(10, 6, 3)], 6, 1e-9)
    assert estimate(point, {"a": 10}, backend, 1e-9) == expected
    wider = backend.estimate([Lookups(10, 7, 3)], 6, 1e-9)
    assert expected < wider


@pytest.mark.whole
def test_torch_is_left_as_it_was():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    found_by(accuracy=0.5, space=ONE, trials=1, finalists=1)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.whole
def test_neurons_that_are_removed_in_training_cost_no_lookups(tmp_path):
    journal = tmp_path / "runs.jsonl"
    space = replace(ONE, hidden=[(6, 4)], removed=(0.5,))
    found = found_by(accuracy=0.5, space=space, journal=journal, trials=1, finalists=1)
    assert found.point["removed"] == 0.5
    assert [len(layer.codes) for layer in found.network.layers] == [3, 2, 2]
    assert found.price.lookups == 5
    assert secateur.verify(found.certificate, found.network).holds


def test_estimates_count_the_neurons_that_are_left():
    backend = backend_named()
    whole = {"bits.a": 6, "read.a": 3, "bits.output": 6}
    prices = [
        estimate({**whole, "removed": removed}, {"a": 8}, backend, 2.0**-40)
        for removed in (0.0, 0.5)
    ]
    assert prices[1] < prices[0]


@pytest.mark.parametrize("removed", [-0.5, 1.0])
def test_some_neurons_stay(removed):
    with pytest.raises(ArgumentError, match="removed holds"):
        replace(ONE, removed=(removed,))
