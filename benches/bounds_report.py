"""Measures the bound engine against its peers and rewrites its part of `benches/RESULTS.md`.

Run `python -m benches.bounds_report` from the root of the repository, best on an idle machine.
Everything that is compared runs in turn, again and again, and the least time of each counts; so a
busy machine disturbs all sides alike. qonnx takes part where it can be imported (it need not be
in the same environment: put its place on PYTHONPATH).
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from secateur import bounds

from . import bounds_peers as peers
from .results import RESULTS, table, write_section
from .test_bounds import NETWORKS, RESNET18

FIGURE = RESULTS.parent / "bounds_scaling.png"

Runs = dict[str, Callable[[], Any]]


def least(runs: Runs, seconds: float = 2.0, most: int = 2000) -> dict[str, float]:
    """Least seconds of each, measured in turn for about so long altogether, thrice at least."""
    times = dict.fromkeys(runs, float("inf"))
    end, rounds = time.perf_counter() + seconds, 0
    while rounds < 3 or (time.perf_counter() < end and rounds < most):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            times[name] = min(times[name], time.perf_counter() - start)
        rounds += 1
    return times


def shown(seconds: float) -> str:
    """Seconds in the unit that suits them."""
    for unit, factor in (("s", 1), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} µs"


#: What each kernel is held against.
AGAINST = {
    "one": "read",
    "seven_bits": "one",
    "eight_bits": "one",
    "fourteen_bits": "one",
    "one_masked": "one",
    "seven_bits_masked": "seven_bits",
    "eight_bits_masked": "eight_bits",
}


def bandwidth() -> str:
    """The kernels of the core against the machine's own single-pass read, by the Rust bench."""
    bench = ["cargo", "bench", "--quiet", "--package", "secateur-core", "--bench", "bounds"]
    root = RESULTS.parent.parent
    done = subprocess.run(bench, cwd=root, check=True, capture_output=True, text=True)
    rows = []
    for line in done.stdout.splitlines():
        t = json.loads(line)
        size = t["outputs"] * t["inputs"]
        rows.append([f"{t['outputs']}×{t['inputs']}", str(t["threads"])])
        rows[-1].append(f"{size / t['read'] / 1e9:.1f}")
        for name, to in AGAINST.items():
            rows[-1].append(f"{size / t[name] / 1e9:.1f} ({t[to] / t[name]:.2f})")
    head = ["int8 layer", "threads", "read GB/s", "one range (/ read, ≥ 0.85)"]
    head += [
        "[0, ≤ 127] each (/ one, ≥ 0.8)",
        "signed bytes each (/ one, ≥ 0.45, ≥ 0.7 from 4096×4096)",
    ]
    head += ["14 bits each (/ one)", "one, masked (/ one)"]
    head += ["[0, ≤ 127], masked (/ unmasked)", "signed bytes, masked (/ unmasked)"]
    return table(head, rows)


def against_peers() -> str:
    """The engine against other ways, with how many of their channels are wrong."""
    rows = []
    names = [name for name in peers.PEERS if peers.available(name)]
    for out, width in [(64, 64), (512, 4608), (4096, 4096)]:
        for each in (False, True):
            codes = peers.layer(out, width, each)
            runs = {name: peers.PEERS[name](codes) for name in names}
            exact = peers.secateur(codes)()
            wrong = {name: peers.wrong_channels(run(), exact) for name, run in runs.items()}
            t = least({"secateur": peers.secateur(codes), **runs}, 5)
            kind = "range each" if each else "one range"
            rows.append([f"{out}×{width}, {kind}", shown(t["secateur"])])
            for name in names:
                ratio = t[name] / t["secateur"]
                error = f", {wrong[name]} wrong" if wrong[name] else ""
                rows[-1].append(f"{shown(t[name])} ({ratio:.0f}×{error})")
    return table(["layer", "secateur", *names], rows)


