import dataclasses
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from random import Random

import evaluates
import executors
import pytest

from secateur.errors import (
    ArgumentError,
    JournalError,
    PointError,
    ResultError,
    SendError,
    UnknownStrategyError,
    WorkerError,
)
from secateur.sweeps.journal import Journal, Recorded
from secateur.sweeps.points import grid
from secateur.sweeps.provenance import fingerprint
from secateur.sweeps.results import Results
from secateur.sweeps.run import sweep

pytestmark = pytest.mark.whole

SQUARES = {n: {"square": n * n} for n in range(8)}


def content(results):
    return [
        (r.point, dict(r.values), r.outcome.failure and r.outcome.failure.message) for r in results
    ]


def counting(evaluate):
    """Return an evaluate of the same name that counts its calls, and the list of them."""
    calls = []

    def counted(point):
        calls.append(dict(point))
        return evaluate(point)

    return counted, calls


def square(point):
    return {"square": point["n"] ** 2}


def test_every_executor_gives_the_same_results(executor, tmp_path):
    expected = [
        (
            {"a": a, "b": b},
            {} if b == 3 else {"product": a * b, "half": a / 2, "word": "x" * a},
            "b is 3" if b == 3 else None,
        )
        for a in range(4)
        for b in range(5)
    ]
    journal = tmp_path / "runs.jsonl"
    assert content(sweep(evaluates.POINTS, evaluates.product, executor=executor)) == expected
    journaled = sweep(evaluates.POINTS, evaluates.product, executor=executor, journal=journal)
    assert content(journaled) == expected
    assert content(Results.read(journal)) == expected
    if isinstance(executor, Executor):
        assert executor.submit(int, 3).result() == 3, "the caller's executor was shut down"


def test_running_again_evaluates_what_is_new(tmp_path):
    journal = tmp_path / "runs.jsonl"
    counted, calls = counting(square)
    sweep(grid(n=range(3)), counted, journal=journal)
    results = sweep(grid(n=range(5)), counted, journal=journal)
    assert [c["n"] for c in calls] == [0, 1, 2, 3, 4]
    assert [r.values["square"] for r in results] == [0, 1, 4, 9, 16]


def test_failures_are_tried_again_on_request(tmp_path):
    journal = tmp_path / "runs.jsonl"
    counted, calls = counting(evaluates.product)
    points = grid(a=[1], b=[2, 3])
    assert len(sweep(points, counted, journal=journal).failures) == 1
    sweep(points, counted, journal=journal)
    assert len(calls) == 2
    results = sweep(points, counted, journal=journal, retry_failed=True)
    assert calls[2:] == [{"a": 1, "b": 3}]
    assert len(results) == 2
    assert len(list(Recorded(journal))) == 3


def test_evaluate_takes_the_point_as_it_was_drawn():
    @dataclasses.dataclass(frozen=True)
    class Candidate:
        n: int

    results = sweep([Candidate(3)], lambda candidate: {"square": candidate.n**2})
    assert results.records[0].point == {"n": 3}
    assert results.records[0].values == {"square": 9}


def test_a_generator_is_drawn_no_faster_than_it_is_evaluated():
    drawn = 0

    def points():
        nonlocal drawn
        for n in range(200):
            drawn += 1
            yield {"n": n}

    ahead = []
    with ThreadPoolExecutor(3) as pool:
        sweep(points(), square, executor=pool, on_event=lambda e: ahead.append(drawn - e.settled))
    assert drawn == 200
    assert max(ahead) <= 6


def test_events_tell_how_far_it_is(tmp_path):
    journal = tmp_path / "runs.jsonl"
    sweep(grid(a=[1], b=[2]), evaluates.product, journal=journal, on_event=lambda event: None)
    events = []
    sweep(grid(a=[1], b=[2, 3, 4]), evaluates.product, journal=journal, on_event=events.append)
    assert [(e.skipped, e.succeeded, e.failed, e.found) for e in events] == [
        (True, 0, 0, 1),
        (False, 0, 1, 1),
        (False, 1, 1, 1),
    ]
    assert {e.total for e in events} == {3}


