"""What sweeps cost: the driver per point, memory per point, and bound-only candidates.

    python -m pytest benches/test_sweep.py --benchmark-enable -s

prints the figures; without the option everything runs once, small, as a test.
"""

import tracemalloc
from concurrent.futures import Executor, Future
from heapq import heappop, heappush
from itertools import count, pairwise
from queue import Empty, SimpleQueue
from random import Random
from resource import RUSAGE_SELF, getrusage
from threading import Thread
from time import perf_counter, process_time

import numpy as np
import pytest

from secateur import bounds
from secateur.network import (
    Activation,
    Affine,
    FunctionTable,
    Input,
    Linear,
    Lookup,
    Network,
    Output,
    Quantize,
)
from secateur.sweeps import Sparsities, sweep, sweep_bounds


def nothing(point):
    """Cost next to nothing, so that what is left is the driver."""
    return {"accuracy": 0.5}


def points(count):
    for n in range(count):
        yield {"strategy": "magnitude", "bits": 6, "seed": n}


def mlp(*widths):
    """A network of linear layers with 3-bit codes and 2-bit activations."""
    random = np.random.default_rng(0)
    one, zero = np.ones(1), np.zeros(1, np.int64)
    operations, source = [], "input"
    for i, (fan_in, out) in enumerate(pairwise(widths)):
        codes = random.integers(-3, 4, (out, fan_in)).astype(np.int8)
        operations.append(Linear(f"fc{i}", source, codes, np.zeros(out, np.int64)))
        scale = Affine(np.full(out, 0.1), np.zeros(out))
        table = FunctionTable((scale, Activation("relu")), Quantize(1.0, 0, 3))
        operations.append(Lookup(f"act{i}", f"fc{i}", table))
        source = f"act{i}"
    operations.pop()
    return Network(
        Input((widths[0],), np.array(0), np.array(15)),
        tuple(operations),
        Output(operations[-1].name, one.astype(np.int64), zero, one, zero.astype(float)),
    )


@pytest.mark.parametrize("executor", [None, 2], ids=["serial", "2 processes"])
def test_driver_per_point(benchmark, executor, tmp_path):
    count = 5000 if benchmark.enabled else 50
    settled = []

    def mark(event):
        settled.append(perf_counter())

    def run():
        settled.clear()
        journal = tmp_path / f"runs-{perf_counter()}.jsonl"
        return sweep(points(count), nothing, executor=executor, journal=journal, on_event=mark)

    results = benchmark.pedantic(run, rounds=3 if benchmark.enabled else 1)
    assert len(results) == count
    # From the first point on: the start of the processes is not the driver's.
    per_point_ms = (settled[-1] - settled[0]) / (count - 1) * 1e3
    print(f"\ndriver, {executor or 'serial'}: {per_point_ms:.3f} ms per point (at most 2)")


def test_going_on_per_known_point(benchmark, tmp_path):
    count = 20_000 if benchmark.enabled else 50
    journal = tmp_path / "runs.jsonl"
    sweep(points(count), nothing, journal=journal, on_event=lambda event: None)
    found = []

    def run():
        found.clear()
        return sweep(points(count), nothing, journal=journal, on_event=found.append)

    start = perf_counter()
    benchmark.pedantic(run, rounds=1)
    assert all(event.skipped for event in found)
    print(f"\nskipping: {(perf_counter() - start) / count * 1e3:.3f} ms per known point")


class Cluster(Executor):
    """A thousand workers that take a simulated time for each point, and come back in any order."""

    _max_workers = 1000

    def __init__(self):
        self._sent = SimpleQueue()
        Thread(target=self._work, daemon=True).start()

    def submit(self, function, *arguments):
        future = Future()
        self._sent.put((future, function, arguments))
        return future

    def _work(self):
        random, now, running = Random(0), 0.0, []
        for ticket in count():
            idle = False
            if len(running) < self._max_workers:
                try:
                    work = self._sent.get(timeout=0.05 if running else None)
                except Empty:
                    idle = True
                else:
                    heappush(running, (now + random.expovariate(1), ticket, work))
                    continue
            for _ in range(len(running) if idle else 1):
                now, _, (future, function, arguments) = heappop(running)
                future.set_result(function(*arguments))


