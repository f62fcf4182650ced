"""Options: the fields of a strategy, checked against their types, whoever fills them in.

Types may be built from int, float, bool, str, None, Literal, unions, Mapping or dict of these,
and classes; what else a field says is taken as given. No library of conversions does this:
values given in Python and text given in files have to be held to one rule, in an environment
that has nothing but NumPy.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, Union

import numpy as np

from secateur.errors import OptionError, SecateurError


@dataclasses.dataclass(frozen=True)
class Option:
    """One option, as the command line prints it; `default` is None where it has to be given."""

    name: str
    type: str
    default: Any
    doc: str


def describe(cls: Any) -> tuple[Option, ...]:
    """Return the options of a strategy or saliency in the order of its fields."""
    hints = typing.get_type_hints(cls)
    return tuple(
        Option(f.name, _spell(hints[f.name]), _default(f), f.metadata.get("doc", ""))
        for f in _fields(cls)
    )


def made(cls: Any, options: Mapping[str, Any]) -> Any:
    """Return the strategy or saliency of class `cls` with these options.

    NumPy scalars become Python's; no other conversion is made.

    Raises:
        OptionError: an option that the class does not have, of another type than declared, or
            refused by the class; names the class and what it accepts.
    """
    accepted = _accepted(cls)
    for name, value in options.items():
        if name not in accepted:
            close = difflib.get_close_matches(name, accepted)
            raise OptionError(
                f"{cls.name!r} has no option {name!r}"
                + (f"; did you mean {' or '.join(close)}?" if close else ".")
                + f" Its options are: {_listed(accepted)}",
                strategy=cls.name,
                option=name,
                value=value,
                accepted=accepted,
            )
    check_types(cls, options)
    try:
        return cls(**{name: _plain(value) for name, value in options.items()})
    except SecateurError:
        raise
    except (TypeError, ValueError) as error:
        raise OptionError(
            f"{cls.name!r} refuses its options: {error}. Its options are: {_listed(accepted)}",
            strategy=cls.name,
            value=dict(options),
            accepted=accepted,
        ) from error


def check_types(cls: Any, options: Mapping[str, Any]) -> None:
    """Raise unless each of these options of `cls` has a value of the type declared.

    Raises:
        OptionError: names class, option, value and type.
    """
    hints = typing.get_type_hints(cls)
    for name, value in options.items():
        if not _fits(_plain(value), hints[name]):
            raise OptionError(
                f"{cls.name!r}: option {name!r} is {value!r} ({type(value).__name__}), "
                f"expected {_spell(hints[name])}",
                strategy=cls.name,
                option=name,
                value=value,
                accepted=_spell(hints[name]),
            )


def options_of(value: Any) -> dict[str, Any]:
    """Return name → value of the options of a strategy or saliency."""
    return {field.name: getattr(value, field.name) for field in _fields(value)}


def from_text(cls: Any, texts: Mapping[str, str]) -> dict[str, Any]:
    """Return the options of `cls` that texts from a command line or file stand for.

    A text is JSON where that has the type of the option, else itself; the types are checked
    where the options are used.

    >>> from secateur.pruning import Accumulator
    >>> from_text(Accumulator, {"bits": '{"fc1": 6}', "saliency": "fisher"})
    {'bits': {'fc1': 6}, 'saliency': 'fisher'}
    """
    hints = typing.get_type_hints(cls)
    return {name: _read(text, hints.get(name, str)) for name, text in texts.items()}


def check_fraction(strategy: Any, option: str) -> None:
    """Raise OptionError unless the option of `strategy` is a number from 0 to 1."""
    value = _typed(strategy, option)
    if not 0 <= value <= 1:
        raise refused(strategy, option, "0 to 1")


def check_bits(strategy: Any, option: str = "bits", least: int = 1) -> None:
    """Raise OptionError unless an option is a width, a width by layer name, or None."""
    value = _typed(strategy, option)
    widths = value if isinstance(value, Mapping) else {"every layer": value}
    for layer, bits in widths.items():
        if bits is not None and not least <= bits <= 63:
            raise OptionError(
                f"{strategy.name!r}: {option} of {layer} is {bits}, expected {least} to 63",
                strategy=strategy.name,
                option=option,
                value=bits,
                accepted=f"{least} to 63",
            )


def refused(strategy: Any, option: str, accepted: str) -> OptionError:
    """Return the error of an option whose value is not among what is accepted."""
    value = getattr(strategy, option)
    return OptionError(
        f"{strategy.name!r}: {option} is {value}, expected {accepted}",
        strategy=strategy.name,
        option=option,
        value=value,
        accepted=accepted,
    )


def _typed(strategy: Any, option: str) -> Any:
    value = getattr(strategy, option)
    check_types(type(strategy), {option: value})
    return value


def _fields(cls: Any) -> tuple[dataclasses.Field[Any], ...]:
    return tuple(field for field in dataclasses.fields(cls) if field.init)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return None if field.default is dataclasses.MISSING else field.default


def _accepted(cls: Any) -> dict[str, str]:
    return {option.name: option.type for option in describe(cls)}


def _listed(accepted: Mapping[str, str]) -> str:
    return ", ".join(f"{name} ({kind})" for name, kind in accepted.items()) or "none"


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _read(text: str, hint: Any) -> Any:
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return text if _fits(text, hint) and not _fits(value, hint) else value


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
    try:
        return not isinstance(hint, type) or isinstance(value, hint)
    except TypeError:
        # A class that answers to no isinstance: Any from Python 3.11 on, some protocols.
        return True


def _spell(hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        return " or ".join(repr(a) for a in typing.get_args(hint))
    if isinstance(hint, type) and not typing.get_args(hint):
        return hint.__name__
    return re.sub(r"\b(\w+\.)+(?=\w)", "", str(hint))
