"""What a pruning strategy is: a frozen value, not a class to inherit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from secateur.pruning.problem import Masks, PruningProblem


@dataclass(frozen=True)
class Promise:
    """What a strategy's masks keep to; the host proves it with the engine, channel by channel.

    Args:
        accumulator_bits: options ↦ the width that every accumulator fits, or a mapping of
            layer name to width; None where nothing is promised for these options.
        budget: "span" (a free offset) or "signed" (two's complement).
    """

    accumulator_bits: Callable[[Any], int | dict[str, int] | None]
    budget: Callable[[Any], Literal["span", "signed"]] = lambda options: "span"


@dataclass(frozen=True)
class StrategySpec:
    """A named, parameterised rule that yields masks.

    Args:
        name: lower-case words joined by hyphens.
        summary: one line.
        options: a frozen dataclass type whose fields are the options, each with a type, a
            default and `metadata={"doc": ...}`; it validates in `__post_init__`.
        apply: (problem, options) ↦ {layer name: bool mask shaped like its weight}.
        promises: what the masks keep to, proved by the host after every application.
    """

    name: str
    summary: str
    options: type
    apply: Callable[[PruningProblem, Any], Masks]
    promises: Promise | None = None
