"""When masks are selected while a model trains, and how far towards the target.

A schedule says two things about a training step: whether masks are due after it, and which
fraction of the way to the target they are to go. Any object with these two methods will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Protocol

from secateur.errors import ScheduleError


class Schedule(Protocol):
    """Steps are counted from 1, the first that the optimiser has taken.

    Where an attribute `gradual` is true, the schedule asks for less than the full target
    somewhere; strategies that cannot go part of the way are then refused at once.
    """

    def due(self, step: int) -> bool:
        """Return whether masks are to be selected after `step`."""

    def fraction(self, step: int) -> float:
        """Return how far to go after `step`: 0 removes nothing, 1 is the target."""


@dataclass(frozen=True)
class OneShot(Schedule):
    """Select once, after `at` steps of warm-up; what follows trains under fixed masks.

    Example:
        >>> schedule = OneShot(at=100)
        >>> [step for step in range(1, 1000) if schedule.due(step)]
        [100]
    """

    at: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, at=self.at)

    def due(self, step: int) -> bool:
        return step == self.at

    def fraction(self, step: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Reselect(Schedule):
    """Select at the full target every `every` steps from `begin` to `end`, as weights move.

    Args:
        every: steps between two selections.
        begin: the first of them; the steps before are warm-up.
        end: no selection after it, so that the last steps train under fixed masks; None goes
            on for ever.

    >>> [step for step in range(1, 10) if Reselect(every=2, begin=3, end=8).due(step)]
    [3, 5, 7]
    """

    every: int = 20
    begin: int = 1
    end: int | None = None

    def __post_init__(self) -> None:
        _check_positive(self, every=self.every, begin=self.begin)
        _check_order(self, self.begin, self.end)

    def due(self, step: int) -> bool:
        ended = self.end is not None and step > self.end
        return step >= self.begin and not ended and (step - self.begin) % self.every == 0

    def fraction(self, step: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Iterative(Schedule):
    """Train, prune, retrain: `rounds` selections, each going as far again as the one before.

    Han et al., "Learning both Weights and Connections for Efficient Neural Networks"
    (NeurIPS 2015), section 3.

    Args:
        rounds: number of selections; round r goes r / rounds of the way.
        steps: training steps between two rounds.
        begin: the step of the first round.

    >>> schedule = Iterative(rounds=4, steps=100, begin=50)
    >>> [(step, schedule.fraction(step)) for step in range(1, 1000) if schedule.due(step)]
    [(50, 0.25), (150, 0.5), (250, 0.75), (350, 1.0)]
    """

    rounds: int
    steps: int
    begin: int = 1

    def __post_init__(self) -> None:
        _check_positive(self, rounds=self.rounds, steps=self.steps, begin=self.begin)

    @property
    def gradual(self) -> bool:
        """Whether some selection goes less far than the last."""
        return self.rounds > 1

    def due(self, step: int) -> bool:
        done, rest = divmod(step - self.begin, self.steps)
        return 0 <= done < self.rounds and rest == 0

    def fraction(self, step: int) -> float:
        done = (step - self.begin) // self.steps + 1
        return min(max(done, 0), self.rounds) / self.rounds


@dataclass(frozen=True)
class Gradual(Schedule):
    """Towards the target along 1 − (1 − t)^power, t from 0 at `begin` to 1 at `end`.

    Zhu and Gupta, "To prune, or not to prune" (2017), equation 1, with power 3.

    Args:
        begin: the step where it starts; those before are warm-up.
        end: the step that reaches the target; what follows trains under fixed masks.
        every: steps between two selections; the one at `end` takes place in any case.
        power: how much of the way lies early.

    >>> schedule = Gradual(begin=100, end=300, every=100)
    >>> [(step, schedule.fraction(step)) for step in range(1, 1000) if schedule.due(step)]
    [(100, 0.0), (200, 0.875), (300, 1.0)]
    """

    begin: int
    end: int
    every: int = 20
    power: float = 3.0
    gradual: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_positive(self, begin=self.begin, every=self.every, power=self.power)
        _check_order(self, self.begin + 1, self.end)

    def due(self, step: int) -> bool:
        inside = self.begin <= step <= self.end
        return inside and ((step - self.begin) % self.every == 0 or step == self.end)

    def fraction(self, step: int) -> float:
        t = (step - self.begin) / (self.end - self.begin)
        return 1.0 - (1.0 - min(max(t, 0.0), 1.0)) ** self.power


def _check_positive(schedule: object, **values: float) -> None:
    for argument, value in values.items():
        if value <= 0:
            raise ScheduleError(
                f"{type(schedule).__name__}: {argument} is {value}, expected at least 1",
                argument=argument,
                value=value,
            )


def _check_order(schedule: object, begin: int, end: int | None) -> None:
    if end is not None and end < begin:
        raise ScheduleError(
            f"{type(schedule).__name__}: end is {end}, expected at least {begin}",
            argument="end",
            value=end,
        )
