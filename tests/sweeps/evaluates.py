"""Evaluate functions that worker processes import."""

import os
import signal
import time
from pathlib import Path

from secateur.sweeps.points import grid


def product(point):
    """Give the product of the fields a and b, and a word; fail where b is 3."""
    if point["b"] == 3:
        raise ValueError(f"b is {point['b']}")
    return {"product": point["a"] * point["b"], "half": point["a"] / 2, "word": "x" * point["a"]}


POINTS = grid(a=range(4), b=range(5))


def leave_a_mark(point):
    """Append the point to a file, one line per evaluation, and take a while."""
    with Path(point["marks"]).open("a") as file:
        file.write(f"{point['n']} {os.getpid()}\n")
    time.sleep(point["sleep_s"])
    return {"square": point["n"] ** 2}


def die_on_poison(point):
    """Kill the worker where the point is poison."""
    if point["n"] in (3, 4):
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": point["n"] ** 2}


def die_once(point):
    """Kill the worker of the third point, the first time only."""
    marker = Path(point["marker"])
    if point["n"] == 3 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"square": point["n"] ** 2}


def nap_if_told(point):
    """Sleep as long as the point says."""
    time.sleep(point["sleep"])
    return {"slept": True}
