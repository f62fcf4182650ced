"""Prune neural networks until the worst case provably fits an encrypted accumulator.

    module → quantize → prune → analyze → narrow → compile → run

Every stage is a verb from a frozen value to a new one. Bound analysis needs NumPy and
pluggy alone; torch, the backends and the rest are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur import bounds, concrete, errors, plot, testing, training
    from secateur.analysis import RangeReport, analyze
    from secateur.certificate import Certificate, verify
    from secateur.circuit import Circuit, compile, cost
    from secateur.narrowing import explain, narrow
    from secateur.network import Network
    from secateur.plugins import hookimpl, saliencies, strategies
    from secateur.pruning.problem import PrunableLayer, PruningProblem
    from secateur.pruning.prune import prune
    from secateur.pruning.shrink import shrink
    from secateur.pruning.strategy import Promise, SaliencySpec, StrategySpec
    from secateur.pruning.torch import Pruner
    from secateur.quantization import freeze, quantize
    from secateur.ranges import Range, Ranges
    from secateur.storage import load, save
    from secateur.sweeps import grid, sweep, sweep_bounds

# Public name → the module that defines it ("" for a module), imported when the name is first
# used. No module may bear the name of a public verb: importing it would put the module in the
# verb's place (hence `pruning` beside `prune`, `sweeps` beside `sweep`).
_HOME = {
    "Certificate": "certificate",
    "Circuit": "circuit",
    "Network": "network",
    "Promise": "pruning.strategy",
    "PrunableLayer": "pruning.problem",
    "Pruner": "pruning.torch",
    "PruningProblem": "pruning.problem",
    "Range": "ranges",
    "RangeReport": "analysis",
    "Ranges": "ranges",
    "SaliencySpec": "pruning.strategy",
    "StrategySpec": "pruning.strategy",
    "analyze": "analysis",
    "bounds": "",
    "compile": "circuit",
    "concrete": "",
    "cost": "circuit",
    "errors": "",
    "explain": "narrowing",
    "freeze": "quantization",
    "grid": "sweeps",
    "hookimpl": "plugins",
    "load": "storage",
    "narrow": "narrowing",
    "plot": "",
    "prune": "pruning.prune",
    "quantize": "quantization",
    "saliencies": "plugins",
    "save": "storage",
    "shrink": "pruning.shrink",
    "strategies": "plugins",
    "sweep": "sweeps",
    "sweep_bounds": "sweeps",
    "testing": "",
    "training": "",
    "verify": "certificate",
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    from secateur.extras import needed_for

    with needed_for(f"secateur.{name}"):
        value = import_module(f"secateur.{_HOME[name] or name}")
    if _HOME[name]:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
