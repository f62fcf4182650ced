"""How an estimator learns: a float network, its quantised student, masks, tables, integers."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secateur.analysis import analyze
from secateur.errors import ArgumentError
from secateur.network import Network
from secateur.pruning.accumulator import Accumulator
from secateur.pruning.schedule import Schedule
from secateur.pruning.torch import Pruner
from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.freeze import read
from secateur.training import History, Loss, fit

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hardtanh": nn.Hardtanh,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
#: Epochs without a better one before a stage ends early.
_PATIENCE = 10


@dataclass(frozen=True)
class Recipe:
    """The parameters of an estimator that its training follows; see there."""

    module: Any
    hidden_layers: Sequence[int]
    activation: str
    accumulator_bits: int | Sequence[int] | Mapping[str, int] | None
    weight_bits: int
    activation_bits: int
    input_bits: int
    strategy: Any
    schedule: Schedule | None
    max_epochs: int
    lr: float
    batch_size: int
    distil: bool
    verbose: bool
    device: str


@dataclass(frozen=True, eq=False)
class Lesson:
    """What is to be learned.

    Args:
        samples: float32 [samples, ...], scaled.
        targets: [samples, ...], as `loss` takes them.
        loss: (output, targets) ↦ scalar.
        outputs: channels of the output.
        validation: samples and targets to stop early by, or None.
        seed: of everything random.
        taught: (teacher's output, targets) ↦ targets that both have a say in; None where the
            teacher's softened classes do.
    """

    samples: NDArray[np.float32]
    targets: NDArray[Any]
    loss: Loss
    outputs: int
    validation: tuple[NDArray[np.float32], NDArray[Any]] | None
    seed: int
    taught: Callable[[NDArray[Any], NDArray[Any]], NDArray[Any]] | None = None


@dataclass(frozen=True, eq=False)
class Learned:
    """What came of a lesson.

    Args:
        module: the trained float network, for scaled samples.
        network: its integers, pruned.
        history: stage → what its training went through.
    """

    module: nn.Module
    network: Network
    history: Mapping[str, History] = field(repr=False)


def learn(recipe: Recipe, lesson: Lesson) -> Learned:
    """Return the float network and the pruned network of integers that a lesson makes.

    A third of the epochs trains the float network, the rest its quantised student, from which
    weights go until every accumulator fits; in the last fifth of these the codes are final, and
    what tables absorb is tuned.
    """
    epochs = recipe.max_epochs
    # Batch norm, which the built-in network has, needs two samples in a batch.
    for argument, value, least in (
        ("max_epochs", epochs, 1),
        ("batch_size", recipe.batch_size, 2 if recipe.module is None else 1),
    ):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ArgumentError(
                f"{argument} is {value!r}; expected a whole number, at least {least}",
                argument=argument,
                value=value,
                expected=f"at least {least}",
            )
    first = max(1, epochs // 3)
    rest = max(2, epochs - first)
    settling = max(1, rest // 5)
    history = {}
    # Networks so small are slower with threads, and with one the results do not depend on them.
    with torch.random.fork_rng(devices=[]), _one_thread():
        torch.manual_seed(lesson.seed)
        module = _placed(_module(recipe, lesson), recipe.device)
        history["float"] = _train(module, recipe, lesson, first)
        student = lesson
        teacher = module if recipe.distil else None
        if teacher is not None and lesson.taught is not None:
            student, teacher = _taught(module, lesson), None
        model = quantize(
            module,
            recipe.weight_bits,
            recipe.activation_bits,
            lesson.samples,
            input_bits=recipe.input_bits,
        ).train()
        chain = _chain(recipe, model)
        pruner = Pruner(model, chain, schedule=recipe.schedule, seed=lesson.seed) if chain else None
        history["quantized"] = _train(model, recipe, student, rest - settling, teacher, pruner)
        if pruner is not None:
            pruner.finish()
            history["settled"] = _train(model, recipe, student, settling, teacher)
        return Learned(module, freeze(model), history)


def _train(
    model: nn.Module,
    recipe: Recipe,
    lesson: Lesson,
    epochs: int,
    teacher: nn.Module | None = None,
    pruner: Pruner | None = None,
) -> History:
    # Small data sets are not learned in a handful of steps, nor in batches of all samples.
    batch_size = min(recipe.batch_size, max(8, len(lesson.samples) // 8))
    return fit(
        model,
        lesson.samples,
        lesson.targets,
        epochs=epochs,
        batch_size=batch_size,
        lr=recipe.lr,
        pruner=pruner,
        teacher=teacher,
        loss=lesson.loss,
        validation=lesson.validation,
        patience=None if lesson.validation is None else _PATIENCE,
        seed=lesson.seed,
        progress=recipe.verbose,
    )


def _taught(teacher: nn.Module, lesson: Lesson) -> Lesson:
    """Return the lesson with the teacher's say in its targets."""
    assert lesson.taught is not None
    with torch.no_grad():
        like = next(teacher.parameters())
        outputs = teacher(torch.as_tensor(lesson.samples).to(like)).cpu().numpy()
    targets = lesson.taught(outputs, lesson.targets)
    return Lesson(
        lesson.samples, targets, lesson.loss, lesson.outputs, lesson.validation, lesson.seed
    )


def _module(recipe: Recipe, lesson: Lesson) -> nn.Module:
    """Return the float network to train: the built-in one, or a copy of the one that was given."""
    shape = lesson.samples.shape[1:]
    if recipe.module is None:
        return _perceptron(recipe, shape[0], lesson.outputs)
    if isinstance(recipe.module, nn.Module):
        module = copy.deepcopy(recipe.module)
    elif callable(recipe.module):
        module = recipe.module(shape[0], lesson.outputs)
    else:
        raise ArgumentError(
            f"module is {recipe.module!r}; expected a torch module, or a function of the numbers "
            "of features and outputs that makes one",
            argument="module",
            value=recipe.module,
            expected="torch.nn.Module",
        )
    module.eval()
    try:
        with torch.no_grad():
            given = tuple(module(torch.as_tensor(lesson.samples[:2])).shape)
    except (RuntimeError, TypeError, ValueError, AttributeError) as error:
        raise ArgumentError(
            f"module does not make one tensor of float32 samples of shape {shape} ({error})",
            argument="module",
            value=type(module).__name__,
            expected=f"a module for samples of shape {shape}",
        ) from error
    if given != (2, lesson.outputs):
        raise ArgumentError(
            f"module gives outputs of shape {given[1:]} for a sample; the targets ask for "
            f"({lesson.outputs},), one for each class or number to predict",
            argument="module",
            value=given[1:],
            expected=(lesson.outputs,),
        )
    return module.train()


def _placed(module: nn.Module, device: str) -> nn.Module:
    try:
        return module.to(device)
    except (RuntimeError, AssertionError, TypeError) as error:
        raise ArgumentError(
            f"device is {device!r}, which torch cannot use here ({error})",
            argument="device",
            value=device,
            expected='such as "cpu"',
        ) from error


def _perceptron(recipe: Recipe, features: int, outputs: int) -> nn.Module:
    if recipe.activation not in ACTIVATIONS:
        known = ", ".join(sorted(ACTIVATIONS))
        raise ArgumentError(
            f"activation is {recipe.activation!r}; there are {known}",
            argument="activation",
            value=recipe.activation,
            expected=known,
        )
    layers: list[tuple[str, nn.Module]] = []
    given: Any = recipe.hidden_layers
    for k, width in enumerate(given if np.iterable(given) else ("none",), start=1):
        if isinstance(width, bool) or not isinstance(width, int | np.integer) or width < 1:
            raise ArgumentError(
                f"hidden_layers is {recipe.hidden_layers!r}; expected whole numbers above 0",
                argument="hidden_layers",
                value=recipe.hidden_layers,
                expected="at least 1 each",
            )
        layers += [
            (f"hidden{k}", nn.Linear(features, int(width))),
            (f"norm{k}", nn.BatchNorm1d(int(width))),
            (f"activation{k}", ACTIVATIONS[recipe.activation]()),
        ]
        features = int(width)
    return nn.Sequential(OrderedDict([*layers, ("output", nn.Linear(features, outputs))]))


def _chain(recipe: Recipe, model: nn.Module) -> list[Any]:
    """Return the strategy as a chain that ends in what makes the accumulators fit."""
    strategy: Any = recipe.strategy
    if strategy is None or strategy == Accumulator.name:
        chain = []
    elif isinstance(strategy, str) or not isinstance(strategy, Sequence):
        chain = [strategy]
    elif len(strategy) == 2 and isinstance(strategy[1], Mapping):
        chain = [tuple(strategy)]
    else:
        chain = list(strategy)
    bits: Any = recipe.accumulator_bits
    if bits is None:
        return chain
    if isinstance(bits, np.ndarray):
        bits = bits.tolist()
    network = read(model).network
    layers = [layer.name for layer in network.layers]
    if isinstance(bits, Sequence) and not isinstance(bits, str):
        if len(layers) != len(bits):
            raise ArgumentError(
                f"accumulator_bits has {len(bits)} widths for {len(layers)} layers: "
                f"{', '.join(layers)}",
                argument="accumulator_bits",
                value=bits,
                expected=len(layers),
            )
        bits = dict(zip(layers, bits, strict=True))
    accumulator = Accumulator(bits=bits)
    report = analyze(network)
    for layer in network.layers:
        width = bits.get(layer.name, 64) if isinstance(bits, Mapping) else bits
        least = int(report[layer.source].channels.bits("span").min())
        if least > width:
            raise ArgumentError(
                f"accumulator_bits is {width} for layer {layer.name!r}, whose inputs are {least} "
                "bits wide: no weight would be left; give more bits, or narrower inputs",
                argument="accumulator_bits",
                value=width,
                expected=f"at least {least}",
            )
    return [*chain, accumulator]


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
