"""Lookup tables: what an activation does to the integers of an accumulator.

A table is a rule, not an array: it is evaluated for the values that are asked for, so
that its size follows the proved range of an accumulator and never the range of a type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from inspect import signature
from types import MappingProxyType
from typing import Any

import numpy as np

from secateur import exact
from secateur.errors import NetworkError, NotFiniteError
from secateur.network import arrays
from secateur.network.activations import ACTIVATIONS, NONDECREASING
from secateur.network.arrays import Floats, Frozen, Integers, Mask, along_channels, picked
from secateur.ranges import Range, Ranges


@dataclass(frozen=True, eq=False)
class Affine(Frozen):
    """x · scale + offset, per channel: a rescaling, a bias, a folded batch norm.

    Args:
        scale: float64 [channels] or [1], finite.
        offset: float64 [channels] or [1], finite.

    Raises:
        NotFiniteError, DtypeError, ShapeError: numbers that are none of these.

    Example:
        >>> import numpy as np
        >>> Affine(np.array([0.5]), np.array([1.0]))(np.array([[4.0]]))
        array([[3.]])
    """

    scale: Floats
    offset: Floats

    def __post_init__(self) -> None:
        for side in ("scale", "offset"):
            object.__setattr__(self, side, _per_channel("affine step", side, getattr(self, side)))
        if len({1, len(self.scale), len(self.offset)}) > 2:
            raise NetworkError(
                f"an affine step scales {len(self.scale)} channels and shifts {len(self.offset)}"
            )

    def __call__(self, x: Floats) -> Floats:
        return x * along_channels(self.scale, x) + along_channels(self.offset, x)

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 for all alike."""
        return max(len(self.scale), len(self.offset))

    @property
    def nondecreasing(self) -> bool:
        """Always: whether it rises or falls is the sign of its scale, one for each channel."""
        return True

    def restricted(self, kept: Mask) -> Affine:
        """Return the step for the kept channels."""
        return Affine(picked(self.scale, kept), picked(self.offset, kept))


@dataclass(frozen=True)
class Activation(Frozen):
    """An elementwise function of `ACTIVATIONS`, by name, with its parameters.

    Raises:
        NetworkError: an unknown name, or other parameters than the function has.
        NotFiniteError: a parameter that is no finite number.

    Example:
        >>> import numpy as np
        >>> Activation("relu")(np.array([-1.5, 2.0]))
        array([0., 2.])
    """

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise NetworkError(
                f"unknown activation {self.name!r}; known are {', '.join(sorted(ACTIVATIONS))}",
                operation=self.name,
            )
        wanted = [*signature(ACTIVATIONS[self.name]).parameters][1:]
        if sorted(wanted) != sorted(self.parameters):
            raise NetworkError(
                f"activation {self.name!r} takes the parameters {wanted}, "
                f"got {sorted(self.parameters)}",
                operation=self.name,
            )
        own = {p: float(arrays.floats(self.name, p, v, [()])) for p, v in self.parameters.items()}
        object.__setattr__(self, "parameters", MappingProxyType(own))

    def __reduce__(self) -> tuple[type[Activation], tuple[Any, ...]]:
        return Activation, (self.name, dict(self.parameters))

    def __call__(self, x: Floats) -> Floats:
        return ACTIVATIONS[self.name](x, **self.parameters)

    @property
    def channels(self) -> int:
        """1: it is the same for every channel."""
        return 1

    @property
    def nondecreasing(self) -> bool:
        """Whether it is known that a greater x never gives less."""
        known = NONDECREASING.get(self.name)
        return known is not None and known(self.parameters)

    def restricted(self, kept: Mask) -> Activation:
        """Return the step for the kept channels, which is itself."""
        return self


