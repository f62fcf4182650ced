"""The report is one file, tells everything, and needs nothing from anywhere."""

from html.parser import HTMLParser

import pytest

from secateur.errors import ColumnError
from secateur.show.report import write_report
from secateur.sweeps import grid, sweep


def evaluate(point):
    if point["bits"] == 5:
        raise ValueError("no <mask> fits & that is that")
    seed, bits = point["seed"], point["bits"]
    return {
        "accuracy": 0.9 + bits / 100 + seed / 1000,
        "complexity": 10.0**bits * (1 + seed),
        "bits.fc1": bits,
        "bits.fc2": bits - 1,
        "backend": "a <b>",
    }


class Page(HTMLParser):
    """What a browser would find."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.attributes, self.text = [], {}, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture
def results():
    return sweep(grid(strategy=["random", "magnitude"], bits=[4, 5, 6], seed=range(2)), evaluate)


@pytest.fixture
def page(results, tmp_path):
    write_report(results, tmp_path / "report.html", title="Bits & <pieces>")
    return Page((tmp_path / "report.html").read_text())


def test_it_asks_nothing_of_the_network(page):
    assert not {"link", "img", "iframe", "object"} & set(page.tags)
    assert not {"src", "href", "xlink:href"} & {name for name, _ in page.attributes}
    assert not any("url(" in text or "@import" in text or "fetch(" in text for text in page.text)


def test_it_shows_every_point_in_chart_and_table(page, results):
    succeeded = len(results) - len(results.failures)
    assert page.tags.count("circle") == succeeded + 2  # and one in the legend per strategy
    table = page.tags[len(page.tags) - 1 - page.tags[::-1].index("table") :]
    assert table.count("tr") >= len(results) + 1
    assert ("class", "front") in page.attributes


def test_it_shows_the_widths_of_every_layer_and_the_failures(page, results):
    assert {"fc1", "fc2"} <= set(page.text)
    assert page.tags.count("details") == len(results.failures) == 4
    assert any("no <mask> fits & that is that" in text for text in page.text)
    assert "Bits & <pieces>" in page.text


def test_numbers_sort_by_their_full_value(page, results):
    values = {value for name, value in page.attributes if name == "data-value"}
    assert {repr(r.values["accuracy"]) for r in results if not r.failed} <= values


def test_points_without_the_field_by_are_all_alike(tmp_path):
    results = sweep(grid(n=[1, 2]), lambda p: {"accuracy": p["n"], "complexity": p["n"]})
    write_report(results, tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text())
    assert page.tags.count("circle") == 2


def test_a_sweep_that_failed_throughout_still_has_a_report(tmp_path):
    def fail(point):
        return {"accuracy": 1.0, "complexity": 1.0} if point["n"] == 2 else [][0]

    results = sweep(grid(n=[0, 2]), fail)
    write_report(results, tmp_path / "report.html")
    assert "IndexError" in (tmp_path / "report.html").read_text()


def test_a_column_that_is_not_there_is_named(results, tmp_path):
    with pytest.raises(ColumnError, match=r"no column 'energy'"):
        write_report(results, tmp_path / "report.html", cost="energy")
    assert not (tmp_path / "report.html").exists()


def test_a_floor_above_every_point_leaves_no_front(results, tmp_path):
    write_report(results, tmp_path / "report.html", floor=2.0)
    page = (tmp_path / "report.html").read_text()
    assert "0 on the Pareto front" in page
    assert page.count("<circle") > 2


def test_gains_that_are_no_numbers_are_not_drawn(tmp_path):
    nan = sweep(grid(n=[1]), lambda p: {"accuracy": float("nan"), "complexity": 1.0})
    write_report(nan, tmp_path / "report.html")
    assert "<svg" not in (tmp_path / "report.html").read_text()
