"""Measures how long networks of ONNX files take to read and to prove, and what samples hide.

    python -m benches.reading [KWS]

rewrites its part of `benches/RESULTS.md`. The ESPCN networks come with qonnx. KWS is a directory
with `model.onnx`, the keyword-spotting network of MLPerf Tiny (`mlcommons/tiny_results_v0.7`,
`open/hls4ml-finn/code/kws/KWS-W3A3`), and `inputs.npz`: `codes`, integers [inputs, 490] as the
network takes them; the environment variable KWS may name it, too. Without it those rows are left
out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import onnx

import secateur
from benches.results import table, write_section
from secateur.network import Network, Quantize

REPEATS = 7

#: What the pixels are where a file does not say.
PIXELS = Quantize(1 / 255, 0, 255)


def least(calls: Sequence[Callable[[], Any]], repeats: int) -> list[float]:
    """Return the least CPU time of each call, in seconds, all of them in turn."""
    times: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for call, own in zip(calls, times, strict=True):
            start = process_time()
            call()
            own.append(process_time() - start)
    return [min(own) for own in times]


def espcn() -> Iterator[tuple[str, Path, Quantize | None]]:
    """Yield name, path and input grid of qonnx's super-resolution networks."""
    import qonnx

    folder = Path(qonnx.__file__).parent / "data" / "onnx" / "bsd300x3-espcn"
    for name, grid in (("nn_resize", None), ("subpixel", PIXELS)):
        yield f"ESPCN, {name}", folder / name / "quant_model.onnx", grid


def tidied(path: Path) -> Any:
    """Return a model as qonnx reads and cleans it up: shapes inferred, constants folded."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.util.cleanup import cleanup_model

    return cleanup_model(ModelWrapper(str(path)))


def row(name: str, path: Path, grid: Quantize | None, repeats: int) -> list[str]:
    """Return a row of the table: sizes, then times as ratios of one run."""
    network = secateur.read_onnx(path, input=grid)
    ours, theirs, proving = least(
        [
            lambda: secateur.read_onnx(path, input=grid),
            lambda: tidied(path),
            lambda: secateur.analyze(network),
        ],
        repeats,
    )
    return [
        name,
        "×".join(map(str, network.input.shape)),
        str(len(onnx.load(path).graph.node)),
        f"{theirs / ours:.0f}",
        f"{proving / ours:.2g}",
    ]


def widths(network: Network, codes: np.ndarray[Any, Any]) -> Iterator[list[str]]:
    """Yield a row for each layer: its span bits as samples show them, and as they are proved."""
    report = secateur.analyze(network)
    nodes = network.nodes(codes.astype(np.int64).reshape(-1, *network.input.shape))
    for layer in network.layers:
        seen = int(np.ptp(nodes[layer.name])).bit_length()
        yield [layer.name, str(seen), str(report[layer.name].bits())]


def section(kws: Path | None, repeats: int = REPEATS) -> str:
    """Return the section of `RESULTS.md`."""
    models = list(espcn())
    if kws is not None:
        models.insert(0, ("keyword spotting", kws / "model.onnx", None))
    text = [
        "## Reading ONNX",
        "",
        f"Whole files, the least CPU time of {repeats}, as ratios of one run: qonnx's reading and "
        "cleaning up (shapes, constants, names) over `read_onnx`, which gives the network of "
        "integers, tables and all; and the proof of every width over `read_onnx`.",
        "",
        table(
            ["network", "input", "nodes", "qonnx / read", "prove / read"],
            (row(*model, repeats) for model in models),
        ),
    ]
    if kws is not None:
        codes = np.load(kws / "inputs.npz")["codes"]
        text += [
            "",
            f"The keyword-spotting network's accumulators, in bits, as {len(codes):,} recordings "
            "show them and as they are proved (an input attains each end of the first):",
            "",
            table(
                ["layer", "seen", "proved"],
                widths(secateur.read_onnx(kws / "model.onnx"), codes),
            ),
        ]
    return "\n".join(text)


def main(kws: str | None = None) -> None:
    """Measure, and rewrite the section."""
    kws = kws or os.environ.get("KWS")
    write_section("reading", section(Path(kws) if kws else None))


if __name__ == "__main__":
    main(*sys.argv[1:])
