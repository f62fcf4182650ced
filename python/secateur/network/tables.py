"""Lookup tables: what an activation does to the integers of an accumulator.

A table is a rule, not an array: it is evaluated for the values that are asked for, so
that its size follows the proved range of an accumulator and never the range of a type.
Evaluation is the same bit for bit wherever a value stands in an array: only correctly
rounded float64 operations and scalar functions of the C library are used.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from secateur.errors import NetworkError
from secateur.ranges import Range

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


def _scalar(function: Callable[[float], float]) -> Callable[[Floats], Floats]:
    """Lift a scalar function to arrays, calling it once for every distinct value.

    NumPy's own transcendental loops may round differently in a vector's body and tail;
    one call per value cannot.
    """

    def lifted(x: Floats) -> Floats:
        distinct, where = np.unique(x, return_inverse=True)
        return np.array([function(v) for v in distinct.tolist()])[where].reshape(x.shape)

    return lifted


def _sigmoid(x: float) -> float:
    if x >= 0:
        return 1.0 / (1.0 + math.exp(-x))
    e = math.exp(x)
    return e / (1.0 + e)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


_SQRT_HALF = math.sqrt(0.5)
_SQRT_TWO_OVER_PI = math.sqrt(2.0 / math.pi)


def _gelu(x: float) -> float:
    return 0.5 * x * (1.0 + math.erf(x * _SQRT_HALF))


def _gelu_tanh(x: float) -> float:
    return 0.5 * x * (1.0 + math.tanh(_SQRT_TWO_OVER_PI * (x + 0.044715 * x * x * x)))


def _elu(x: Floats, alpha: float) -> Floats:
    return np.where(x > 0, x, alpha * _scalar(math.expm1)(np.minimum(x, 0.0)))


_SELU_ALPHA = 1.6732632423543772
_SELU_SCALE = 1.0507009873554805

#: Elementwise functions by name; each takes a float64 array and its named parameters.
ACTIVATIONS: Mapping[str, Callable[..., Floats]] = {
    "abs": np.abs,
    "celu": lambda x, alpha: np.where(
        x > 0, x, alpha * _scalar(math.expm1)(np.minimum(x, 0.0) / alpha)
    ),
    "elu": _elu,
    "gelu": lambda x: _scalar(_gelu)(x),
    "gelu_tanh": lambda x: _scalar(_gelu_tanh)(x),
    "hardsigmoid": lambda x: np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardswish": lambda x: x * np.clip(x + 3.0, 0.0, 6.0) / 6.0,
    "hardtanh": lambda x, min_val, max_val: np.clip(x, min_val, max_val),
    "leaky_relu": lambda x, negative_slope: np.where(x >= 0, x, negative_slope * x),
    "logsigmoid": lambda x: -_scalar(_softplus)(-x),
    "mish": lambda x: x * _scalar(lambda v: math.tanh(_softplus(v)))(x),
    "relu": lambda x: np.maximum(x, 0.0),
    "selu": lambda x: _SELU_SCALE * _elu(x, _SELU_ALPHA),
    "sigmoid": lambda x: _scalar(_sigmoid)(x),
    "silu": lambda x: x * _scalar(_sigmoid)(x),
    "softplus": lambda x: _scalar(_softplus)(x),
    "softsign": lambda x: x / (1.0 + np.abs(x)),
    "tanh": lambda x: _scalar(math.tanh)(x),
}


def _along_channels(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Shape per-channel `values` [channels] to broadcast over `like` [batch, channels, ...]."""
    return values.reshape(-1, *(1,) * (like.ndim - 2))


@dataclass(frozen=True, eq=False)
class Affine:
    """x · scale + offset, per channel: a rescaling, a bias, a folded batch norm.

    Args:
        scale: float64 [channels] or [1].
        offset: float64 [channels] or [1].
    """

    scale: Floats
    offset: Floats

    def __call__(self, x: Floats) -> Floats:
        return x * _along_channels(self.scale, x) + _along_channels(self.offset, x)


@dataclass(frozen=True)
class Activation:
    """An elementwise function of `ACTIVATIONS`, by name, with its parameters."""

    name: str
    parameters: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in ACTIVATIONS:
            raise NetworkError(
                f"unknown activation {self.name!r}; known are {', '.join(sorted(ACTIVATIONS))}",
                operation=self.name,
            )

    def __call__(self, x: Floats) -> Floats:
        return ACTIVATIONS[self.name](x, **self.parameters)


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
    "sign": lambda x: np.where(x >= 0, 1.0, -1.0),
}


