"""Prune neural networks until the worst case provably fits an encrypted accumulator.

    module → quantize → prune → analyze → narrow → compile → run

Every stage is a verb from a frozen value to a new one. Bound analysis needs NumPy and
pluggy alone; torch, the backends and the rest are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur import (
        bounds as bounds,
        concrete as concrete,
        deployment as deployment,
        errors as errors,
        estimators as estimators,
        network as network,
        reading as reading,
        sweeps as sweeps,
        testing as testing,
        training as training,
    )
    from secateur.analysis import RangeReport as RangeReport, analyze as analyze
    from secateur.circuits.certificate import Certificate as Certificate, verify as verify
    from secateur.circuits.circuit import Circuit as Circuit, compile as compile, price as price
    from secateur.estimators import (
        SecateurClassifier as SecateurClassifier,
        SecateurRegressor as SecateurRegressor,
    )
    from secateur.narrowing import explain as explain, narrow as narrow
    from secateur.network import Network as Network
    from secateur.network.storage import load as load, save as save
    from secateur.pruning import (
        NM as NM,
        Accumulator as Accumulator,
        Compensated as Compensated,
        Connections as Connections,
        L1Ball as L1Ball,
        Magnitude as Magnitude,
        Random as Random,
        Structured as Structured,
    )
    from secateur.pruning.plugins import (
        hookimpl as hookimpl,
        saliencies as saliencies,
        strategies as strategies,
    )
    from secateur.pruning.problem import (
        PrunableLayer as PrunableLayer,
        PruningProblem as PruningProblem,
    )
    from secateur.pruning.prune import prune as prune
    from secateur.pruning.schedule import (
        Gradual as Gradual,
        Iterative as Iterative,
        OneShot as OneShot,
        Reselect as Reselect,
    )
    from secateur.pruning.shrink import shrink as shrink
    from secateur.pruning.torch import Pruner as Pruner
    from secateur.ranges import Range as Range, Ranges as Ranges
    from secateur.reading.onnx import read_onnx as read_onnx
    from secateur.reading.torch.coarsen import coarsen as coarsen
    from secateur.reading.torch.freeze import freeze as freeze
    from secateur.reading.torch.quantize import quantize as quantize
    from secateur.searching import search as search
    from secateur.show import plot as plot, report as report
    from secateur.sweeps import grid as grid, sweep as sweep, sweep_bounds as sweep_bounds

# Public name → the module that defines it, imported when the name is first
# used. No module may bear the name of a public verb: importing it would put the module in the
# verb's place (hence `pruning` beside `prune`, `sweeps` beside `sweep`).
_HOME = {
    "Accumulator": "pruning",
    "Certificate": "circuits.certificate",
    "Circuit": "circuits.circuit",
    "Compensated": "pruning",
    "Connections": "pruning",
    "Gradual": "pruning.schedule",
    "Iterative": "pruning.schedule",
    "L1Ball": "pruning",
    "Magnitude": "pruning",
    "NM": "pruning",
    "Network": "network",
    "OneShot": "pruning.schedule",
    "PrunableLayer": "pruning.problem",
    "Pruner": "pruning.torch",
    "PruningProblem": "pruning.problem",
    "Random": "pruning",
    "Range": "ranges",
    "RangeReport": "analysis",
    "Ranges": "ranges",
    "Reselect": "pruning.schedule",
    "SecateurClassifier": "estimators",
    "SecateurRegressor": "estimators",
    "Structured": "pruning",
    "analyze": "analysis",
    "coarsen": "reading.torch.coarsen",
    "compile": "circuits.circuit",
    "explain": "narrowing",
    "freeze": "reading.torch.freeze",
    "grid": "sweeps",
    "hookimpl": "pruning.plugins",
    "load": "network.storage",
    "narrow": "narrowing",
    "price": "circuits.circuit",
    "prune": "pruning.prune",
    "quantize": "reading.torch.quantize",
    "read_onnx": "reading.onnx",
    "saliencies": "pruning.plugins",
    "save": "network.storage",
    "search": "searching",
    "shrink": "pruning.shrink",
    "strategies": "pruning.plugins",
    "sweep": "sweeps",
    "sweep_bounds": "sweeps",
    "verify": "circuits.certificate",
}

# Public module → where it is, imported likewise.
_MODULES = {
    "bounds": "bounds",
    "concrete": "concrete",
    "deployment": "deployment",
    "errors": "errors",
    "estimators": "estimators",
    "network": "network",
    "plot": "show.plot",
    "reading": "reading",
    "report": "show.report",
    "sweeps": "sweeps",
    "testing": "testing",
    "training": "training",
}


__version__: str


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("secateur")
    home = _HOME.get(name) or _MODULES.get(name)
    if home is None:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    from secateur.extras import needed_for

    with needed_for(f"secateur.{name}"):
        module = import_module(f"secateur.{home}")
    value = module if name in _MODULES else getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*_HOME, *_MODULES, "__version__"])
