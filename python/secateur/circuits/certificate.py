"""Certificates: the proved range of every operation of a network, tied to it by hash.

A certificate is small, is read without the network, and is checked by computing all of it
again: `verify` trusts no number in it, and `secateur.checker` does so without this library.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from secateur.analysis import NodeRange, RangeReport, analyze
from secateur.envelope import Envelope
from secateur.errors import NetworkError, SecateurError
from secateur.files import write_whole
from secateur.network import LARGEST_TABLE, Input, Integers, Lookup, Network, tabulate
from secateur.network.operation import ENDS, End
from secateur.network.storage import fingerprint
from secateur.show.tables import Displayed, Table

ENVELOPE = Envelope("certificate", "secateur-certificate", version=2, oldest=2)


@dataclass(frozen=True)
class CertifiedNode:
    """What is proved of one node, the input included.

    Args:
        name: the node's name.
        kind: its operation's kind.
        shape: its shape, batch axis left out.
        low, high: the proved range of each channel.
        bits: width of an integer type that holds all channels: unsigned where none is ever
            negative, two's complement where one can be.
        witnesses: for each channel which of the certificate's witnesses attain its low end and
            its high end; None where an end is sound but not known to be attained.
        rounding_bits: how many low bits of its source a lookup drops.
        harmless: whether its table has the same entry for every value of its source without
            dropping them; True where none are dropped.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    bits: int
    witnesses: tuple[tuple[int | None, int | None], ...]
    rounding_bits: int
    harmless: bool

    @property
    def exact(self) -> tuple[bool, ...]:
        """For each channel, whether some input attains both ends of its range."""
        return tuple(None not in pair for pair in self.witnesses)


#: An input that attains an end: where it lies at the ends of the input's ranges a string of
#: hexadecimal digits, whose bits say for each element whether it is the high one; else integers.
Witness = str | tuple[int, ...]


@dataclass(frozen=True)
class Certificate(Displayed):
    """The proof of a network's widths.

    Args:
        network: fingerprint of the network, see `secateur.network.storage.fingerprint`.
        nodes: the input, then every operation, in the order of the data.
        witnesses: the inputs that attain ends, each once.
        secateur: version of the library that made the proof.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> certificate = Certificate.of(network)
        >>> certificate.nodes[-1].low, certificate.nodes[-1].high, certificate.nodes[-1].bits
        ((-3,), (15,), 5)
        >>> certificate.input_of(certificate.nodes[-1].witnesses[0][1], network.input)  # attains 15
        array([3, 0, 3])
        >>> verify(certificate, network).holds
        True
    """

    network: str
    nodes: tuple[CertifiedNode, ...] = field(repr=False)
    witnesses: tuple[Witness, ...] = field(repr=False)
    secateur: str

    @classmethod
    def of(cls, network: Network | RangeReport) -> Certificate:
        """Return the certificate of a network, its ranges proved now, or of a report of one.

        A report that inputs were searched for (`analyze(network, attain=True)`) certifies the
        ends that were found as attained.

        Raises:
            AccumulatorOverflowError: an accumulator that 64 bits do not hold.

        Example:
            >>> import numpy as np
            >>> from secateur.network import Input, Linear, Network, Output
            >>> one, zero = np.ones(1), np.zeros(1)
            >>> def network_of(codes):
            ...     fc = Linear("fc", "input", np.array(codes))
            ...     output = Output("fc", one.astype(int), zero.astype(int), one, zero)
            ...     return Network(Input((2,), np.array(0), np.array(3)), (fc,), output)
            >>> certificate = Certificate.of(network_of([[1, -2]]))
            >>> certificate.nodes[1].low, certificate.nodes[1].high, certificate.nodes[1].bits
            ((-6,), (3,), 4)
            >>> verify(certificate, network_of([[1, -2]])).holds
            True
            >>> print(verify(certificate, network_of([[1, -3]])))
            the certificate is of another network; 4 of its facts do not hold of this one
        """
        report = network if isinstance(network, RangeReport) else analyze(network)
        witnesses: dict[Witness, int] = {}
        nodes = tuple(_certify(node, report, witnesses) for node in report)
        return cls(fingerprint(report.network), nodes, tuple(witnesses), version("secateur"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate to `path` as JSON; the file appears whole or not at all."""
        content = ENVELOPE.seal(asdict(self))
        content["sha256"] = _hash(content)
        write_whole(path, json.dumps(content).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Return the certificate that `save` wrote to `path`.

        Raises:
            FileFormatError: the file is no certificate, is truncated, or was altered.
            FileVersionError: another version of this library wrote it.
            OSError: the file cannot be read.
        """
        content = Path(path).read_bytes()
        with ENVELOPE.reading(path):
            found = ENVELOPE.read(content, path)
            if found.pop("sha256", None) != _hash(found):
                raise ENVELOPE.refused(path, "does not match its hash: it was altered or damaged")
            witnesses = tuple(w if isinstance(w, str) else tuple(w) for w in found["witnesses"])
            nodes = tuple(_read_node(node, len(witnesses)) for node in found["nodes"])
            return cls(str(found["network"]), nodes, witnesses, str(found["secateur"]))

    def display(self) -> tuple[str, Table]:
        """One row per node: the least low and the greatest high of its channels, and exactness."""
        rows = []
        for node in self.nodes:
            shape, exact = "×".join(map(str, node.shape)), sum(node.exact)
            attained = "all" if exact == len(node.exact) else f"{exact} of {len(node.exact)}"
            ends = min(node.low, default=None), max(node.high, default=None)
            rows.append((node.name, node.kind, shape, *ends, node.bits, attained))
        heading = ("node", "kind", "shape", "least low", "greatest high", "bits of both", "exact")
        title = f"certificate by secateur {self.secateur} of the network {self.network[:16]}…"
        return title, Table(heading, rows)

    def input_of(self, witness: int, given: Input) -> Integers:
        """Return one of the witnesses as an input, int64 [*given.shape].

        Raises:
            NetworkError: it is no input of that shape.
        """
        box = given.box.full
        packed = self.witnesses[witness]
        try:
            if isinstance(packed, str):
                bits = np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))
                upper = bits[: box.low.size].reshape(box.shape).astype(np.bool_)
                return np.where(upper, box.high, box.low)
            return np.array(packed, dtype=np.int64).reshape(box.shape)
        except (ValueError, OverflowError) as error:
            raise NetworkError(f"witness {witness} is no input of shape {box.shape}") from error


