"""Points that an Optuna study suggests, and learns from."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from secateur.errors import ResultError
from secateur.sweeps.events import Event
from secateur.sweeps.points import Plain, plain


class Suggestions:
    """Points of an Optuna study, asked for one by one and told what came of them.

    Made by `suggest`; can be drawn once.

    Args:
        study: of Optuna.
        space: name → distribution of it.
        trials: how many points to ask for.
        objectives: the columns that the study is told.
        ahead: how many points may be asked for before the first is told.

    Example:
        >>> import optuna
        >>> from secateur.sweeps import suggest
        >>> space = {"n": optuna.distributions.IntDistribution(1, 4)}
        >>> study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
        >>> isinstance(suggest(study, space, 3, "loss"), Suggestions)
        True
    """

    def __init__(
        self,
        study: Any,
        space: Mapping[str, Any],
        trials: int,
        objectives: tuple[str, ...],
        ahead: int,
    ) -> None:
        self.ahead = ahead
        self._study = study
        self._space = dict(space)
        self._trials = trials
        self._objectives = objectives
        self._open: defaultdict[str, list[Any]] = defaultdict(list)

    def __len__(self) -> int:
        return self._trials

    def __iter__(self) -> Iterator[Plain]:
        for _ in range(self._trials):
            trial = self._study.ask(self._space)
            self._open[text_of(trial.params)].append(trial)
            yield dict(trial.params)

    def tell(self, event: Event) -> None:
        """Tell the study what came of every open trial of the event's point."""
        from optuna.trial import TrialState

        for trial in self._open.pop(text_of(event.record.point), ()):
            if event.record.failed:
                self._study.tell(trial, state=TrialState.FAIL)
            else:
                self._study.tell(trial, [self._value(event, name) for name in self._objectives])

    def _value(self, event: Event, name: str) -> float:
        value = event.record.values.get(name)
        if not isinstance(value, int | float) or math.isnan(value):
            raise ResultError(
                f"objective {name!r} of point {event.record.point!r} is {value!r}, which the "
                f"study cannot learn from; evaluate gave {', '.join(event.record.values)}",
                point=event.record.point,
                name=name,
                value=value,
            )
        return value


def suggest(
    study: Any, space: Mapping[str, Any], trials: int, *objectives: str, ahead: int = 16
) -> Suggestions:
    """Return `trials` points that an Optuna study suggests, for `sweep`.

    The study's own sampler and storage serve, by ask and tell. Points that the journal holds
    are told to the study at once.

    Args:
        study: an `optuna.Study`, with a direction for each objective.
        space: field → Optuna distribution.
        trials: how many points to ask for.
        objectives: the names, among those that evaluate gives, of what the study optimises.
        ahead: how many points may wait for their results before the next is asked for; the
            fewer, the more each suggestion knows, but no less than there are workers.

    Example:
        >>> import optuna
        >>> from secateur.sweeps.run import sweep
        >>> optuna.logging.set_verbosity(optuna.logging.ERROR)
        >>> study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
        >>> space = {"x": optuna.distributions.FloatDistribution(-10, 10)}
        >>> points = suggest(study, space, 30, "loss")
        >>> results = sweep(points, lambda point: {"loss": (point["x"] - 3) ** 2})
        >>> len(study.trials), study.best_value < 1
        (30, True)
    """
    return Suggestions(study, space, trials, objectives, ahead)


def text_of(content: Plain) -> str:
    """Return a point's content as text, the same for equal points."""
    return json.dumps(plain(content), sort_keys=True)
