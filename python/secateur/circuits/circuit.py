"""The circuit: a network compiled for encrypted data, with widths that are proved.

    network → narrow → analyze → trace → prove → compile → Circuit

`circuit.encrypt_run_decrypt(x) == network(x)`, integer for integer, for every input of the
declared range.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NoReturn, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.analysis import RangeReport, analyze
from secateur.backends import Backend, BackendCircuit, Exported, backend_named
from secateur.backends.estimates import Lookups, p_error_of
from secateur.circuits.certificate import Certificate
from secateur.circuits.checks import at_layer, check_agreement, check_widths
from secateur.circuits.interface import Interface
from secateur.circuits.lowering import Lowered
from secateur.circuits.price import Price, price_of
from secateur.circuits.proof import declare, prove
from secateur.circuits.storage import read_part, write_parts
from secateur.errors import ArgumentError, UnpicklableError
from secateur.narrowing import LookupPrice, narrow, round_by_price
from secateur.network import Floats, Integers, Lookup, Network
from secateur.network.storage import load as load_network, save as save_network
from secateur.show.progress import track, waiting
from secateur.show.tables import Displayed, Table

Rounding = Literal["exact", "approximate", "none"]


@dataclass(frozen=True, eq=False)
class Circuit(Displayed):
    """A compiled network, which runs encrypted, simulated or emulated.

    Args:
        network: what it computes, as it was given to `compile`.
        report: the narrowed network that was lowered, and its proved ranges.
        backend: what compiled it.
        compiled: the backend's own circuit.
        price: what it costs.
        timings: stage → seconds that it took the last time.
        rounding: how it was compiled; see `compile`.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> circuit = compile(network)
        >>> circuit.price.bits
        {'fc': 5}
        >>> circuit.simulate([[3, 0, 3], [0, 3, 0]])
        array([[15],
               [-3]])
        >>> circuit.encrypt_run_decrypt([3, 0, 3])  # makes keys  # doctest: +SKIP
    """

    network: Network
    report: RangeReport
    backend: Backend
    compiled: BackendCircuit = field(repr=False)
    price: Price
    timings: dict[str, float] = field(default_factory=dict)
    rounding: Rounding = "exact"

    def keygen(self, force: bool = False) -> None:
        """Make the keys, unless there are some; `force` makes new ones."""
        if force or "keygen" not in self.timings:
            with _timed(self.timings, "keygen"), waiting("making keys"):
                self.compiled.keygen(force)

    def encrypt(self, x: ArrayLike) -> Any:
        """Return the ciphertext of one sample, integers [*network.input.shape].

        Raises:
            DtypeError, ShapeError, InputRangeError: `x` is not what the proof was made for.
        """
        sample = self.interface.sample(x)
        self.keygen()
        with _timed(self.timings, "encrypt"):
            return self.compiled.encrypt(sample)

    def run(self, ciphertext: Any) -> Any:
        """Return the encrypted result for the ciphertext of one sample."""
        with _timed(self.timings, "run"):
            return self.compiled.run(ciphertext)

    def decrypt(self, result: Any) -> Integers:
        """Return the network's integers, int64 [*output shape], of an encrypted result."""
        with _timed(self.timings, "decrypt"):
            return self.interface.integers(self.compiled.decrypt(result))

    def encrypt_run_decrypt(self, x: ArrayLike) -> Integers:
        """Return what the network returns, computed on encrypted data.

        Args:
            x: integers [batch, *network.input.shape], or one sample without the batch axis.

        Returns:
            int64 [batch, *output shape], or one sample's; `== network(x)`. A batch shows a
            progress bar on a terminal's stderr.
        """
        return self._each(x, lambda sample: self.decrypt(self.run(self.encrypt(sample))))

    def simulate(self, x: ArrayLike) -> Integers:
        """Return what `encrypt_run_decrypt` returns, computed in the clear by the backend."""
        with _timed(self.timings, "simulate"):
            return self._each(
                x,
                lambda sample: self.interface.integers(
                    self.backend.simulate(self.compiled, sample)
                ),
            )

    def emulate(self, x: ArrayLike) -> Integers:
        """Return what `encrypt_run_decrypt` returns, its program computed modulo its own widths.

        Unlike `simulate` it sees a width that is too narrow.

        Raises:
            UnprovableError: the program has an operation that is not emulated.
        """
        emulate = self.backend.emulator(self.compiled)
        with _timed(self.timings, "emulate"):
            return self._each(x, lambda sample: self.interface.integers(emulate(sample)))

    def predict(self, x: ArrayLike) -> NDArray[Any]:
        """Return the answer for every sample of floats, computed on encrypted data.

        Args:
            x: floats [batch, *network.input.shape], one sample, or a table whose columns are
                the features by name.

        Returns:
            What `network.output.answer` says of every sample: its label where the output has
            labels, else its floats, or what the output's tail makes of them.

        Raises:
            ArgumentError, ShapeError, NotFiniteError: see `Interface.codes`.
        """
        return self.interface.predict(x, self.encrypt_run_decrypt)

    def predict_proba(self, x: ArrayLike) -> Floats:
        """Return the probability of every class, float64 [batch, classes], by encrypted data.

        Raises:
            NetworkError: the network's output has no tail that makes probabilities.
        """
        return self.interface.predict_proba(x, self.encrypt_run_decrypt)

    @cached_property
    def interface(self) -> Interface:
        """What goes in and what comes out."""
        return Interface.of(self.report.network)

    @property
    def certificate(self) -> Certificate:
        """The proved range of every operation that was compiled, made anew."""
        return Certificate.of(self.report.network)

    def export(self) -> Exported:
        """Return the compiled program as text, with what a client has to know of it."""
        return self.backend.export(self.compiled)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the circuit below `directory`, which appears whole or not at all.

        `server` holds the program, `client` what keys and ciphertexts need, `network` the
        network as it was given and as it was narrowed, each with its certificate. No part
        holds a key.

        Raises:
            FileExistsError: `directory` holds something already.
            OSError: it cannot be written.
        """
        exported = self.export()
        options = json.dumps(exported.options).encode()
        choices = json.dumps({**exported.options, "rounding": self.rounding}).encode()
        with tempfile.TemporaryDirectory() as scratch:
            for name, network in (("network", self.network), ("narrowed", self.report.network)):
                save_network(network, f"{scratch}/{name}.safetensors")
                Certificate.of(network).save(f"{scratch}/{name}.certificate.json")
            networks = {path.name: path.read_bytes() for path in Path(scratch).iterdir()}
        parts = {
            "server": {
                "circuit.mlir": exported.mlir.encode(),
                "options.json": options,
                "specs.json": exported.specs,
            },
            "client": {"interface.json": self.interface.to_json(), "specs.json": exported.specs},
            "network": {"options.json": choices, **networks},
        }
        write_parts(directory, {"name": self.backend.name, "version": self.backend.version}, parts)

    @classmethod
    def load(cls, directory: str | os.PathLike[str]) -> Circuit:
        """Return the circuit that was saved in `directory`, proved and compiled anew.

        Raises:
            FileFormatError: there is no saved circuit, or a file of it was altered.
            FileVersionError: it was saved by another version of this library or its backend.
            MissingExtraError: the backend that it was compiled by is not installed.
            ArgumentError, WidthError, BackendError, AccumulatorOverflowError: see `compile`.
        """
        part = read_part(Path(directory) / "network", "network")
        with part.reading("options.json"):
            options = {**part.json("options.json")}
        part["network.safetensors"]
        network = load_network(part.directory / "network.safetensors")
        rounding = options.pop("rounding", "exact")
        return compile(network, part.backend, rounding=rounding, configuration=options)

    def __reduce__(self) -> NoReturn:
        raise UnpicklableError(
            "a circuit holds keys and compiled code, which no pickle can; "
            "circuit.save(directory) writes it without keys, Circuit.load(directory) reads it",
            kind="Circuit",
        )

    def _each(self, x: ArrayLike, infer: Callable[[Integers], Integers]) -> Integers:
        x = np.asarray(x)
        if x.ndim == len(self.network.input.shape):
            return self._each(x[None], infer)[0]
        self.network.input.check(x)
        results = [infer(sample.astype(np.int64)) for sample in track("inference", list(x))]
        return np.array(results, dtype=np.int64).reshape(len(x), *self.interface.shape)

    def display(self) -> tuple[str, Table, str]:
        """The range of every operation's widest channel and the bits it is given; the price."""
        rows = []
        for node in self.report:
            each = node.channels[node.widest]
            bits = self.price.bits.get(node.name)
            rows.append((node.name, node.kind, node.widest, each.low, each.high, bits))
        table = Table(("node", "kind", "widest channel", "low", "high", "bits"), rows)
        title = f"circuit of {self.backend.name} {self.backend.version}"
        return title, table, self.price.summary


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    start = perf_counter()
    yield
    timings[stage] = perf_counter() - start