@dataclass(frozen=True)
class Difference:
    """One fact of a certificate that does not hold.

    Args:
        layer: name of the node; None where it is about the network as a whole.
        channel: index of the channel; None where it is about all of them.
        fact: what is certified: "low", "high", "bits", "codes", …
        certified: what the certificate says; None where it says nothing.
        found: what was computed; None where there is nothing.
    """

    layer: str | None
    channel: int | None
    fact: str
    certified: Any
    found: Any

    def __str__(self) -> str:
        where = "the network" if self.layer is None else f"layer {self.layer!r}"
        channel = "" if self.channel is None else f", channel {self.channel}"
        return (
            f"{where}{channel}: {self.fact} is certified as {self.certified}, but is {self.found}"
        )


@dataclass(frozen=True)
class Verdict(Displayed):
    """What came of computing a certificate again: nothing where it holds."""

    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        """True where every fact of the certificate was found again."""
        return not self.differences

    @property
    def another_network(self) -> bool:
        """True where the certificate is not of the network at all."""
        return any(d.layer is None and d.fact == _FINGERPRINT for d in self.differences)

    def display(self) -> tuple[str]:
        """What does not hold, one line each."""
        if self.another_network:
            return (
                f"the certificate is of another network; {len(self.differences)} of its facts do "
                "not hold of this one",
            )
        return ("\n".join(map(str, self.differences)) or "the certificate holds",)


def verify(certificate: Certificate, network: Network) -> Verdict:
    """Return where `certificate` differs from what is true of `network`, all computed anew.

    The version of the library that made the certificate may be another.

    Raises:
        AccumulatorOverflowError: an accumulator of `network` that 64 bits do not hold.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> from dataclasses import replace
        >>> certificate = Certificate.of(network)
        >>> print(verify(certificate, network))
        the certificate holds
        >>> wrong = replace(certificate.nodes[-1], high=(14,))
        >>> print(verify(replace(certificate, nodes=(*certificate.nodes[:-1], wrong)), network))
        layer 'fc', channel 0: high is certified as 14, but is 15
        layer 'fc', channel 0: attained high is certified as 14, but is 15
    """
    return Verdict(tuple(_differences(certificate, network)))


