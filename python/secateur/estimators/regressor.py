"""A regressor that predicts on encrypted data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_sample_weight, column_or_1d
from torch import nn

from secateur.estimators.base import Estimator, Fhe, weighted
from secateur.network import Floats
from secateur.pruning.schedule import Schedule

if TYPE_CHECKING:
    from typing_extensions import Self


class SecateurRegressor(RegressorMixin, Estimator):  # type: ignore[misc]
    """A regressor whose every accumulator provably fits `accumulator_bits`.

    Args:
        module, hidden_layers, activation, accumulator_bits, weight_bits, activation_bits,
        input_bits, strategy, schedule, max_epochs, lr, batch_size, early_stopping,
        validation_fraction, distil, random_state, verbose, device: as in `SecateurClassifier`.

    Attributes:
        network_, float_module_, report_, certificate_, history_: see `Estimator`.

    >>> import numpy as np
    >>> X = np.linspace(-1.0, 1.0, 200).reshape(100, 2)
    >>> model = SecateurRegressor(hidden_layers=(8,), max_epochs=60, random_state=0)
    >>> bool(model.fit(X, X[:, 0] * 1000).score(X, X[:, 0] * 1000) > 0.8)
    True
    """

    def __init__(
        self,
        *,
        module: Any = None,
        hidden_layers: Sequence[int] = (32, 32),
        activation: str = "relu",
        accumulator_bits: int | Sequence[int] | Mapping[str, int] | None = 7,
        weight_bits: int = 3,
        activation_bits: int = 3,
        input_bits: int = 4,
        strategy: Any = "accumulator",
        schedule: Schedule | None = None,
        max_epochs: int = 90,
        lr: float = 0.01,
        batch_size: int = 64,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        distil: bool = True,
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
        self.random_state = random_state
        self.verbose = verbose
        self.device = device

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Return the estimator, trained, pruned and proved.

        Args:
            X: floats [samples, features], array or DataFrame; [samples, ...] with a `module`.
            y: floats [samples] or [samples, targets].
            sample_weight: [samples], at least 0.

        Raises:
            ValueError: what scikit-learn refuses, and what nothing can meet, with the reason.
        """
        x, y = self._validated(X, y=y, ensure_min_samples=2, multi_output=True, y_numeric=True)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        self._single = y.ndim == 1
        weights = None if sample_weight is None else _check_sample_weight(sample_weight, x)
        x, y, weights = weighted(x, y.reshape(len(y), -1).astype(np.float64), weights)
        mean, spread = y.mean(axis=0), y.std(axis=0)
        spread[spread == 0] = 1.0
        targets = ((y - mean) / spread).astype(np.float32)
        outputs = targets.shape[1]
        if weights is not None:
            targets = np.concatenate([targets, weights[:, None]], axis=1).astype(np.float32)
        loss = nn.functional.mse_loss if weights is None else _weighted_squared_error
        self._learn(x, targets, loss, outputs, taught=_half_and_half)
        given = self.network_.output
        output = replace(given, scale=given.scale * spread, bias=given.bias * spread + mean)
        self.network_ = replace(self.network_, output=output)
        return self

    def predict(self, X: Any, fhe: Fhe = "disable") -> Floats:
        """Return the prediction for every sample, float64 [samples] or [samples, targets].

        Args:
            X: as in `fit`.
            fhe: "disable" computes the integers in the clear, "execute" on encrypted data,
                "simulate" as the backend simulates it; all three give the same. The last two
                want `compile` first.
        """
        floats = self._floats(X, fhe)
        return floats[:, 0] if self._single else floats


def _half_and_half(outputs: Floats, targets: Floats) -> Floats:
    """Return targets half way to the teacher's outputs; weights beside them stay."""
    count = outputs.shape[1]
    return np.concatenate([(targets[:, :count] + outputs) / 2, targets[:, count:]], axis=1)


def _weighted_squared_error(output: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the mean loss for `targets` [samples, (number, ..., weight)]."""
    count = output.shape[1]
    return ((output - targets[:, :count]).square() * targets[:, count:]).mean()