def test_a_cluster_of_a_thousand_workers(benchmark, tmp_path):
    many = 1_000_000 if benchmark.enabled else 4_000
    journal = tmp_path / "runs.jsonl"
    figures = {}

    def run(what):
        start, cpu_start = perf_counter(), process_time()
        sweep(points(many), nothing, executor=Cluster(), journal=journal, on_event=silent)
        figures[what] = perf_counter() - start, process_time() - cpu_start

    def silent(event):
        pass

    run("first run")
    benchmark.pedantic(lambda: run("going on"), rounds=1)
    assert journal.read_bytes().count(b"\n") == many + 1
    peak_mb = getrusage(RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{many:,} points, journal {journal.stat().st_size / 1e6:.0f} MB, peak {peak_mb:.0f} MB"
    )
    for what, (wall_s, cpu_s) in figures.items():
        print(f"{what}: {wall_s:.0f} s, {1e3 * cpu_s / many:.3f} ms of CPU per point")


def test_memory_does_not_grow_with_the_points(benchmark, tmp_path):
    few, many = (2_000, 40_000) if benchmark.enabled else (300, 3_000)

    def peak(count):
        journal = tmp_path / f"runs-{count}.jsonl"
        tracemalloc.start()
        sweep(points(count), nothing, journal=journal, on_event=lambda event: None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # imports and caches
    peaks = benchmark.pedantic(lambda: (peak(few), peak(many)), rounds=1)
    assert peaks[1] < peaks[0] + 20_000
    print(f"\npeak memory: {peaks[0] / 1e3:.0f} kB at {few} points, {peaks[1] / 1e3:.0f} at {many}")


def test_bound_only_candidates(benchmark):
    count = 100_000 if benchmark.enabled else 2_000
    network = mlp(64, 32, 32, 10)
    random = np.random.default_rng(0)

    def masks():
        for _ in range(count // 1000):
            yield {
                layer.name: random.random((1000, *layer.codes.shape), np.float32) < 0.3
                for layer in network.layers
            }

    start = perf_counter()
    columns = benchmark.pedantic(lambda: sweep_bounds(network, masks()), rounds=1)
    assert len(columns["accumulator_bits"]) == count
    per_minute = count / (perf_counter() - start) * 60
    print(f"\nbound-only, 64-32-32-10: {per_minute:,.0f} masks per minute (at least 100,000)")


def test_bound_only_masks_in_constant_memory(benchmark):
    network = mlp(64, 32, 32, 10)
    mask = {x.name: np.ones(x.codes.shape, bool) for x in network.layers}

    def peak(count):
        tracemalloc.start()
        columns = sweep_bounds(network, (mask for _ in range(count)))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most - 2 * sum(column.nbytes for column in columns.values())

    peak(10)
    few, many = (3_000, 30_000) if benchmark.enabled else (1_500, 4_500)
    peaks = benchmark.pedantic(lambda: (peak(few), peak(many)), rounds=1)
    assert peaks[1] < 1.5 * peaks[0]
    print(f"\nbound-only, beside the columns: {peaks[0] / 1e6:.1f} MB, {peaks[1] / 1e6:.1f} MB")


def test_a_thousand_sparsities_of_a_large_layer(benchmark):
    fan_in, out = (4608, 4775) if benchmark.enabled else (460, 47)
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (out, fan_in), dtype=np.int8)
    order = random.permutation(codes.size)
    times = {}
    for levels in (1, 1000):
        counts = np.linspace(0, codes.size, levels + 1).astype(np.int64)[1:]
        start = perf_counter()
        bounds.profile(codes, order, 0, 15, counts)
        times[levels] = perf_counter() - start
    network = mlp(fan_in, out)
    levels = Sparsities(np.linspace(0, 1, 1000))
    start = perf_counter()
    columns = benchmark.pedantic(lambda: sweep_bounds(network, levels), rounds=1)
    assert columns["accumulator_bits"][-1] == 0
    print(
        f"\n1,000 sparsities of {codes.size / 1e6:.0f} M weights: {times[1000] / times[1]:.2f} × "
        f"one pass of {times[1]:.2f} s (at most 2); ranking included, the sweep takes "
        f"{perf_counter() - start:.1f} s"
    )
