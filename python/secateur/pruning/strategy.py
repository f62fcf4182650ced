"""What a strategy and a saliency are: frozen values that answer for themselves.

Each is an instance of a frozen dataclass; no class of ours is inherited. The class variable
`name` serves the command line, files and plugins, the first line of the docstring is its
summary, and its fields are its options. What options are called means nothing to the host.
"""

from __future__ import annotations

import dataclasses
import re
import typing
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal, Protocol, TypeAlias, runtime_checkable

from secateur.errors import SpecificationError
from secateur.pruning.problem import Masks, PruningProblem, Span
from secateur.ranges import Range

#: What an accumulator fits: so many span bits, a span, or a range.
Promise: TypeAlias = int | Span | Range

#: Name of a layer, or of a fixed accumulator → what it fits.
Widths: TypeAlias = Mapping[str, Promise]

Kind = Literal["strategy", "saliency"]

#: What a class of either kind has to be able to do.
_METHOD = {"strategy": "masks", "saliency": "score"}


@runtime_checkable
class Strategy(Protocol):
    """A rule that yields masks.

    It may have further methods, each of the problem:

    - `widths(problem)` ↦ `Widths`: what accumulators fit under its masks. The host proves it,
      channel by channel.
    - `toward(fraction, problem)` ↦ the strategy that goes part of the way: 0 removes nothing,
      1 is itself. Schedules that go gradually need it.
    - `fitted_scales(problem)` ↦ {layer name: positive float64 [out]}: while a model trains, the
      scales that weights get before masks are selected; for layers whose `code_range` is known.
    - `corrected(problem, layer, inputs, wanted)` ↦ integer codes: where `prune` has samples, what
      a layer is to multiply by so that it gives what is wanted; see `Compensated`.
    """

    name: ClassVar[str]

    def masks(self, problem: PruningProblem) -> Masks:
        """Return {layer name: bool mask shaped like its weight}, True = kept.

        A layer that is left out keeps the mask that it has.
        """


def method_of(value: Any, name: str) -> Callable[..., Any] | None:
    """Return a method that a strategy may have; an option of that name is none."""
    if name in type(value).__dataclass_fields__ or not callable(getattr(type(value), name, None)):
        return None
    method: Callable[..., Any] = getattr(value, name)
    return method


def check_class(kind: Kind, cls: Any) -> None:
    """Raise unless `cls` is a class of strategies or saliencies.

    Raises:
        SpecificationError: it is no frozen dataclass, or has no name, summary or method; says
            which.
    """
    called = getattr(cls, "__name__", repr(cls))

    def refuse(argument: str, problem: str) -> SpecificationError:
        return SpecificationError(f"{kind} {called}: {problem}", name=called, argument=argument)

    if not isinstance(cls, type):
        raise refuse("class", "expected a class")
    parameters = vars(cls).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise refuse("class", "expected a frozen dataclass; put @dataclass(frozen=True) above it")
    name = getattr(cls, "name", None)
    if any(field.name == "name" for field in dataclasses.fields(cls)):
        raise refuse("name", "its name is an option; write name: ClassVar[str] = ...")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise refuse("name", f"name is {name!r}, expected lower-case words joined by hyphens")
    if not summary(cls):
        raise refuse("summary", "its docstring has no first line, which is its summary")
    if not callable(getattr(cls, _METHOD[kind], None)):
        raise refuse(_METHOD[kind], f"it has no method {_METHOD[kind]}()")
    try:
        typing.get_type_hints(cls)
    except Exception as error:
        raise refuse("class", f"its annotations cannot be read: {error}") from error


def summary(cls: type) -> str:
    """Return the first line of the docstring of `cls`; nothing where there is no docstring."""
    doc = vars(cls).get("__doc__") or ""
    # Where there is none, `dataclass` writes the signature there.
    return "" if doc.startswith(f"{cls.__name__}(") else doc.strip().partition("\n")[0].strip()
