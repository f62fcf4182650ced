"""All steps of narrowing in order, and what each of them saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from secateur.analysis import NodeRange, RangeReport, analyze
from secateur.narrowing.accumulators import divide_common_factors, shift_to_zero
from secateur.narrowing.channels import drop_dead_channels, fold_constants
from secateur.narrowing.lookups import skip_identities
from secateur.network import Lookup, Network
from secateur.show.tables import Displayed, Table

#: In the order in which one makes work for the next.
_STEPS: tuple[Callable[[RangeReport], Network], ...] = (
    skip_identities,
    fold_constants,
    drop_dead_channels,
    divide_common_factors,
    shift_to_zero,
)


@dataclass(frozen=True)
class Size:
    """What a network costs a circuit.

    Args:
        bits: width of the widest node, which every lookup of a concrete-numpy circuit pays:
            unsigned where the node is never negative, two's complement where it can be.
        lookups: number of elements that go through a table.
        channels: number of channels of all operations.
        codes: number of codes that are not zero.
    """

    bits: int
    lookups: int
    channels: int
    codes: int


@dataclass(frozen=True)
class Saving:
    """One step that found something to do: its name, the size before it and after it."""

    name: str
    before: Size
    after: Size


@dataclass(frozen=True, eq=False)
class Narrowing(Displayed):
    """A narrowed network and how it came to be.

    Args:
        network: the narrowed network, equal to the one given on every input.
        steps: those that found something to do, in order.
        bits: accumulator → its width before and after; after is None where it was dropped.
    """

    network: Network
    steps: tuple[Saving, ...]
    bits: Mapping[str, tuple[int, int | None]]

    def display(self) -> tuple[Table, str, Table]:
        """One row per step, and one row per accumulator."""
        sizes = ("bits", "lookups", "channels", "codes")
        steps = [
            (step.name, *(_change(getattr(step.before, n), getattr(step.after, n)) for n in sizes))
            for step in self.steps
        ]
        layers = [(name, _change(*pair)) for name, pair in self.bits.items()]
        return Table(("step", *sizes), steps), "", Table(("accumulator", "bits"), layers)


def explain(network: Network) -> Narrowing:
    """Return the narrowed network together with what each step saved.

    Raises:
        AccumulatorOverflowError: an accumulator that 64 bits do not hold.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Network, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (Linear("fc", "input", np.array([[4, -2, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> found = explain(network)
        >>> found.bits, [step.name for step in found.steps]
        ({'fc': (6, 4)}, ['divide common factors', 'shift to zero'])
    """
    first = analyze(network)
    steps = []
    report = first
    while True:
        given = report.network
        for step in _STEPS:
            network = step(report)
            if network is not report.network:
                before, report = report, analyze(network)
                name = step.__name__.replace("_", " ")
                steps.append(Saving(name, _size(before), _size(report)))
        if report.network is given:
            break
    last = {node.name: _bits(node) for node in report.accumulators}
    bits = {node.name: (_bits(node), last.get(node.name)) for node in first.accumulators}
    return Narrowing(network, tuple(steps), bits)


def narrow(network: Network) -> Network:
    """Return a network that gives the same integers from fewer bits, channels and lookups.

    Lookups that change nothing are skipped, constants folded into biases, dead channels
    dropped, common factors divided out and accumulators shifted to start at zero, until
    nothing is left to do. `explain` does the same and says what each step saved.

    Raises:
        AccumulatorOverflowError: an accumulator that 64 bits do not hold.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Network, Output
        >>> from secateur.network import Linear
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> fc = Linear("fc", "input", np.array([[2, -4, 6]]))
        >>> wide = Network(
        ...     Input((3,), np.array(0), np.array(3)),
        ...     (fc,),
        ...     Output("fc", one.astype(int), zero.astype(int), one, zero),
        ... )
        >>> narrowed = narrow(wide)
        >>> narrowed["fc"].codes, narrowed["fc"].bias
        (array([[ 1, -2,  3]]), array([6]))
        >>> print(explain(wide))
        step                   bits  lookups  channels  codes
        divide common factors  6→5   0        1         3
        shift to zero          5     0        1         3
        <BLANKLINE>
        accumulator  bits
        fc           6→5
        >>> x = np.array([[0, 3, 1], [3, 0, 3]])
        >>> (narrowed(x) == wide(x)).all()
        True
    """
    return explain(network).network


def _size(report: RangeReport) -> Size:
    network = report.network
    lookups = [o.name for o in network.operations if isinstance(o, Lookup)]
    return Size(
        bits=max(_bits(node) for node in report),
        lookups=sum(int(np.prod(network.shapes[name])) for name in lookups),
        channels=sum(network.shapes[o.name][0] for o in network.operations),
        codes=sum(int(np.count_nonzero(layer.codes)) for layer in network.layers),
    )


def _bits(node: NodeRange) -> int:
    """The width of an integer type that holds all channels of a node, which share it."""
    return node.ranges.hull().bits("integer")


def _change(before: int, after: int | None) -> str:
    if after is None:
        return f"{before}→dropped"
    return str(before) if before == after else f"{before}→{after}"