_FINGERPRINT = "the fingerprint"


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _certify(node: NodeRange, report: RangeReport, witnesses: dict[Witness, int]) -> CertifiedNode:
    channels = node.channels
    operations = {o.name: o for o in report.network.operations}
    operation = operations.get(node.name)

    def witness(channel: int, end: End) -> int | None:
        if not node.attained[channel, ENDS.index(end)]:
            return None
        packed = _packed(report.witness(node.name, channel, end), report.network.input)
        return witnesses.setdefault(packed, len(witnesses))

    return CertifiedNode(
        name=node.name,
        kind=node.kind,
        shape=node.shape,
        low=tuple(channels.low.tolist()),
        high=tuple(channels.high.tolist()),
        bits=node.ranges.hull().bits("integer"),
        witnesses=tuple((witness(c, "low"), witness(c, "high")) for c in range(node.shape[0])),
        rounding_bits=getattr(operation, "rounding_bits", 0),
        harmless=not isinstance(operation, Lookup) or _harmless(operation, report),
    )


def _harmless(lookup: Lookup, report: RangeReport) -> bool:
    """Return whether a lookup gives the same codes if it drops no bits."""
    channels = report[lookup.source].channels
    if not lookup.rounding_bits:
        return True
    if channels.span.max() >= LARGEST_TABLE:
        return False
    rules = lookup.rule, replace(lookup, rounding_bits=0).rule
    try:
        rounded, whole = (tabulate(rule, channels.low, channels.high) for rule in rules)
    except NetworkError:  # without an entry for some value there is nothing to compare
        return False
    return bool((rounded == whole).all())


def _packed(x: Integers, given: Input) -> Witness:
    box = given.box.full
    upper = x == box.high
    if (upper | (x == box.low)).all():
        return np.packbits(upper).tobytes().hex()
    return tuple(x.ravel().tolist())


def _read_node(value: dict[str, Any], witnesses: int) -> CertifiedNode:
    """Return the node of a JSON object; raises whatever comes of any other value."""
    decoded: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    decoded["witnesses"] = tuple((low, high) for low, high in value["witnesses"])
    node = CertifiedNode(**decoded)
    channels = node.shape[:1] * 3
    if tuple(map(len, (node.low, node.high, node.witnesses))) != channels:
        raise ValueError(f"node {node.name!r} has not one range for each of its channels")
    if not all(type(end) is int for end in (*node.low, *node.high)):
        raise ValueError(f"node {node.name!r} has a range of something else than integers")
    for at in (at for pair in node.witnesses for at in pair if at is not None):
        if type(at) is not int or not 0 <= at < witnesses:
            raise ValueError(f"node {node.name!r} has a witness {at!r}, which there is not")
    return node


def _differences(certified: Certificate, network: Network) -> Iterator[Difference]:
    found = Certificate.of(network)
    if certified.network != found.network:
        yield Difference(None, None, _FINGERPRINT, certified.network, found.network)
    names = [node.name for node in certified.nodes]
    expected = [node.name for node in found.nodes]
    if names != expected:
        yield Difference(None, None, "the order of operations", names, expected)
    truth = {node.name: node for node in found.nodes}
    for node in certified.nodes:
        if node.name in truth:
            yield from _node_differences(node, truth[node.name])
    yield from _witness_differences(certified, network)


def _node_differences(certified: CertifiedNode, found: CertifiedNode) -> Iterator[Difference]:
    for name in (f.name for f in fields(CertifiedNode) if f.name != "witnesses"):
        said, true = getattr(certified, name), getattr(found, name)
        if said == true:
            continue
        if name in ("low", "high") and len(said) == len(true):
            for channel, (a, b) in enumerate(zip(said, true, strict=True)):
                if a != b:
                    yield Difference(certified.name, channel, name, a, b)
        else:
            yield Difference(certified.name, None, name, said, true)


def _witness_differences(certified: Certificate, network: Network) -> Iterator[Difference]:
    """Run every witness and look whether it attains what it is said to."""
    claims: dict[int, list[tuple[CertifiedNode, int, int]]] = {}
    for node in certified.nodes:
        if network.shapes.get(node.name) != node.shape:
            continue
        for channel, pair in enumerate(node.witnesses):
            for end, witness in enumerate(pair):
                if witness is not None:
                    claims.setdefault(witness, []).append((node, channel, end))
    for witness, claimed in claims.items():
        try:
            x = certified.input_of(witness, network.input)
            values = network.nodes(x[None])
        except SecateurError as error:
            yield Difference(None, None, f"witness {witness}", "an input", str(error))
            continue
        for node, channel, end in claimed:
            reached = values[node.name][0, channel]
            attained = int(reached.max() if end else reached.min())
            said = (node.high if end else node.low)[channel]
            if attained != said:
                yield Difference(node.name, channel, f"attained {ENDS[end]}", said, attained)
