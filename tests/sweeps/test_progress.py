import io
import sys

import pytest

from secateur.sweeps.events import Event
from secateur.sweeps.points import grid
from secateur.sweeps.progress import Best
from secateur.sweeps.records import Outcome, Record
from secateur.sweeps.run import sweep


def event(point, values):
    record = Record(0, "0" * 32, point, {}, Outcome(values, 0.1))
    return Event(record, False, 1, 0, 0, None)


def test_the_best_is_the_most_accurate():
    best = Best()
    assert best.after(event({"n": 1}, {})) == ""
    assert best.after(event({"n": 1}, {"x": 9, "accuracy": 0.5})) == "best accuracy 0.5 at n=1"
    assert best.after(event({"n": 2}, {"x": 10, "accuracy": 0.4})) == "best accuracy 0.5 at n=1"
    assert best.after(event({"n": 3}, {"x": 0, "accuracy": 0.75})) == "best accuracy 0.75 at n=3"


class Terminal(io.StringIO):
    def isatty(self):
        return True


def evaluate(point):
    if point["n"] == 2:
        raise ValueError
    return {"accuracy": point["n"] / 4}


def test_a_terminal_shows_a_bar_and_nothing_else_does(monkeypatch):
    pytest.importorskip("rich")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    for stream, shown in ((Terminal(), True), (io.StringIO(), False)):
        monkeypatch.setattr(sys, "stderr", stream)
        sweep(grid(n=range(4)), evaluate)
        assert ("4/4" in stream.getvalue()) == shown
        assert ("1 failed" in stream.getvalue()) == shown
        assert ("best accuracy 0.75 at n=3" in stream.getvalue()) == shown
