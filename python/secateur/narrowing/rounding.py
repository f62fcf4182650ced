"""Rounding that changes no integer: low bits of accumulators at which no table looks.

A table that is constant on every block [k·2^r − c, (k + 1)·2^r − c) of its accumulator's proved
range may be looked up by the upper bits of v + c alone. The bits r are shared by the tensor, the
offset c is free for each channel and goes into the accumulator's bias. A channel of few values
may also be stretched by a factor, until its steps lie far enough apart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from secateur.analysis import RangeReport, analyze
from secateur.errors import RoundingError
from secateur.narrowing.readers import moved_by_readers, proved_ranges
from secateur.network import (
    LARGEST_TABLE,
    Add,
    ExplicitTable,
    Integers,
    Layer,
    Lookup,
    Network,
    Operation,
    tabulate,
)
from secateur.ranges import Range, Ranges

#: Width of the accumulator and number of its low bits that are dropped ↦ price of one lookup.
LookupPrice = Callable[[int, int], float]


@dataclass(frozen=True, eq=False)
class Rounding:
    """A number of low bits that all lookups of one accumulator may drop.

    Args:
        source: name of the node that is looked up.
        bits: how many bits, at least 1.
        factor: int64 [channels]; the node is multiplied by it, and
        offset: int64 [channels]; this is added, so that blocks of 2^bits begin where tables
            step. Mostly the factor is 1; a channel of few values may need to be stretched.
        width: bits that the node then takes.
    """

    source: str
    bits: int
    factor: Integers
    offset: Integers
    width: int


def harmless_roundings(network: Network) -> tuple[Rounding, ...]:
    """Return every rounding that changes no integer, for one source after the other.

    Of one source they come in the order of their bits, from 1 on. Each is proved by all
    entries of all channels' tables over the proved range of the accumulator. None takes more
    than one bit above the width that the accumulator has now.

    Example:
        >>> from secateur.network import ExplicitTable, Input, Linear, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> steps = ExplicitTable(np.array([[0] * 5 + [1] * 4 + [2] * 4]), np.array([-6]))
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (
        ...         Linear("fc", "input", np.array([[1, -2, 1]])),
        ...         Lookup("step", "fc", steps),
        ...     ),
        ...     Output("step", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> [(r.bits, r.factor, r.offset, r.width) for r in harmless_roundings(network)]
        [(1, array([1]), array([7]), 4), (2, array([1]), array([9]), 4)]
    """
    report = analyze(network)
    return tuple(r for source in _looked_up(network) for r in _roundings(report, source, False))


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
        lookup = network[name]
        if not isinstance(lookup, Lookup):
            raise RoundingError(
                f"layer {name!r} is no lookup; only what is looked up is rounded",
                layer=name,
                bits=wanted,
            )
        if wanted == lookup.rounding_bits:
            # Already so, or rounded with another lookup of the same accumulator.
            continue
        fitting = [r for r in possible if r.source == lookup.source and r.bits == wanted]
        rounded = None
        if fitting and not lookup.rounding_bits:
            rounded = _rounded(network, fitting[0])
        if rounded is None:
            raise _refusal(network, lookup, wanted)
        network = rounded
    return network


def round_by_price(
    network: Network, price: LookupPrice, about: LookupPrice | None = None
) -> Network:
    """Return `network` with every lookup rounded where that is harmless and costs least.

    Args:
        network: narrowed; its accumulators are as wide as they have to be.
        price: of one lookup; see `LookupPrice`.
        about: the same where bits may be dropped approximately. Half a block is then kept free
            below the least and above the greatest value, for those that go astray.
    """
    report = analyze(network)
    for source in _looked_up(network):
        priced = [(price(r.width, r.bits), r) for r in _roundings(report, source, False)]
        if about is not None:
            priced += [(about(r.width, r.bits), r) for r in _roundings(report, source, True)]
        plain = price(report[source].ranges.hull().bits("integer"), 0)
        for cost, rounding in sorted(priced, key=lambda pair: pair[0]):
            rounded = _rounded(network, rounding) if cost < plain else None
            if rounded is not None:
                network = rounded
                break
    return network


def _looked_up(network: Network) -> dict[str, list[Lookup]]:
    """Node → the lookups that read it, in order, where none of them rounds yet."""
    found: dict[str, list[Lookup]] = {}
    for operation in network.operations:
        if isinstance(operation, Lookup):
            found.setdefault(operation.source, []).append(operation)
    return {s: all_ for s, all_ in found.items() if not any(o.rounding_bits for o in all_)}


def _steps(report: RangeReport, source: str) -> list[Integers] | None:
    """Return for every channel where some table differs from its entry before, in order.

    Positions count from the low end of the channel's proved range. None where a range is too
    wide for a table.
    """
    channels = report[source].channels
    if channels.span.max() >= LARGEST_TABLE:
        return None
    lookups = _looked_up(report.network)[source]
    tables = [tabulate(o.rule, channels.low, channels.high) for o in lookups]
    differs = np.any([table[:, 1:] != table[:, :-1] for table in tables], axis=0)
    return [np.flatnonzero(row) + 1 for row in differs]


def _roundings(report: RangeReport, source: str, about: bool) -> Iterator[Rounding]:
    """Yield what `source` may drop; half a block free on both sides of what occurs if `about`."""
    steps = _steps(report, source)
    if steps is None:
        return
    fit, channels = _fit_of(report.network, source), report[source].channels
    widest = int(channels.bits("span").max())
    for bits in range(1, widest):
        half = 1 << bits - 1 if about else 0
        fits = [
            fit(at, low, span, bits, (half, (1 << widest) - 1 - half))
            for at, low, span in zip(
                steps, channels.low.tolist(), channels.span.tolist(), strict=True
            )
        ]
        if None in fits:
            return
        factor, offset = np.array(fits, np.int64).T
        moved = (channels * factor + offset).hull()
        if moved.low >= half or not about:
            width = Range(moved.low, moved.high + half).bits("integer")
            yield Rounding(source, bits, factor, offset, width)


#: Steps of a channel, its low end and span, bits to drop, the least value that it is to have
#: and the greatest that a factor may lead to ↦ factor and offset, or None.
_Fit = Callable[[Integers, int, int, int, tuple[int, int]], "tuple[int, int] | None"]


def _fit_of(network: Network, source: str) -> _Fit:
    """Return how the channels of a node may be moved."""
    if source == network.input.name or not isinstance(network[source], Layer | Add):
        return _fit_in_place
    others = any(source in o.sources and not isinstance(o, Lookup) for o in network.operations)
    if others or source == network.output.source or isinstance(network[source], Add):
        return _fit_by_offset
    return _fit_by_stretching


def _fit_in_place(
    steps: Integers, low: int, span: int, bits: int, ends: tuple[int, int]
) -> tuple[int, int] | None:
    return None if ((low + steps) % (1 << bits)).any() else (1, 0)


def _fit_by_offset(
    steps: Integers, low: int, span: int, bits: int, ends: tuple[int, int]
) -> tuple[int, int] | None:
    least, block = ends[0], 1 << bits
    first = int(steps[0]) if len(steps) else -least
    offset = least + (-first - least) % block
    return None if ((steps - first) % block).any() else (1, offset - low)


def _fit_by_stretching(
    steps: Integers, low: int, span: int, bits: int, ends: tuple[int, int]
) -> tuple[int, int] | None:
    if fit := _fit_by_offset(steps, low, span, bits, ends):
        return fit
    least, most = ends
    for factor in range(2, (most - least) // max(span, 1) + 1):
        offsets = least + np.arange(min(1 << bits, most - least - factor * span + 1))
        before, after = ((factor * at)[:, None] + offsets >> bits for at in (steps - 1, steps))
        apart = (before != after).all(axis=0)
        if apart.any():
            return factor, int(offsets[apart.argmax()]) - factor * low
    return None


def _rounded(network: Network, rounding: Rounding) -> Network | None:
    """Return `network` with one rounding in it; None where readers cannot undo its offset."""
    name, factor, offset = rounding.source, rounding.factor, rounding.offset
    channels = analyze(network)[name].channels
    tables = [_on_blocks(o, rounding, channels) for o in _readers(network, name)]
    if offset.any() or (factor != 1).any():
        # What a lookup undoes here is replaced below; others know no factor.
        ones = np.ones_like(offset)
        moved = moved_by_readers(network, proved_ranges(analyze(network)), name, ones, -offset)
        if moved is None:
            return None
        network = moved[0].with_operations(_moved(network[name], factor, offset))
    return network.with_operations(*tables)


def _readers(network: Network, source: str) -> list[Lookup]:
    return [o for o in network.operations if isinstance(o, Lookup) and o.source == source]


def _moved(operation: Operation, factor: Integers, offset: Integers) -> Operation:
    """Return a layer or a sum whose result is multiplied by `factor`, `offset` added to it."""
    bias = 0 if operation.bias is None else operation.bias  # type: ignore[attr-defined]
    changed: dict[str, Integers] = {"bias": bias * factor + offset}
    if isinstance(operation, Layer) and (factor != 1).any():
        codes = operation.codes.astype(np.int64)
        codes = codes * factor.reshape(-1, *(1,) * (codes.ndim - 1))
        reach = np.promote_types(np.min_scalar_type(-int(np.abs(codes).max()) - 1), np.int8)
        changed["codes"] = codes.astype(reach)
    return replace(operation, **changed)  # type: ignore[type-var]


def _on_blocks(lookup: Lookup, rounding: Rounding, channels: Ranges) -> Lookup:
    """Return `lookup` of the moved accumulator, for the beginnings of its blocks.

    A block may begin below the range; the least value in it that occurs has its code.
    """
    factor, bits = rounding.factor[:, None], rounding.bits
    low, span = channels.low[:, None], channels.span.astype(np.int64)[:, None]
    moved = factor * low + rounding.offset[:, None]
    start = moved >> bits << bits
    keys = start + np.arange(int((moved + factor * span - start).max()) + 1)
    occurring = low + np.clip(-((moved - keys) // factor), 0, span)
    entries = lookup.rule(np.ascontiguousarray(occurring.T)).T
    table = ExplicitTable(entries, start[:, 0])
    return replace(lookup, table=table, factor=None, offset=None, rounding_bits=bits)


def _refusal(network: Network, lookup: Lookup, bits: int) -> RoundingError:
    """Return why `bits` low bits before `lookup` cannot be dropped without changing an integer."""
    report, source = analyze(network), lookup.source
    most = max((r.bits for r in harmless_roundings(network) if r.source == source), default=0)
    at_most = f"at most {most} can be dropped" if most else "none can be dropped"
    facts = {"layer": lookup.name, "bits": bits, "most": most}
    steps = _steps(report, source) if source in _looked_up(network) else None
    low, fit = report[source].channels.low, _fit_of(network, source)
    for channel, at in enumerate(steps or ()):
        phase = low[channel] if fit is _fit_in_place else -at[:1].sum()
        inside = at[(at + phase) % (1 << min(max(bits, 1), 62)) != 0]
        if len(inside):
            after = int(low[channel] + inside[0])
            beside = np.stack([np.full_like(low, v) for v in (after - 1, after)])
            entries = tuple(
                lookup.rule(np.clip(beside, low, report[source].channels.high))[:, channel].tolist()
            )
            return RoundingError(
                f"layer {lookup.name!r}, channel {channel}: with {bits} low bits dropped the "
                f"accumulators {after - 1} and {after} are one, whose table entries are "
                f"{entries[0]} and {entries[1]}; {at_most}",
                channel=channel,
                entries=entries,
                **facts,
            )
    return RoundingError(
        f"layer {lookup.name!r}: {bits} low bits cannot be dropped; {at_most}", **facts
    )
