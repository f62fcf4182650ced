"""What a pruning strategy is: a frozen value, not a class to inherit."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from secateur.errors import SpecificationError
from secateur.pruning.problem import Floats, Masks, PrunableLayer, PruningProblem

Budget = Literal["span", "signed"]

#: Keywords of `prune` and `Pruner`, which no option may be called.
RESERVED = frozenset({"input_shape", "loss", "samples", "schedule", "seed", "targets"})


def _check_name(kind: str, name: Any, summary: Any) -> None:
    if not isinstance(name, str) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name):
        raise SpecificationError(
            f"{kind} name {name!r}: expected lower-case words joined by hyphens",
            name=name,
            argument="name",
        )
    if not isinstance(summary, str) or not summary.strip() or "\n" in summary:
        raise SpecificationError(
            f"{kind} {name!r}: its summary is {summary!r}, expected one line of text",
            name=name,
            argument="summary",
        )


@dataclass(frozen=True)
class Promise:
    """What a strategy's masks keep to.

    Args:
        accumulator_bits: options ↦ the width that every accumulator fits, or a mapping of
            layer name to width for those layers alone; None where nothing is promised for
            these options. The host proves it with the engine, channel by channel.
        budget: options ↦ "span" (a free offset) or "signed" (two's complement, no offset).
        idempotent: applied to its own masks, it changes nothing.
    """

    accumulator_bits: Callable[[Any], int | Mapping[str, int] | None] = lambda options: None
    budget: Callable[[Any], Budget] = lambda options: "span"
    idempotent: bool = False


@dataclass(frozen=True)
class StrategySpec:
    """A named, parameterised rule that yields masks.

    Args:
        name: lower-case words joined by hyphens.
        summary: one line.
        options: a frozen dataclass type whose fields are the options, each with a type, a
            default and `metadata={"doc": ...}`; its `__post_init__` raises ValueError for what
            the types alone let through.
        apply: (problem, options) ↦ {layer name: bool mask shaped like its weight}; layers left
            out keep the mask that they have.
        promises: what the masks keep to.

    Raises:
        SpecificationError: one of these is not so; says which.
    """

    name: str
    summary: str
    options: type
    apply: Callable[[PruningProblem, Any], Masks]
    promises: Promise = Promise()

    def __post_init__(self) -> None:
        _check_name("strategy", self.name, self.summary)

        def refuse(argument: str, problem: str) -> SpecificationError:
            return SpecificationError(
                f"strategy {self.name!r}: {problem}", name=self.name, argument=argument
            )

        if not isinstance(self.options, type) or not dataclasses.is_dataclass(self.options):
            raise refuse("options", f"options is {self.options!r}, expected a dataclass type")
        if not self.options.__dataclass_params__.frozen:  # type: ignore[attr-defined]
            raise refuse("options", f"{self.options.__name__} must be a frozen dataclass")
        for field in dataclasses.fields(self.options):
            if field.name in RESERVED:
                raise refuse("options", f"no option may be called {field.name!r}, the host's own")
            if field.default is field.default_factory is dataclasses.MISSING:
                raise refuse("options", f"option {field.name!r} needs a default")
        if not callable(self.apply):
            raise refuse("apply", f"apply is {self.apply!r}, expected a function")
        if not isinstance(self.promises, Promise):
            raise refuse("promises", f"promises is {self.promises!r}, expected a Promise")


@dataclass(frozen=True)
class SaliencySpec:
    """A named score of how much each weight matters.

    Args:
        name: lower-case words joined by hyphens.
        summary: one line.
        score: (problem, layer) ↦ float64 shaped like the layer's weight, finite, not negative.

    Raises:
        SpecificationError: one of these is not so; says which.
    """

    name: str
    summary: str
    score: Callable[[PruningProblem, PrunableLayer], Floats]

    def __post_init__(self) -> None:
        _check_name("saliency", self.name, self.summary)
        if not callable(self.score):
            raise SpecificationError(
                f"saliency {self.name!r}: score is {self.score!r}, expected a function",
                name=self.name,
                argument="score",
            )
