"""What the README's first example comes to: its own lines, with more seeds than the one."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import secateur
from secateur.sweeps import Record, Results, grid, sweep

JOURNAL = Path(__file__).parent / "readme.jsonl"
README = Path(__file__).parents[2] / "README.md"
POINTS = grid(seed=range(5))
_SEEDED = "torch.manual_seed(0)"


def example(text: str) -> str:
    """Return the lines of the first example of `text` that train, freeze and analyze.

    Raises:
        ValueError: there is no such example, or it sets no seed.
    """
    found = re.search(r"```python\n(.*?)\ncircuit = ", text, re.DOTALL)
    if found is None or _SEEDED not in found[1]:
        raise ValueError("README.md: its first example neither sets a seed nor compiles a circuit")
    return found[1]


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return held-out accuracy and proved width of the example's network, with one seed."""
    torch.set_num_threads(1)
    lines = example(README.read_text()).replace(_SEEDED, f"torch.manual_seed({point['seed']})")
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        exec(compile(lines, README.name, "exec"), names)
    network = names["network"]
    right = network.predict(names["test_x"]).argmax(1) == names["test_y"]
    width = secateur.analyze(network).accumulator_bits
    return {"accuracy": float(right.mean()), "width": width}


def run(journal: Path = JOURNAL) -> Results:
    """Return the results of all points, evaluating what the journal does not hold."""
    return sweep(POINTS, measure, journal=journal)


def section(results: Iterable[Record]) -> str:
    """Return the paragraph of RESULTS.md."""
    values = [record.values for record in results]
    accuracies = np.array([value["accuracy"] for value in values])
    return _SECTION.format(
        first=accuracies[0],
        seeds=len(accuracies),
        mean=accuracies.mean(),
        error=accuracies.std(ddof=1) / len(accuracies) ** 0.5,
        width=max(value["width"] for value in values),
    )


_SECTION = """\
**The README's first example**, its own lines: held-out accuracy {first:.3f} with its seed, and
{mean:.3f} ± {error:.3f} (mean of {seeds} seeds ± its standard error), all proved
within {width} bits. `python -m benches.accuracy.readme`."""


if __name__ == "__main__":
    print(section(run()))
