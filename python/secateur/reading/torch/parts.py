"""What the nodes of a traced torch model do, as parts of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from secateur.network import Activation, Floats, Shape


@dataclass(frozen=True)
class Take:
    """The model's input."""


@dataclass(frozen=True)
class Weigh:
    """A layer with weights: Linear or Conv, plain or Brevitas."""

    module: nn.Module


@dataclass(frozen=True)
class Coarsen:
    """The loss of the low bits of the accumulator that comes."""

    module: nn.Module


@dataclass(frozen=True)
class Normalize:
    """A batch norm: one affine function per channel in evaluation mode."""

    module: nn.Module


@dataclass(frozen=True, eq=False)
class Rescale:
    """x · factor + offset.

    Args:
        factor, offset: float64, of no axes or as many as the tensor has without its batch axis,
            broadcastable to it.
    """

    factor: Floats
    offset: Floats


def rescale(factor: float | Floats, offset: float | Floats = 0.0) -> Rescale:
    """Return the part that multiplies by `factor` and adds `offset`."""
    return Rescale(np.asarray(factor, np.float64), np.asarray(offset, np.float64))


@dataclass(frozen=True)
class Apply:
    """An elementwise function."""

    activation: Activation


@dataclass(frozen=True, eq=False)
class Slope:
    """x where x ≥ 0, else x · slope; float64, shaped as in a `Rescale`."""

    slope: Floats


@dataclass(frozen=True)
class Quantizer:
    """A Brevitas activation quantiser."""

    proxy: nn.Module


@dataclass(frozen=True)
class PoolMax:
    """Maximum over windows."""

    kernel: Shape
    stride: Shape
    padding: Shape


@dataclass(frozen=True)
class PoolSum:
    """Sum over windows, divided by `divisor`."""

    kernel: Shape
    stride: Shape
    padding: Shape
    divisor: int


@dataclass(frozen=True)
class View:
    """The same elements in the same order under another shape."""


@dataclass(frozen=True)
class Permute:
    """The axes in another order, batch axis left out."""

    axes: Shape


@dataclass(frozen=True, eq=False)
class Pick:
    """Elements along an axis, batch axis left out, by their indices; `padding` where one is −1."""

    axis: int
    indices: NDArray[np.int64]
    padding: float = 0.0


@dataclass(frozen=True)
class Chances:
    """What makes probabilities of the model's last values, over their first axis."""

    tail: Literal["softmax", "sigmoid"]


@dataclass(frozen=True)
class Sum:
    """An elementwise sum of nodes."""


@dataclass(frozen=True)
class Join:
    """Nodes joined along an axis, batch axis left out."""

    axis: int


@dataclass(frozen=True)
class Give:
    """The model's output."""


Part = (
    Take
    | Weigh
    | Coarsen
    | Normalize
    | Rescale
    | Apply
    | Slope
    | Quantizer
    | PoolMax
    | PoolSum
    | View
    | Permute
    | Pick
    | Chances
    | Sum
    | Join
    | Give
)
