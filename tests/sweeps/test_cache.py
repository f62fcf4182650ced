import multiprocessing
import os
import signal
import time

import pytest

from secateur.sweeps.cache import Cache


def make_slowly(directory, marks, answers):
    def make():
        with open(marks, "a") as file:
            file.write("made\n")
        time.sleep(0.3)
        return b"content"

    answers.put(Cache(directory).get({"seed": 0}, make))


def hang(directory, started):
    def make():
        started.set()
        time.sleep(60)
        return b""

    Cache(directory).get({"seed": 0}, make)


def test_equal_contents_are_made_once(tmp_path):
    cache, made = Cache(tmp_path / "deep" / "cache"), []

    def maker(n):
        return lambda: made.append(n) or bytes([n])

    assert cache.get({"a": 1, "b": [2.5, None]}, maker(1)) == b"\x01"
    assert cache.get({"b": [2.5, None], "a": 1}, maker(2)) == b"\x01"
    assert cache.get({"a": 1}, maker(3)) == b"\x03"
    assert made == [1, 3]


def test_what_could_not_be_made_is_tried_again(tmp_path):
    cache = Cache(tmp_path)
    with pytest.raises(ZeroDivisionError):
        cache.get({}, lambda: bytes(1 // 0))
    assert cache.get({}, lambda: b"now") == b"now"


@pytest.mark.whole
def test_processes_that_ask_at_the_same_time_make_it_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers, marks = context.Queue(), tmp_path / "marks"
    workers = [
        context.Process(target=make_slowly, args=(tmp_path / "cache", marks, answers))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    assert [answers.get(timeout=60) for _ in workers] == [b"content"] * 3
    for worker in workers:
        worker.join()
    assert marks.read_text() == "made\n"


@pytest.mark.whole
def test_a_killed_maker_blocks_nobody(tmp_path):
    context = multiprocessing.get_context("spawn")
    started = context.Event()
    worker = context.Process(target=hang, args=(tmp_path, started))
    worker.start()
    assert started.wait(timeout=60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert Cache(tmp_path).get({"seed": 0}, lambda: b"mine") == b"mine"
