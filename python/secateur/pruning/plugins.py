"""The registry: strategies and saliencies, ours and those of installed plugins.

A plugin is a module named by an entry point of group `secateur`; its hooks yield classes. A
plugin is third-party code, and fallible: each is loaded by itself, when first something is
asked for that is not built in, and whatever it raises is kept beside its name and version
while the others go on.
"""

from __future__ import annotations

import difflib
import functools
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points, version
from typing import Any, Literal

import pluggy

from secateur.errors import (
    ClashingStrategyError,
    PluginError,
    SecateurError,
    SpecificationError,
    UnknownSaliencyError,
    UnknownStrategyError,
    told,
)
from secateur.pruning.accumulator import Accumulator
from secateur.pruning.compensated import Compensated
from secateur.pruning.connections import Connections
from secateur.pruning.l1_ball import L1Ball
from secateur.pruning.magnitude import Magnitude
from secateur.pruning.nm import NM
from secateur.pruning.problem import Saliency
from secateur.pruning.random import Random
from secateur.pruning.saliency import SALIENCIES
from secateur.pruning.strategy import Kind, Strategy, check_class
from secateur.pruning.structured import Structured

GROUP = "secateur"

#: Distributions or entry points that are not loaded, separated by commas, or "all".
DISABLE = "SECATEUR_DISABLE_PLUGINS"

STRATEGIES: tuple[type[Strategy], ...] = (
    Accumulator,
    Compensated,
    Connections,
    L1Ball,
    Magnitude,
    NM,
    Random,
    Structured,
)

hookimpl = pluggy.HookimplMarker(GROUP)
_hookspec = pluggy.HookspecMarker(GROUP)
_log = logging.getLogger(__name__)


class Hooks:
    """What a plugin may implement."""

    @_hookspec
    def secateur_strategies(self) -> Iterable[type[Strategy]]:  # type: ignore[empty-body]
        """Return the classes of the strategies that the plugin offers."""

    @_hookspec
    def secateur_saliencies(self) -> Iterable[type[Saliency]]:  # type: ignore[empty-body]
        """Return the classes of the saliencies that the plugin offers."""


