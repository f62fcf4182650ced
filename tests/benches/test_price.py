"""The bench of prices: its tasks, its tables, and what it does where the rival cannot be had."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

from benches.price import ours, report, run
from benches.price.data import CORNERS, RECIPES, Recipe, task
from secateur.sweeps import Results


def small():
    random = np.random.default_rng(0)
    x = random.random((60, 6)).astype(np.float32)
    return x, (x[:, 0] > x[:, 1]).astype(np.int64)


RECIPE = Recipe(small, (8, 8), 2, 3, 16)


@pytest.fixture
def small_task(monkeypatch):
    monkeypatch.setitem(RECIPES, "small", RECIPE)
    return task(RECIPE, "test", 0)


def test_both_sides_get_the_same_data(small_task, tmp_path):
    small_task.save(tmp_path / "data.npz")
    with np.load(tmp_path / "data.npz") as data:
        assert (data["train_x"] == small_task.train[0]).all()
        assert (data["test_x"] == small_task.held_out[0]).all()
        assert data["sizes"].tolist() == [6, 8, 8, 2]
        assert len(data["corners"]) == CORNERS
        low, high = data["calibration"].min(0), data["calibration"].max(0)
        assert ((data["corners"] == low) | (data["corners"] == high)).all()
        assert {name for name in data if name.startswith("float.0.")} == {
            "float.0.weight",
            "float.0.bias",
        }
        # The first two corners are the extremes of the first neuron.
        reached = data["corners"] @ data["float.0.weight"][0]
        assert (reached[0], reached[1]) == (reached.max(), reached.min())


def test_a_point_of_ours_is_trained_within_its_bits(small_task):
    point = next(iter(ours.points("test", range(1), "small"))) | {
        "bits": (5, 5, 6),
        "dropped": (1, 1),
        "kept": (0.75, 1.0),
    }
    made, _ = ours.network(point)
    assert [layer.codes.shape for layer in made.layers] == [(6, 6), (8, 6), (2, 8)]


def test_rows_are_means_over_seeds_the_cheapest_first():
    rows = [
        ("b", "exact", 0.9, 2e9, 0),
        ("a", "exact", 0.8, 1e9, 2),
        ("a", "exact", 0.6, 1e9, 4),
    ]
    assert report.means(rows) == [
        ("a", "exact", pytest.approx(0.7), 1e9, 3.0, 2),
        ("b", "exact", 0.9, 2e9, 0.0, 1),
    ]


def test_the_section_has_both_sides(tmp_path):
    theirs = report.their_rows(
        [
            {
                "method": "classifier",
                "bits": 4,
                "pruned": 0.5,
                "rounding": "power of two",
                "accuracy": 0.95,
                "complexity": 1e10,
                "corners_wrong": 7,
            }
        ]
    )
    ours_ = [("secateur 5−1·6", "exact", 0.97, 8e9, 0)]
    text = report.section({"digits": [*theirs, *ours_]}, "figure.png")
    assert "| secateur 5−1·6 | exact | 0.9700 | 8.00e+09 | 0 | 1 |" in text
    assert "| Concrete ML classifier 4 bits 50% pruned | power of two |" in text
    report.draw({"digits": [*theirs, *ours_]}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_point_is_labelled_by_its_bits():
    point = {"bits": (6, 5, 6), "dropped": (2, 1), "formats": (3, 2, 2), "kept": (1.0, 1.0)}
    assert report.label(point) == "6−2·5−1·6, 3/2/2"
    assert report.label({**point, "kept": (0.5, 1.0)}).endswith("fewer neurons")


@pytest.mark.whole
def test_where_the_rival_does_not_install_it_is_skipped_with_a_word(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(run, "RIVAL", "./nowhere==0")
    assert run.environment() is None
    assert "./nowhere==0 does not install here" in capsys.readouterr().err


def test_results_of_the_rival_that_are_known_are_not_measured_again(monkeypatch, tmp_path):
    journal = tmp_path / "theirs.jsonl"
    monkeypatch.setattr(run, "THEIRS", journal)
    monkeypatch.setattr(run, "environment", lambda: None)
    journal.write_text(
        json.dumps({"dataset": "digits", "seed": 0, "method": "brevitas", "failed": "no"})
        + "\n"
        + json.dumps({"dataset": "digits", "seed": 0, "method": "classifier", "bits": 4})
        + "\n"
    )
    assert [r["method"] for r in run.theirs_of("digits")] == ["classifier"]
    assert report.ours_rows(Results(())) == []
