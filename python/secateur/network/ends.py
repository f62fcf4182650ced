"""The ends of a network: what it takes, and how what it gives is read, both in the clear."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import reduce
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur import exact
from secateur.errors import (
    DtypeError,
    EmptyRangeError,
    InputRangeError,
    NetworkError,
    NotFiniteError,
    ShapeError,
)
from secateur.network import arrays
from secateur.network.arrays import Floats, Frozen, Integers, along_channels
from secateur.network.operation import Box, Shape, refuse
from secateur.network.tables import Step, check_steps
from secateur.network.windows import counts
from secateur.ranges import Ranges

#: What makes probabilities of scores; the logarithms of them, log_softmax.
Chances = Literal["softmax", "sigmoid", "log_softmax"]


@dataclass(frozen=True, eq=False)
class Input(Frozen):
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

    Attributes:
        box: the values that it may take.

    Example:
        >>> import numpy as np
        >>> pixels = Input((2,), np.array([0, -4]), np.array([3, 3]), scale=0.5)
        >>> pixels.box.channels
        Ranges(low=array([ 0, -4]), high=array([3, 3]))
        >>> pixels.quantize(np.array([[1.2, -9.0]]))
        array([[ 2, -4]])
    """

    shape: Shape
    low: Integers
    high: Integers
    scale: float | Floats = 1.0
    name: str = "input"
    bias: float | Floats = 0.0
    features: tuple[str, ...] | None = None
    box: Box = field(init=False, repr=False)

    def __post_init__(self) -> None:
        shape = counts(self.name, "shape", self.shape, len(tuple(self.shape)), 1)
        if not shape:
            raise refuse(self.name, "an input has at least one axis, its channels")
        object.__setattr__(self, "shape", shape)
        for side in ("low", "high"):
            value = arrays.integers(self.name, side, getattr(self, side))
            self._check_broadcasts(side, value)
            object.__setattr__(self, side, value)
        try:
            object.__setattr__(self, "box", _box(self.shape, self.low, self.high))
        except EmptyRangeError as error:
            raise error.at_layer(self.name) from None
        for side in ("scale", "bias"):
            number = arrays.floats(self.name, side, getattr(self, side), positive=side == "scale")
            self._check_broadcasts(side, number)
            object.__setattr__(self, side, number if number.ndim else float(number))
        if self.features is not None:
            object.__setattr__(self, "features", tuple(self.features))
            if len(self.features) != self.shape[0]:
                raise refuse(self.name, f"{len(self.features)} names for {self.shape[0]} features")

    def _check_broadcasts(self, side: str, value: NDArray[Any]) -> None:
        fitting = zip(value.shape[::-1], self.shape[::-1], strict=False)
        if value.ndim > len(self.shape) or any(have not in (1, want) for have, want in fitting):
            raise ShapeError(
                f"input {self.name!r}: {side} has shape {value.shape}, which does not "
                f"broadcast to a sample's {self.shape}",
                argument=side,
                shape=value.shape,
                expected=self.shape,
            )

    def quantize(self, x: ArrayLike) -> Integers:
        """Return the codes of float samples `x` [batch, *shape], int64, clipped to the range.

        Raises:
            NotFiniteError: NaN or infinity; names the first.
        """
        floats = np.asarray(x, dtype=np.float64)
        if not np.isfinite(floats).all():
            at = tuple(int(i) for i in np.argwhere(~np.isfinite(floats))[0])
            raise NotFiniteError(
                f"input {self.name!r}: the sample's value at {at} is {floats[at]}, which has no "
                "code; fill or drop such values first",
                argument=self.name,
            )
        codes = np.rint((floats - self.bias) / self.scale)
        # Compared as floats, clipped as integers: float64 does not hold every end.
        clipped = np.where(codes <= self.low, self.low, np.where(codes >= self.high, self.high, 0))
        inside = (self.low < codes) & (codes < self.high)
        return np.where(inside, np.where(inside, codes, 0).astype(np.int64), clipped)

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
        full = self.box.full
        outside = ~full.contains(x)
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            each = full[at[1:]]
            raise InputRangeError(
                f"input {self.name!r}: value {x[at]} at {at} lies outside [{each.low}, "
                f"{each.high}], the range that every proof assumes",
                index=at,
                value=int(x[at]),
                low=each.low,
                high=each.high,
            )


