from secateur.sweeps.events import Event
from secateur.sweeps.points import grid
from secateur.sweeps.records import Outcome, Record
from secateur.sweeps.run import sweep
from secateur.sweeps.watch import Best


def event(point, values):
    record = Record(0, "0" * 32, point, {}, Outcome(values, 0.1))
    return Event(record, False, 1, 0, 0, None)


def test_the_best_is_the_most_accurate():
    best = Best()
    assert best.after(event({"n": 1}, {})) == ""
    assert best.after(event({"n": 1}, {"x": 9, "accuracy": 0.5})) == "best accuracy 0.5 at n=1"
    assert best.after(event({"n": 2}, {"x": 10, "accuracy": 0.4})) == "best accuracy 0.5 at n=1"
    assert best.after(event({"n": 3}, {"x": 0, "accuracy": 0.75})) == "best accuracy 0.75 at n=3"


def evaluate(point):
    if point["n"] == 2:
        raise ValueError
    return {"accuracy": point["n"] / 4}


def test_a_terminal_shows_how_far_it_is(terminal):
    shown = terminal()
    sweep(grid(n=range(4)), evaluate)
    for part in ("4/4", "1 failed", "best accuracy 0.75 at n=3"):
        assert part in shown.getvalue()


def test_nothing_else_does(capsys):
    sweep(grid(n=range(4)), evaluate)
    assert capsys.readouterr().err == ""
