"""Certificates: the proved range of every operation of a network, tied to it by hash.

A certificate is small, is read without the network, and is checked by computing all of it
again: `verify` trusts no number in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import version
from pathlib import Path
from typing import Any

from secateur.analysis import NodeRange, RangeReport, analyze
from secateur.errors import FileFormatError, FileVersionError
from secateur.files import write_whole
from secateur.network import LARGEST_TABLE, Conv, Linear, Lookup, Network, tabulate
from secateur.network.storage import digest, fingerprint

FORMAT = "secateur-certificate"
VERSION = 1


@dataclass(frozen=True)
class CertifiedNode:
    """What is proved of one node, the input included.

    Args:
        name: the node's name.
        kind: its operation in lower case.
        shape: its shape, batch axis left out.
        low, high: the proved range of each channel.
        bits: width of an integer type that holds all channels: unsigned where none is ever
            negative, two's complement where one can be.
        exact: for each channel, whether some input attains both ends; sound where not.
        codes: SHA-256 of codes and bias; None where the operation has none.
        table: SHA-256 of the table's entries over the proved range of what it reads; None
            where the operation is no lookup, or its range is too wide to list.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    low: tuple[int, ...]
    high: tuple[int, ...]
    bits: int
    exact: tuple[bool, ...]
    codes: str | None
    table: str | None


@dataclass(frozen=True)
class Certificate:
    """The proof of a network's widths.

    Args:
        network: fingerprint of the network, see `secateur.network.storage.fingerprint`.
        nodes: the input, then every operation, in the order of the data.
        secateur: version of the library that made the proof.
    """

    network: str
    nodes: tuple[CertifiedNode, ...] = field(repr=False)
    secateur: str

    @classmethod
    def of(cls, network: Network) -> Certificate:
        """Return the certificate of `network`, its ranges proved now.

        Raises:
            AccumulatorOverflowError: an accumulator that 64 bits do not hold.

        Example:
            >>> import numpy as np
            >>> from secateur.network import Input, Network, Output
            >>> from secateur.network import Linear
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
            >>> print(verify(certificate, network_of([[1, -3]])).differences[1])
            layer 'fc', channel 0: low is certified as -6, but is -9
        """
        report = analyze(network)
        nodes = tuple(_certify(node, report) for node in report)
        return cls(fingerprint(network), nodes, version("secateur"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the certificate to `path` as JSON; the file appears whole or not at all."""
        content = {"format": FORMAT, "version": VERSION, **asdict(self)}
        write_whole(path, json.dumps(content, indent=1).encode())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Return the certificate that `save` wrote to `path`.

        Raises:
            FileFormatError: the file is no certificate, or is truncated.
            FileVersionError: a later version of this library wrote it.
            OSError: the file cannot be read.
        """
        try:
            content = json.loads(Path(path).read_bytes())
            if content["format"] != FORMAT:
                raise ValueError(f"its format is {content['format']!r}")
            if content["version"] != VERSION:
                raise FileVersionError(
                    f"{path} has format version {content['version']}; "
                    f"secateur {version('secateur')} reads version {VERSION}",
                    path=str(path),
                    version=content["version"],
                    known=VERSION,
                )
            nodes = tuple(_read_node(node) for node in content["nodes"])
            return cls(str(content["network"]), nodes, str(content["secateur"]))
        except FileVersionError:
            raise
        except (ValueError, KeyError, TypeError) as error:
            problem = f"is truncated or is no certificate: {error}"
            raise FileFormatError(f"{path} {problem}", path=str(path), problem=problem) from error


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
class Verdict:
    """What came of computing a certificate again: nothing where it holds."""

    differences: tuple[Difference, ...]

    @property
    def holds(self) -> bool:
        """True where every fact of the certificate was found again."""
        return not self.differences

    def __str__(self) -> str:
        return "\n".join(map(str, self.differences)) or "the certificate holds"


def verify(certificate: Certificate, network: Network) -> Verdict:
    """Return where `certificate` differs from what is true of `network`, all computed anew.

    The version of the library that made the certificate may be another.

    Raises:
        AccumulatorOverflowError: an accumulator of `network` that 64 bits do not hold.
    """
    return Verdict(tuple(_differences(certificate, Certificate.of(network))))


def _certify(node: NodeRange, report: RangeReport) -> CertifiedNode:
    channels = node.channels
    codes = table = None
    if node.name != report.network.input.name:
        operation = report.network[node.name]
        if isinstance(operation, Linear | Conv):
            codes = digest(codes=operation.codes, bias=operation.bias)
        if isinstance(operation, Lookup):
            table = _table_digest(operation, report)
    return CertifiedNode(
        name=node.name,
        kind=node.kind,
        shape=node.shape,
        low=tuple(channels.low.tolist()),
        high=tuple(channels.high.tolist()),
        bits=node.ranges.hull().bits("integer"),
        exact=tuple(node.exact.tolist()),
        codes=codes,
        table=table,
    )


def _table_digest(lookup: Lookup, report: RangeReport) -> str | None:
    channels = report[lookup.source].channels
    if channels.span.max() >= LARGEST_TABLE:
        return None
    return digest(entries=tabulate(lookup.rule, channels.low, channels.high))


def _read_node(value: dict[str, Any]) -> CertifiedNode:
    """Return the node of a JSON object; raises TypeError or ValueError for any other value."""
    decoded: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in value.items()}
    node = CertifiedNode(**decoded)
    channels = node.shape[:1] * 3
    if tuple(map(len, (node.low, node.high, node.exact))) != channels:
        raise ValueError(f"node {node.name!r} has not one range for each of its channels")
    return node


def _differences(certified: Certificate, found: Certificate) -> Iterator[Difference]:
    if certified.network != found.network:
        yield Difference(None, None, "the fingerprint", certified.network, found.network)
    names = [node.name for node in certified.nodes]
    expected = [node.name for node in found.nodes]
    if names != expected:
        yield Difference(None, None, "the order of operations", names, expected)
    truth = {node.name: node for node in found.nodes}
    for node in certified.nodes:
        if node.name in truth:
            yield from _node_differences(node, truth[node.name])


def _node_differences(certified: CertifiedNode, found: CertifiedNode) -> Iterator[Difference]:
    for name in (f.name for f in fields(CertifiedNode)):
        said, true = getattr(certified, name), getattr(found, name)
        if said == true:
            continue
        if name in ("low", "high", "exact") and len(said) == len(true):
            for channel, (a, b) in enumerate(zip(said, true, strict=True)):
                if a != b:
                    yield Difference(certified.name, channel, name, a, b)
        else:
            yield Difference(certified.name, None, name, said, true)