def _box(shape: Shape, low: Integers, high: Integers) -> Box:
    axes = len(shape)
    sides = (
        np.broadcast_to(side, shape) if side.ndim not in (0, axes) else side for side in (low, high)
    )
    ends = np.broadcast_arrays(
        *(side.reshape((1,) * axes) if side.ndim == 0 else side for side in sides)
    )
    return Box(shape, Ranges(*ends))


@dataclass(frozen=True)
class Ranking(Frozen):
    """Which channels an answer names, the best first: an ArgMax, a TopK.

    Args:
        count: how many; None for the best one alone, which is then no axis of the answer.
        least: whether the least float is the best.
        last: whether the last of equal floats comes first, not the first.

    Raises:
        NetworkError: a count below 1.

    Example:
        >>> import numpy as np
        >>> Ranking(count=2)(np.array([[0.1, 0.7, 0.2]]))
        array([[1, 2]])
    """

    count: int | None = None
    least: bool = False
    last: bool = False

    def __post_init__(self) -> None:
        whole = isinstance(self.count, int | np.integer) and not isinstance(self.count, bool)
        if self.count is not None and not (whole and self.count >= 1):
            raise refuse("output", f"it ranks {self.count} channels, expected 1 or more")

    def __call__(self, floats: Floats) -> Integers:
        """Return the channels of `floats` [batch, channels, ...], [batch, ranked, ...]."""
        keys = floats if self.least else -floats
        if self.last:
            order = floats.shape[1] - 1 - np.flip(keys, axis=1).argsort(axis=1, kind="stable")
        else:
            order = keys.argsort(axis=1, kind="stable")
        return order[:, : self.count or 1].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Output(Frozen):
    """How the last accumulators are read, in the clear, after decryption.

    integers = factor · v + offset; floats = scale · integers + bias, and `steps` of that. None of
    it costs accumulator width, so that narrowing the last layer changes no result.

    Args:
        source: name of the node that is decrypted.
        factor, offset: int64 [channels] or [1].
        scale, bias: float64 [channels] or [1], finite.
        labels: what a classifier says, one for each channel, two for a single channel (the
            second where its float is above 0); None where the floats are the answer.
        tail: what makes probabilities of the floats, over the channels; None where nothing does.
        ranking: which channels an answer names; None for the best, the first of equals.
        steps: what makes the floats of scale · integers + bias, in order, elementwise.

    Raises:
        NetworkError, NotFiniteError, DtypeError: parts that are none of these; names them.

    Example:
        >>> import numpy as np
        >>> one = np.ones(1, int)
        >>> output = Output("fc", 2 * one, -one, 0.5 * one, -4.0 * one, labels=("no", "yes"))
        >>> integers = output.integers(np.array([[7], [3]]))
        >>> integers, output.dequantize(integers), output.answer(output.dequantize(integers))
        (array([[13],
               [ 5]]), array([[ 2.5],
               [-1.5]]), array(['yes', 'no'], dtype='<U3'))
    """

    source: str
    factor: Integers
    offset: Integers
    scale: Floats
    bias: Floats
    labels: tuple[str | float, ...] | None = None
    tail: Chances | None = None
    ranking: Ranking | None = None
    steps: tuple[Step, ...] = ()

    def __post_init__(self) -> None:
        for side, make in (
            ("factor", arrays.integers),
            ("offset", arrays.integers),
            ("scale", arrays.floats),
            ("bias", arrays.floats),
        ):
            value = make("output", side, getattr(self, side))
            if value.ndim != 1 or not value.size:
                raise refuse("output", f"{side} has shape {value.shape}, expected [channels]")
            object.__setattr__(self, side, value)
        if self.labels is not None:
            object.__setattr__(self, "labels", tuple(self.labels))
        if self.tail not in (None, *get_args(Chances)):
            known = " and ".join(map(repr, get_args(Chances)))
            raise refuse("output", f"its tail is {self.tail!r}; there are {known}")
        if self.ranking is not None and not isinstance(self.ranking, Ranking):
            raise refuse("output", f"its ranking is {self.ranking!r}, expected a Ranking")
        object.__setattr__(self, "steps", tuple(self.steps))
        check_steps(self.steps)

    def check(self, channels: int) -> None:
        """Raise `NetworkError` unless every part is for `channels` channels, or for any."""
        for side in ("factor", "offset", "scale", "bias"):
            if (given := len(getattr(self, side))) not in (1, channels):
                raise refuse("output", f"its {side} is for {given} channels, not {channels}")
        if self.labels is not None and len(self.labels) != max(channels, 2):
            raise refuse("output", f"it has {len(self.labels)} labels for {channels} channels")
        if self.labels is not None and channels > 1 and len(set(self.labels)) < channels:
            raise refuse("output", f"its labels {self.labels} name two channels alike")
        if any(step.channels not in (1, channels) for step in self.steps):
            raise refuse("output", f"its steps are not for {channels} channels")
        if self.ranking is not None and (self.ranking.count or 1) > channels:
            raise refuse("output", f"it ranks {self.ranking.count} of {channels} channels")

    def integers(self, v: Integers) -> Integers:
        """Return the network's integers for decrypted `v`, int64 [batch, channels, ...].

        Raises:
            AccumulatorOverflowError: an integer that int64 does not hold.
        """
        factor, offset = along_channels(self.factor, v), along_channels(self.offset, v)
        reach = max(1, exact.magnitude(v)) * exact.magnitude(factor) + exact.magnitude(offset)
        return exact.compute(lambda v, f, o: v * f + o, reach, v, factor, offset)

    def dequantize(self, integers: Integers) -> Floats:
        """Return the floats that `integers` [batch, channels, ...] stand for."""
        scale, bias = (along_channels(side, integers) for side in (self.scale, self.bias))
        return reduce(lambda x, step: step(x), self.steps, integers * scale + bias)

    def answer(self, floats: Floats) -> NDArray[Any]:
        """Return what `floats` [batch, channels, ...] say, as the network's source says it.

        Returns:
            Where there are labels, the best one [batch, ...], or as many as the ranking counts
            [batch, ranked, ...]; else the floats, their probabilities where there is a tail, of
            them the best ones where there is a ranking.
        """
        if self.labels is not None and floats.shape[1] == 1:
            return np.array(self.labels)[(floats[:, 0] > 0).astype(np.int64)]
        if self.labels is None and self.ranking is None:
            return self._tailed(floats)
        ranking = self.ranking or Ranking()
        order = ranking(floats)
        if self.labels is None:
            said = np.take_along_axis(self._tailed(floats), order, axis=1)
        else:
            said = np.array(self.labels)[order]
        return said[:, 0] if ranking.count is None else said

    def probabilities(self, floats: Floats) -> Floats:
        """Return the probability of every class for `floats` [batch, channels].

        Returns:
            float64 [batch, classes]; a single channel with two labels gives two classes.

        Raises:
            NetworkError: the output has no tail.
        """
        self.check_tail()
        given = self._tailed(floats)
        chances = np.exp(given) if self.tail == "log_softmax" else given
        if self.tail == "sigmoid" and floats.shape[1] == 1 and self.labels is not None:
            return np.concatenate([1.0 - chances, chances], axis=1)
        return chances

    def check_tail(self) -> None:
        """Refuse probabilities where nothing makes them, before anything is computed.

        Raises:
            NetworkError: the output has no tail.
        """
        if self.tail is None:
            raise NetworkError("the output has no softmax or sigmoid, so that it says no chances")

    def _tailed(self, floats: Floats) -> Floats:
        """Return what the tail makes of the floats."""
        if self.tail is None:
            return floats
        if self.tail == "sigmoid":
            return np.exp(-np.logaddexp(0.0, -floats))
        below = floats - floats.max(axis=1, keepdims=True)
        powers = np.exp(below)
        total = powers.sum(axis=1, keepdims=True)
        return powers / total if self.tail == "softmax" else below - np.log(total)
