"""A classifier that predicts on encrypted data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight
from torch import nn

from secateur.errors import ArgumentError
from secateur.estimators.base import Estimator, Fhe, weighted
from secateur.network import Floats
from secateur.pruning.schedule import Schedule

if TYPE_CHECKING:
    from typing_extensions import Self


class SecateurClassifier(ClassifierMixin, Estimator):  # type: ignore[misc]
    """A classifier whose every accumulator provably fits `accumulator_bits`.

    A float network learns first, then its quantised student, from which weights go until the
    worst case fits. Features may be of any unit and offset: their scaling is learned, and
    belongs to how a client turns floats into codes.

    Args:
        module: a torch module of as many outputs as there are classes, in place of the built-in
            network; or a function (features, outputs) ↦ module. X may then have more axes.
        hidden_layers: neurons of each hidden layer; () for none.
        activation: "relu", "tanh", "sigmoid", "leaky_relu", "elu", "gelu", "silu", "hardtanh".
        accumulator_bits: width that every accumulator fits; or one for each layer in order, or
            layer name → width; None sets no limit.
        weight_bits, activation_bits: widths of weights and of what layers read.
        input_bits: width of what the first layer reads; more for few features, less for many.
        strategy: a strategy as `secateur.prune` takes it (name, value, pair of name and options,
            or chain). `accumulator` goes with `accumulator_bits`, and follows any other.
        schedule: when masks are selected; see `secateur.Pruner`.
        max_epochs: passes over the samples, of all stages together.
        lr: the first learning rate of each stage.
        batch_size: samples of a step, at most; small data sets get smaller ones.
        early_stopping: end a stage after 10 epochs that did not improve what is held out, and
            keep the best.
        validation_fraction: of the samples, held out for that.
        distil: let the float network teach its student.
        class_weight: "balanced", or class → weight.
        random_state: makes `fit` repeatable.
        verbose: show a bar on stderr.
        device: where torch trains.

    Attributes:
        classes_: the labels, sorted.
        network_, float_module_, report_, certificate_, history_: see `Estimator`.

    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = SecateurClassifier(hidden_layers=(8,), max_epochs=30, random_state=0).fit(X, y)
    >>> model.report_.accumulator_bits <= 6
    True
    >>> bool(model.score(X, y) > 0.8)
    True
    """

    def __init__(
        self,
        *,
        module: Any = None,
        hidden_layers: Sequence[int] = (32, 32),
        activation: str = "relu",
        accumulator_bits: int | Sequence[int] | Mapping[str, int] | None = 6,
        weight_bits: int = 3,
        activation_bits: int = 2,
        input_bits: int = 2,
        strategy: Any = "accumulator",
        schedule: Schedule | None = None,
        max_epochs: int = 90,
        lr: float = 0.01,
        batch_size: int = 64,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        distil: bool = True,
        class_weight: str | Mapping[Any, float] | None = None,
        random_state: Any = None,
        verbose: bool = False,
        device: str = "cpu",
    ) -> None:
        self.module = module
        self.hidden_layers = hidden_layers
        self.activation = activation
        self.accumulator_bits = accumulator_bits
        self.weight_bits = weight_bits
        self.activation_bits = activation_bits
        self.input_bits = input_bits
        self.strategy = strategy
        self.schedule = schedule
        self.max_epochs = max_epochs
        self.lr = lr
        self.batch_size = batch_size
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.distil = distil
        self.class_weight = class_weight
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Return the estimator, trained, pruned and proved.

        Args:
            X: floats [samples, features], array or DataFrame; [samples, ...] with a `module`.
            y: labels [samples], strings or numbers.
            sample_weight: [samples], at least 0.

        Raises:
            ValueError: what scikit-learn refuses (NaN, fewer than two classes, ...), and what
                nothing can meet, with the reason; see `secateur.Pruner`.
        """
        x, y = self._validated(X, y=y, ensure_min_samples=2)
        try:
            check_classification_targets(y)
            self.classes_, encoded = np.unique(y, return_inverse=True)
        except TypeError as error:
            kinds = ", ".join(sorted({type(label).__name__ for label in y}))
            raise ArgumentError(
                f"y holds labels of several types ({kinds}), which have no order; give them one",
                argument="y",
                value=kinds,
                expected="labels of one type",
            ) from error
        if len(self.classes_) < 2:
            raise ArgumentError(
                f"y has a single class, {self.classes_[0]!r}; a classifier needs two at least",
                argument="y",
                value=self.classes_[0],
                expected="two classes",
            )
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, x)
        if self.class_weight is not None:
            balance = compute_sample_weight(self.class_weight, y)
            weights = balance if weights is None else weights * balance
        x, encoded, weights = weighted(x, encoded, weights)
        targets = encoded
        if weights is not None:
            targets = np.stack([encoded, weights], axis=1).astype(np.float32)
        loss = nn.functional.cross_entropy if weights is None else _weighted_cross_entropy
        self._learn(x, targets, loss, len(self.classes_), stratify=encoded)
        labels = tuple(self.classes_.tolist())
        output = replace(self.network_.output, labels=labels, tail="softmax")
        self.network_ = replace(self.network_, output=output)
        return self

    def predict(self, X: Any, fhe: Fhe = "disable") -> NDArray[Any]:
        """Return the label of every sample.

        Args:
            X: as in `fit`.
            fhe: "disable" computes the integers in the clear, "execute" on encrypted data,
                "simulate" as the backend simulates it; all three give the same. The last two
                want `compile` first.
        """
        chosen = self._floats(X, fhe).argmax(axis=1)
        return self.classes_[chosen]

    def predict_proba(self, X: Any, fhe: Fhe = "disable") -> Floats:
        """Return the probability of every class, float64 [samples, classes]."""
        floats = self._floats(X, fhe)
        return self.network_.output.probabilities(floats)

    def decision_function(self, X: Any, fhe: Fhe = "disable") -> Floats:
        """Return the score of every class [samples, classes]; of two, that of the second."""
        floats = self._floats(X, fhe)
        return floats[:, 1] - floats[:, 0] if floats.shape[1] == 2 else floats


def _weighted_cross_entropy(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean loss for `targets` [samples, (class, weight)]."""
    each = nn.functional.cross_entropy(output, targets[:, 0].long(), reduction="none")
    return (each * targets[:, 1]).mean()
