"""Measures what circuits cost against their width, their sparsity and their number of lookups.

Run `python -m benches.circuits` from the root of the repository; it rewrites its part of
`benches/RESULTS.md`. Complexity and key sizes come from compiling alone; keys are made, and one
digit is asked for encrypted, where the width allows it in minutes.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import secateur
from benches.accuracy.methods import Setting, connections, finished, quantized, unpruned
from benches.results import table, write_section
from secateur.network import Network

#: The widest circuit whose keys are made here.
MEASURED_BITS = 6
SETTING = Setting("digits", "test", 0, bits=0, weight_bits=2, activation_bits=2, input_bits=2)


@dataclass(frozen=True)
class Candidate:
    """A network to price: its name in the table, and what makes it."""

    name: str
    make: Callable[[], Network]


def pruned(bits: int, removed: float = 0.0) -> Network:
    """Return the digits MLP pruned to `bits`, `removed` of its neurons gone altogether."""
    model = quantized(SETTING)
    chain = [("structured", {"sparsity": removed}), ("accumulator", {"bits": bits})]
    pruner = secateur.Pruner(model, chain if removed else chain[1:])
    return finished(model, SETTING, pruner)


def by_rule(bits: int) -> Network:
    """Return the digits MLP with as few connections as Concrete ML's rule has at `bits`."""
    return connections(Setting("digits", "test", 0, bits, 2, 2, 2))


def candidates() -> Iterator[Candidate]:
    """Yield the rows of the table."""
    yield Candidate("unpruned", lambda: unpruned(SETTING))
    for bits in (8, 7, 6, 5, 4):
        yield Candidate(f"`connections`, P = {bits}", lambda bits=bits: by_rule(bits))
    for bits in (8, 7, 6, 5, 4):
        yield Candidate(f"`accumulator`, P = {bits}", lambda bits=bits: pruned(bits))
    for removed in (0.25, 0.5):
        name = f"`structured` {removed:.0%}, then `accumulator`, P = 5"
        yield Candidate(name, lambda removed=removed: pruned(5, removed))


def row(candidate: Candidate) -> list[str]:
    """Return one network's accuracy, cost and, where it is narrow enough, measured times."""
    network = candidate.make()
    x, y = SETTING.data.held_out
    codes = network.quantize_input(x)
    accuracy = (network.predict(x).argmax(1) == y).mean()
    sparsity = np.mean(np.concatenate([layer.codes.ravel() for layer in network.layers]) == 0)
    circuit = secateur.compile(network)
    price = circuit.price
    keys, latency = "not made", "not run"
    if price.widest <= MEASURED_BITS:
        decrypted = circuit.encrypt_run_decrypt(codes[0])
        assert (decrypted == network(codes[0])).all(), "the circuit differs from the network"
        keys = f"{circuit.timings['keygen']:.0f} s"
        latency = f"{circuit.timings['run']:.1f} s"
    return [
        candidate.name,
        f"{accuracy:.4f}",
        str(price.widest),
        f"{sparsity:.0%}",
        str(price.lookups),
        f"{price.complexity:.2e}",
        f"{price.evaluation_key_bytes / 1e6:.0f} MB",
        keys,
        latency,
    ]


HEAD = ["network", "accuracy", "bits", "sparsity", "lookups", "complexity", "evaluation keys"]


def main() -> None:
    """Regenerate the section of circuits in RESULTS.md."""
    rows = []
    for candidate in candidates():
        rows.append(row(candidate))
        print(*rows[-1], sep=" | ", file=sys.stderr)
    backend = secateur.compile(unpruned(SETTING)).backend
    text = f"""## Circuits

`python -m benches.circuits`. The digits MLP 64-32-32-10 with 2-bit weights, activations and
inputs, one seed, compiled by {backend.name} {backend.version} on Python
{platform.python_version()}. Accuracy is that of `network.predict` on the held-out 30 %; bits are
the width that the proof gives the circuit. Key generation and one inference were measured up to
{MEASURED_BITS} bits, and each decrypted result was equal to the network's.

{table([*HEAD, "key generation", "one inference"], rows)}
"""
    write_section("circuits", text)


if __name__ == "__main__":
    main()