def removals() -> str:
    """Profiles against one pass in the same order, and selections."""
    weights = [peers.layer(*s, seed=i).weight for i, s in enumerate(NETWORKS["22 M"])]
    flat = np.concatenate([weight.ravel() for weight in weights])
    order = np.random.default_rng(0).permutation(flat.size)
    counts = np.linspace(0, flat.size, 1000).astype(np.int64)
    ends = [0] * len(weights), [15] * len(weights)
    large = flat[: 5000 * (flat.size // 5000)].reshape(5000, -1)
    large_order = np.random.default_rng(1).permutation(large.size)
    runs: Runs = {
        "one pass": lambda: np.take(flat, order),
        "network": lambda: bounds.profile_network(weights, order, *ends, counts),
        "layer": lambda: bounds.profile(large, large_order, 0, 15, counts.clip(max=large.size)),
    }
    t = least(runs, 10)
    rows = [["1,000 profile levels of 22 M weights in 17 layers", shown(t["network"])]]
    rows[0].append(f"{t['network'] / t['one pass']:.2f} × one pass (≤ 2)")
    rows.append(["the same in one layer", shown(t["layer"])])
    rows[1].append(f"{t['layer'] / t['one pass']:.2f} × one pass (≤ 2)")
    rng = np.random.default_rng(0)
    codes = rng.normal(0, 40, (512, 4608)).round().clip(-127, 127).astype(np.int8)
    magnitude = np.abs(codes + rng.uniform(-0.5, 0.5, codes.shape)) * 0.013
    for name, saliency in [("random", rng.random(codes.shape)), ("magnitude", magnitude)]:
        for bits, mark in [(8, "≤ 100 ms"), (16, "≤ 2 s")]:
            problem = codes, saliency, 0, 15, bits
            runs = {m: lambda p=problem, m=m: bounds.select(*p, m) for m in ("exact", "greedy")}
            t = least(runs, 4)
            gap = bounds.selection_gap(bounds.select(*problem, "greedy"), *problem).max()
            rows.append([f"select exact, 512×4608, {bits} bits, {name} saliency"])
            rows[-1] += [shown(t["exact"]), f"{mark}; greedy {shown(t['greedy'])}, gap ≤ {gap:.2g}"]
    return table(["what", "time", "measure"], rows)


def convolutions() -> str:
    """Convolutions of a ResNet-18 and whole networks."""
    rows = []
    for name, (shape, image, stride, padding) in RESNET18.items():
        weight = np.random.default_rng(0).integers(-8, 8, shape, np.int8)
        sides = np.zeros(image[0], int), np.arange(image[0]) % 15 + 1
        geometry: Any = {"input_shape": image, "stride": stride, "padding": padding}
        runs: Runs = {
            "one": lambda w=weight, g=geometry: bounds.conv(w, 0, 15, **g),
            "each": lambda w=weight, g=geometry, s=sides: bounds.conv(w, *s, **g),
        }
        t = least(runs, 1)
        rows.append([f"{name} {shape}", f"{weight.size:,}", shown(t["one"]), shown(t["each"])])
    for name, shapes in NETWORKS.items():
        sets = [[peers.layer(*s, each, i) for i, s in enumerate(shapes)] for each in (False, True)]
        runs = {
            str(i): lambda layers=layers: [bounds.linear(*x) for x in layers]
            for i, layers in enumerate(sets)
        }
        t = least(runs, 3)
        size = sum(a * b for a, b in shapes)
        rows.append([f"network of {name}", f"{size:,}", shown(t["0"]), shown(t["1"])])
    return table(["layers", "weights", "one range", "range per channel or input"], rows)


def scaling() -> str:
    """How the cost grows: a figure, log-log, and the slopes over its upper half."""
    curves: dict[str, tuple[list[int], list[float]]] = {}

    def curve(name: str, sizes: list[int], run: Callable[[int], Callable[[], Any]]) -> None:
        curves[name] = sizes, [least({"": run(size)}, 0.3)[""] for size in sizes]

    powers = [2**k for k in range(4, 18)]
    curve("fan-in (256 channels)", powers[:13], lambda n: peers.secateur(peers.layer(256, n)))
    curve("channels (fan-in 1024)", powers[:13], lambda n: peers.secateur(peers.layer(n, 1024)))
    codes = peers.layer(256, 1024)
    masks = np.random.default_rng(0).random((256, 256, 1024)) < 0.5
    curve("masks (256×1024)", powers[:5], lambda n: lambda: bounds.linear(*codes, mask=masks[:n]))
    large = peers.layer(8192, 8192)
    threads = list(range(1, (os.cpu_count() or 1) + 1))

    def with_threads(n: int) -> Callable[[], Any]:
        bounds.set_num_threads(n)
        return peers.secateur(large)

    curve("threads (8192×8192)", threads, with_threads)
    bounds.set_num_threads(None)

    rows = []
    for name, (sizes, times) in curves.items():
        upper = slice(len(sizes) // 2, None) if len(sizes) > 2 else slice(None)
        logs = np.log(sizes[upper]), np.log(times[upper])
        slope = np.polyfit(*logs, 1)[0] if len(sizes) > 1 else float("nan")
        rows.append([name, f"{sizes[0]} … {sizes[-1]}"])
        rows[-1] += [f"{shown(times[0])} … {shown(times[-1])}", f"{slope:.2f}"]
    text = table(["grows with", "from … to", "time", "slope"], rows)
    try:
        import matplotlib
    except ImportError:
        return f"{text}\n\n(No figure: matplotlib is not installed.)"
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4.5))
    for name, (sizes, times) in curves.items():
        axes.loglog(sizes, times, "o-", markersize=3, label=name)
    axes.set(xlabel="size", ylabel="seconds per call", title="bounds.linear, int8, one range")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.tight_layout()
    figure.savefig(FIGURE, dpi=120)
    return f"{text}\n\n![How the cost grows]({FIGURE.name})"


def machine() -> str:
    """The machine and the software in one line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        named = [x for x in cpuinfo.read_text().splitlines() if x.startswith("model name")]
        model = named[0].split(":")[1].strip() if named else model
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    return (
        f"{model}, {os.cpu_count()} processors{load}; "
        f"Python {platform.python_version()}, NumPy {np.__version__}."
    )


def main() -> None:
    """Measure everything and write the section of the bound engine in RESULTS.md."""
    parts = [
        "## Bound engine",
        f"{machine()} Least of runs taken in turn; by `python -m benches.bounds_report`.",
    ]
    sections = {
        "Against the speed of memory": bandwidth,
        "Against other ways (their time, how many times ours, and channels they get wrong)": (
            against_peers
        ),
        "Removals and selections": removals,
        "Convolutions and networks": convolutions,
        "How the cost grows": scaling,
    }
    for title, section in sections.items():
        print(f"measuring: {title}", file=sys.stderr)
        parts += [f"### {title}", section()]
    write_section("bounds", "\n\n".join(parts))


if __name__ == "__main__":
    main()
