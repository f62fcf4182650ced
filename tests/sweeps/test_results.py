import numpy as np
import pytest

from secateur.errors import ColumnError
from secateur.sweeps.points import identity
from secateur.sweeps.records import Failure, Outcome, Record
from secateur.sweeps.results import Latest, Results


def record(index, point, values=None, failure=None):
    return Record(index, identity(point), point, {}, Outcome(values or {}, 0.5, failure))


@pytest.fixture
def results():
    return Results(
        (
            record(0, {"bits": 4}, {"accuracy": 0.9, "complexity": 10, "backend": "a"}),
            record(1, {"bits": 5}, {"accuracy": 0.8, "complexity": 20, "backend": "a"}),
            record(2, {"bits": 6}, failure=Failure("ValueError", "too wide")),
            record(3, {"bits": 7}, {"accuracy": 0.95, "complexity": 5, "backend": "b"}),
            record(4, {"bits": 8}, {"accuracy": 0.97, "complexity": 40, "backend": "b"}),
        )
    )


def bits(results):
    return [r.point["bits"] for r in results]


def test_the_last_record_of_a_point_counts_in_the_order_of_the_points():
    written = [
        record(1, {"bits": 5}, {"x": 1}),
        record(0, {"bits": 4}, failure=Failure("E", "")),
        record(0, {"bits": 4}, {"x": 2}),
    ]
    results = Results(Latest(written))
    assert [(r.point["bits"], r.values["x"]) for r in results] == [(4, 2), (5, 1)]


def test_the_front_is_cheapest_first(results):
    assert bits(results.pareto("accuracy", "complexity")) == [7, 8]


def test_the_best_is_the_greatest_within_the_limits(results):
    assert results.best("accuracy").point == {"bits": 8}
    assert results.best("accuracy", at_most={"complexity": 30}).point == {"bits": 7}
    assert results.best("accuracy", at_most={"complexity": 30, "bits": 5}).point == {"bits": 4}


def test_nothing_within_the_limits_is_an_error(results):
    with pytest.raises(ColumnError, match=r"none of 5 points has 'accuracy' within"):
        results.best("accuracy", at_most={"complexity": 1})


def test_an_unknown_column_is_an_error_that_lists_those_there_are(results):
    with pytest.raises(ColumnError, match=r"no column 'acuracy'; there are bits, accuracy"):
        results.pareto("acuracy", "complexity")
    with pytest.raises(ColumnError, match=r"column 'backend' holds 'a', which is no number"):
        results.best("backend")


def test_numbers_are_nan_where_a_point_failed(results):
    np.testing.assert_array_equal(results.numbers("accuracy"), [0.9, 0.8, np.nan, 0.95, 0.97])


def test_failures_are_the_points_that_failed(results):
    assert bits(results.failures) == [6]
    assert results.columns["sweep.failure"][2] == "ValueError: too wide"


def test_a_data_frame_has_a_row_per_point(results):
    pytest.importorskip("pandas")
    frame = results.to_pandas()
    assert frame.columns.tolist() == [
        "bits",
        "accuracy",
        "complexity",
        "backend",
        "sweep.wall_s",
        "sweep.failure",
    ]
    assert frame["bits"].tolist() == [4, 5, 6, 7, 8]
    assert frame["accuracy"].isna().tolist() == [False, False, True, False, False]


def test_parquet_gives_back_the_columns(results, tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    mixed = record(5, {"bits": "auto", "layers": {"fc": [1, "x"]}}, {"accuracy": 1})
    Results((*results, mixed)).to_parquet(tmp_path / "runs.parquet")
    frame = pandas.read_parquet(tmp_path / "runs.parquet")
    assert frame["accuracy"].tolist()[3:] == [0.95, 0.97, 1.0]
    assert frame["bits"].tolist() == ["4", "5", "6", "7", "8", '"auto"']
    assert frame["layers"].tolist()[-1] == '{"fc": [1, "x"]}'
    assert frame["backend"].tolist()[:2] == ["a", "a"]


def test_what_gains_less_than_the_floor_is_no_front(results):
    assert bits(results.pareto("accuracy", "complexity")) == [7, 8]
    assert bits(results.pareto("accuracy", "complexity", floor=0.96)) == [8]
    assert bits(results.pareto("accuracy", "complexity", floor=2)) == []


def test_results_print_as_a_table(results):
    heading, *rows = str(results).splitlines()
    assert heading.split() == list(results.columns)
    assert len(rows) == len(results)
