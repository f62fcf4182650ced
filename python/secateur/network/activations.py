"""Activations: elementwise functions by name, the same bit for bit wherever they run.

Evaluation does not depend on where a value stands in an array: only correctly rounded float64
operations and scalar functions of the C library are used.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping

import numpy as np

from secateur.network.arrays import Floats


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


def _exp(x: float) -> float:
    return math.inf if x > _LARGEST_EXPONENT else math.exp(x)


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


#: Logarithm of the largest float64.
_LARGEST_EXPONENT = math.log(sys.float_info.max)

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
    "abs": lambda x: np.abs(x),
    "celu": lambda x, alpha: np.where(
        x > 0, x, alpha * _scalar(math.expm1)(np.minimum(x, 0.0) / alpha)
    ),
    "elu": _elu,
    "erf": lambda x: _scalar(math.erf)(x),
    "exp": lambda x: _scalar(_exp)(x),
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
    "square": lambda x: x * x,
    "tanh": lambda x: _scalar(math.tanh)(x),
}

#: Those of which it is proved that a greater x never gives less: maxima, minima, and products and
#: sums with constants of the right sign, each of which float64 rounds without turning an order.
NONDECREASING: Mapping[str, Callable[[Mapping[str, float]], bool]] = {
    "relu": lambda parameters: True,
    "hardsigmoid": lambda parameters: True,
    "hardtanh": lambda parameters: parameters["min_val"] <= parameters["max_val"],
    "leaky_relu": lambda parameters: parameters["negative_slope"] >= 0,
}

#: Those that never fall as functions of real numbers, whatever float64 makes of their last bits.
RISING: Mapping[str, Callable[[Mapping[str, float]], bool]] = {
    **NONDECREASING,
    "elu": lambda parameters: parameters["alpha"] >= 0,
    **dict.fromkeys(
        ("celu", "erf", "exp", "logsigmoid", "selu", "sigmoid", "softplus", "softsign", "tanh"),
        lambda parameters: True,
    ),
}