@dataclass(frozen=True)
class Quantize:
    """Rounding to a grid: the float value of the code that x / scale is rounded to.

    Args:
        scale: float value of one step of the code.
        low, high: the least and the greatest code, centred: zero point subtracted.
        rounding: a name of `ROUNDINGS`; ties go to the even code by default. "up" and
            "down" mean away from zero and towards it.
        zero_point: added before rounding, taken off after it. It is 0 where rounding
            does not see the zero point: in ONNX's QuantizeLinear, which adds it later.

    Raises:
        NetworkError: an unknown rounding.
    """

    scale: float
    low: int
    high: int
    rounding: str = "half_even"
    zero_point: int = 0

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise NetworkError(
                f"unknown rounding {self.rounding!r}; known are {', '.join(sorted(ROUNDINGS))}",
                operation=self.rounding,
            )

    def codes(self, x: Floats) -> Integers:
        """Return the codes in [low, high] that x / scale is rounded to, int64, shaped like `x`."""
        rounded = ROUNDINGS[self.rounding](x / self.scale + self.zero_point) - self.zero_point
        return np.clip(rounded, self.low, self.high).astype(np.int64)

    def __call__(self, x: Floats) -> Floats:
        return self.codes(x) * self.scale


Step = Affine | Activation | Quantize


@dataclass(frozen=True, eq=False)
class FunctionTable:
    """v ↦ code: `steps` in order on the float value of v, then rounding to `quantize`.

    The steps hold everything between an accumulator and the next layer's input codes:
    scales, the float bias, batch norm, the activation. None of it costs accumulator width.
    """

    steps: tuple[Step, ...]
    quantize: Quantize

    @property
    def codomain(self) -> Range:
        """The range that no value leaves, whatever the accumulator is."""
        return Range(self.quantize.low, self.quantize.high)

    def __call__(self, v: Integers) -> Integers:
        """Return the codes for accumulators `v`, int64 [batch, channels, ...]; same shape."""
        x = v.astype(np.float64)
        for step in self.steps:
            x = step(x)
        return self.quantize.codes(x)


@dataclass(frozen=True, eq=False)
class ExplicitTable:
    """v ↦ values[channel, v − start[channel]]: a table given by its entries.

    Args:
        values: int64 [channels, entries] or [1, entries].
        start: int64 [channels] or [1]; the accumulator of the first entry.
    """

    values: Integers
    start: Integers

    @property
    def codomain(self) -> Range:
        """The range that no value leaves, whatever the accumulator is."""
        return Range(int(self.values.min()), int(self.values.max()))

    def __call__(self, v: Integers) -> Integers:
        """Return the entries for accumulators `v`, int64 [batch, channels, ...]; same shape.

        Raises:
            NetworkError: an accumulator for which the table has no entry.
        """
        index = v - _along_channels(self.start, v)
        outside = (index < 0) | (index >= self.values.shape[1])
        if outside.any():
            at = tuple(int(i) for i in np.argwhere(outside)[0])
            raise NetworkError(
                f"accumulator {v[at]} of channel {at[1]} lies outside its table of "
                f"{self.values.shape[1]} entries; give the table an entry for every value"
            )
        channels = np.arange(self.values.shape[0])
        return self.values[_along_channels(channels, v), index]


Table = FunctionTable | ExplicitTable


def tabulate(rule: Callable[[Integers], Integers], low: Integers, high: Integers) -> Integers:
    """Return the entries of a table from low to high of every channel, side by side.

    Args:
        rule: a table, or `Lookup.evaluate` for a table with its factor and offset inside.
        low: int64 [channels], the least accumulator of each channel.
        high: int64 [channels], the greatest; not below `low`.

    Returns:
        int64 [channels, entries] with entries = max(high − low) + 1; row c holds the values
        at low[c], low[c] + 1, …, and repeats its last one beyond high[c].
    """
    steps = np.arange(int((high - low).max(initial=0)) + 1)
    domain = np.minimum(low[:, None] + steps, high[:, None])
    return rule(np.ascontiguousarray(domain.T)).T