def test_equal_points_in_flight_are_evaluated_once():
    counted, calls = counting(square)

    class Later(Executor):
        """Evaluates when the window is full."""

        def __init__(self):
            self.waiting = []
            self._max_workers = 2

        def submit(self, function, *args):
            future = Future()
            self.waiting.append((future, function, args))
            if len(self.waiting) == 3:
                for future_, function_, args_ in self.waiting:
                    future_.set_result(function_(*args_))
            return future

    results = sweep([{"n": 1}, {"n": 2}, {"n": 1}, {"n": 3}], counted, executor=Later())
    assert [c["n"] for c in calls] == [1, 2, 3]
    assert len(results) == 3


# What is wrong with the points or the function is found early, and named.


def test_a_wrong_point_is_named_before_any_runs():
    counted, calls = counting(square)
    with pytest.raises(PointError, match=r"field 'f'"):
        sweep([{"n": 1}, {"n": 2, "f": print}], counted)
    with pytest.raises(PointError, match=r"field 'f'"):
        sweep(grid(n=[1], f=[1, print]), counted)
    assert calls == []


def test_an_unknown_strategy_is_named_before_any_point_runs():
    counted, calls = counting(square)
    with pytest.raises(UnknownStrategyError, match=r"magnitud"):
        sweep(grid(strategy=["magnitude", "magnitud"], n=[1]), counted)
    assert calls == []


class Checked:
    """An evaluate function that knows which points it cannot take."""

    def check(self, point):
        if point["strategy"] == "magnitude" and "width" in point:
            raise PointError(f"no width in {point}", point=point)

    def __call__(self, point):
        raise AssertionError("a point ran")


@pytest.mark.parametrize(
    "points",
    [
        grid(strategy=["accumulator", "magnitude"], width=[3, 4]),
        [{"strategy": "accumulator", "width": 3}, {"strategy": "magnitude", "width": 3}],
    ],
    ids=["grid", "list"],
)
def test_what_evaluate_cannot_take_is_named_before_any_point_runs(points):
    with pytest.raises(PointError, match=r"no width in.*'magnitude'"):
        sweep(points, Checked())


def test_a_wrong_point_of_a_generator_stops_the_sweep_and_keeps_the_rest(tmp_path):
    journal = tmp_path / "runs.jsonl"
    with pytest.raises(PointError, match=r"field 'f'"):
        sweep(iter([{"n": 1}, {"n": 2, "f": print}]), square, journal=journal)
    assert content(Results.read(journal)) == [({"n": 1}, {"square": 1}, None)]


def test_a_wrong_result_stops_the_sweep():
    counted, calls = counting(lambda point: None)
    with pytest.raises(ResultError, match=r"NoneType for point \{'n': 0\}"):
        sweep(grid(n=range(9)), counted)
    assert len(calls) == 1


@pytest.mark.parametrize("executor", [2, "pool"])
def test_a_function_that_cannot_be_sent_is_named(executor):
    with ProcessPoolExecutor(1) as pool, pytest.raises(SendError, match=r"lambda.*top level"):
        sweep(grid(n=[1]), lambda point: {}, executor=pool if executor == "pool" else executor)


def test_a_point_that_cannot_be_sent_is_named():
    @dataclasses.dataclass(frozen=True)
    class Local:
        n: int

    with pytest.raises(SendError, match=r"Local\(n=1\)") as caught:
        sweep([Local(1)], evaluates.leave_a_mark, executor=2)
    assert caught.value.point == Local(1)


def test_another_functions_journal_is_refused(tmp_path):
    journal = tmp_path / "runs.jsonl"
    sweep(grid(n=[1]), square, journal=journal)
    with pytest.raises(JournalError, match=r"test_run.square.*evaluates.product"):
        sweep(grid(n=[1]), evaluates.product, journal=journal)


@pytest.mark.parametrize("executor", [0, -1])
def test_a_pool_of_no_processes_is_refused(executor):
    with pytest.raises(ArgumentError, match=r"at least one process"):
        sweep(grid(n=[1]), square, executor=executor)


def test_something_else_than_an_executor_is_refused():
    with pytest.raises(TypeError, match=r"client.get_executor"):
        sweep(grid(n=[1]), square, executor="processes")


# Workers die.


def test_a_worker_killed_by_its_id_loses_nothing(tmp_path):
    points = grid(n=range(12), marks=[str(tmp_path / "marks")], sleep_s=[0.1])
    killed = []

    def kill_one(event):
        if event.settled == 3:
            pid = int((tmp_path / "marks").read_text().split()[-1])
            assert pid != os.getpid()
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    results = sweep(points, evaluates.leave_a_mark, executor=2, on_event=kill_one)
    assert len(killed) == 1
    assert [r.values.get("square") for r in results] == [n * n for n in range(12)]


