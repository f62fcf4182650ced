"""The network: a frozen graph of integer operations, and what it computes.

A network is the value that every stage takes and gives. Calling it computes its integers,
exactly or not at all; an encrypted circuit of the same network decrypts to the same ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod

import numpy as np
from numpy.typing import ArrayLike

from secateur.errors import AccumulatorOverflowError, NetworkError
from secateur.network.arrays import Floats, Frozen, Integers
from secateur.network.ends import Input, Output
from secateur.network.layers import Layer
from secateur.network.operation import Operation, Shape

# How many elements of a node are computed at a time.
_ELEMENTS = 1 << 20

# No node is larger: a geometry of more elements comes from a damaged or hostile file.
_LARGEST_NODE = 1 << 31


@dataclass(frozen=True, eq=False)
class Network(Frozen):
    """A frozen graph of integer operations with one input and one output.

    Args:
        input: what it takes.
        operations: in an order in which every source comes before its reader.
        output: what it gives.

    Raises:
        NetworkError: two operations of one name, a source that is missing or comes later,
            or shapes that do not fit; the message names the layer.

    Example:
        >>> import numpy as np
        >>> from secateur.network import Input, Linear, Output
        >>> one, zero = np.ones(1), np.zeros(1)
        >>> network = Network(
        ...     Input((3,), np.array(0), np.array(3), scale=0.5),
        ...     (Linear("fc", "input", np.array([[3, -1, 2]], np.int8)),),
        ...     Output("fc", one.astype(int), zero.astype(int), 0.5 * one, zero),
        ... )
        >>> codes = network.quantize_input([[1.5, 0.4, 1.0]])
        >>> codes, network(codes), network.predict([[1.5, 0.4, 1.0]])
        (array([[3, 1, 2]]), array([[12]]), array([[6.]]))
        >>> network["fc"].codes, network.shapes
        (array([[ 3, -1,  2]], dtype=int8), {'input': (3,), 'fc': (1,)})
    """

    input: Input
    operations: tuple[Operation, ...]
    output: Output

    def __post_init__(self) -> None:
        object.__setattr__(self, "operations", tuple(self.operations))
        for operation in self.operations:
            if not isinstance(operation, Operation):
                raise NetworkError(f"{operation!r} is no operation")
        if self.output.source not in self.shapes:
            raise NetworkError(
                f"the output reads {self.output.source!r}, which is no operation",
                operation=self.output.source,
            )
        self.output.check(self.shapes[self.output.source][0])

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Name → shape of every node, batch axis left out; the input's is there too."""
        shapes = {self.input.name: self.input.shape}
        for operation in self.operations:
            for name in (self.input.name, operation.name, *operation.sources):
                if not isinstance(name, str):
                    raise NetworkError(f"a node is called {name!r}, expected a string")
            if operation.name in shapes:
                raise NetworkError(
                    f"two operations are named {operation.name!r}", layer=operation.name
                )
            missing = [s for s in operation.sources if s not in shapes]
            if missing:
                raise NetworkError(
                    f"layer {operation.name!r} reads {missing[0]!r}, which is no earlier operation",
                    layer=operation.name,
                )
            shape = operation.shape(*(shapes[s] for s in operation.sources))
            if prod(shape) > _LARGEST_NODE:
                raise NetworkError(
                    f"layer {operation.name!r} has {prod(shape)} elements, "
                    f"{shape}, more than the {_LARGEST_NODE} of any node",
                    layer=operation.name,
                )
            shapes[operation.name] = shape
        return shapes

    @property
    def layers(self) -> Iterator[Layer]:
        """The affine operations, those with codes, in order."""
        return (o for o in self.operations if isinstance(o, Layer))

    def __getitem__(self, name: str) -> Operation:
        """Return the operation called `name`.

        Raises:
            NetworkError: there is none; also a KeyError would hide the names there are.
        """
        for operation in self.operations:
            if operation.name == name:
                return operation
        known = ", ".join(o.name for o in self.operations)
        raise NetworkError(f"no operation is named {name!r}; there are {known}", operation=name)

    def with_operations(self, *changed: Operation) -> Network:
        """Return the network with each operation of `changed` in place of its namesake."""
        by_name = {o.name: o for o in changed}
        for name in by_name:
            self[name]
        operations = tuple(by_name.get(o.name, o) for o in self.operations)
        return replace(self, operations=operations)

    def nodes(self, x: ArrayLike) -> dict[str, Integers]:
        """Return name → integers of every node for codes `x`, int64 [batch, *shape of node].

        Args:
            x: integer [batch, *input.shape] within the declared range.

        Raises:
            DtypeError, ShapeError, InputRangeError: see `Input.check`.
            AccumulatorOverflowError: a value that int64 does not hold; names layer and channel.
        """
        codes = np.asarray(x)
        self.input.check(codes)
        return dict(self._run(codes.astype(np.int64)))

    def _run(self, x: Integers) -> Iterator[tuple[str, Integers]]:
        """Yield every node's name and integers, letting go of those that nobody reads again."""
        last = {source: o.name for o in self.operations for source in o.sources}
        alive = {self.input.name: x}
        yield self.input.name, x
        for operation in self.operations:
            try:
                values = operation.evaluate(*(alive[s] for s in operation.sources))
            except AccumulatorOverflowError as error:
                sample, channel, *_ = error.index  # type: ignore[attr-defined]
                raise AccumulatorOverflowError(
                    f"layer {operation.name!r}, channel {channel}: sample {sample} comes to "
                    f"{error.high}, which 64 bits do not hold",  # type: ignore[attr-defined]
                    layer=operation.name,
                    channel=channel,
                    low=error.low,  # type: ignore[attr-defined]
                    high=error.high,  # type: ignore[attr-defined]
                    index=error.index,  # type: ignore[attr-defined]
                ) from None
            for source in set(operation.sources):
                if last[source] == operation.name:
                    del alive[source]
            if operation.name in last:
                alive[operation.name] = values
            yield operation.name, values

    def __call__(self, x: ArrayLike) -> Integers:
        """Return the network's integers for codes `x`, in memory that does not grow with the batch.

        Args:
            x: integer [batch, *input.shape], or [*input.shape] for one sample.

        Returns:
            int64 [batch, *output shape], or [*output shape] for one sample.

        Raises:
            DtypeError, ShapeError, InputRangeError: see `Input.check`.
            AccumulatorOverflowError: a value that int64 does not hold; names layer and channel.
        """
        codes = np.asarray(x)
        if codes.ndim == len(self.input.shape):
            return self(codes[None])[0]
        self.input.check(codes)
        given = np.empty((len(codes), *self.shapes[self.output.source]), np.int64)
        # Samples at a time, so that the largest node stays within some megabytes.
        step = max(1, _ELEMENTS // max(map(prod, self.shapes.values())))
        for start in range(0, len(codes), step):
            part = slice(start, start + step)
            for name, values in self._run(codes[part].astype(np.int64)):
                if name == self.output.source:
                    given[part] = self.output.integers(values)
                    break
        return given

    def quantize_input(self, x: ArrayLike) -> Integers:
        """Return the codes of float samples `x`, int64 of the same shape, clipped to the range."""
        return self.input.quantize(x)

    def predict(self, x: ArrayLike) -> Floats:
        """Return float outputs for float samples `x` [batch, *input.shape]: float64 [batch, ...].

        The float samples are quantised, run through the integers and dequantised.

        Raises:
            NotFiniteError: NaN or infinity among the samples.
        """
        return self.output.dequantize(self(self.quantize_input(x)))
