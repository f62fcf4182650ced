"""What charts share, in a page or in matplotlib: colours and axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

#: Told apart by colour-blind readers too (Okabe and Ito, 2008).
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")

Scale = Literal["linear", "log", "logit"]

_FRACTIONS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)


@dataclass(frozen=True)
class Axis:
    """A scale with its ends.

    Positive values that span decades lie on a logarithmic axis; fractions that reach from
    poor to near 1 on a logistic one, which keeps 0.95 and 0.98 apart; others on a linear one.

    Args:
        scale: which of the three.
        low, high: the ends, a little beyond the values.
    """

    scale: Scale
    low: float
    high: float

    @classmethod
    def of(cls, values: Any) -> Axis:
        """Return the axis for finite values, at least one."""
        least, most = float(np.min(values)), float(np.max(values))
        scale: Scale = "linear"
        if least > 0 and most < 1 and most - least > 0.3:
            scale = "logit"
        elif least > 0 and most / least > 20:
            scale = "log"
        a, b = _forward(scale, least), _forward(scale, most)
        margin = 0.04 * (b - a) or 0.5
        return cls(scale, _backward(scale, a - margin), _backward(scale, b + margin))

    def place(self, value: float) -> float:
        """Return where `value` lies, from 0 at the low end to 1 at the high end."""
        low, high = _forward(self.scale, self.low), _forward(self.scale, self.high)
        return (_forward(self.scale, value) - low) / (high - low)

    @property
    def ticks(self) -> list[float]:
        """A few round values between the ends."""
        if self.scale == "logit":
            round_values: Sequence[float] = _FRACTIONS
        else:
            round_values = self._decades() if self.scale == "log" else self._steps()
        return [t for t in round_values if self.low <= t <= self.high]

    def _steps(self) -> list[float]:
        span = self.high - self.low
        step = 10.0 ** math.floor(math.log10(span / 5))
        step *= next(k for k in (1, 2, 5, 10) if span / (k * step) <= 7)
        first, last = math.ceil(self.low / step), math.floor(self.high / step)
        return [k * step for k in range(first, last + 1)]

    def _decades(self) -> list[float]:
        low, high = math.log10(self.low), math.log10(self.high)
        steps = (1, 2, 5) if high - low < 2.8 else (1,)
        decades = range(math.floor(low), math.ceil(high) + 1)
        return [step * 10.0**decade for decade in decades for step in steps]


def _forward(scale: Scale, value: float) -> float:
    if scale == "log":
        return math.log10(value)
    return math.log(value / (1 - value)) if scale == "logit" else value


def _backward(scale: Scale, value: float) -> float:
    if scale == "log":
        return 10.0**value
    return 1 / (1 + math.exp(-value)) if scale == "logit" else value
