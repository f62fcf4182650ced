"""Options of a strategy: from what the caller typed to a checked, frozen value.

An option is a field of the strategy's dataclass. Its type may be built from int, float, bool,
str, None, Literal, unions, and Mapping or dict of these; everything else is taken as given.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

import numpy as np

from secateur.errors import OptionError, SecateurError
from secateur.pruning.strategy import StrategySpec


@dataclasses.dataclass(frozen=True)
class Option:
    """One option, as the command line prints it."""

    name: str
    type: str
    default: Any
    doc: str


def describe(spec: StrategySpec) -> tuple[Option, ...]:
    """Return the options of `spec` in the order of its dataclass."""
    defaults = spec.options()
    hints = typing.get_type_hints(spec.options)
    return tuple(
        Option(f.name, _spell(hints[f.name]), getattr(defaults, f.name), f.metadata.get("doc", ""))
        for f in dataclasses.fields(spec.options)
    )


def options_of(spec: StrategySpec, given: Mapping[str, Any]) -> Any:
    """Return the options of `spec` with `given` in place of the defaults.

    NumPy scalars become Python's, and an int is taken where a float is asked for; no other
    conversion is made.

    Raises:
        OptionError: an option that the strategy does not have, of another type than declared,
            or refused by the strategy; names the strategy and what it accepts.
    """
    hints = typing.get_type_hints(spec.options)
    accepted = {f.name: _spell(hints[f.name]) for f in dataclasses.fields(spec.options)}
    listed = ", ".join(f"{n} ({t})" for n, t in accepted.items()) or "none"
    checked = {}
    for name, value in given.items():
        if name not in accepted:
            close = difflib.get_close_matches(name, accepted)
            raise OptionError(
                f"strategy {spec.name!r} has no option {name!r}"
                + (f"; did you mean {' or '.join(close)}?" if close else "")
                + f" Its options are: {listed}",
                strategy=spec.name,
                option=name,
                value=value,
                accepted=accepted,
            )
        plain = value.item() if isinstance(value, np.generic) else value
        if not _fits(plain, hints[name]):
            raise OptionError(
                f"strategy {spec.name!r}: option {name!r} is {value!r} "
                f"({type(value).__name__}), expected {accepted[name]}",
                strategy=spec.name,
                option=name,
                value=value,
                accepted=accepted[name],
            )
        checked[name] = plain
    try:
        return spec.options(**checked)
    except SecateurError:
        raise
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"strategy {spec.name!r} refuses its options: {error}. Its options are: {listed}",
            strategy=spec.name,
            value=checked,
            accepted=accepted,
        ) from error


def _fits(value: Any, hint: Any) -> bool:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, a) for a in arguments)
    if origin is Literal:
        return value in arguments
    if isinstance(origin, type) and issubclass(origin, Mapping):
        key, item = arguments
        return isinstance(value, Mapping) and all(
            _fits(k, key) and _fits(v, item) for k, v in value.items()
        )
    # A bool is an int to Python, but no number of bits.
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float)
    return not isinstance(hint, type) or isinstance(value, hint)


def _spell(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(repr(a) for a in typing.get_args(hint))
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return str(hint).replace("collections.abc.", "").replace("typing.", "")
