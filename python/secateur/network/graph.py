"""The network: a frozen graph of integer operations, and what it computes.

A network is the value that every stage takes and gives. Calling it runs the reference
interpreter; an encrypted circuit of the same network decrypts to the same integers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.errors import DtypeError, InputRangeError, NetworkError, ShapeError
from secateur.network.operations import Layer, Operation, Shape
from secateur.network.tables import Floats, Integers, _along_channels


@dataclass(frozen=True, eq=False)
class Input:
    """What a network takes: integers in a declared range, with their float scale.

    floats = scale · codes + bias. Codes are centred (zero point subtracted): padding is code 0.

    Args:
        shape: shape of one sample; axis 0 is the channel (feature) axis.
        low: int64, broadcastable to `shape`; the least permitted code.
        high: int64, broadcastable to `shape`; the greatest.
        scale: float value of one step of the code; one, or float64 broadcastable to `shape`.
        name: what operations call it.
        bias: float value of code 0; one, or float64 broadcastable to `shape`.
        features: what the elements along axis 0 are called, or None.
    """

    shape: Shape
    low: Integers
    high: Integers
    scale: float | Floats = 1.0
    name: str = "input"
    bias: float | Floats = 0.0
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for side in ("low", "high"):
            value = np.asarray(getattr(self, side), dtype=np.int64)
            if value.ndim > len(self.shape) or any(
                have not in (1, want)
                for have, want in zip(value.shape[::-1], self.shape[::-1], strict=False)
            ):
                raise ShapeError(
                    f"input {self.name!r}: {side} has shape {value.shape}, which does not "
                    f"broadcast to a sample's {self.shape}",
                    argument=side,
                    shape=value.shape,
                    expected=self.shape,
                )
            object.__setattr__(self, side, value)
        if (self.low > self.high).any():
            raise NetworkError(f"input {self.name!r}: low {self.low} lies above high {self.high}")
        for side in ("scale", "bias"):
            self._check_floats(side)
        if self.features is not None and len(self.features) != self.shape[0]:
            raise NetworkError(
                f"input {self.name!r}: {len(self.features)} names for {self.shape[0]} features"
            )

    def _check_floats(self, side: str) -> None:
        """Keep a private, read-only copy of the scale or bias where it is an array."""
        value = np.array(getattr(self, side), dtype=np.float64)
        valid = bool(np.isfinite(value).all() and (side == "bias" or (value > 0).all()))
        try:
            np.broadcast_to(value, self.shape)
        except ValueError:
            valid = False
        if not valid:
            raise NetworkError(
                f"input {self.name!r}: {side} is {value}; expected finite numbers"
                f"{' above 0' * (side == 'scale')}, broadcastable to {self.shape}"
            )
        value.setflags(write=False)
        object.__setattr__(self, side, value if value.ndim else float(value))

    def quantize(self, x: ArrayLike) -> Integers:
        """Return the codes of float samples `x` [batch, *shape], int64, clipped to the range."""
        codes = np.rint((np.asarray(x, dtype=np.float64) - self.bias) / self.scale)
        return np.clip(codes, self.low, self.high).astype(np.int64)

    def check(self, x: NDArray[Any]) -> None:
        """Raise unless `x` [batch, *shape] holds integers within the declared range.

        Raises:
            DtypeError: `x` is not of an integer dtype.
            ShapeError: a sample's shape is not `shape`.
            InputRangeError: a value outside [low, high]; names the first.
        """
        if not np.issubdtype(x.dtype, np.integer):
            raise DtypeError(
                f"input {self.name!r}: got {x.dtype}, expected integer codes; "
                "network.quantize_input(x) makes them from floats",
                argument=self.name,
                dtype=x.dtype,
                expected="integer",
            )
        if x.shape[1:] != self.shape:
            raise ShapeError(
                f"input {self.name!r}: a sample has shape {x.shape[1:]}, expected {self.shape}",
                argument=self.name,
                shape=x.shape[1:],
                expected=self.shape,
            )
        outside = (x < self.low) | (x > self.high)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            low, high = (int(np.broadcast_to(v, self.shape)[at[1:]]) for v in (self.low, self.high))
            raise InputRangeError(
                f"input {self.name!r}: value {x[at]} at {at} lies outside [{low}, {high}], "
                "the range that every proof assumes",
                index=at,
                value=int(x[at]),
                low=low,
                high=high,
            )


@dataclass(frozen=True, eq=False)
class Output:
    """How the last accumulators are read, in the clear, after decryption.

    integers = factor · v + offset; floats = scale · integers + bias. None of it costs
    accumulator width, so that narrowing the last layer changes no result.

    Args:
        source: name of the node that is decrypted.
        factor, offset: int64 [channels] or [1].
        scale, bias: float64 [channels] or [1].
        labels: what a classifier says, one for each channel, two for a single channel (the
            second where its float is above 0); None where the floats are the answer.
        tail: what makes probabilities of the floats, over the channels; None where nothing does.
    """

    source: str
    factor: Integers
    offset: Integers
    scale: Floats
    bias: Floats
    labels: tuple[str | float, ...] | None = None
    tail: Literal["softmax", "sigmoid"] | None = None

    def __post_init__(self) -> None:
        if self.tail not in (None, "softmax", "sigmoid"):
            raise NetworkError(
                f"the output's tail is {self.tail!r}; there are 'softmax' and 'sigmoid'"
            )

    def integers(self, v: Integers) -> Integers:
        """Return the network's integers for decrypted `v`, int64 [batch, channels, ...]."""
        return v * _along_channels(self.factor, v) + _along_channels(self.offset, v)

    def dequantize(self, integers: Integers) -> Floats:
        """Return the floats that `integers` [batch, channels, ...] stand for."""
        return integers * _along_channels(self.scale, integers) + _along_channels(
            self.bias, integers
        )

    def answer(self, floats: Floats) -> NDArray[Any]:
        """Return what `floats` [batch, channels] say: a label each [batch], or the floats."""
        if self.labels is None:
            return floats
        chosen = floats[:, 0] > 0 if floats.shape[1] == 1 else floats.argmax(axis=1)
        return np.array(self.labels)[chosen.astype(np.int64)]

    def probabilities(self, floats: Floats) -> Floats:
        """Return the probability of every class for `floats` [batch, channels].

        Returns:
            float64 [batch, classes]; a single channel with two labels gives two classes.

        Raises:
            NetworkError: the output has no tail.
        """
        if self.tail is None:
            raise NetworkError("the output has no softmax or sigmoid, so that it says no chances")
        if self.tail == "softmax":
            powers = np.exp(floats - floats.max(axis=1, keepdims=True))
            return powers / powers.sum(axis=1, keepdims=True)
        chances = np.exp(-np.logaddexp(0.0, -floats))
        if floats.shape[1] == 1 and self.labels is not None:
            return np.concatenate([1.0 - chances, chances], axis=1)
        return chances


