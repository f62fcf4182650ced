import asyncio

import numpy as np
import pytest

from secateur.errors import ResultError
from secateur.sweeps.attempt import attempt
from secateur.sweeps.records import Outcome

POINT = {"bits": 4, "seed": 0}


def test_values_are_plain_afterwards():
    outcome = attempt(
        lambda p: {"a": np.float32(0.5), "b": np.int8(3), "c": True, "d": "x", "e": None}, POINT
    )
    assert outcome.values == {"a": 0.5, "b": 3, "c": True, "d": "x", "e": None}
    assert [type(v) for v in outcome.values.values()] == [float, int, bool, str, type(None)]


def test_an_exception_becomes_strings():
    class UnpicklableError(RuntimeError):
        def __init__(self):
            super().__init__("no good")
            self.held = lambda: None

    def evaluate(point):
        raise UnpicklableError

    failure = attempt(evaluate, POINT).failure
    assert failure.type.endswith("UnpicklableError")
    assert failure.message == "no good"
    assert "raise UnpicklableError" in failure.traceback


@pytest.mark.parametrize(
    "error", [SystemExit(3), GeneratorExit(), asyncio.CancelledError(), MemoryError()], ids=repr
)
def test_whatever_is_raised_is_a_failure_of_its_point(error):
    def evaluate(point):
        raise error

    assert attempt(evaluate, POINT).failure.type.endswith(type(error).__name__)


def test_ctrl_c_goes_on():
    def evaluate(point):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempt(evaluate, POINT)


def test_a_message_that_cannot_be_read_is_said_so():
    class SilentError(Exception):
        def __str__(self):
            raise ValueError

    def evaluate(point):
        raise SilentError

    assert "ValueError" in attempt(evaluate, POINT).failure.message


@pytest.mark.parametrize(
    ("result", "complaint"),
    [
        (None, "gave NoneType"),
        (0.97, "gave float"),
        ({"accuracy": np.ones(2)}, "accuracy.*ndarray.*float\\(value\\)"),
        ({"report": {"bits": 3}}, "'report'.*dict"),
        ({3: 4}, "gave 3: 4"),
        ({"bits": 5}, "'bits': 5.*another name"),
        ({"bits": 4.0}, "'bits': 4.0.*another name"),
    ],
)
def test_a_result_of_another_form_is_an_error_that_shows_it(result, complaint):
    error = attempt(lambda p: result, POINT)
    assert isinstance(error, ResultError)
    with pytest.raises(ResultError, match=complaint):
        raise error


def test_the_points_own_fields_may_come_back():
    assert attempt(lambda p: {**p, "x": 1}, POINT).values == {"x": 1}


def test_nan_is_a_number():
    outcome = attempt(lambda p: {"loss": float("nan")}, POINT)
    assert isinstance(outcome, Outcome)
    assert np.isnan(outcome.values["loss"])
