"""Measures what proof and lowering cost beside the backend's own compilation.

    python -m benches.compiling

rewrites its part of `benches/RESULTS.md`. Each network is compiled twice in turn: as
`secateur.compile` does it, and with the backend's own conversion of tables in the place of ours.
Seconds are of the processor, the least of some runs; weights are random, as what a circuit takes
to compile depends on its shape and widths alone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from itertools import pairwise
from time import process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import nn

import secateur
from benches.results import table, write_section
from secateur.backends import backend_named
from secateur.network import Network

REPEATS = 3
BITS = 6


def _mlp(*widths: int) -> Network:
    layers: list[nn.Module] = []
    for fan_in, out in pairwise(widths):
        layers += [nn.Linear(fan_in, out), nn.ReLU()]
    return _pruned(nn.Sequential(*layers[:-1]), widths[:1])


def _convolutions(size: int) -> Network:
    layers: list[nn.Module] = []
    for inputs, outputs, stride in ((1, 8, 1), (8, 16, 2), (16, 16, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride), nn.BatchNorm2d(outputs), nn.ReLU()]
    left = ((size - 2) - 3) // 2 + 1 - 2
    layers += [nn.Flatten(), nn.Linear(16 * left**2, 10)]
    return _pruned(nn.Sequential(*layers), (1, size, size))


def _pruned(module: nn.Module, shape: tuple[int, ...]) -> Network:
    torch.manual_seed(0)
    samples = torch.rand(64, *shape)
    model = secateur.quantize(module.eval(), 2, 2, samples)
    return secateur.prune(secateur.freeze(model.eval()), "accumulator", bits=BITS)


CASES: dict[str, Callable[[], Network]] = {
    "MLP 64-32-32-10": lambda: _mlp(64, 32, 32, 10),
    "MLP 784-64-64-10": lambda: _mlp(784, 64, 64, 10),
    "MLP 784-512-256-10": lambda: _mlp(784, 512, 256, 10),
    "convolutions of 12×12": lambda: _convolutions(12),
    "convolutions of 28×28": lambda: _convolutions(28),
}


@contextmanager
def _unaided() -> Iterator[None]:
    """Let the backend convert tables as it does by itself."""
    room = sys.modules[type(backend_named(None)).__module__]
    with patch.object(room, "quick_tables", lambda *modules: nullcontext()):
        yield


def seconds(network: Network, unaided: bool) -> tuple[float, float]:
    """Return what everything before the backend's compiler takes, and what that takes."""
    backend = type(backend_named(None))
    compiled, inside = backend.compile, 0.0

    def timed(*arguments: Any, **options: Any) -> Any:
        nonlocal inside
        start = process_time()
        result = compiled(*arguments, **options)
        inside += process_time() - start
        return result

    with ExitStack() as stack:
        if unaided:
            stack.enter_context(_unaided())
        stack.enter_context(patch.object(backend, "compile", timed))
        start = process_time()
        secateur.compile(network, p_error=2**-40)
        return process_time() - start - inside, inside


def row(name: str, repeats: int = REPEATS) -> list[str]:
    """Return the name, lookups, the backend's seconds, and both ratios to these."""
    network = CASES[name]()
    runs = np.array([[seconds(network, aside) for aside in (True, False)] for _ in range(repeats)])
    # [as it is by itself or with our conversion, before the backend or inside it]
    least = runs.min(axis=0)
    own = least[0, 1]
    lookups = secateur.price(network, p_error=2**-40).lookups
    return [
        name,
        str(lookups),
        f"{own:.2f}",
        f"{least[1, 0] / own:.2f}",
        f"{least[1, 1] / own:.2f}",
    ]


def section(repeats: int = REPEATS) -> str:
    """Return the section as Markdown."""
    backend = backend_named(None)
    head = [
        "network",
        "lookups",
        "backend by itself, s",
        "proof and lowering / backend",
        "with our conversion / backend",
    ]
    return f"""## Compiling

`python -m benches.compiling`, here with {backend.name} {backend.version}. Accumulators of
{BITS} bits, 2-bit weights and activations; seconds of one processor, the least of {repeats} runs in
turn. Everything that `secateur.compile` does before the backend's compiler (narrowing, analysis,
tracing, proof of the traced graph), and that compiler with our conversion of tables, over the
compiler with its own conversion.

{table(head, [row(name, repeats) for name in CASES])}
"""


def main() -> None:
    """Regenerate the section of RESULTS.md."""
    write_section("compiling", section())


if __name__ == "__main__":
    main()
