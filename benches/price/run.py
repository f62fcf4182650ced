"""Both sides' measurements, each in its own environment, kept in journals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benches.price import ours
from benches.price.data import RECIPES, task
from secateur.sweeps import Record, Results, sweep

HERE = Path(__file__).parent
OURS, THEIRS = HERE / "ours.jsonl", HERE / "theirs.jsonl"
SEEDS = range(3)
RIVAL = "concrete-ml==1.9.0"
#: What Concrete ML is asked for; Brevitas networks with each rounding of `rival.ROUNDINGS`.
RIVALS = (
    {"method": "brevitas", "bits": 3},
    {"method": "brevitas", "bits": 4},
    {"method": "brevitas", "bits": 2},
    {"method": "classifier", "bits": 4, "pruned": 0.0},
    {"method": "classifier", "bits": 4, "pruned": 0.5},
    {"method": "classifier", "bits": 3, "pruned": 0.0},
)
#: Roundings that each method of the rival's ends with.
LAST = ("approximate 6", "power of two")


def ours_of(dataset: str, measuring: bool = True) -> list[Record]:
    """Return our results on the held-out samples, measuring what the journal lacks."""
    if measuring:
        sweep(ours.points("test", SEEDS, dataset), ours.measure, journal=OURS)
    known = Results.read(OURS) if OURS.exists() else ()
    return [r for r in known if r.point["dataset"] == dataset and not r.failed]


def theirs_of(dataset: str, measuring: bool = True) -> list[dict[str, Any]]:
    """Return Concrete ML's results, measuring what the journal lacks where it can be installed."""
    python = environment() if measuring else None
    for seed in SEEDS:
        known = [r for r in _journal() if (r["dataset"], r["seed"]) == (dataset, seed)]
        missing = [p for p in RIVALS if not any(_ends(p, r) for r in known)]
        if python is None or not missing:
            continue
        with tempfile.TemporaryDirectory() as scratch, THEIRS.open("a") as journal:
            path = Path(scratch) / "data.npz"
            task(RECIPES[dataset], "test", seed).save(path)
            for result in _measured(python, path, missing):
                where = {"dataset": dataset, "seed": seed}
                journal.write(json.dumps({**where, **result}) + "\n")
                journal.flush()
    return [r for r in _journal() if r["dataset"] == dataset and "failed" not in r]


def environment() -> Path | None:
    """Return the interpreter of an environment with Concrete ML, made once; None where it fails."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    home = cache / "secateur" / RIVAL.replace("==", "-")
    python = home / "bin" / "python"
    if not (home / "installed").exists():
        steps = (
            [sys.executable, "-m", "venv", home],
            [python, "-m", "pip", "install", "--quiet", RIVAL, "setuptools<81", "numpy<2"],
        )
        for step in steps:
            done = subprocess.run(step, capture_output=True, text=True)
            if done.returncode:
                reason = done.stderr.strip().splitlines()[-1:] or ["no reason given"]
                print(f"{RIVAL} does not install here ({reason[0]}): skipped", file=sys.stderr)
                return None
        (home / "installed").touch()
    return python


def _measured(python: Path, data: Path, points: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield what the rival's script says of each point, as it comes."""
    script = HERE / "rival.py"
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    with subprocess.Popen(
        [python, script, data],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**clean, "OMP_NUM_THREADS": "1"},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("".join(json.dumps(p) + "\n" for p in points))
        process.stdin.close()
        yield from map(json.loads, process.stdout)


def _ends(point: dict[str, Any], result: dict[str, Any]) -> bool:
    """Return whether a result is the last of its point, after which nothing of it is missing."""
    last = "failed" in result or result.get("rounding") in LAST
    return last and point.items() <= result.items()


def _journal() -> list[dict[str, Any]]:
    """Return the results as written, of a point that was begun twice the later ones."""
    lines = THEIRS.read_text().splitlines() if THEIRS.exists() else []
    names = ("dataset", "seed", "method", "bits", "pruned", "rounding")
    return list({tuple(map(r.get, names)): r for r in map(json.loads, lines)}.values())