@dataclass(frozen=True)
class Registered:
    """The class of a strategy or saliency, and the distribution that is known to offer it.

    Status: "ok"; "clash" where several plugins offer the name, so that none can be used;
    "shadowed" where a built-in has the name and is meant.
    """

    cls: Any
    distribution: str | None
    version: str | None
    status: Literal["ok", "clash", "shadowed"] = "ok"


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed distribution, and what became of it.

    Status: "loaded"; "disabled" by the environment; "broken" where its import or a hook
    raised; "incompatible" where its hooks or classes are not those of this version. `error`
    says why for the last two.
    """

    entry_point: str
    distribution: str
    version: str
    status: Literal["loaded", "disabled", "broken", "incompatible"]
    strategies: tuple[type[Strategy], ...] = ()
    saliencies: tuple[type[Saliency], ...] = ()
    error: PluginError | None = None


@functools.cache
def plugins() -> tuple[Plugin, ...]:
    """Return what became of every installed plugin, sorted by distribution and entry point.

    Plugins are loaded at the first call of a process; `plugins.cache_clear()` looks again.
    """
    found = (_load(e) for e in entry_points(group=GROUP))
    return tuple(sorted(found, key=lambda p: (p.distribution, p.entry_point)))


def strategies() -> Mapping[str, type[Strategy]]:
    """Return name → class of every strategy that can be used, built-in or from a plugin.

    Example:
        >>> strategies()["accumulator"](bits=6).bits
        6
    """
    return {r.cls.name: r.cls for r in registered_strategies() if r.status == "ok"}


def saliencies() -> Mapping[str, type[Saliency]]:
    """Return name → class of every saliency that can be used, built-in or from a plugin.

    Example:
        >>> "magnitude" in saliencies()
        True
    """
    return {r.cls.name: r.cls for r in registered_saliencies() if r.status == "ok"}


def registered_strategies() -> tuple[Registered, ...]:
    """Return every strategy offered, those that cannot be used included; built-ins first."""
    return _register(STRATEGIES, [(p, p.strategies) for p in plugins()])


def registered_saliencies() -> tuple[Registered, ...]:
    """Return every saliency offered, those that cannot be used included; built-ins first."""
    return _register(SALIENCIES, [(p, p.saliencies) for p in plugins()])


def strategy(name: str) -> Registered:
    """Return the strategy called `name`, with its origin. A built-in loads no plugin.

    Raises:
        UnknownStrategyError: there is none; names those like it.
        ClashingStrategyError: several distributions offer it; names them.
    """
    for cls in STRATEGIES:
        if cls.name == name:
            return _built_in(cls)
    return _find("strategy", name, registered_strategies(), UnknownStrategyError)


def saliency(name: str) -> Registered:
    """Return the saliency called `name`, with its origin. A built-in loads no plugin.

    Raises:
        UnknownSaliencyError: there is none; names those like it.
        ClashingStrategyError: several distributions offer it; names them.
    """
    for cls in SALIENCIES:
        if cls.name == name:
            return _built_in(cls)
    return _find("saliency", name, registered_saliencies(), UnknownSaliencyError)


def origin(strategy: Strategy) -> Registered:
    """Return the class of a strategy, with the distribution that offers it if any does."""
    cls = type(strategy)
    if cls in STRATEGIES:
        return _built_in(cls)
    offers = (r for r in registered_strategies() if r.cls is cls)
    return next(offers, Registered(cls, None, None))


@functools.cache
def _version() -> str:
    return version(GROUP)


def _built_in(cls: Any) -> Registered:
    return Registered(cls, GROUP, _version())


def _register(
    built_in: Iterable[Any], offers: Iterable[tuple[Plugin, tuple[Any, ...]]]
) -> tuple[Registered, ...]:
    registered = [_built_in(cls) for cls in built_in]
    # A distribution may name one module by two entry points.
    theirs = dict.fromkeys(
        (cls, p.distribution, p.version) for p, classes in offers for cls in classes
    )
    taken = {r.cls.name for r in registered}
    names = [cls.name for cls, *_ in theirs]
    for cls, distribution, number in theirs:
        status: Literal["ok", "clash", "shadowed"] = "ok"
        if cls.name in taken:
            status = "shadowed"
        elif names.count(cls.name) > 1:
            status = "clash"
        registered.append(Registered(cls, distribution, number, status))
    return tuple(registered)


def _find(
    kind: str,
    name: str,
    registered: Iterable[Registered],
    unknown: type[SecateurError],
) -> Registered:
    offers = [r for r in registered if r.cls.name == name]
    if len(offers) == 1:
        return offers[0]
    if offers:
        origins = [f"{r.distribution} {r.version}" for r in offers]
        raise ClashingStrategyError(
            f"{kind} {name!r} is offered by {' and by '.join(origins)}; uninstall one, or name "
            f"one in the environment variable {DISABLE}",
            name=name,
            distributions=origins,
        )
    known = sorted(r.cls.name for r in registered if r.status == "ok")
    close = difflib.get_close_matches(name, known)
    idle = [f"{p.distribution} {p.version} ({p.status})" for p in plugins() if p.status != "loaded"]
    raise unknown(
        f"no {kind} is named {name!r}"
        + (f"; did you mean {' or '.join(close)}?" if close else ".")
        + f" There are {', '.join(known)}. More come from installed distributions with an entry "
        f"point in group {GROUP!r}"
        + (f"; not loaded: {', '.join(idle)}" if idle else "")
        + "; `secateur strategies` lists them all",
        name=name,
        near=close,
        known=known,
    )


def _load(entry_point: EntryPoint) -> Plugin:
    """Load one plugin by itself, in a manager of its own, and keep whatever it raises."""
    name, number = (_metadata(entry_point, field) for field in ("Name", "Version"))
    if _disabled(name, entry_point.name):
        return Plugin(entry_point.name, name, number, "disabled")
    try:
        offered = _offers(entry_point)
    except KeyboardInterrupt:
        raise
    # A module that calls sys.exit() on import must not end its host, nor may anything else.
    except BaseException as error:
        status: Literal["broken", "incompatible"] = (
            "incompatible"
            if isinstance(error, pluggy.PluginValidationError | SpecificationError)
            else "broken"
        )
        wrapped = PluginError(
            f"plugin {entry_point.name!r} of {name} {number} is {status}: {told(error)}",
            distribution=name,
            version=number,
            entry_point=entry_point.name,
            reason=status,
        )
        wrapped.__cause__ = error
        _log.warning("%s", wrapped)
        return Plugin(entry_point.name, name, number, status, error=wrapped)
    return Plugin(entry_point.name, name, number, "loaded", *offered)


def _metadata(entry_point: EntryPoint, field: str) -> str:
    dist = entry_point.dist
    try:
        if dist and field in dist.metadata:
            return dist.metadata[field]
    except FileNotFoundError:
        # The backport importlib_metadata, where something has imported it, raises for a
        # distribution without metadata; the standard library calls it empty.
        pass
    return f"unknown {field.lower()}"


def _offers(entry_point: EntryPoint) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    manager.register(entry_point.load(), name=entry_point.name)
    # A misspelled hook has no specification and would be silent for ever.
    manager.check_pending()
    return (
        _collect("strategy", manager.hook.secateur_strategies),
        _collect("saliency", manager.hook.secateur_saliencies),
    )


def _collect(kind: Kind, hook: pluggy.HookCaller) -> tuple[Any, ...]:
    classes = tuple(cls for result in hook() for cls in result)
    for cls in classes:
        check_class(kind, cls)
    return classes


def _disabled(*names: str) -> bool:
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name.strip()).lower()

    listed = {normal(n) for n in os.environ.get(DISABLE, "").split(",")}
    return "all" in listed or any(normal(n) in listed for n in names)
