"""Plots hold what they are given: checked on the drawn artists."""

import numpy as np
import pytest

from networks import example
from secateur.analysis import analyze
from secateur.errors import ColumnError
from secateur.ranges import Ranges
from secateur.sweeps import Sparsities, grid, sweep, sweep_bounds

pytest.importorskip("matplotlib")
from secateur import plot


def evaluate(point):
    if point["n"] == 3:
        raise ValueError
    return {"accuracy": point["n"] / 10, "complexity": 10.0 ** point["n"]}


def test_pareto_shows_every_point_and_the_front():
    results = sweep(grid(strategy=["random", "magnitude"], n=[1, 2, 3]), evaluate)
    axes = plot.pareto(results).axes[0]
    drawn = np.concatenate([c.get_offsets() for c in axes.collections])
    finite = drawn[np.isfinite(np.asarray(drawn)).all(axis=1)]
    assert sorted(map(tuple, np.asarray(finite).tolist())) == [
        (10.0, 0.1),
        (10.0, 0.1),
        (100.0, 0.2),
        (100.0, 0.2),
    ]
    (line,) = axes.lines
    assert line.get_xdata().tolist() == [10, 10, 100, 100]
    legend = [text.get_text() for text in axes.get_legend().get_texts()]
    assert legend == ["Pareto front", "random", "magnitude"]
    assert "complexity" in axes.get_xlabel()
    assert "accuracy" in axes.get_ylabel()


def test_pareto_names_a_column_that_is_not_there():
    results = sweep(grid(n=[1, 2]), evaluate)
    with pytest.raises(ColumnError, match=r"no column 'energy'"):
        plot.pareto(results, cost="energy")


def test_points_without_groups_are_alike_and_only_the_front_is_named():
    legend = plot.pareto(sweep(grid(n=[1, 2]), evaluate)).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["Pareto front"]


def test_networks_that_learned_nothing_are_no_front():
    axes = plot.pareto(sweep(grid(n=[1, 2]), evaluate), floor=0.15).axes[0]
    (line,) = axes.lines
    assert set(line.get_ydata()) == {0.2}


def test_a_floor_above_every_point_leaves_no_front():
    results = sweep(grid(n=[1, 2]), lambda p: {"accuracy": 0.5, "complexity": float(p["n"])})
    (axes,) = plot.pareto(results, floor=0.9).axes
    assert "Pareto front" not in axes.get_legend_handles_labels()[1]


def test_nothing_to_draw_is_no_error():
    assert plot.pareto(sweep(grid(n=[3]), evaluate, retry_failed=True), "n", "n").axes
    assert plot.profile({}).axes[0].get_legend() is None


@pytest.mark.parametrize(
    "shown",
    [
        ([-(2**63), 0], [2**63 - 1, 7]),
        Ranges([-(2**63), 0], [2**63 - 1, 7]),
        {"fc": Ranges([-(2**63), 0], [2**63 - 1, 7])},
    ],
    ids=["arrays", "ranges", "named"],
)
def test_ranges_takes_arrays_and_ranges(shown):
    axes = plot.ranges(shown).axes[0]
    drawn = [tuple(s[:, 1]) for c in axes.collections for s in c.get_segments()]
    assert drawn == [(-(2.0**63), 2.0**63), (0.0, 7.0)]
    assert axes.texts[0].get_text() == "64 bits"


def test_ranges_takes_a_network():
    network = example("mlp", 3)
    names = [t.get_text() for t in plot.ranges(network).axes[0].get_xticklabels()]
    assert names == [node.name for node in analyze(network).accumulators]


def test_ranges_shows_every_channel_of_every_accumulator():
    report = analyze(example("mlp", 3))
    axes = plot.ranges(report).axes[0]
    drawn = [tuple(s[:, 1]) for c in axes.collections for s in c.get_segments()]
    assert drawn == [
        (low, high)
        for node in report.accumulators
        for low, high in zip(node.channels.low, node.channels.high, strict=True)
    ]
    assert [t.get_text() for t in axes.get_xticklabels()] == [n.name for n in report.accumulators]


def test_profile_shows_the_width_of_every_layer():
    network = example("mlp", 3)
    columns = sweep_bounds(network, Sparsities([0.9, 0.0, 0.5]))
    axes = plot.profile(columns).axes[0]
    for line, layer in zip(axes.lines, network.layers, strict=True):
        assert line.get_label() == layer.name
        assert sorted(line.get_ydata()) == sorted(columns[f"bits.{layer.name}"])
        assert list(line.get_xdata()) == sorted(columns[f"sparsity.{layer.name}"])