def test_a_point_that_kills_its_worker_is_a_failure_and_the_others_are_not():
    results = sweep(grid(n=range(8)), evaluates.die_on_poison, executor=2)
    assert [r.point["n"] for r in results.failures] == [3, 4]
    assert all(r.outcome.failure.type == "WorkerDied" for r in results.failures)
    assert {r.point["n"]: r.values for r in results if not r.failed} == {
        n: v for n, v in SQUARES.items() if n not in (3, 4)
    }


def test_a_worker_that_dies_once_costs_no_point(tmp_path):
    points = grid(n=range(8), marker=[str(tmp_path / "died")])
    results = sweep(points, evaluates.die_once, executor=2)
    assert {r.point["n"]: r.values for r in results} == SQUARES


def test_an_executor_of_the_callers_that_breaks_ends_the_sweep(tmp_path):
    journal = tmp_path / "runs.jsonl"
    points = grid(n=range(8))
    with (
        ProcessPoolExecutor(1, get_context("spawn")) as pool,
        pytest.raises(WorkerError, match=r"ProcessPoolExecutor died.*new executor"),
    ):
        sweep(points, evaluates.die_on_poison, executor=pool, journal=journal)
    kept = {r.point["n"]: r.values for r in Results.read(journal)}
    assert kept == {n: SQUARES[n] for n in range(3)}


def test_an_executor_that_is_shut_down_ends_the_sweep():
    pool = ThreadPoolExecutor(1)
    pool.shutdown()
    with pytest.raises(WorkerError, match=r"takes no more points"):
        sweep(grid(n=range(8)), square, executor=pool)