@dataclass(frozen=True, eq=False)
class Network:
    """A frozen graph of integer operations with one input and one output.

    Args:
        input: what it takes.
        operations: in an order in which every source comes before its reader.
        output: what it gives.

    Raises:
        NetworkError: two operations of one name, a source that is missing or comes later,
            or shapes that do not fit; the message names the layer.
    """

    input: Input
    operations: tuple[Operation, ...]
    output: Output

    def __post_init__(self) -> None:
        if self.output.source not in self.shapes:
            raise NetworkError(
                f"the output reads {self.output.source!r}, which is no operation",
                operation=self.output.source,
            )
        channels = math.prod(self.shapes[self.output.source][:1])
        labels = self.output.labels
        if labels is not None and len(labels) != max(channels, 2):
            raise NetworkError(f"the output has {len(labels)} labels for {channels} channels")

    @cached_property
    def shapes(self) -> Mapping[str, Shape]:
        """Name → shape of every node, batch axis left out; the input's is there too."""
        shapes = {self.input.name: self.input.shape}
        for operation in self.operations:
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
            shapes[operation.name] = operation.shape(*(shapes[s] for s in operation.sources))
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
        """
        x = np.asarray(x)
        self.input.check(x)
        nodes = {self.input.name: x.astype(np.int64)}
        for operation in self.operations:
            nodes[operation.name] = operation.evaluate(*(nodes[s] for s in operation.sources))
        return nodes

    def __call__(self, x: ArrayLike) -> Integers:
        """Return the network's integers for codes `x`.

        Args:
            x: integer [batch, *input.shape], or [*input.shape] for one sample.

        Returns:
            int64 [batch, *output shape], or [*output shape] for one sample.
        """
        x = np.asarray(x)
        if x.ndim == len(self.input.shape):
            return self(x[None])[0]
        return self.output.integers(self.nodes(x)[self.output.source])

    def quantize_input(self, x: ArrayLike) -> Integers:
        """Return the codes of float samples `x`, int64 of the same shape, clipped to the range."""
        return self.input.quantize(x)

    def predict(self, x: ArrayLike) -> Floats:
        """Return float outputs for float samples `x` [batch, *input.shape]: float64 [batch, ...].

        The float samples are quantised, run through the integers and dequantised.
        """
        return self.output.dequantize(self(self.quantize_input(x)))
