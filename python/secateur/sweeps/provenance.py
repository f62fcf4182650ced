"""Provenance: which code a result depends on, and which sweep a journal belongs to."""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from secateur.errors import PointError
from secateur.sweeps.attempt import Evaluate
from secateur.sweeps.points import Plain, plain
from secateur.sweeps.records import Record


def provenance(content: Plain) -> Mapping[str, str]:
    """Return distribution → version of the code that a point's result depends on.

    This library, and the distribution of the strategy that the field `strategy` names.

    Raises:
        UnknownStrategyError: no strategy has that name.
    """
    name = content.get("strategy")
    return _strategy_provenance(name) if isinstance(name, str) else _library()


def fingerprint(evaluate: Evaluate) -> dict[str, Any]:
    """Return what must be the same for results to belong in one journal.

    The name of `evaluate` with what is bound to it (the arguments of a partial, the fields by
    which a frozen dataclass is compared). Its source is not part of it: a failing point is
    mended by editing the source; nor is the version of this library, which each record says.
    """
    return {"evaluate": _describe(evaluate)}


def outdated(record: Record, now: Mapping[str, str]) -> bool:
    """Return whether the plugin that the record's strategy came from was another than `now`."""

    def of_plugins(found: Mapping[str, str]) -> dict[str, str]:
        return {name: made_by for name, made_by in found.items() if name != "secateur"}

    return of_plugins(record.provenance) != of_plugins(now)


@functools.cache
def library_version() -> str:
    """Return the version of this library."""
    return version("secateur")


def _library() -> Mapping[str, str]:
    return {"secateur": library_version()}


@functools.cache
def _strategy_provenance(name: str) -> Mapping[str, str]:
    from secateur.pruning.plugins import strategy

    offered = strategy(name)
    if offered.distribution is None or offered.version is None:
        return _library()
    return {**_library(), offered.distribution: offered.version}


def _describe(evaluate: Any) -> Any:
    if isinstance(evaluate, functools.partial):
        bound = dict(enumerate(evaluate.args)) | evaluate.keywords
        return [_describe(evaluate.func), {str(n): _content(v) for n, v in bound.items()}]
    if hasattr(evaluate, "__qualname__"):
        return _name(evaluate)
    fields = dataclasses.fields(evaluate) if dataclasses.is_dataclass(evaluate) else ()
    compared = {f.name: _content(getattr(evaluate, f.name)) for f in fields if f.compare}
    return [_name(type(evaluate)), compared]


def _content(value: Any) -> Any:
    """Return the plain value, or the name of what has none: a function, an array's type."""
    try:
        return plain({"": value})[""]
    except PointError:
        return _name(value if hasattr(value, "__qualname__") else type(value))


def _name(thing: Any) -> str:
    """Return the name of a function or class, the same for a script and its import."""
    module = sys.modules.get(thing.__module__)
    home = thing.__module__.rpartition(".")[2]
    if home == "__main__" and getattr(module, "__file__", None):
        home = Path(module.__file__).stem  # type: ignore[union-attr, arg-type]
    return f"{home}.{thing.__qualname__}"
