"""The regressor: numbers of any unit, one target or several; encrypted runs."""

import numpy as np
import pytest
import torch

from backends import on_each_backend
from secateur.estimators import SecateurRegressor

RANDOM = np.random.default_rng(0)
X = RANDOM.uniform(-1, 1, size=(200, 3)) * np.array([1e3, 1e-3, 1.0])
Y = 5e5 + 1e4 * (X[:, 0] / 1e3 - 2 * np.abs(X[:, 2]))


def small(**parameters):
    given = {"hidden_layers": (16,), "max_epochs": 60, "random_state": 0}
    return SecateurRegressor(**{**given, **parameters})


def test_learns_numbers_of_any_unit():
    model = small().fit(X, Y)
    assert model.score(X, Y) > 0.8
    assert model.predict(X).shape == (200,)
    assert model.report_.accumulator_bits <= 7
    assert (model.network_.predict(X)[:, 0] == model.predict(X)).all()


def test_several_targets():
    y = np.stack([Y, -1e-3 * Y + X[:, 1]], axis=1)
    model = small().fit(X, y)
    assert model.predict(X).shape == (200, 2)
    assert model.score(X, y) > 0.7
    assert model.fit(X, y, sample_weight=np.ones(200)).score(X, y) > 0.7


def test_weights_of_samples():
    y = np.where(np.arange(200) % 2, 10.0, 0.0)
    weights = np.where(y == 10.0, 50.0, 1.0)
    assert small(max_epochs=20).fit(X, y, sample_weight=weights).predict(X).mean() > 8.0
    only = small(max_epochs=20).fit(X, y, sample_weight=np.where(y == 10.0, 1.0, 0.0))
    assert only.predict(X) == pytest.approx(10.0, abs=0.5)
    with pytest.raises(ValueError, match="sample_weight"):
        small().fit(X, y, sample_weight=-weights)


def test_a_teacher_has_its_say():
    taught, alone = (small(distil=d, max_epochs=9).fit(X, Y).predict(X) for d in (True, False))
    assert (taught != alone).any()


def test_constant_targets():
    assert small(max_epochs=9).fit(X, np.full(200, 3.0)).predict(X) == pytest.approx(3.0, abs=0.5)


def test_the_float_module_speaks_of_scaled_targets():
    model = small().fit(X, Y)
    with torch.no_grad():
        floats = model.float_module_(torch.tensor(X))[:, 0].numpy()
    assert np.corrcoef(floats, Y)[0, 1] > 0.95


@on_each_backend
@pytest.mark.encrypted
def test_encrypted(backend):
    model = small(accumulator_bits=4, weight_bits=2, activation_bits=2).fit(X, Y)
    model.compile(p_error=1e-5, backend=backend.name)
    assert (model.predict(X[:2], fhe="execute") == model.predict(X[:2])).all()
    assert (model.predict(X[:20], fhe="simulate") == model.predict(X[:20])).all()
