"""The bench of prices: its tasks, its tables, and what it does where the rival cannot be had."""

import json
from dataclasses import dataclass

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("brevitas")

from benches.price import ours, report, run
from benches.price.data import CORNERS, RECIPES, Recipe, task
from benches.price.report import Row
from secateur import analyze
from secateur.sweeps import sweep


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


@pytest.mark.parametrize("about", [False, True])
def test_a_point_of_ours_is_trained_within_its_bits(small_task, about):
    point = next(iter(ours.points("test", range(1), "small"))) | {
        "bits": (5, 5, 6),
        "dropped": (1, 2),
        "kept": (0.75, 1.0),
        "about": about,
    }
    made, _ = ours.network(point)
    assert [layer.codes.shape for layer in made.layers] == [(6, 6), (8, 6), (2, 8)]
    spans = [int(analyze(made)[layer.name].channels.span.max()) for layer in made.layers]
    room = (2, 4, 0) if about else (0, 0, 0)
    assert all(s <= 2**b - 1 - r for s, b, r in zip(spans, (5, 5, 6), room, strict=True))


def test_rows_are_means_over_seeds_the_cheapest_first():
    rows = [
        Row("b", "exact", 0.9, 2e9, 0),
        Row("a", "exact", 0.8, 1e9, 2),
        Row("a", "exact", 0.6, 1e9, 4),
    ]
    assert report.means(rows) == [
        Row("a", "exact", pytest.approx(0.7), 1e9, 3.0, 2),
        Row("b", "exact", 0.9, 2e9, 0.0, 1),
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
    ours_ = [Row("secateur 5−1·6", "exact", 0.97, 8e9, 0)]
    text = report.section({"digits": [*theirs, *ours_]}, "figure.png", "Sizes.")
    assert "| secateur 5−1·6 | exact | 0.9700 | 8.00e+09 | 0 | 1 |" in text
    assert "| Concrete ML classifier 4 bits 50% pruned | power of two |" in text
    # Twice the mark at their accuracy, within the mark of digits at another.
    assert (
        "| 0.9500 | classifier 4 bits 50% pruned, power of two | 1.00e+10 | exact: 5−1·6 |" in text
    )
    assert "| 8.00e+09 | 0.80 | 0.5 | missed |" in text
    assert "| exact, accuracy 0.975 or more | none reaches it | 8.9e+09 | missed |" in text
    assert "| secateur | exact | 0 to 0 |" in text
    assert "| Concrete ML | exact | 7 to 7 |" in text
    assert text.endswith("Sizes.")
    report.draw({"digits": [*theirs, *ours_]}, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").stat().st_size > 1000


def test_a_point_is_labelled_by_its_bits():
    point = ours._candidate((6, 5, 6), (2, 1), (3, 2, 2))
    assert report.label(point) == "6−2·5−1·6, 3/2/2"
    assert report.label({**point, "about": True}) == "6∼2·5∼1·6, 3/2/2"
    assert report.label({**point, "kept": (0.5, 1.0)}).endswith("fewer neurons")


def test_marks_compare_with_the_cheapest_that_is_as_accurate():
    rows = [
        Row("Concrete ML a", "exact 4", 0.97, 2e10, 5),
        Row("Concrete ML b", "exact 5", 0.96, 3e10, 5),  # dearer and worse: no mark
        Row("Concrete ML a", "approximate 4", 0.975, 9e9, 50),
        Row("secateur x", "exact", 0.97, 9e9, 0),
        Row("secateur y", "exact", 0.98, 1.2e10, 0),
        Row("secateur x", "approximate", 0.976, 6e9, 9),
    ]
    found = [(line[1], line[3], line[5], line[7]) for line in report.marks(rows)]
    assert found == [
        ("a, exact 4", "exact: x", "0.45", "met"),
        ("a, approximate 4", "approximate: x", "0.67", "met"),
        ("a, approximate 4", "exact: y", "1.33", "missed"),
    ]
    assert [line[-1] for line in report.absolute(rows)] == ["missed", "met", "met"]


def test_what_no_network_of_ours_reaches_is_missed():
    rows = [Row("Concrete ML a", "exact 4", 0.97, 2e10, 5), Row("secateur x", "none", 0.9, 1e9, 0)]
    (line,) = report.marks(rows)
    assert line[3:] == ["exact: none reaches it", "", "", "0.5", "missed"]


def test_steps_are_held_against_free_ones():
    (free, coarse), _ = ours.STEPS
    free, coarse = ("secateur " + report.label(c) for c in (free, coarse))
    rows = [
        Row(free, "none", 0.98, 4e10, 0),
        Row(coarse, "none", 0.976, 4e10, 0),
        Row(coarse, "exact", 0.976, 1.6e10, 0),
    ]
    lost, saved = report.steps(rows)
    assert lost[1:] == ["points lost", "0.40", "0.5", "met"]
    assert saved[1:] == ["complexity, of unrounded", "0.400", "0.333", "missed"]


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


def test_what_the_journals_have_can_be_written_without_measuring(monkeypatch, tmp_path):
    monkeypatch.setattr(run, "OURS", tmp_path / "ours.jsonl")
    monkeypatch.setattr(run, "THEIRS", tmp_path / "theirs.jsonl")
    monkeypatch.setattr(run, "environment", lambda: pytest.fail("nothing is to be measured"))
    assert run.ours_of("digits", measuring=False) == run.theirs_of("digits", measuring=False) == []
    point = {"dataset": "digits", **ours._candidate((5, 5, 6), (1, 1), (3, 2, 2))}
    values = {"accuracy": 0.9, "none": 2e10, "exact": 1e10, "corners_wrong": 0}
    sweep([point, {**point, "dataset": "other"}], Measured(values), journal=run.OURS)
    (record,) = run.ours_of("digits", measuring=False)
    assert report.ours_rows([record]) == [
        Row("secateur 5−1·5−1·6, 3/2/2", "none", 0.9, 2e10, 0),
        Row("secateur 5−1·5−1·6, 3/2/2", "exact", 0.9, 1e10, 0),
    ]


@dataclass(frozen=True)
class Measured:
    """Measures the same of every point."""

    values: dict[str, float]

    def __call__(self, point):
        return self.values