def test_workers_that_cannot_start_are_an_error_not_a_failure_of_each_point(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        textwrap.dedent("""
            from secateur.sweeps.points import grid
            from secateur.sweeps.run import sweep
            def square(point):
                return {"square": point["n"] ** 2}
            sweep(grid(n=range(100)), square, executor=1)
        """)
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert run.returncode == 1
    assert 'keep the call of sweep under `if __name__ == "__main__":`' in run.stderr


# The driver dies, or is stopped.

DRIVER = """
    import sys
    from concurrent.futures import ProcessPoolExecutor
    from pathlib import Path
    import evaluates
    from secateur.sweeps.points import grid
    from secateur.sweeps.run import sweep

    if __name__ == "__main__":
        directory, executor = sys.argv[1], eval(sys.argv[2])
        Path(directory, "imported").touch()
        points = grid(n=range(int(sys.argv[3])), marks=[directory + "/marks"], sleep_s=[0.1])
        journal = directory + "/runs.jsonl"
        sweep(points, evaluates.leave_a_mark, executor=executor, journal=journal)
"""


def start_driver(directory, executor, environment, points=20):
    script = directory / "driver.py"
    script.write_text(textwrap.dedent(DRIVER))
    return subprocess.Popen(
        [sys.executable, script, directory, executor, str(points)],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(condition, what):
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"waited 120 s for {what}")


def marks(directory):
    path = directory / "marks"
    return (
        [tuple(map(int, line.split())) for line in path.read_text().splitlines()]
        if path.exists()
        else []
    )


def alive(pid):
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z"


@pytest.mark.parametrize("executor", ["None", "2"])
@pytest.mark.parametrize("with_signal", [signal.SIGKILL, signal.SIGINT])
def test_a_driver_that_is_stopped_goes_on_where_it_was(
    tmp_path, executor, with_signal, with_helpers
):
    driver = start_driver(tmp_path, executor, with_helpers)
    wait_for(lambda: len(marks(tmp_path)) >= 6, "six points")
    driver.send_signal(with_signal)
    _, stderr = driver.communicate(timeout=120)
    assert driver.returncode != 0
    if with_signal == signal.SIGINT:
        assert "run the same sweep again to go on" in stderr
    before = marks(tmp_path)
    wait_for(lambda: not any(alive(pid) for _, pid in before), "the workers' end")
    recorded = {r.point["n"] for r in Recorded(tmp_path / "runs.jsonl")}
    assert len(recorded) >= len(before) - 4

    driver = start_driver(tmp_path, executor, with_helpers)
    assert driver.wait(timeout=60) == 0
    driver.stderr.close()
    results = Results.read(tmp_path / "runs.jsonl")
    assert [r.values["square"] for r in results] == [n * n for n in range(20)]
    times = Counter(n for n, _ in marks(tmp_path))
    assert all(times[n] == 1 for n in recorded), "a recorded point was evaluated again"


@pytest.mark.slow
def test_kills_of_drivers_and_workers_lose_nothing(tmp_path, with_helpers):
    """SECATEUR_KILLS says how many; each kills the driver or one of its workers."""
    kills, random = int(os.environ.get("SECATEUR_KILLS", "4")), Random(0)
    journal = tmp_path / "runs.jsonl"
    driver = start_driver(tmp_path, "2", with_helpers, points=10 * kills)
    for _ in range(kills):
        before = len(marks(tmp_path))
        wait_for(
            lambda before=before, driver=driver: (
                len(marks(tmp_path)) > before + random.randrange(4) or driver.poll() is not None
            ),
            "a few points",
        )
        if random.random() < 0.5 and driver.poll() is None and alive(marks(tmp_path)[-1][1]):
            os.kill(marks(tmp_path)[-1][1], signal.SIGKILL)
        else:
            driver.kill()
            driver.communicate()
            recorded = [r.point["n"] for r in Recorded(journal)] if journal.exists() else []
            assert len(recorded) == len(set(recorded))
            driver = start_driver(tmp_path, "2", with_helpers, points=10 * kills)
    assert driver.wait(timeout=300) == 0
    driver.stderr.close()
    written = [r.point["n"] for r in Recorded(journal)]
    assert sorted(written) == list(range(10 * kills)), "a point was lost, or recorded twice"
    for record in Recorded(journal):
        # A point whose worker was killed while it was alone under suspicion is a failure.
        if record.failed:
            assert record.outcome.failure.type == "WorkerDied"
        else:
            assert record.values["square"] == record.point["n"] ** 2


def test_forked_workers_that_outlive_their_driver_do_not_keep_the_journal(tmp_path, with_helpers):
    driver = start_driver(tmp_path, "ProcessPoolExecutor(2)", with_helpers)
    try:
        wait_for(lambda: len(marks(tmp_path)) >= 6, "six points")
        driver.kill()
        driver.wait()
        driver.stderr.close()
        Journal(tmp_path / "runs.jsonl", fingerprint(evaluates.leave_a_mark)).close()
    finally:
        os.killpg(driver.pid, signal.SIGKILL)


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.3, 1.6])
def test_ctrl_c_at_any_moment_prints_nothing_of_the_workers(tmp_path, after_s, with_helpers):
    driver = start_driver(tmp_path, "2", with_helpers)
    wait_for((tmp_path / "imported").exists, "the driver's imports")
    time.sleep(after_s)
    os.killpg(driver.pid, signal.SIGINT)
    _, stderr = driver.communicate(timeout=120)
    # What the interrupt came upon in the driver may be chained to it.
    chained = stderr.count("During handling of") + stderr.count("was the direct cause of")
    assert stderr.count("Traceback") - chained <= 1, stderr
    assert "Spawn" not in stderr, stderr


def test_ctrl_c_does_not_wait_for_the_points_in_flight():
    start = time.monotonic()

    def interrupt(point_event):
        raise KeyboardInterrupt

    points = [{"n": 0, "sleep": 0}, *({"n": n, "sleep": 60} for n in range(1, 5))]
    with pytest.raises(KeyboardInterrupt, match=r"stopped after 1 points.*a journal would keep"):
        sweep(points, evaluates.nap_if_told, executor=2, on_event=interrupt)
    assert time.monotonic() - start < 30


def test_a_killed_dask_worker_loses_nothing(tmp_path):
    points = grid(n=range(12), marks=[str(tmp_path / "marks")], sleep_s=[0.1])
    killed = []

    def kill_one(event):
        if event.settled == 3:
            pid = int((tmp_path / "marks").read_text().split()[-1])
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

    with executors.dask() as executor:
        results = sweep(points, evaluates.leave_a_mark, executor=executor, on_event=kill_one)
    assert killed
    assert killed[0] != os.getpid()
    assert [r.values.get("square") for r in results] == [n * n for n in range(12)]
