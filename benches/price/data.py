"""Two data sets and the float networks that both sides start from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benches.accuracy.datasets import (
    HELD_OUT,
    VALIDATION,
    Samples,
    Split,
    _split,
    digits,
    jitter,
    mnist_5k,
)
from secateur.training import fit

CORNERS = 200


@dataclass(frozen=True)
class Recipe:
    """How networks for one data set are built and trained, whoever's they are.

    Args:
        load: the samples.
        hidden: neurons of each hidden layer.
        epochs, quantized_epochs: passes of the float network, then of the quantised one.
        batch_size: samples of one step.
        enlarge: (samples, seed) ↦ the samples that are trained on.
    """

    load: Callable[[], Samples]
    hidden: tuple[int, ...]
    epochs: int
    quantized_epochs: int
    batch_size: int
    enlarge: Callable[[Samples, int], Samples] = lambda samples, seed: samples
    lr: float = 0.01


RECIPES = {
    "digits": Recipe(digits, (32, 32), 12, 40, 256, partial(jitter, copies=24, angle=6, reach=0.3)),
    "mnist_5k": Recipe(mnist_5k, (64, 64), 30, 40, 64),
}


@dataclass(frozen=True, eq=False)
class Task:
    """Samples of one data set and seed, and a trained float network.

    Args:
        recipe: how it is trained.
        seed: of the training, and of the validation split.
        given: samples and classes for training.
        train: the same, enlarged.
        held_out: what is measured on; never enlarged.
        model: the trained float network.
    """

    recipe: Recipe
    seed: int
    given: Samples
    train: Samples
    held_out: Samples
    model: nn.Module

    @property
    def sizes(self) -> tuple[int, ...]:
        """Features, neurons of each hidden layer, classes."""
        classes = int(self.held_out[1].max()) + 1
        return (self.given[0].shape[1], *self.recipe.hidden, classes)

    def train_on(self, model: nn.Module, epochs: int, **options: Any) -> None:
        """Train `model` in place on the samples of the task."""
        fit(
            model,
            *self.train,
            epochs=epochs,
            batch_size=self.recipe.batch_size,
            lr=self.recipe.lr,
            seed=self.seed,
            progress=False,
            **options,
        )

    def corners(self) -> NDArray[np.float32]:
        """Return inputs whose features are each at one end of their range in training.

        Two for every neuron of the first layer, its extremes; the others at random.
        """
        low, high = self.given[0].min(axis=0), self.given[0].max(axis=0)
        weight = next(m for m in self.model if isinstance(m, nn.Linear)).weight  # type: ignore[union-attr]
        up = (weight.detach().numpy() > 0).repeat(2, axis=0)[:CORNERS]
        up[1::2] ^= True
        random = np.random.default_rng(self.seed).random((CORNERS - len(up), len(low))) < 0.5
        return np.where(np.concatenate([up, random]), high, low).astype(np.float32)

    def save(self, path: Path) -> None:
        """Write all of it to an .npz file, for the other side's environment."""
        layers = [m for m in self.model if isinstance(m, nn.Linear | nn.BatchNorm1d)]  # type: ignore[union-attr]
        floats = {
            f"float.{number}.{name}": value.numpy()
            for number, layer in enumerate(layers)
            for name, value in layer.state_dict().items()
        }
        settings = {
            name: np.array(getattr(self.recipe, name))
            for name in ("epochs", "quantized_epochs", "batch_size", "lr")
        }
        np.savez(
            path,
            train_x=self.train[0],
            train_y=self.train[1],
            calibration=self.given[0],
            test_x=self.held_out[0],
            test_y=self.held_out[1],
            corners=self.corners(),
            sizes=np.array(self.sizes),
            seed=np.array(self.seed),
            **settings,
            **floats,
        )


@lru_cache(maxsize=2)
def task(recipe: Recipe, split: Split, seed: int) -> Task:
    """Return the task of one data set.

    Args:
        recipe: one of `RECIPES`, or with other hidden layers.
        split: "test" measures on the held-out 30 %, the same for every seed; "validation" on a
            fifth of the rest, drawn by the seed, and leaves the held-out samples alone.
        seed: of everything random.
    """
    rest, held_out = _split(recipe.load(), HELD_OUT, 0)
    if split == "validation":
        rest, held_out = _split(rest, VALIDATION, seed)
    train = recipe.enlarge(rest, seed)
    torch.manual_seed(seed)
    sizes = (rest[0].shape[1], *recipe.hidden, int(held_out[1].max()) + 1)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    # The last batch norm is part of how the logits are read in the clear.
    made = Task(recipe, seed, rest, train, held_out, nn.Sequential(*layers[:-1]))
    made.train_on(made.model, recipe.epochs)
    return made
