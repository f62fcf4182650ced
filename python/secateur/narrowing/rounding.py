"""Rounding that changes no integer: low bits of accumulators at which no table looks.

A table that is constant on every block [k·2^r − c, (k + 1)·2^r − c) of its accumulator's proved
range may be looked up by the upper bits of v + c alone. The bits r are shared by the tensor, the
offset c is free for each channel and goes into the accumulator's bias.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from secateur.analysis import LARGEST_TABLE, RangeReport
from secateur.errors import RoundingError
from secateur.narrowing.readers import moved_by_readers
from secateur.narrowing.widths import circuit_bits, proved_ranges, report_of
from secateur.network import Add, ExplicitTable, FunctionTable, Layer, Lookup, Network
from secateur.network.tables import Integers, tabulate
from secateur.ranges import Ranges

#: Width of the accumulator and number of its low bits that are dropped ↦ price of one lookup.
LookupPrice = Callable[[int, int], float]


@dataclass(frozen=True, eq=False)
class Rounding:
    """A number of low bits that all lookups of one accumulator may drop.

    Args:
        source: name of the node that is looked up.
        bits: how many bits, at least 1.
        offset: int64 [channels] to be added to it, so that blocks begin at multiples of 2^bits.
        width: bits that it takes with the offset added.
    """

    source: str
    bits: int
    offset: Integers
    width: int


def harmless_roundings(network: Network) -> tuple[Rounding, ...]:
    """Return every rounding that changes no integer, for one source after the other.

    Of one source they come in the order of their bits, from 1 on. Each is proved by all
    entries of all channels' tables over the proved range of the accumulator.

    Example:
        >>> from secateur.network import ExplicitTable, Input, Linear, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (
        ...         Linear("fc", "input", np.array([[1, -2, 1]])),
        ...         Lookup(
        ...             "step",
        ...             "fc",
        ...             ExplicitTable(np.array([[0] * 5 + [1] * 4 + [2] * 4]), np.array([-6])),
        ...         ),
        ...     ),
        ...     Output("step", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> [(r.bits, r.offset, r.width) for r in harmless_roundings(network)]
        [(1, array([7]), 4), (2, array([9]), 4)]
    """
    report = report_of(network)
    found = []
    for source, lookups in _looked_up(network).items():
        if (steps := _steps(report, source, lookups)) is not None:
            found += list(_roundings(report, source, steps))
    return tuple(found)


def round_harmlessly(network: Network, bits: Mapping[str, int]) -> Network:
    """Return `network` with low bits dropped before lookups; no integer changes.

    Args:
        network: whose lookups are to be rounded.
        bits: lookup → how many bits are to be dropped; 0 leaves it as it is.

    Raises:
        RoundingError: a table would change; names the lookup, the channel and the entries.
        NetworkError: there is no operation of that name.
    """
    possible = harmless_roundings(network)
    for name, wanted in bits.items():
        if wanted == 0:
            continue
        lookup = network[name]
        if not isinstance(lookup, Lookup):
            raise RoundingError(
                f"layer {name!r} is no lookup; only what is looked up is rounded",
                layer=name,
                bits=wanted,
            )
        rounding = next(
            (r for r in possible if r.source == lookup.source and r.bits == wanted), None
        )
        rounded = None if rounding is None else _rounded(network, rounding)
        if rounded is None:
            raise _refusal(network, lookup, wanted)
        network = rounded
    return network


def round_by_price(network: Network, price: LookupPrice) -> Network:
    """Return `network` with every lookup rounded where that is harmless and costs less.

    Args:
        network: narrowed; its accumulators are as wide as they have to be.
        price: of one lookup; see `LookupPrice`.
    """
    report = report_of(network)
    choices: dict[str, list[Rounding]] = {}
    for rounding in harmless_roundings(network):
        choices.setdefault(rounding.source, []).append(rounding)
    for source, roundings in choices.items():
        plain = price(circuit_bits(report[source].ranges), 0)
        for rounding in sorted(roundings, key=lambda r: price(r.width, r.bits)):
            if price(rounding.width, rounding.bits) >= plain:
                break
            rounded = _rounded(network, rounding)
            if rounded is not None:
                network = rounded
                break
    return network


def _looked_up(network: Network) -> dict[str, list[Lookup]]:
    """Node → the lookups that read it, in order; none of them rounds yet."""
    found: dict[str, list[Lookup]] = {}
    for operation in network.operations:
        if isinstance(operation, Lookup):
            found.setdefault(operation.source, []).append(operation)
    return {s: all_ for s, all_ in found.items() if not any(o.rounding_bits for o in all_)}


def _steps(report: RangeReport, source: str, lookups: list[Lookup]) -> NDArray[np.bool_] | None:
    """Return bool [channels, entries]: where some table differs from its entry before.

    Entry 0 is at the low end of each channel's proved range. None where a range is too wide
    for a table.
    """
    channels = report[source].channels
    if (channels.high - channels.low).max(initial=0) >= LARGEST_TABLE:
        return None
    entries = [tabulate(o.evaluate, channels.low, channels.high) for o in lookups]
    steps = np.zeros(entries[0].shape, np.bool_)
    for table in entries:
        steps[:, 1:] |= table[:, 1:] != table[:, :-1]
    return steps


def _roundings(report: RangeReport, source: str, steps: NDArray[np.bool_]) -> list[Rounding]:
    channels = report[source].channels
    network = report.network
    movable = source != network.input.name and isinstance(network[source], Layer | Add)
    first = np.where(steps.any(axis=1), steps.argmax(axis=1), 0)
    found = []
    for bits in range(1, int(channels.bits("span").max())):
        block = 1 << bits
        offset = -first % block - channels.low if movable else np.zeros_like(channels.low)
        moved = Ranges(channels.low + offset, channels.high + offset)
        if (steps & ((moved.low[:, None] + np.arange(steps.shape[1])) % block != 0)).any():
            break
        found.append(Rounding(source, bits, offset, circuit_bits(moved)))
    return found


def _rounded(network: Network, rounding: Rounding) -> Network | None:
    """Return `network` with one rounding in it; None where readers cannot undo its offset."""
    name, offset = rounding.source, rounding.offset
    channels = report_of(network)[name].channels
    below = (channels.low + offset) % (1 << rounding.bits)
    ranges = proved_ranges(network)
    network = network.with_operations(
        *(_reaching_down(o, channels, below) for o in _readers(network, name))
    )
    if offset.any():
        moved = moved_by_readers(network, ranges, name, np.ones_like(offset), -offset)
        if moved is None:
            return None
        network = moved[0]
        operation = network[name]
        bias = operation.bias  # type: ignore[attr-defined]
        shifted = offset if bias is None else bias + offset
        network = network.with_operations(replace(operation, bias=shifted))  # type: ignore[type-var]
    return network.with_operations(
        *(replace(o, rounding_bits=rounding.bits) for o in _readers(network, name))
    )


def _readers(network: Network, source: str) -> list[Lookup]:
    return [o for o in network.operations if isinstance(o, Lookup) and o.source == source]


def _reaching_down(lookup: Lookup, channels: Ranges, below: Integers) -> Lookup:
    """Return `lookup` with the codes of each channel's low end `below` it, too.

    The first block of a channel may begin below its proved range, and its beginning is what
    is looked up.
    """
    low = channels.low
    if isinstance(lookup.table, FunctionTable):
        ends = (lookup.evaluate(v[None]) for v in (low - below, low))
        if np.array_equal(*ends):
            return lookup
    rows = tabulate(lambda v: lookup.evaluate(np.maximum(v, low)), low - below, channels.high)
    return replace(lookup, table=ExplicitTable(rows, low - below), factor=None, offset=None)


def _refusal(network: Network, lookup: Lookup, bits: int) -> RoundingError:
    """Return why `bits` low bits before `lookup` cannot be dropped without changing an integer."""
    report = report_of(network)
    most = max(
        (r.bits for r in harmless_roundings(network) if r.source == lookup.source), default=0
    )
    at_most = f"at most {most} can be dropped" if most else "none can be dropped"
    facts = {"layer": lookup.name, "bits": bits, "most": most}
    lookups = _looked_up(network).get(lookup.source)
    steps = None if lookups is None else _steps(report, lookup.source, lookups)
    if steps is None or bits < 1:
        return RoundingError(
            f"layer {lookup.name!r}: {bits} low bits cannot be dropped; {at_most}", **facts
        )
    low = report[lookup.source].channels.low
    first = np.where(steps.any(axis=1), steps.argmax(axis=1), 0)
    inside = steps & ((np.arange(steps.shape[1]) - first[:, None]) % (1 << min(bits, 62)) != 0)
    if not inside.any():
        return RoundingError(
            f"layer {lookup.name!r}: dropping {bits} low bits would leave none to look up, or its "
            f"accumulator {lookup.source!r} cannot be shifted; {at_most}",
            **facts,
        )
    channel, entry = (int(i) for i in np.argwhere(inside)[0])
    after = int(low[channel]) + entry
    values = tabulate(lookup.evaluate, np.full_like(low, after - 1), np.full_like(low, after))
    return RoundingError(
        f"layer {lookup.name!r}, channel {channel}: with {bits} low bits dropped the accumulators "
        f"{after - 1} and {after} are one, whose table entries are {values[channel, 0]} and "
        f"{values[channel, -1]}; {at_most}",
        channel=channel,
        entries=(int(values[channel, 0]), int(values[channel, -1])),
        **facts,
    )