@dataclass(frozen=True, eq=False)
class Bend(Frozen):
    """x where x ≥ 0, else x · slope, per channel: a PReLU.

    Args:
        slope: float64 [channels] or [1], finite.

    Raises:
        NotFiniteError, DtypeError, NetworkError: numbers that are none of these.

    Example:
        >>> import numpy as np
        >>> Bend(np.array([0.25]))(np.array([[-4.0], [2.0]]))
        array([[-1.],
               [ 2.]])
    """

    slope: Floats

    def __post_init__(self) -> None:
        object.__setattr__(self, "slope", _per_channel("bend", "slope", self.slope))

    def __call__(self, x: Floats) -> Floats:
        return np.where(x >= 0, x, x * along_channels(self.slope, x))

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 for all alike."""
        return len(self.slope)

    @property
    def nondecreasing(self) -> bool:
        """Whether it is known that a greater x never gives less."""
        return bool((self.slope >= 0).all())

    def restricted(self, kept: Mask) -> Bend:
        """Return the step for the kept channels."""
        return Bend(picked(self.slope, kept))


@dataclass(frozen=True, eq=False)
class Count(Frozen):
    """The number of thresholds that x reaches, per channel: QONNX's MultiThreshold.

    Args:
        thresholds: float64 [channels, thresholds] or [1, thresholds], finite.

    Raises:
        NotFiniteError, DtypeError, NetworkError: numbers that are none of these.

    Example:
        >>> import numpy as np
        >>> Count(np.array([[0.0, 1.0, 2.5]]))(np.array([[-1.0], [1.0], [9.0]]))
        array([[0.],
               [2.],
               [3.]])
    """

    thresholds: Floats

    def __post_init__(self) -> None:
        checked = arrays.floats("count", "thresholds", self.thresholds)
        if checked.ndim != 2 or not len(checked):
            raise NetworkError(
                f"thresholds have shape {checked.shape}, expected [channels, thresholds]"
            )
        object.__setattr__(self, "thresholds", checked)

    def __call__(self, x: Floats) -> Floats:
        # Counted in order of the thresholds, so that no array of all comparisons is made. What is
        # no number reaches none of them, and stays what it is, for `Quantize` to refuse.
        counted = np.where(np.isnan(x), x, 0.0)
        for column_of in self.thresholds.T:
            counted += x >= along_channels(column_of, x)
        return counted

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 for all alike."""
        return len(self.thresholds)

    @property
    def nondecreasing(self) -> bool:
        """Always: a greater x reaches no fewer."""
        return True

    def restricted(self, kept: Mask) -> Count:
        """Return the step for the kept channels."""
        return Count(picked(self.thresholds, kept))


def _away(x: Floats) -> Floats:
    return np.copysign(np.ceil(np.abs(x)), x)


def _half_away(x: Floats) -> Floats:
    # Whole and fraction apart, because x + 0.5 may itself be rounded.
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.copysign(whole + (magnitude - whole >= 0.5), x)


def _half_inward(x: Floats) -> Floats:
    magnitude = np.abs(x)
    whole = np.floor(magnitude)
    return np.copysign(whole + (magnitude - whole > 0.5), x)


#: Ways to round, by name: the modes of QONNX (ROUND is half_even), and the sign, which is
#: −1 below 0 and 1 from 0 on.
ROUNDINGS: Mapping[str, Callable[[Floats], Floats]] = {
    "half_even": np.rint,
    "half_up": _half_away,
    "half_down": _half_inward,
    "up": _away,
    "down": np.trunc,
    "ceil": np.ceil,
    "floor": np.floor,
    "sign": lambda x: np.where(np.isnan(x), x, np.where(x >= 0, 1.0, -1.0)),
}


@dataclass(frozen=True)
class Quantize(Frozen):
    """Rounding to a grid: the float value of the code that x / scale is rounded to.

    Args:
        scale: float value of one step of the code.
        low, high: the least and the greatest code, centred: zero point subtracted.
        rounding: a name of `ROUNDINGS`; ties go to the even code by default. "up" and
            "down" mean away from zero and towards it.
        zero_point: added before rounding, taken off after it. It is 0 where rounding
            does not see the zero point: in ONNX's QuantizeLinear, which adds it later.

    Raises:
        NotFiniteError: a scale that is not a finite number above 0.
        DtypeError: codes that are no integers.
        NetworkError: an unknown rounding, codes that float64 may not hold, or no code at all.

    Example:
        >>> import numpy as np
        >>> Quantize(0.5, -2, 1).codes(np.array([-7.0, 0.25, 0.75, 0.4]))
        array([-2,  0,  1,  1])
    """

    scale: float
    low: int
    high: int
    rounding: str = "half_even"
    zero_point: int = 0

    def __post_init__(self) -> None:
        scale = float(arrays.floats("grid", "scale", self.scale, [()], positive=True))
        object.__setattr__(self, "scale", scale)
        for name in ("low", "high", "zero_point"):
            value = int(arrays.integers("grid", name, getattr(self, name), [()]))
            if abs(value) > exact.FLOAT64:
                raise NetworkError(f"a grid's {name} is {value}, which float64 may not hold")
            object.__setattr__(self, name, value)
        if self.low > self.high:
            raise NetworkError(f"a grid's low {self.low} lies above its high {self.high}")
        if self.rounding not in ROUNDINGS:
            raise NetworkError(
                f"unknown rounding {self.rounding!r}; known are {', '.join(sorted(ROUNDINGS))}",
                operation=self.rounding,
            )

    def codes(self, x: Floats) -> Integers:
        """Return the codes in [low, high] that x / scale is rounded to, int64, shaped like `x`.

        Raises:
            NotFiniteError: x is not a number.
        """
        rounded = ROUNDINGS[self.rounding](x / self.scale + self.zero_point) - self.zero_point
        if np.isnan(rounded).any():
            raise NotFiniteError("a table's function gave NaN; its steps leave what float64 holds")
        return np.clip(rounded, self.low, self.high).astype(np.int64)

    def __call__(self, x: Floats) -> Floats:
        return self.codes(x) * self.scale

    @property
    def codomain(self) -> Range:
        """The range of its codes."""
        return Range(self.low, self.high)

    @property
    def channels(self) -> int:
        """1: it is the same for every channel."""
        return 1

    @property
    def nondecreasing(self) -> bool:
        """Always: every rounding keeps the order."""
        return True

    def restricted(self, kept: Mask) -> Quantize:
        """Return the step for the kept channels, which is itself."""
        return self


