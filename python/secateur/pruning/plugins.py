"""The registry: strategies and saliencies, ours and those of installed plugins.

A plugin is a module named by an entry point of group `secateur`; its hooks yield specs. A
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
from typing import Generic, Literal, TypeVar

import pluggy

from secateur.errors import (
    ClashingStrategyError,
    PluginError,
    SecateurError,
    UnknownSaliencyError,
    UnknownStrategyError,
)
from secateur.pruning.accumulator import ACCUMULATOR
from secateur.pruning.connections import CONNECTIONS
from secateur.pruning.l1_ball import L1_BALL
from secateur.pruning.magnitude import MAGNITUDE
from secateur.pruning.nm import NM
from secateur.pruning.random import RANDOM
from secateur.pruning.saliency import SALIENCIES
from secateur.pruning.strategy import SaliencySpec, StrategySpec
from secateur.pruning.structured import STRUCTURED

GROUP = "secateur"

#: Distributions or entry points that are not loaded, separated by commas, or "all".
DISABLE = "SECATEUR_DISABLE_PLUGINS"

STRATEGIES = (ACCUMULATOR, CONNECTIONS, L1_BALL, MAGNITUDE, NM, RANDOM, STRUCTURED)

hookimpl = pluggy.HookimplMarker(GROUP)
_hookspec = pluggy.HookspecMarker(GROUP)
_log = logging.getLogger(__name__)


class Hooks:
    """What a plugin may implement."""

    @_hookspec
    def secateur_strategies(self) -> Iterable[StrategySpec]:  # type: ignore[empty-body]
        """Return the strategies that the plugin offers."""

    @_hookspec
    def secateur_saliencies(self) -> Iterable[SaliencySpec]:  # type: ignore[empty-body]
        """Return the saliencies that the plugin offers."""


Spec = TypeVar("Spec", StrategySpec, SaliencySpec)


@dataclass(frozen=True)
class Registered(Generic[Spec]):
    """A spec and where it comes from; None where no distribution is known to offer it.

    Status: "ok"; "clash" where several plugins offer the name, so that none can be used;
    "shadowed" where a built-in has the name and is meant.
    """

    spec: Spec
    distribution: str | None
    version: str | None
    status: Literal["ok", "clash", "shadowed"] = "ok"


@dataclass(frozen=True)
class Plugin:
    """One entry point of an installed distribution, and what became of it.

    Status: "loaded"; "disabled" by the environment; "broken" where its import or a hook
    raised; "incompatible" where its hooks or specs are not those of this version. `error`
    says why for the last two.
    """

    entry_point: str
    distribution: str
    version: str
    status: Literal["loaded", "disabled", "broken", "incompatible"]
    strategies: tuple[StrategySpec, ...] = ()
    saliencies: tuple[SaliencySpec, ...] = ()
    error: PluginError | None = None


@functools.cache
def plugins() -> tuple[Plugin, ...]:
    """Return what became of every installed plugin, sorted by distribution and entry point.

    Plugins are loaded at the first call of a process; `plugins.cache_clear()` looks again.
    """
    found = (_load(e) for e in entry_points(group=GROUP))
    return tuple(sorted(found, key=lambda p: (p.distribution, p.entry_point)))


def strategies() -> Mapping[str, StrategySpec]:
    """Return name → strategy for every one that can be used, built-in or from a plugin."""
    return {r.spec.name: r.spec for r in registered_strategies() if r.status == "ok"}


def saliencies() -> Mapping[str, SaliencySpec]:
    """Return name → saliency for every one that can be used, built-in or from a plugin."""
    return {r.spec.name: r.spec for r in registered_saliencies() if r.status == "ok"}


def registered_strategies() -> tuple[Registered[StrategySpec], ...]:
    """Return every strategy offered, those that cannot be used included; built-ins first."""
    return _register(STRATEGIES, [(p, p.strategies) for p in plugins()])


def registered_saliencies() -> tuple[Registered[SaliencySpec], ...]:
    """Return every saliency offered, those that cannot be used included; built-ins first."""
    return _register(SALIENCIES, [(p, p.saliencies) for p in plugins()])


def strategy(name: str) -> Registered[StrategySpec]:
    """Return the strategy called `name`, with its origin. A built-in loads no plugin.

    Raises:
        UnknownStrategyError: there is none; names those like it.
        ClashingStrategyError: several distributions offer it; names them.
    """
    for spec in STRATEGIES:
        if spec.name == name:
            return _built_in(spec)
    return _find("strategy", name, registered_strategies(), UnknownStrategyError)


def saliency(name: str) -> Registered[SaliencySpec]:
    """Return the saliency called `name`, with its origin. A built-in loads no plugin.

    Raises:
        UnknownSaliencyError: there is none; names those like it.
        ClashingStrategyError: several distributions offer it; names them.
    """
    for spec in SALIENCIES:
        if spec.name == name:
            return _built_in(spec)
    return _find("saliency", name, registered_saliencies(), UnknownSaliencyError)


def origin(spec: StrategySpec) -> Registered[StrategySpec]:
    """Return `spec` with the distribution that offers it; with None where none does."""
    for registered in registered_strategies():
        if registered.spec is spec:
            return registered
    return Registered(spec, None, None)


@functools.cache
def _version() -> str:
    return version(GROUP)


def _built_in(spec: Spec) -> Registered[Spec]:
    return Registered(spec, GROUP, _version())


def _register(
    built_in: Iterable[Spec], offers: Iterable[tuple[Plugin, tuple[Spec, ...]]]
) -> tuple[Registered[Spec], ...]:
    ours = [_built_in(spec) for spec in built_in]
    theirs = [(spec, plugin) for plugin, specs in offers for spec in specs]
    taken = {r.spec.name for r in ours}
    names = [spec.name for spec, _ in theirs]
    for spec, plugin in theirs:
        status: Literal["ok", "clash", "shadowed"] = "ok"
        if spec.name in taken:
            status = "shadowed"
        elif names.count(spec.name) > 1:
            status = "clash"
        ours.append(Registered(spec, plugin.distribution, plugin.version, status))
    return tuple(ours)


def _find(
    kind: str,
    name: str,
    registered: Iterable[Registered[Spec]],
    unknown: type[SecateurError],
) -> Registered[Spec]:
    offers = [r for r in registered if r.spec.name == name]
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
    known = sorted(r.spec.name for r in registered if r.status == "ok")
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
    # A module that calls sys.exit() on import must not end its host.
    except (Exception, SystemExit) as error:
        status: Literal["broken", "incompatible"] = (
            "incompatible" if isinstance(error, pluggy.PluginValidationError) else "broken"
        )
        wrapped = PluginError(
            f"plugin {entry_point.name!r} of {name} {number} is {status}: "
            f"{type(error).__name__}: {error}",
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


def _offers(
    entry_point: EntryPoint,
) -> tuple[tuple[StrategySpec, ...], tuple[SaliencySpec, ...]]:
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(Hooks)
    plugin = entry_point.load()
    manager.register(plugin, name=entry_point.name)
    # A misspelled hook has no specification and would be silent for ever.
    manager.check_pending()
    return (
        _collect(plugin, manager.hook.secateur_strategies, StrategySpec),
        _collect(plugin, manager.hook.secateur_saliencies, SaliencySpec),
    )


def _collect(plugin: object, hook: pluggy.HookCaller, kind: type[Spec]) -> tuple[Spec, ...]:
    specs = tuple(spec for result in hook() for spec in result)
    for spec in specs:
        if not isinstance(spec, kind):
            raise pluggy.PluginValidationError(
                plugin, f"hook {hook.name} yields {spec!r}, expected this version's {kind.__name__}"
            )
    return specs


def _disabled(*names: str) -> bool:
    def normal(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name.strip()).lower()

    listed = {normal(n) for n in os.environ.get(DISABLE, "").split(",")}
    return "all" in listed or any(normal(n) in listed for n in names)
