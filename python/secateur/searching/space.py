"""What a search may choose from, as points of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.backends import Backend
from secateur.backends.estimates import Lookups
from secateur.errors import ArgumentError
from secateur.sweeps.events import Event
from secateur.sweeps.points import Plain
from secateur.sweeps.suggestions import Suggestions, text_of

#: Accumulators of the layer whose results are decrypted, in the fields of points.
OUTPUT = "output"


@dataclass(frozen=True)
class Space:
    """The choices of a search; each combination is one network to train.

    Args:
        hidden: what the caller's function builds a module from, one argument each: numbers of
            neurons, for example. Plain values or tuples of them.
        weight_bits, activation_bits, input_bits: widths of the codes.
        accumulator_bits: of every layer whose accumulators are looked up, each for itself.
        read_bits: how many of these bits a lookup reads; all, where there are no more.
        output_bits: of the layer whose accumulators are decrypted.
        removed: fraction of the neurons or channels of each layer that `Structured` removes as
            the network trains, and `shrink` after it; 0 removes none.
    """

    hidden: Sequence[Any]
    weight_bits: Sequence[int] = (2, 3)
    activation_bits: Sequence[int] = (2, 3)
    input_bits: Sequence[int] = (2, 3)
    accumulator_bits: Sequence[int] = (4, 5, 6, 7, 8)
    read_bits: Sequence[int] = (3, 4, 5)
    output_bits: Sequence[int] = (6, 7, 8)
    removed: Sequence[float] = (0.0,)

    def __post_init__(self) -> None:
        for fraction in self.removed:
            if not 0 <= fraction < 1:
                raise ArgumentError(
                    f"removed holds {fraction}, expected fractions from 0 to below 1",
                    argument="removed",
                    value=fraction,
                )

    def axes(self, layers: Sequence[str]) -> dict[str, list[Any]]:
        """Return field of a point → its values, for lookups of the layers so called."""
        axes: dict[str, list[Any]] = {
            "hidden": list(self.hidden),
            "weight_bits": list(self.weight_bits),
            "activation_bits": list(self.activation_bits),
            "input_bits": list(self.input_bits),
            "removed": list(self.removed),
        }
        for layer in layers:
            axes[f"bits.{layer}"] = list(self.accumulator_bits)
            axes[f"read.{layer}"] = list(self.read_bits)
        axes[f"bits.{OUTPUT}"] = list(self.output_bits)
        return axes


def widths(point: Mapping[str, Any], layers: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Return layer → bits of its accumulators and how many of them are dropped."""
    found = {}
    for layer in layers:
        bits = int(point[f"bits.{layer}"])
        found[layer] = bits, max(0, bits - int(point[f"read.{layer}"]))
    return found


def estimate(
    point: Mapping[str, Any], elements: Mapping[str, int], backend: Backend, p_error: float
) -> float:
    """Return about the complexity of a point's circuit.

    Args:
        point: of a `Space`.
        elements: layer → how many of its accumulators are looked up, in order.
        backend, p_error: of the circuit.
    """
    found = widths(point, list(elements))
    kept = 1 - float(point.get("removed", 0.0))
    lookups = [Lookups(round(kept * count), *found[layer]) for layer, count in elements.items()]
    return backend.estimate(lookups, int(point[f"bits.{OUTPUT}"]), p_error)


class Affordable(Suggestions):
    """Suggestions without those that cost more than the cheapest that is good enough already."""

    #: How many times that one a suggestion may be estimated to cost: estimates err.
    SLACK = 1.3
    #: How many suggestions in a row may be too dear; the next is taken as it is.
    TRIES = 50

    def __init__(
        self,
        study: Any,
        axes: Mapping[str, Sequence[Any]],
        trials: int,
        cost: Callable[[Plain], float],
        accuracy: float,
    ) -> None:
        """Suggest points of `axes` with the objectives "accuracy" and "complexity".

        Args:
            study: an `optuna.Study` that maximises the one and minimises the other.
            axes: field → its values; any plain values.
            trials: how many points to draw.
            cost: point ↦ about its complexity, at once.
            accuracy: what is good enough.
        """
        from optuna.distributions import CategoricalDistribution

        self._axes = {name: list(values) for name, values in axes.items()}
        space = {
            name: CategoricalDistribution(range(len(values))) for name, values in self._axes.items()
        }
        super().__init__(study, space, trials, ("accuracy", "complexity"), ahead=4)
        self._cost, self._accuracy = cost, accuracy
        self._cheapest = float("inf")

    def __iter__(self) -> Iterator[Plain]:
        from optuna.trial import TrialState

        for _ in range(self._trials):
            for tries in range(self.TRIES + 1):
                trial = self._study.ask(self._space)
                point = {name: self._axes[name][at] for name, at in trial.params.items()}
                if tries == self.TRIES or self._cost(point) <= self.SLACK * self._cheapest:
                    break
                self._study.tell(trial, state=TrialState.PRUNED)
            self._open[text_of(point)].append(trial)
            yield point

    def tell(self, event: Event) -> None:
        """Tell the study, and note what is good enough."""
        values = event.record.values
        if not event.record.failed and float(values["accuracy"]) >= self._accuracy:  # type: ignore[arg-type]
            self._cheapest = min(self._cheapest, float(values["complexity"]))  # type: ignore[arg-type]
        super().tell(event)