def _divide(a: Floats, b: Floats) -> Floats:
    # What is divided by 0 is no number, which a table refuses.
    return np.where(b == 0, np.nan, a / np.where(b == 0, 1.0, b))


#: Ways to make one number of two, by name.
COMBINATIONS: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "add": np.add,
    "multiply": np.multiply,
    "divide": _divide,
    "minimum": np.minimum,
    "maximum": np.maximum,
}


@dataclass(frozen=True, eq=False)
class Combine(Frozen):
    """One number of two functions of x, elementwise: x · sigmoid(x), x / (1 + |x|).

    Args:
        function: a name of `COMBINATIONS`.
        left, right: the steps of each side, in order; none where it is x itself.

    Raises:
        NetworkError: an unknown name, a step that is none, steps for unlike numbers of channels.

    Example:
        >>> import numpy as np
        >>> swish = Combine("multiply", (), (Activation("sigmoid"),))
        >>> swish(np.array([[0.0], [1.0]])).round(3)
        array([[0.   ],
               [0.731]])
    """

    function: str
    left: tuple[Step, ...]
    right: tuple[Step, ...]

    def __post_init__(self) -> None:
        if self.function not in COMBINATIONS:
            raise NetworkError(
                f"unknown combination {self.function!r}; known are {', '.join(COMBINATIONS)}",
                operation=self.function,
            )
        for side in ("left", "right"):
            object.__setattr__(self, side, tuple(getattr(self, side)))
        check_steps((*self.left, *self.right))

    def __call__(self, x: Floats) -> Floats:
        sides = (reduce(lambda v, step: step(v), steps, x) for steps in (self.left, self.right))
        return COMBINATIONS[self.function](*sides)

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 for all alike."""
        return max((s.channels for s in (*self.left, *self.right)), default=1)

    @property
    def nondecreasing(self) -> bool:
        """Never: nothing is known of it without its values."""
        return False

    def restricted(self, kept: Mask) -> Combine:
        """Return the step for the kept channels."""
        left, right = (tuple(s.restricted(kept) for s in side) for side in (self.left, self.right))
        return Combine(self.function, left, right)


Step = Affine | Activation | Bend | Combine | Count | Quantize


def check_steps(steps: tuple[Step, ...]) -> None:
    """Raise `NetworkError` unless `steps` are steps, for one number of channels."""
    wrong = [s for s in steps if not isinstance(s, Step)]
    if wrong:
        raise NetworkError(f"a table has no step like {wrong[0]!r}")
    counts = {s.channels for s in steps} - {1}
    if len(counts) > 1:
        raise NetworkError(f"a table's steps are for {sorted(counts)} channels")


@dataclass(frozen=True, eq=False)
class FunctionTable(Frozen):
    """v ↦ code: `steps` in order on the float value of v, then rounding to `quantize`.

    The steps hold everything between an accumulator and the next layer's input codes:
    scales, the float bias, batch norm, the activation. None of it costs accumulator width.

    Raises `NetworkError` for a step that is none, or steps for unlike numbers of channels.

    Example:
        >>> import numpy as np
        >>> table = FunctionTable((Activation("relu"),), Quantize(4.0, 0, 3))
        >>> table(np.array([[-9], [5], [8], [99]])).T
        array([[0, 1, 2, 3]])
    """

    steps: tuple[Step, ...]
    quantize: Quantize

    def __post_init__(self) -> None:
        object.__setattr__(self, "steps", tuple(self.steps))
        check_steps(self.steps)
        if not isinstance(self.quantize, Quantize):
            raise NetworkError(f"a table has no step like {self.quantize!r}")

    @property
    def codomain(self) -> Range:
        """The range that no value leaves, whatever the accumulator is."""
        return self.quantize.codomain

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 for all alike."""
        return max((s.channels for s in self.steps), default=1)

    @property
    def monotone(self) -> bool:
        """Whether each channel's codes are known to rise, or to fall, all the way."""
        return all(step.nondecreasing for step in self.steps)

    def restricted(self, kept: Mask) -> FunctionTable:
        """Return the table of the kept channels."""
        return FunctionTable(tuple(s.restricted(kept) for s in self.steps), self.quantize)

    def __call__(self, v: Integers) -> Integers:
        """Return the codes for accumulators `v`, int64 [batch, channels, ...]; same shape.

        Raises:
            NotFiniteError: a value on the way that is not a number.
        """
        x = v.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):
            for step in self.steps:
                x = step(x)
            return self.quantize.codes(x)


