"""The classifier: labels, tables and grids as people have them; bad input; encrypted runs."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from backends import on_each_backend
from secateur.errors import ArgumentError, InfeasibleError
from secateur.estimators import SecateurClassifier
from secateur.pruning import Structured
from secateur.pruning.schedule import OneShot

NAMES = ["height", "weight", "age"]


def flowers(samples=150, seed=0):
    """Three kinds that are easily told apart, in units that have nothing in common."""
    random = np.random.default_rng(seed)
    kind = random.integers(0, 3, samples)
    centres = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 1]])[kind]
    x = centres + 0.15 * random.normal(size=(samples, 3))
    units, offsets = np.array([1e-6, 1.0, 1e9]), np.array([0.0, 1e4, -3e9])
    return pd.DataFrame(x * units + offsets, columns=NAMES), np.array(["ash", "elm", "yew"])[kind]


X, Y = flowers()


def small(**parameters):
    given = {"hidden_layers": (8,), "max_epochs": 30, "random_state": 0}
    return SecateurClassifier(**{**given, **parameters})


@pytest.fixture(scope="module")
def fitted():
    return small(accumulator_bits=4).fit(X, Y)


class TestLearning:
    def test_strings_in_a_table_of_wild_units(self, fitted):
        assert fitted.score(*flowers(seed=1)) > 0.85
        assert fitted.classes_.tolist() == ["ash", "elm", "yew"]
        assert fitted.feature_names_in_.tolist() == NAMES
        assert fitted.report_.accumulator_bits <= 4
        assert fitted.certificate_
        assert set(fitted.history_) == {"float", "quantized", "settled"}

    def test_the_network_takes_samples_as_they_are(self, fitted):
        assert fitted.network_.input.features == tuple(NAMES)
        assert fitted.network_.output.labels == ("ash", "elm", "yew")
        floats = fitted.network_.predict(X.to_numpy())
        assert (fitted.network_.output.answer(floats) == fitted.predict(X)).all()
        with torch.no_grad():
            scores = fitted.float_module_(torch.tensor(X.to_numpy()))
        assert (fitted.classes_[scores.argmax(1)] == Y).mean() > 0.95

    def test_units_and_offsets_change_nothing(self, fitted):
        other = small(accumulator_bits=4).fit(X.to_numpy() * 1024 - 0.5, Y)
        assert (other.predict(X.to_numpy() * 1024 - 0.5) == fitted.predict(X)).mean() > 0.98

    @pytest.mark.parametrize("bits", [1, 2, 3])
    def test_no_code_of_the_input_is_wasted(self, bits):
        model = small(input_bits=bits, max_epochs=15).fit(X, Y)
        given = model.network_.input
        assert (given.low, given.high) == (0, 2**bits - 1)
        codes = model.network_.quantize_input(X.to_numpy())
        assert (codes.min(axis=0) == 0).all()
        assert (codes.max(axis=0) == 2**bits - 1).all()
        assert model.score(X, Y) > 0.7

    def test_what_lies_beyond_what_was_seen_is_clipped(self, fitted):
        codes = fitted.network_.quantize_input(
            X.to_numpy()[:2] + [[1e3], [-1e12]] * np.ptp(X, axis=0).to_numpy()
        )
        given = fitted.network_.input
        assert codes.tolist() == [[given.high] * 3, [given.low] * 3]

    def test_scores_probabilities_and_labels_agree(self, fitted):
        chances = fitted.predict_proba(X)
        assert chances.sum(axis=1) == pytest.approx(1.0)
        assert (fitted.classes_[chances.argmax(1)] == fitted.predict(X)).all()
        assert fitted.decision_function(X).shape == (len(X), 3)
        two = small().fit(X[Y != "yew"], Y[Y != "yew"])
        assert ((two.decision_function(X) > 0) == (two.predict(X) == "elm")).all()

    @pytest.mark.parametrize(
        "labels", [np.array([7, -2, 10**12]), np.array([True, False]), np.array([0.0, 1.0, 2.0])]
    )
    def test_labels_of_other_kinds(self, labels):
        y = labels[np.arange(len(X)) % len(labels)]
        model = small(max_epochs=3).fit(X, y)
        assert model.predict(X).dtype == labels.dtype
        assert set(model.predict(X)) <= set(labels)

    @pytest.mark.parametrize(
        "parameters",
        [
            {},
            {"early_stopping": True},
            {"strategy": Structured(sparsity=0.2), "schedule": OneShot()},
        ],
    )
    def test_a_random_state_makes_it_repeatable(self, parameters):
        models = [small(**{"max_epochs": 6, **parameters}).fit(X, Y) for _ in range(2)]
        assert (models[0].predict_proba(X) == models[1].predict_proba(X)).all()
        other = small(**{"max_epochs": 6, **parameters, "random_state": 1}).fit(X, Y)
        assert (models[0].predict_proba(X) != other.predict_proba(X)).any()

    def test_weights_of_classes_and_samples(self):
        # Labels that no feature tells: the greater weight wins.
        y = np.array(["a", "b"])[np.arange(len(X)) % 2]
        balanced = small(class_weight={"a": 20.0, "b": 1.0}, max_epochs=10).fit(X, y)
        assert (balanced.predict(X) == "a").mean() > 0.9
        weights = np.where(y == "b", 20.0, 1.0)
        weighted = small(max_epochs=10).fit(X, y, sample_weight=weights)
        assert (weighted.predict(X) == "b").mean() > 0.9
        one = small(max_epochs=10).fit(X, Y, sample_weight=np.where(Y == "yew", 0.0, 1.0))
        assert "yew" not in one.predict(X)

    def test_constant_features(self):
        table = X.assign(same=42.0)
        model = small().fit(table, Y)
        assert model.score(table, Y) > 0.9

    def test_a_limit_for_each_layer(self):
        model = small(accumulator_bits=(4, 6)).fit(X, Y)
        bits = {node.name: node.bits() for node in model.report_.accumulators}
        assert bits["hidden1"] <= 4
        assert 4 < bits["output"] <= 6
        named = small(accumulator_bits={"hidden1": 4, "output": 6}).fit(X, Y)
        assert (named.predict(X) == model.predict(X)).all()

    def test_no_limit(self):
        free, bound = (small(accumulator_bits=bits).fit(X, Y).report_ for bits in (None, 4))
        assert free.accumulator_bits > bound.accumulator_bits

    @pytest.mark.parametrize(
        "strategy",
        [
            Structured(sparsity=0.5),
            "structured",
            ("structured", {"sparsity": 0.5}),
            [("structured", {"sparsity": 0.5}), "accumulator"],
        ],
    )
    def test_strategies_in_every_form(self, strategy):
        model = small(strategy=strategy).fit(X, Y)
        hidden = model.network_["hidden1"].codes
        assert (~hidden.any(axis=1)).sum() >= 4
        assert model.report_.accumulator_bits <= 6

    def test_prune_removes_neurons(self, fitted):
        pruned = fitted.prune(X, Y, 0.5)
        assert (~pruned.network_["hidden1"].codes.any(axis=1)).sum() >= 4
        assert pruned is not fitted
        assert pruned.score(X, Y) > 0.8

    def test_modules_of_ones_own(self):
        images = np.random.default_rng(0).normal(size=(80, 1, 6, 6))
        y = np.where(images[:, 0, :3].sum(axis=(1, 2)) > 0, "up", "down")
        module = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
        )
        before = module[0].weight.clone()
        model = small(module=module, max_epochs=20).fit(images, y)
        assert model.score(images, y) > 0.7
        assert (module[0].weight == before).all()
        factory = small(module=lambda features, outputs: nn.Linear(features, outputs))
        assert factory.fit(X, Y).score(X, Y) > 0.8


class TestTools:
    @pytest.mark.whole
    def test_a_grid_over_a_pipeline(self):
        grid = GridSearchCV(
            make_pipeline(StandardScaler().set_output(transform="pandas"), small(max_epochs=9)),
            {"secateurclassifier__accumulator_bits": [4, 6]},
            cv=2,
            n_jobs=2,
        )
        grid.fit(X, Y)
        assert grid.best_score_ > 0.6
        assert set(grid.predict(X)) <= set(Y)

    @pytest.mark.whole
    def test_cross_validation_and_calibration(self):
        assert len(cross_val_score(small(max_epochs=9), X, Y, cv=2)) == 2
        calibrated = CalibratedClassifierCV(small(max_epochs=9), cv=2).fit(X, Y)
        assert calibrated.predict_proba(X).shape == (len(X), 3)

    def test_clones_know_nothing(self, fitted):
        with pytest.raises(NotFittedError):
            clone(fitted).predict(X)

    def test_pickles_leave_the_circuit_behind(self, fitted):
        model = pickle.loads(pickle.dumps(fitted))
        assert (model.predict_proba(X) == fitted.predict_proba(X)).all()
        compiled = small(accumulator_bits=4, max_epochs=3).fit(X, Y)
        compiled.compile()
        other = pickle.loads(pickle.dumps(compiled))
        with pytest.raises(NotFittedError, match="a pickled estimator leaves"):
            other.predict(X, fhe="execute")
        other.compile()


class TestRefuses:
    def test_nan(self):
        with pytest.raises(ValueError, match="NaN"):
            small().fit(X.assign(age=np.nan), Y)

    @pytest.mark.parametrize("names", [NAMES[::-1], ["height", "weight", "shoe"], NAMES[:2]])
    def test_other_columns(self, fitted, names):
        with pytest.raises(ValueError, match="feature names"):
            fitted.predict(X.set_axis(NAMES, axis=1).reindex(columns=names).fillna(0.0))

    def test_one_class_or_one_sample(self):
        with pytest.raises(ArgumentError, match="a single class, 'ash'"):
            small().fit(X, np.full(len(X), "ash"))
        with pytest.raises(ValueError, match="minimum of 2"):
            small().fit(X[:1], Y[:1])

    def test_tiny_data_is_learned(self):
        model = small().fit(X[:4], np.array(["a", "b", "a", "b"]))
        assert set(model.predict(X)) <= {"a", "b"}

    @pytest.mark.parametrize("samples", [3, 4, 10])
    def test_tiny_data_can_be_held_out(self, samples):
        y = np.array(["a", "b"])[np.arange(samples) % 2]
        model = small(early_stopping=True, max_epochs=3).fit(X[:samples], y)
        assert set(model.predict(X)) <= {"a", "b"}

    def test_a_single_sample_that_is_left(self):
        for options, weights in (({"early_stopping": True}, None), ({}, [1.0, 0.0])):
            with pytest.raises(ArgumentError, match="1 sample is left"):
                small(**options).fit(X[:2], ["a", "b"], sample_weight=weights)

    def test_labels_of_several_types(self):
        y = np.array(["a", 1], dtype=object)[np.arange(len(X)) % 2]
        with pytest.raises(ArgumentError, match=r"several types \(int, str\)"):
            small().fit(X, y)

    def test_what_float64_does_not_hold(self):
        with pytest.raises(ArgumentError, match="feature 1 reaches over more"):
            small().fit(np.sign(X - X.mean()) * [1, 1.7e308, 1], Y)

    def test_a_feature_that_never_varied_says_nothing(self):
        still = X.assign(age=5.0)
        model = small().fit(still, Y)
        for later in (-1e9, 0.0, 5.1, 1e9):
            assert (model.predict(still.assign(age=later)) == model.predict(still)).all()

    def test_more_classes_than_outputs(self):
        with pytest.raises(ArgumentError, match=r"outputs of shape \(2,\).* ask for \(3,\)"):
            small(module=nn.Linear(3, 2)).fit(X, Y)

    def test_before_fit_and_before_compile(self, fitted):
        with pytest.raises(NotFittedError):
            small().compile()
        for fhe in ("simulate", "execute"):
            with pytest.raises(NotFittedError, match=r"call compile\(\) first"):
                clone(fitted).fit(X, Y).predict(X, fhe=fhe)
        with pytest.raises(ArgumentError, match="fhe is 'on'"):
            fitted.predict(X, fhe="on")

    @pytest.mark.parametrize(
        ("parameters", "match"),
        [
            ({"hidden_layers": (8, 0)}, "hidden_layers"),
            ({"hidden_layers": (8.5,)}, "hidden_layers"),
            ({"hidden_layers": 8}, "hidden_layers is 8"),
            ({"lr": "x"}, "lr is 'x'"),
            ({"batch_size": "x"}, "batch_size is 'x'"),
            ({"batch_size": 1}, "batch_size is 1; expected .* at least 2"),
            ({"schedule": "gradual"}, "schedule is 'gradual', which has no methods"),
            ({"device": "gpu9"}, "device is 'gpu9'"),
            ({"accumulator_bits": 1}, "1 for layer 'hidden1', whose inputs are 2 bits wide"),
            ({"module": nn.Linear(5, 3)}, r"module does not make .* of shape \(3,\)"),
            ({"module": nn.LSTM(3, 3)}, "module does not make one tensor"),
            ({"module": nn.Linear(3, 3).double()}, "module does not make one tensor"),
            ({"activation": "softmax"}, "activation is 'softmax'; there are elu"),
            ({"accumulator_bits": (4, 4, 4)}, "3 widths for 2 layers: hidden1, output"),
            ({"accumulator_bits": -1}, "bits"),
            ({"accumulator_bits": "44"}, "bits"),
            ({"weight_bits": 0}, "weight_bits"),
            ({"max_epochs": 0}, "max_epochs"),
            ({"max_epochs": 2.5}, "max_epochs"),
            ({"lr": -1.0}, "lr"),
            ({"batch_size": 0}, "batch_size"),
            ({"module": "mlp"}, "expected a torch module"),
            ({"strategy": "magnitud"}, "did you mean"),
        ],
    )
    def test_parameters_that_nothing_can_follow(self, parameters, match):
        with pytest.raises((ValueError, LookupError), match=match):
            small(**parameters).fit(X, Y)

    def test_widths_that_nothing_meets(self):
        module = nn.Sequential(nn.Conv1d(1, 2, 1), nn.ReLU(), nn.AvgPool1d(3), nn.Flatten())
        module.append(nn.Linear(2, 3))
        with pytest.raises(InfeasibleError, match="bits"):
            small(module=module, accumulator_bits=2).fit(X.to_numpy()[:, None], Y)


@on_each_backend
class TestEncrypted:
    @pytest.mark.encrypted
    def test_three_ways_give_the_same(self, backend):
        model = small(accumulator_bits=3, weight_bits=2).fit(X, Y)
        circuit = model.compile(X, p_error=1e-5, backend=backend.name)
        assert circuit is model.fhe_circuit
        clear = model.predict(X[:12])
        assert (model.predict(X[:12], fhe="simulate") == clear).all()
        assert (model.predict(X[:3], fhe="execute") == clear[:3]).all()
        chances = model.predict_proba(X[:2], fhe="execute")
        assert (chances == model.predict_proba(X[:2])).all()

    @pytest.mark.encrypted
    def test_another_process_predicts_the_labels(self, backend, tmp_path):
        model = small(accumulator_bits=3, weight_bits=2).fit(X, Y)
        model.compile(p_error=1e-5, backend=backend.name)
        model.save(tmp_path / "circuit")
        X[:3].to_json(tmp_path / "x.json")
        script = (
            "import sys, pandas, secateur\n"
            "circuit = secateur.Circuit.load(sys.argv[1])\n"
            "print(*circuit.predict(pandas.read_json(sys.argv[2])))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, tmp_path / "circuit", tmp_path / "x.json"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == model.predict(X[:3]).tolist()
