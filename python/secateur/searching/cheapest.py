"""Search by price: short trainings of many candidates, long ones of the few that promise."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.backends import Backend, backend_named
from secateur.errors import ArgumentError, SearchError
from secateur.network import Network
from secateur.searching.space import OUTPUT, Affordable, Space, estimate, widths
from secateur.sweeps import Record, Results, sweep

if TYPE_CHECKING:
    from torch import nn

    from secateur.circuits.certificate import Certificate
    from secateur.circuits.price import Price
    from secateur.pruning import Strategy
    from secateur.pruning.torch import Pruner

#: Called with one of `Space.hidden`; returns an untrained float module.
Build = Callable[[Any], "nn.Module"]


@dataclass(frozen=True, eq=False)
class Found:
    """What a search has found.

    Args:
        network: the cheapest of at least the accuracy asked for.
        point: the choices that it was made from.
        accuracy: of its integers on the validation samples.
        price: what its circuit costs.
        front: the fully trained candidates that none beats both in accuracy and in complexity.
        wall_s: how long the search took.
    """

    network: Network
    point: Mapping[str, Any]
    accuracy: float
    price: Price
    front: Results
    wall_s: float

    @property
    def certificate(self) -> Certificate:
        """The proved ranges of the network that was found."""
        from secateur.circuits.certificate import Certificate

        return Certificate.of(self.network)


@dataclass(frozen=True)
class Training:
    """Makes the network of a point, and measures it on validation samples.

    Args:
        build: hidden ↦ module.
        samples, targets: float [samples, *sample shape] and classes [samples].
        validation: samples and classes that accuracy is measured on.
        epochs: of the float network, and again of the quantised one.
        batch_size, lr, seed: see `training.fit`.
        backend: name of the backend whose complexity counts.
        p_error: probability that one lookup goes wrong.
    """

    build: Build
    samples: NDArray[Any] = field(compare=False, repr=False)
    targets: NDArray[Any] = field(compare=False, repr=False)
    validation: tuple[NDArray[Any], NDArray[Any]] = field(compare=False, repr=False)
    epochs: int
    batch_size: int
    lr: float
    seed: int
    backend: str
    p_error: float

    def __call__(self, point: Mapping[str, Any]) -> dict[str, float | int]:
        """Return accuracy, complexity and lookups of a point."""
        from secateur.circuits.circuit import price

        network = self.network(point)
        found = price(network, self.backend, p_error=self.p_error)
        return {
            "accuracy": self.accuracy(network),
            "complexity": float(found.complexity),
            "lookups": found.lookups,
        }

    def accuracy(self, network: Network) -> float:
        """Return the fraction of validation samples that the integers classify right."""
        x, y = self.validation
        return float((network.predict(x).argmax(1) == y).mean())

    def network(self, point: Mapping[str, Any]) -> Network:
        """Return the trained network of a point; the same point gives the same network."""
        import torch

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return self._trained(point)

    def _trained(self, point: Mapping[str, Any]) -> Network:
        from secateur.pruning.shrink import shrink
        from secateur.reading.torch import coarsen, freeze, quantize
        from secateur.reading.torch.coarsen import looked_up_layers
        from secateur.training import fit

        epochs = max(2, round(self.epochs * point["epochs"]))
        options = {"batch_size": self.batch_size, "lr": self.lr, "seed": self.seed}
        model = quantize(
            _float_network(self, _frozen(point["hidden"]), epochs),
            point["weight_bits"],
            point["activation_bits"],
            self.samples,
            input_bits=point["input_bits"],
        ).train()
        layers = looked_up_layers(model)
        chosen = widths(point, layers)
        bits = {
            name: chosen[name][0] if name in chosen else point[f"bits.{OUTPUT}"]
            for name in _layers(model)
        }
        model = coarsen(model, {name: drop for name, (_, drop) in chosen.items()}, bits)
        settling = max(1, epochs // 5)
        pruner = self._pruner(model, bits, point.get("removed", 0.0), epochs - settling)
        run: dict[str, Any] = {**options, "progress": False}
        fit(model, self.samples, self.targets, epochs=epochs - settling, pruner=pruner, **run)
        pruner.finish()
        fit(model, self.samples, self.targets, epochs=settling, **run)
        network = freeze(model)
        return shrink(network) if point.get("removed", 0.0) else network

    def _pruner(
        self, model: nn.Module, bits: Mapping[str, int], removed: float, epochs: int
    ) -> Pruner:
        from secateur.pruning import Accumulator, Structured
        from secateur.pruning.schedule import Gradual
        from secateur.pruning.torch import Pruner

        if not removed:
            return Pruner(model, Accumulator(bits))
        # Neurons go in the first half, so that those that stay can make up for them.
        steps = epochs * max(1, len(self.samples) // self.batch_size)
        begin = max(1, steps // 10)
        schedule = Gradual(begin, max(begin + 1, steps // 2))
        chain: list[Strategy] = [Structured(removed, saliency="taylor"), Accumulator(bits)]
        return Pruner(model, chain, schedule=schedule)


def _layers(model: nn.Module) -> list[str]:
    from secateur.reading.torch.freeze import read

    return list(read(model).layers)


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value


@lru_cache(maxsize=32)
def _float_network(training: Training, hidden: Any, epochs: int) -> nn.Module:
    import torch

    from secateur.training import fit

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(training.seed)
        module = training.build(hidden)
    fit(
        module,
        training.samples,
        training.targets,
        epochs=epochs,
        batch_size=training.batch_size,
        lr=training.lr,
        seed=training.seed,
        progress=False,
    )
    return module


def search(
    build: Build,
    data: tuple[ArrayLike, ArrayLike],
    *,
    accuracy: float,
    space: Space,
    validation: tuple[ArrayLike, ArrayLike] | None = None,
    backend: str | None = None,
    p_error: float = 2.0**-40,
    epochs: int = 40,
    batch_size: int = 64,
    lr: float = 0.01,
    trials: int = 60,
    short: float = 0.25,
    finalists: int = 8,
    executor: Executor | int | None = None,
    journal: str | os.PathLike[str] | None = None,
    seed: int = 0,
) -> Found:
    """Return the cheapest circuit found whose network reaches `accuracy` on validation.

    Optuna suggests candidates, which are trained for a short while; what is estimated to cost
    more than the cheapest that is good enough is not trained at all. The most promising are
    then trained in full, the cheapest first. Every training is a point of a sweep: with a
    journal an interrupted search goes on where it stopped.

    Args:
        build: one of `space.hidden` ↦ an untrained float module.
        data: float samples [samples, *sample shape] and classes [samples]. Held-out samples
            have no place here: what is chosen by them says nothing about others.
        accuracy: least fraction of validation samples to be right, above 0 and at most 1.
        space: the choices.
        validation: samples and classes to choose by; a fifth of `data` where not given.
        backend: whose prices count; the one that is installed where not given.
        p_error: probability that one lookup goes wrong.
        epochs: of a full training: first of the float network, then of the quantised one.
        batch_size, lr: see `training.fit`.
        trials: how many candidates to train for a short while.
        short: which part of the epochs a short training has.
        finalists: how many to train in full.
        executor, journal: see `sweep`.
        seed: of everything random.

    Raises:
        SearchError: no candidate reaches the accuracy; says which comes nearest and how long
            it took.
        ArgumentError: an accuracy outside (0, 1], or fewer than one trial or finalist.
        MissingExtraError: optuna or torch is not installed.

    Example:
        >>> from torch import nn
        >>> from secateur.searching import Space
        >>> def build(neurons):
        ...     return nn.Sequential(nn.Linear(64, neurons), nn.ReLU(), nn.Linear(neurons, 10))
        >>> space = Space(hidden=(16, 32), accumulator_bits=(4, 5, 6))
        >>> found = search(build, (x, y), accuracy=0.95, space=space)  # doctest: +SKIP
        >>> found.accuracy, found.price.complexity  # doctest: +SKIP
    """
    for name, value, fine in (
        ("accuracy", accuracy, 0 < accuracy <= 1),
        ("trials", trials, trials >= 1),
        ("finalists", finalists, finalists >= 1),
        ("short", short, 0 < short <= 1),
        ("p_error", p_error, 0 < p_error < 1),
    ):
        if not fine:
            raise ArgumentError(
                f"{name} is {value}, which no search can have", argument=name, value=value
            )
    start = time.perf_counter()
    target = backend_named(backend)
    samples, targets, held = _split(data, validation, seed)
    training = Training(
        build, samples, targets, held, epochs, batch_size, lr, seed, target.name, p_error
    )
    elements = {_frozen(h): _elements(training, h) for h in space.hidden}
    layers = {tuple(found) for found in elements.values()}
    if len(layers) != 1:
        raise ArgumentError(
            f"the modules of space.hidden differ in the layers that are looked up: "
            f"{sorted(layers)}; search each kind by itself",
            argument="space",
            value=space.hidden,
        )
    points = Affordable(
        _study(seed),
        {**space.axes(layers.pop()), "epochs": [short]},
        trials,
        lambda point: estimate(point, elements[_frozen(point["hidden"])], target, p_error),
        accuracy,
    )
    sketched = sweep(points, training, executor=executor, journal=journal)
    full = [dict(r.point) | {"epochs": 1} for r in _promising(sketched, accuracy, finalists)]
    trained = sweep(full, training, executor=executor, journal=journal)
    complete = Results(tuple(r for r in trained if not r.failed and r.point["epochs"] == 1))
    wall_s = time.perf_counter() - start
    enough = [r for r in complete if float(r.values["accuracy"]) >= accuracy]  # type: ignore[arg-type]
    if not enough:
        raise _unreached(accuracy, complete, wall_s)
    best = min(enough, key=_complexity)
    return _found(training, target, best, complete, wall_s)


def _found(
    training: Training, target: Backend, best: Record, complete: Results, wall_s: float
) -> Found:
    from secateur.circuits.circuit import price

    network = training.network(best.point)
    found = price(network, target.name, p_error=training.p_error)
    front = complete.pareto("accuracy", "complexity")
    return Found(network, best.point, training.accuracy(network), found, front, wall_s)


def _split(
    data: tuple[ArrayLike, ArrayLike], validation: tuple[ArrayLike, ArrayLike] | None, seed: int
) -> tuple[NDArray[Any], NDArray[Any], tuple[NDArray[Any], NDArray[Any]]]:
    """Return samples and targets to train on, and those to validate with."""
    x, y = (np.asarray(side) for side in data)
    if validation is not None:
        return x, y, (np.asarray(validation[0]), np.asarray(validation[1]))
    if len(x) != len(y) or len(x) < 2:
        raise ArgumentError(
            f"data holds {len(x)} samples with {len(y)} targets; a search wants as many of both, "
            "and at least 2",
            argument="data",
            value=(len(x), len(y)),
        )
    order = np.random.default_rng(seed).permutation(len(x))
    held, rest = order[: max(1, len(x) // 5)], order[max(1, len(x) // 5) :]
    return x[rest], y[rest], (x[held], y[held])


def _elements(training: Training, hidden: Any) -> dict[str, int]:
    """Return layer → how many of its accumulators are looked up, in order."""
    import torch

    from secateur.reading.torch import quantize
    from secateur.reading.torch.coarsen import looked_up_layers
    from secateur.reading.torch.freeze import read

    with torch.random.fork_rng(devices=[]):
        model = quantize(training.build(hidden), calibration=training.samples[:64])
    shapes = read(model).network.shapes
    return {name: math.prod(shapes[name]) for name in looked_up_layers(model)}


def _study(seed: int) -> Any:
    from secateur.extras import needed_for

    with needed_for("secateur.search"):
        import optuna
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = optuna.samplers.TPESampler(seed=seed, multivariate=False, n_startup_trials=12)
    return optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)


def _complexity(record: Record) -> float:
    return float(record.values["complexity"])  # type: ignore[arg-type]


def _promising(sketched: Results, accuracy: float, most: int) -> list[Record]:
    """Return the records to train in full: a short training does not show all that is in them.

    From the front of accuracy and complexity, those nearest to the accuracy asked for, in
    equal parts above and below it.
    """
    done = Results(tuple(r for r in sketched if not r.failed and r.point["epochs"] < 1))
    if not len(done):
        done = Results(tuple(r for r in sketched if not r.failed))
    if not len(done):
        return []
    front = list(done.pareto("accuracy", "complexity"))
    near = sorted(front, key=lambda r: abs(float(r.values["accuracy"]) - accuracy))  # type: ignore[arg-type]
    return sorted(near[:most], key=_complexity)


def _unreached(accuracy: float, complete: Results, wall_s: float) -> SearchError:
    if not len(complete):
        return SearchError(
            f"no candidate could be trained in {wall_s:.0f} s; evaluate one point by itself "
            "with searching.cheapest.Training to see why",
            accuracy=accuracy,
            wall_s=wall_s,
        )
    best = complete.best("accuracy")
    return SearchError(
        f"no candidate reaches an accuracy of {accuracy}; the best of {len(complete)}, after "
        f"{wall_s:.0f} s, has {best.values['accuracy']:.4f} at a complexity of "
        f"{_complexity(best):.2e}: {dict(best.point)}; allow more accumulator_bits, more "
        "trials or more epochs",
        accuracy=accuracy,
        best=float(best.values["accuracy"]),  # type: ignore[arg-type]
        point=dict(best.point),
        wall_s=wall_s,
    )
