"""What a pruning strategy sees: NumPy arrays and how the layers hang together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

Masks = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class PrunableLayer:
    """One affine layer as a strategy sees it; every array is read-only.

    Args:
        name: the layer's name in its network.
        weight: float64 [out, in / groups, *kernel], the weights before quantisation (the codes
            themselves, as floats, where a network has no others).
        codes: integer, shaped like `weight`; what the circuit multiplies by. A weight that the
            mask of the moment removes has the code that it would have if it came back.
        low: int64, shaped like `weight`; the least input that each weight meets.
        high: int64, shaped like `weight`; the greatest.
        bias: int64 [out]; zeros where the layer has none.
        mask: bool, shaped like `weight`; True = kept so far. A strategy never brings back
            what is False here.
        groups: number of groups that the input channels are split into.
    """

    name: str
    weight: NDArray[np.float64]
    codes: NDArray[Any]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    bias: NDArray[np.int64]
    mask: NDArray[np.bool_]
    groups: int = 1

    @property
    def shape(self) -> tuple[int, ...]:
        """[out, in / groups, *kernel]."""
        return self.weight.shape

    @property
    def kernel(self) -> tuple[int, ...]:
        """The kernel's spatial extent; empty for a linear layer."""
        return self.weight.shape[2:]


@dataclass(frozen=True, eq=False)
class Coupling:
    """Where an output channel of one layer is read by another.

    Args:
        producer: name of the layer whose output channels these are.
        consumer: name of the layer that reads them.
        columns: int64 [pairs, 2]; each row an output channel of the producer and an input
            channel of the consumer that carries nothing but that channel's activation.
        exclusive: bool [out of producer]; False for channels that also go where no layer's
            input columns can be removed with them (a residual add, the network's output).
    """

    producer: str
    consumer: str
    columns: NDArray[np.int64]
    exclusive: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PruningProblem:
    """The layers to prune, in the order of the data, and what is known about them.

    Args:
        layers: in the order in which data meets them.
        couplings: which output channels feed which input columns.
        seed: of the random generator.
        activate: gives layer name → float64 [samples, in, ...], the inputs of every layer on
            the caller's data; None where there is no data.
        differentiate: gives layer name → float64 [samples or 1, *weight shape], the gradients
            of the caller's loss with respect to the weights; None where there is no data.
    """

    layers: tuple[PrunableLayer, ...]
    couplings: tuple[Coupling, ...] = ()
    seed: int = 0
    activate: Callable[[], Mapping[str, NDArray[np.float64]]] | None = field(
        default=None, repr=False
    )
    differentiate: Callable[[], Mapping[str, NDArray[np.float64]]] | None = field(
        default=None, repr=False
    )

    def __getitem__(self, name: str) -> PrunableLayer:
        return next(layer for layer in self.layers if layer.name == name)

    @cached_property
    def random(self) -> np.random.Generator:
        """The random generator of this problem, seeded by `seed`."""
        return np.random.default_rng(self.seed)