@dataclass(frozen=True, eq=False)
class ExplicitTable(Frozen):
    """v ↦ values[channel, v − start[channel]]: a table given by its entries.

    Args:
        values: int64 [channels, entries] or [1, entries], at least one entry.
        start: int64 [channels] or [1]; the accumulator of the first entry.

    Raises:
        DtypeError, NetworkError: arrays that are none of these.

    Example:
        >>> import numpy as np
        >>> table = ExplicitTable(np.array([[0, 0, 1, 3]]), np.array([-2]))
        >>> table(np.array([[-2], [0], [1]])).T
        array([[0, 1, 3]])
    """

    values: Integers
    start: Integers

    def __post_init__(self) -> None:
        for side in ("values", "start"):
            checked = arrays.integers("table", side, getattr(self, side))
            object.__setattr__(self, side, checked)
        if self.values.ndim != 2 or not self.values.size or self.start.ndim != 1:
            raise NetworkError(
                f"a table's values have shape {self.values.shape} and its start "
                f"{self.start.shape}; expected [channels, entries] and [channels]"
            )
        if not self.start.size or len({1, len(self.values), len(self.start)}) > 2:
            raise NetworkError(
                f"a table has values for {len(self.values)} channels and starts for "
                f"{len(self.start)}"
            )

    @property
    def codomain(self) -> Range:
        """The range that no value leaves, whatever the accumulator is."""
        return Range(int(self.values.min()), int(self.values.max()))

    @property
    def channels(self) -> int:
        """How many channels it tells apart; 1 for all alike."""
        return max(len(self.values), len(self.start))

    @cached_property
    def monotone(self) -> bool:
        """Whether each channel's codes rise, or fall, all the way."""
        before, after = self.values[:, :-1], self.values[:, 1:]
        return bool(((before <= after).all(axis=1) | (before >= after).all(axis=1)).all())

    def restricted(self, kept: Mask) -> ExplicitTable:
        """Return the table of the kept channels."""
        return ExplicitTable(picked(self.values, kept), picked(self.start, kept))

    def __call__(self, v: Integers) -> Integers:
        """Return the entries for accumulators `v`, int64 [batch, channels, ...]; same shape.

        Raises:
            NetworkError: an accumulator for which the table has no entry.
        """
        first = along_channels(self.start, v)
        # How far above the first entry, modulo 2^64; below it nothing is small.
        index = v.view(np.uint64) - first.view(np.uint64)
        outside = (v < first) | (index >= np.uint64(self.values.shape[1]))
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            raise NetworkError(
                f"accumulator {v[at]} of channel {at[1]} lies outside its table of "
                f"{self.values.shape[1]} entries; give the table an entry for every value"
            )
        channels = along_channels(np.arange(len(self.values)), v)
        return self.values[channels, index.astype(np.int64)]


Table = FunctionTable | ExplicitTable


def _per_channel(where: str, argument: str, values: Any) -> Floats:
    checked = arrays.floats(where, argument, values)
    if checked.ndim != 1 or not checked.size:
        raise NetworkError(f"{argument} of an {where} has shape {checked.shape}, not [channels]")
    return checked


def tabulate(rule: Callable[[Integers], Integers], low: Integers, high: Integers) -> Integers:
    """Return the entries of a table from low to high of every channel, side by side.

    Args:
        rule: a table, or `Lookup.rule` for a table with its factor and offset inside.
        low: int64 [channels], the least accumulator of each channel.
        high: int64 [channels], the greatest; not below `low`.

    Returns:
        int64 [channels, entries] with entries = max(high − low) + 1; row c holds the values
        at low[c], low[c] + 1, …, and repeats its last one beyond high[c].

    Example:
        >>> import numpy as np
        >>> table = ExplicitTable(np.array([[0, 0, 1, 3]]), np.array([-2]))
        >>> tabulate(table, np.array([-1]), np.array([1]))
        array([[0, 1, 3]])
    """
    span = Ranges(low, high).span
    steps = np.arange(int(span.max(initial=0)) + 1, dtype=np.uint64)
    within = np.minimum(steps, span[:, None]).astype(np.int64)
    return rule(np.ascontiguousarray((low[:, None] + within).T)).T
