"""Pruning: what a strategy sees, what it gives, and the strategies that come with the library."""

from secateur.pruning.accumulator import Accumulator
from secateur.pruning.compensated import Compensated
from secateur.pruning.connections import Connections
from secateur.pruning.l1_ball import L1Ball
from secateur.pruning.magnitude import Magnitude
from secateur.pruning.nm import NM
from secateur.pruning.problem import Saliency
from secateur.pruning.random import Random
from secateur.pruning.saliency import (
    ActivationSaliency,
    FisherSaliency,
    GradientSaliency,
    MagnitudeSaliency,
)
from secateur.pruning.strategy import Strategy
from secateur.pruning.structured import Structured
from secateur.pruning.taylor import TaylorSaliency

__all__ = [
    "NM",
    "Accumulator",
    "ActivationSaliency",
    "Compensated",
    "Connections",
    "FisherSaliency",
    "GradientSaliency",
    "L1Ball",
    "Magnitude",
    "MagnitudeSaliency",
    "Random",
    "Saliency",
    "Strategy",
    "Structured",
    "TaylorSaliency",
]
