"""Distillation: a convolutional network teaches those that are compared."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional

from benches.accuracy.datasets import Dataset, jitter
from secateur.training import fit

TEMPERATURE = 4.0
#: Passes over the lessons, of which there are four times as many as other samples.
EPOCHS = 13
QUANTIZED_EPOCHS = 10


@lru_cache(maxsize=4)
def taught(digits: Dataset) -> Dataset:
    """Return `digits` with a teacher's logits [n, 10] as what is to be learned.

    Half of the samples are images moved further than otherwise, the other half mixtures of two
    of these (Zhang et al., "mixup: Beyond Empirical Risk Minimization", ICLR 2018): many, seen
    by teacher and student alike (Beyer et al., "Knowledge distillation: A good teacher is
    patient and consistent", CVPR 2022).
    """
    images = torch.from_numpy(jitter(digits.given, digits.seed, copies=48, angle=10, reach=0.6)[0])
    generator = torch.Generator().manual_seed(digits.seed)
    others = images[torch.randperm(len(images), generator=generator)]
    mixtures = torch.lerp(images, others, torch.rand(len(images), 1, generator=generator))
    samples = torch.cat([images, mixtures])
    teacher = _teacher(digits)
    with torch.no_grad():
        logits = torch.cat([teacher(batch) for batch in samples.split(1024)])
    recipe = replace(
        digits.recipe, epochs=EPOCHS, quantized_epochs=QUANTIZED_EPOCHS, loss=distillation
    )
    return replace(digits, train=(samples.numpy(), logits.numpy()), recipe=recipe)


def distillation(outputs: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
    """Return the divergence of softened outputs from a teacher's (Hinton et al., 2015)."""
    student = (outputs / TEMPERATURE).log_softmax(1)
    teacher = (logits / TEMPERATURE).softmax(1)
    return functional.kl_div(student, teacher, reduction="batchmean") * TEMPERATURE**2


def _teacher(digits: Dataset) -> nn.Module:
    """Return a trained network of three convolutions for images of 8×8 pixels."""
    torch.manual_seed(digits.seed)
    teacher = nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)),
        *_convolution(1, 24),
        *_convolution(24, 32),
        nn.MaxPool2d(2),
        *_convolution(32, 64),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(256, 10),
    )
    fit(
        teacher,
        *jitter(digits.given, digits.seed, copies=24, angle=10, reach=0.6),
        epochs=10,
        batch_size=128,
        lr=3e-3,
        loss=nn.CrossEntropyLoss(label_smoothing=0.05),
        seed=digits.seed,
        progress=False,
    )
    return teacher


def _convolution(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()
