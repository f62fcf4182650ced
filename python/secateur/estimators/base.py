"""What the classifier and the regressor have in common: parameters, integers, encrypted runs."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from secateur.analysis import RangeReport, analyze
from secateur.circuits.certificate import Certificate
from secateur.circuits.circuit import Circuit, compile as compile_network
from secateur.errors import ArgumentError
from secateur.estimators.recipe import Learned, Lesson, Recipe, learn
from secateur.estimators.scaling import Scaled, Scaling
from secateur.network import Floats, Network
from secateur.pruning.structured import Structured
from secateur.training import Loss

if TYPE_CHECKING:
    from typing_extensions import Self

Fhe = Literal["disable", "simulate", "execute"]


class Estimator(BaseEstimator):  # type: ignore[misc]
    """A network of integers behind scikit-learn's methods.

    Attributes:
        network_: the pruned `Network`; takes samples as they are, units and all.
        float_module_: the float network that it learned from, a torch module likewise.
        history_: stage ("float", "quantized", "settled") → `History` of its training.
        n_features_in_, feature_names_in_: as in every estimator.
    """

    network_: Network

    def compile(
        self,
        X: Any = None,
        p_error: float | None = None,
        *,
        global_p_error: float | None = None,
        backend: str | None = None,
        configuration: Mapping[str, Any] | None = None,
    ) -> Circuit:
        """Return the circuit that `predict(X, fhe="execute")` runs on encrypted data.

        Args:
            X: not looked at; widths are proved, so that no samples are needed.
            p_error, global_p_error, backend, configuration: as `secateur.compile` takes them.

        Raises:
            NotFittedError: before `fit`.
            WidthError, BackendError: see `secateur.compile`.
        """
        check_is_fitted(self)
        self.fhe_circuit_ = compile_network(
            self.network_,
            backend,
            p_error=p_error,
            global_p_error=global_p_error,
            configuration=configuration,
        )
        return self.fhe_circuit_

    @property
    def fhe_circuit(self) -> Circuit:
        """The circuit that `compile` made."""
        check_is_fitted(self)
        if "fhe_circuit_" not in vars(self):
            raise NotFittedError(
                f"this {type(self).__name__} has no circuit; call compile() first, which takes a "
                "second or two (a pickled estimator leaves its circuit behind)"
            )
        return self.fhe_circuit_

    @property
    def report_(self) -> RangeReport:
        """The proved range of every operation of `network_`."""
        check_is_fitted(self)
        return analyze(self.network_)

    @property
    def certificate_(self) -> Certificate:
        """The certificate of `network_`."""
        check_is_fitted(self)
        return Certificate.of(self.network_)

    def prune(self, X: Any, y: Any, sparsity: float = 0.5, **fit_params: Any) -> Self:
        """Return another estimator, fitted, with fewer neurons: fewer lookups, a lower price.

        Args:
            X, y: what it is fitted to.
            sparsity: fraction of the hidden neurons, or channels, to remove.
            fit_params: passed on to `fit`.
        """
        before = [] if self.strategy in (None, "accumulator") else [self.strategy]
        chain = [Structured(sparsity=sparsity), *before]
        pruned: Self = clone(self).set_params(strategy=chain)
        return pruned.fit(X, y, **fit_params)

    def save(self, directory: str | os.PathLike[str]) -> None:
        """Write the circuit below `directory`; `secateur.Circuit.load` reads it anywhere."""
        self.fhe_circuit.save(directory)

    def _validated(self, X: Any, **options: Any) -> Any:
        """Return X, or X and y, checked as scikit-learn does, X in float64."""
        images = self.module is not None
        return validate_data(self, X, dtype=np.float64, allow_nd=images, **options)

    def _learn(
        self,
        x: Floats,
        targets: NDArray[Any],
        loss: Loss,
        outputs: int,
        stratify: NDArray[Any] | None = None,
        taught: Any = None,
    ) -> Learned:
        """Train, and set what follows from it but for how the output is read."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        scaling = Scaling.of(x)
        samples, validation = scaling(x), None
        if self.early_stopping:
            # A share of each class, where there is enough of each for both parts.
            some = 0 if stratify is None else np.bincount(stratify).min()
            held = math.ceil(self.validation_fraction * len(samples))
            classes = outputs if some > 1 and held >= outputs <= len(samples) - held else None
            samples, held_out, targets, goal = train_test_split(
                samples,
                targets,
                test_size=self.validation_fraction,
                random_state=seed,
                stratify=None if classes is None else stratify,
            )
            validation = held_out, goal
        if len(samples) < 2:
            raise ArgumentError(
                f"{len(samples)} sample is left to learn from (others are held out for "
                "early_stopping, or weigh 0); give two at least",
                argument="X",
                value=len(samples),
                expected="at least 2",
            )
        recipe = Recipe(**{f.name: getattr(self, f.name) for f in fields(Recipe)})
        learned = learn(recipe, Lesson(samples, targets, loss, outputs, validation, seed, taught))
        names = getattr(self, "feature_names_in_", None)
        self.network_ = scaling.folded(learned.network, None if names is None else (*names,))
        self.float_module_ = Scaled(scaling, learned.module).eval()
        self.history_ = dict(learned.history)
        self.__dict__.pop("fhe_circuit_", None)
        return learned

    def _floats(self, X: Any, fhe: Fhe) -> Floats:
        """Return the network's output for samples X, float64 [samples, channels]."""
        check_is_fitted(self)
        if fhe not in ("disable", "simulate", "execute"):
            raise ArgumentError(
                f"fhe is {fhe!r}; expected 'disable', 'simulate' or 'execute'",
                argument="fhe",
                value=fhe,
                expected="disable, simulate, execute",
            )
        codes = self.network_.quantize_input(self._validated(X, reset=False))
        if fhe == "disable":
            integers = self.network_(codes)
        elif fhe == "simulate":
            integers = self.fhe_circuit.simulate(codes)
        else:
            integers = self.fhe_circuit.encrypt_run_decrypt(codes)
        return self.network_.output.dequantize(integers)

    def __getstate__(self) -> dict[str, Any]:
        """Leave the circuit behind, which holds keys and compiled code."""
        state = dict(super().__getstate__())
        state.pop("fhe_circuit_", None)
        return state


def weighted(x: Floats, y: NDArray[Any], weights: Sequence[float] | None) -> tuple[Any, Any, Any]:
    """Return the samples, targets and weights of those whose weight is not 0; of mean 1."""
    if weights is None:
        return x, y, None
    given = np.asarray(weights, dtype=np.float64)
    if (given < 0).any() or not given.any():
        raise ArgumentError(
            "sample_weight holds negative weights, or none above 0",
            argument="sample_weight",
            value=float(given.min()),
            expected="at least 0",
        )
    kept = given > 0
    return x[kept], y[kept], given[kept] / given[kept].mean()
