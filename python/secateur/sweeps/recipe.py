"""The ready evaluate: train, prune, prove, measure, and price by compiling alone."""

from __future__ import annotations

import functools
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from secateur.analysis import analyze
from secateur.errors import PointError
from secateur.network import Network
from secateur.network.storage import digest
from secateur.pruning import plugins
from secateur.pruning.options import made
from secateur.sweeps.cache import Cache
from secateur.sweeps.points import Point, plain
from secateur.sweeps.provenance import library_version
from secateur.sweeps.records import Value

if TYPE_CHECKING:
    from torch import nn

    from secateur.circuits.circuit import Circuit


class Data(NamedTuple):
    """The data of a recipe, to train by and to hold out.

    Args:
        train_samples, test_samples: float32 [samples, *sample shape].
        train_targets, test_targets: the classes, int64 [samples].

    Example:
        >>> import numpy as np
        >>> x, y = np.zeros((4, 2), np.float32), np.array([0, 1, 1, 0])
        >>> Data(x[:3], y[:3], x[3:], y[3:]).test_targets
        array([0])
    """

    train_samples: Any
    train_targets: Any
    test_samples: Any
    test_targets: Any


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "secateur"


@dataclass(frozen=True)
class Recipe:
    """An evaluate function for `sweep`: trains, prunes, proves and prices a classifier.

    The fields of a point are `strategy`, the options of that strategy, `seed`, and any field
    of the recipe, which it replaces. Points that share a float network (same module, data,
    seed and settings) train it once, also where processes ask for it at the same time. The
    same point gives the same result on any executor; in threads, points wait for each other,
    since torch's random state is one for the process.

    Args:
        build: makes the float module; a function that workers can import.
        data: gives `Data`, or four arrays in its order; likewise.
        float_epochs: of training the float network, which then is the teacher.
        epochs: of training the quantised network under the pruner.
        lr, batch_size: of both trainings; see `training.fit`.
        every: training steps between two selections of masks; see `Reselect`.
        teacher_weight: what the float network's outputs count in the quantised one's loss.
        weight_bits, activation_bits, input_bits: see `quantize`.
        backend, global_p_error: see `compile`.
        encrypted_samples: how many test samples to run encrypted and compare; takes keys.
        threads: of torch; part of what makes a result repeatable.
        cache: directory of trained float networks; the user's own where not given.

    Example:
        >>> from secateur.sweeps import grid, sweep
        >>> points = grid(strategy=["accumulator"], bits=[4, 5, 6], seed=range(3))
        >>> recipe = Recipe(build=build, data=data, epochs=40)  # doctest: +SKIP
        >>> results = sweep(points, recipe, executor=2, journal="runs.jsonl")  # doctest: +SKIP
    """

    build: Callable[[], nn.Module]
    data: Callable[[], Any]
    float_epochs: int = 60
    epochs: int = 100
    lr: float = 0.01
    batch_size: int = 64
    every: int = 20
    teacher_weight: float = 0.5
    weight_bits: int = 3
    activation_bits: int = 2
    input_bits: int | None = None
    backend: str | None = None
    global_p_error: float | None = None
    encrypted_samples: int = 0
    threads: int = 1
    cache: str | os.PathLike[str] = field(default_factory=_user_cache, compare=False)

    def __call__(self, point: Point) -> Mapping[str, Value]:
        """Return what the point comes to.

        Returns:
            accuracy: of the network of integers on the test samples; what a circuit decrypts.
            float_accuracy: of the float network that it was made from.
            complexity, lookups, circuit_bits, evaluation_key_bytes: see `Cost`.
            accumulator_bits: span bits of the widest accumulator, proved.
            sparsity: fraction of the codes that are zero.
            bits.LAYER: span bits of every accumulator, proved.
            encrypted_agreement: fraction of the encrypted samples that decrypt to the
                network's integers; where there are any.

        Raises:
            PointError: the point has no strategy.
            SecateurError: whatever quantising, pruning, freezing or compiling raises.
        """
        recipe, seed, strategy, options = self._read(point)
        with _one_at_a_time(recipe.threads):
            return recipe._evaluate(seed, strategy, options)

    def check(self, point: Point) -> None:
        """Raise what is wrong with `point` before anything is trained.

        Raises:
            PointError: the point has no strategy.
            UnknownStrategyError, OptionError: its strategy, or an option, that there is not.
        """
        _, _, strategy, options = self._read(point)
        made(plugins.strategy(strategy).cls, options)

    def _read(self, point: Point) -> tuple[Recipe, int, str, Mapping[str, Any]]:
        """Return the recipe that a point asks for, its seed, strategy and that one's options."""
        settings = plain(point)
        if "strategy" not in settings:
            raise PointError(f"point {point!r} has no field 'strategy'", point=point)
        own = {f.name for f in fields(self)} & settings.keys()
        recipe = replace(self, **{name: settings.pop(name) for name in own})
        return recipe, settings.pop("seed", 0), settings.pop("strategy"), settings

    def _evaluate(
        self, seed: int, strategy: str, options: Mapping[str, Any]
    ) -> Mapping[str, Value]:
        from secateur import training
        from secateur.circuits.circuit import compile

        data = _load(self.data)
        teacher = self._float_network(data, seed)
        network = self._pruned(teacher, data, seed, strategy, options)
        circuit = compile(network, self.backend, global_p_error=self.global_p_error)
        report = analyze(network)
        codes = [layer.codes for layer in network.layers]
        values: dict[str, Value] = {
            "accuracy": _accuracy(network, data),
            "float_accuracy": training.accuracy(teacher, data.test_samples, data.test_targets),
            "complexity": float(circuit.price.complexity),
            "lookups": circuit.price.lookups,
            "circuit_bits": circuit.price.widest,
            "evaluation_key_bytes": circuit.price.evaluation_key_bytes,
            "accumulator_bits": report.accumulator_bits,
            "sparsity": 1 - sum(map(np.count_nonzero, codes)) / sum(c.size for c in codes),
        }
        values |= {f"bits.{node.name}": node.bits() for node in report.accumulators}
        if self.encrypted_samples:
            values["encrypted_agreement"] = _agreement(circuit, data, self.encrypted_samples)
        return values

    def _pruned(
        self,
        teacher: nn.Module,
        data: Data,
        seed: int,
        strategy: str,
        options: Mapping[str, Any],
    ) -> Network:
        from secateur import training
        from secateur.pruning.schedule import Reselect
        from secateur.pruning.torch import Pruner
        from secateur.reading.torch import freeze, quantize

        model = quantize(
            teacher,
            self.weight_bits,
            self.activation_bits,
            data.train_samples,
            input_bits=self.input_bits,
        )
        schedule = Reselect(self.every)
        pruner = Pruner(model, strategy, schedule=schedule, seed=seed, **options)
        training.fit(
            model,
            data.train_samples,
            data.train_targets,
            epochs=self.epochs,
            lr=self.lr,
            batch_size=self.batch_size,
            pruner=pruner,
            teacher=teacher,
            teacher_weight=self.teacher_weight,
            seed=seed,
            progress=False,
        )
        return freeze(model)

    def _float_network(self, data: Data, seed: int) -> nn.Module:
        """Return the trained float network, from the cache where it has been trained before."""
        import torch

        from secateur import training

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = self.build()

        def train() -> bytes:
            training.fit(
                module,
                data.train_samples,
                data.train_targets,
                epochs=self.float_epochs,
                lr=self.lr,
                batch_size=self.batch_size,
                seed=seed,
                progress=False,
            )
            file = io.BytesIO()
            np.savez(file, **_arrays(module))
            return file.getvalue()

        content = {
            "module": repr(module),
            "initial": digest(**_arrays(module)),
            "data": digest(samples=data.train_samples, targets=data.train_targets),
            "epochs": self.float_epochs,
            "lr": self.lr,
            "batch_size": self.batch_size,
            "seed": seed,
            "threads": self.threads,
            "torch": torch.__version__,
            "secateur": library_version(),
        }
        with np.load(io.BytesIO(Cache(self.cache).get(content, train))) as state:
            module.load_state_dict({name: torch.from_numpy(state[name]) for name in state})
        return module.eval()


def _arrays(module: nn.Module) -> dict[str, Any]:
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


@functools.cache
def _load(data: Callable[[], Any]) -> Data:
    """Load the data once for a process."""
    return Data(*map(np.asarray, data()))


_LOCK = threading.Lock()


@contextmanager
def _one_at_a_time(threads: int) -> Iterator[None]:
    """Hold torch's state of the process for one point, with so many threads."""
    import torch

    with _LOCK:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


def _accuracy(network: Network, data: Data) -> float:
    classes = network.predict(data.test_samples).argmax(axis=1)
    return float((classes == data.test_targets).mean())


def _agreement(circuit: Circuit, data: Data, samples: int) -> float:
    codes = circuit.network.quantize_input(data.test_samples[:samples])
    same = circuit.encrypt_run_decrypt(codes) == circuit.network(codes)
    return float(same.reshape(len(codes), -1).all(axis=1).mean())
