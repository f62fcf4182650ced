"""Saliencies, written out weight by weight."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
from layers import layer, problem

from secateur.errors import MissingDataError, SaliencyError
from secateur.pruning.apply import saliency_named
from secateur.pruning.plugins import saliencies

WEIGHT = np.array([[1.0, -2.0], [0.5, 4.0]])
X = np.array([[3.0, 0.0], [4.0, 1.0]])
GRADIENTS = np.array([[[1.0, 1.0], [2.0, 0.0]], [[3.0, -1.0], [2.0, 0.0]]])
FED = problem(
    layer([[1, -2], [0, 4]], weight=WEIGHT),
    activate=lambda: {"fc": X},
    differentiate=lambda: {"fc": GRADIENTS},
    find_saliency=saliency_named,
)


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        ("magnitude", [[1.0, 2.0], [0.5, 4.0]]),
        ("activation", [[5.0, 2.0], [2.5, 4.0]]),
        ("gradient", [[2.0, 0.0], [1.0, 0.0]]),
        ("fisher", [[2.5, 2.0], [0.5, 0.0]]),
        ("taylor", [[5.0, 4.0], [1.0, 0.0]]),
    ],
)
def test_scores(name, scores):
    assert FED.saliency(name)["fc"].tolist() == scores


def test_activations_of_a_grouped_convolution_meet_their_own_channels():
    grouped = layer(np.ones((2, 1, 3), int), groups=2)
    images = np.array([[[3.0, 4.0], [6.0, 8.0]]])
    fed = problem(grouped, activate=lambda: {"fc": images}, find_saliency=FED.find_saliency)
    assert fed.saliency("activation")["fc"].tolist() == [[[5.0] * 3], [[10.0] * 3]]


@pytest.mark.parametrize("name", ["activation", "gradient", "fisher", "taylor"])
def test_data_that_was_not_given_is_missed(name):
    with pytest.raises(MissingDataError):
        problem(layer([[1]]), find_saliency=FED.find_saliency).saliency(name)


def test_all_of_them_are_registered():
    assert {"magnitude", "activation", "gradient", "fisher", "taylor"} <= set(saliencies())


def test_effects_are_signed_and_of_each_sample():
    assert FED.effects("taylor")["fc"].tolist() == (WEIGHT * GRADIENTS).tolist()
    assert FED.effects("fisher") is None


@dataclass(frozen=True)
class Odd:
    """Effects as they are given."""

    name: ClassVar[str] = "odd"
    values: object = None

    def score(self, problem, layer):
        return np.ones(layer.shape)

    def effects(self, problem, layer):
        return self.values if self.values is not None else 1 / 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (None, "its code raised"),
        (np.ones((2, 2)), r"effects have shape \(2, 2\), expected \('samples', 2, 2\)"),
        (np.full((1, 2, 2), np.nan), "effect at .* is nan"),
    ],
)
def test_effects_are_checked(values, message):
    with pytest.raises(SaliencyError, match=message):
        FED.effects(Odd(values))