def compile(
    network: Network,
    backend: str | None = None,
    *,
    p_error: float | None = None,
    global_p_error: float | None = None,
    rounding: Rounding = "exact",
    configuration: Mapping[str, Any] | None = None,
) -> Circuit:
    """Return the circuit of `network`, at the least widths that the proof allows.

    Where tables are constant on blocks of accumulators, the low bits are dropped before the
    lookup if that is cheaper. Exactly, it changes no integer. Approximately, it is cheaper
    still: a value near a step of its table may be taken for one on the other side of it, so
    that a code may be that of the next block; no value leaves its proved range for it.
    `circuit.simulate` shows how often that happens.

    Args:
        network: what to compile.
        backend: "concrete-numpy" or "concrete-python"; None takes what is installed.
        p_error: probability that one lookup goes wrong; None leaves it to the backend.
        global_p_error: probability that any lookup of an inference does.
        rounding: whether low bits that change nothing are dropped, and how.
        configuration: further options of the backend's own `Configuration`, as they are.

    Raises:
        MissingExtraError: the backend is not installed.
        ArgumentError: a probability outside (0, 1), a rounding of another name, or an option
            that the backend has not.
        WidthError: a proved width exceeds what a lookup takes; nothing was compiled.
        BackendError: the backend refuses; it may know no parameters for so many bits, or no
            approximate rounding.
        AccumulatorOverflowError: an accumulator that 64 bits do not hold.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Network, Output
        >>> from secateur.network import Linear
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[1, -2, 1]])),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> circuit = compile(network)
        >>> circuit.price.bits  # [-6, 6] is moved to [0, 12], and back after decryption
        {'fc': 4}
        >>> circuit.simulate([3, 0, 3])
        array([6])
    """
    target = backend_named(backend)
    options = {"p_error": p_error, "global_p_error": global_p_error, **(configuration or {})}
    for name in ("p_error", "global_p_error"):
        _check_probability(name, options[name])
    if rounding not in get_args(Rounding):
        raise ArgumentError(
            f"rounding is {rounding!r}; expected one of {', '.join(get_args(Rounding))}",
            argument="rounding",
            value=rounding,
            expected=get_args(Rounding),
        )
    if rounding == "approximate":
        target = target.approximating()
    timings: dict[str, float] = {}
    with _timed(timings, "narrow"):
        narrowed = narrow(network)
        if rounding != "none":
            chance = p_error_of(
                options["p_error"], options["global_p_error"], _count_lookups(narrowed)
            )
            narrowed = round_by_price(
                narrowed,
                _lookup_price(target, chance, False),
                _lookup_price(target, chance, True) if target.approximate else None,
            )
        report = analyze(narrowed)
    lowered = Lowered(report, target)
    box = report[network.input.name].ranges
    sample = np.broadcast_to(box.low, network.input.shape)
    with _timed(timings, "trace"):
        tracing = target.trace(lowered.function(), {"x": sample})
    with _timed(timings, "prove"):
        proof = prove(tracing.graph, {"x": box}, lowered.joined)
        declared = declare(tracing.graph, proof)
        # First the widths: the analysis does not evaluate tables that no circuit has room for.
        check_widths(declared, at_layer(network))
        check_agreement(report, lowered.nodes, proof)
    with _timed(timings, "compile"):
        compiled = target.compile(tracing, declared, options)
    found = price_of(report.network, target, tracing.graph, lowered.nodes, compiled)
    return Circuit(network, report, target, compiled, found, timings, rounding)


def _check_probability(name: str, value: Any) -> None:
    if value is not None and not (isinstance(value, float | int) and 0 < value < 1):
        raise ArgumentError(
            f"{name} is {value!r}; expected a probability above 0 and below 1",
            argument=name,
            value=value,
            expected="(0, 1)",
        )


def _lookup_price(target: Backend, p_error: float, approximate: bool) -> LookupPrice:
    return lambda width, bits: target.estimate([Lookups(1, width, bits, approximate)], 0, p_error)


def _count_lookups(network: Network) -> int:
    shapes = (network.shapes[o.name] for o in network.operations if isinstance(o, Lookup))
    return sum(math.prod(shape) for shape in shapes)


def price(network: Network, backend: str | None = None, **options: Any) -> Price:
    """Return what the circuit of `network` costs; the arguments are those of `compile`.

    No key is made: small networks take less than a second.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> found = price(network)
        >>> found.bits, found.lookups
        ({'fc': 5}, 0)
    """
    return compile(network, backend, **options).price
