"""Prune neural networks until the worst case provably fits an encrypted accumulator.

    module → quantize → prune → analyze → narrow → compile → run

Every stage is a verb from a frozen value to a new one. Bound analysis needs NumPy and
pluggy alone; torch, the backends and the rest are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

# Public name → the module that defines it, imported when the name is first used. No module
# may bear the name of a public verb: importing it would put the module in the verb's place
# (hence `pruning` beside `prune`, `sweeps` beside `sweep`).
_HOME = {
    "Circuit": "circuit",
    "Cost": "lowering.cost",
    "Network": "network",
    "RangeReport": "analysis",
    "analyze": "analysis",
    "bounds": "",
    "compile": "circuit",
    "concrete": "",
    "cost": "circuit",
    "errors": "",
    "Range": "ranges",
    "Ranges": "ranges",
    "strategies": "plugins",
    "shrink": "pruning.shrink",
    "prune": "pruning.prune",
    "hookimpl": "plugins",
    "StrategySpec": "pruning.strategy",
    "SaliencySpec": "pruning.strategy",
    "Promise": "pruning.strategy",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    if not _HOME[name]:
        return import_module(f"secateur.{name}")
    value = getattr(import_module(f"secateur.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
