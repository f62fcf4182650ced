"""The training loop: learns, repeats itself under a seed, stops early, keeps the best state."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from secateur.analysis import analyze
from secateur.errors import NotFiniteError, ScheduleError, ShapeError
from secateur.pruning.schedule import OneShot, Reselect
from secateur.pruning.torch import Pruner
from secateur.reading.torch import freeze, masks, quantize
from secateur.training import accuracy, fit


def blobs(samples=200, seed=0):
    random = np.random.default_rng(seed)
    y = np.arange(samples) % 3
    return (np.eye(3)[y] + 0.2 * random.normal(size=(samples, 3))).astype(np.float32), y


X, Y = blobs()
HELD_OUT = blobs(60, seed=1)


def classifier(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))


def quietly(model, *arguments, **keywords):
    return fit(model, *arguments, progress=False, **keywords)


def state(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(a, b):
    return all((a[k] == b[k]).all() for k in a)


def test_learns():
    model = classifier()
    history = quietly(model, X, Y, epochs=20)
    assert accuracy(model, *HELD_OUT) > 0.9
    assert len(history.losses) == 20
    assert history.losses[-1] < history.losses[0]
    assert history.best_epoch == 19
    assert not model.training


def test_learns_numbers_under_another_loss():
    model = nn.Linear(3, 1)
    target = X.sum(axis=1, keepdims=True)
    history = quietly(model, X, target, epochs=100, lr=0.1, loss=nn.functional.mse_loss)
    assert history.losses[-1] < 0.01


def test_same_seed_same_model():
    models = [classifier() for _ in range(3)]
    for model, seed in zip(models, (0, 0, 1), strict=True):
        quietly(model, X, Y, epochs=3, seed=seed)
    assert same(state(models[0]), state(models[1]))
    assert not same(state(models[0]), state(models[2]))


def test_leaves_the_callers_random_numbers_alone():
    model = nn.Linear(3, 3)
    before = torch.random.get_rng_state()
    quietly(model, X, Y, epochs=1)
    assert (torch.random.get_rng_state() == before).all()


def test_follows_a_teacher():
    teacher = classifier()
    quietly(teacher, X, Y, epochs=20)
    student = classifier(seed=1)
    wrong = (Y + 1) % 3
    quietly(student, X, wrong, epochs=20, teacher=teacher, teacher_weight=1.0)
    assert accuracy(student, *HELD_OUT) > 0.9


def test_a_last_batch_of_one_sample_is_left_out():
    quietly(classifier(), X[:65], Y[:65], epochs=1, batch_size=64)
    quietly(nn.Linear(3, 3), X[:1], Y[:1], epochs=1)


def test_keeps_the_best_state_and_stops():
    model = classifier()
    # Nothing more can be learnt from labels drawn at random.
    noise = np.random.default_rng(0).integers(0, 3, len(Y))
    history = quietly(model, X, noise, epochs=50, lr=0.05, validation=HELD_OUT, patience=3)
    assert len(history.losses) == history.best_epoch + 4 < 50
    assert min(history.validation_losses) == history.validation_losses[history.best_epoch]
    outputs = model(torch.from_numpy(HELD_OUT[0]))
    last = float(nn.functional.cross_entropy(outputs, torch.from_numpy(HELD_OUT[1])))
    assert math.isclose(last, history.validation_losses[history.best_epoch], rel_tol=1e-6)


def test_steps_the_pruner():
    model = quantize(classifier(), calibration=X)
    pruner = Pruner(model, "magnitude", sparsity=0.75, schedule=Reselect(every=2))
    quietly(model, X, Y, epochs=3, pruner=pruner)
    removed = sum((~mask).sum() for mask in pruner.masks.values())
    assert removed == 0.75 * sum(mask.size for mask in pruner.masks.values())


def test_only_states_of_the_full_target_compete():
    model = quantize(classifier(), calibration=X)
    batches = math.ceil(len(X) / 64)
    pruner = Pruner(model, "magnitude", sparsity=0.9, schedule=OneShot(at=4 * batches))
    history = quietly(model, X, Y, epochs=6, pruner=pruner, validation=HELD_OUT)
    assert history.best_epoch >= 3
    assert pruner.complete


def test_finishes_the_pruner_and_then_tunes_what_tables_absorb():
    settled, left = (quantize(classifier(), calibration=X) for _ in range(2))
    for model, settle in ((settled, 0.5), (left, 0.0)):
        pruner = Pruner(model, "accumulator", bits=5)
        history = quietly(model, X, Y, epochs=4 if settle else 2, pruner=pruner, settle=settle)
        assert len(history.losses) == (4 if settle else 2)
        assert bool(any(map(masks.on, model.modules()))) is not bool(settle)
        pruner.finish()
    ours, theirs = freeze(settled), freeze(left)
    assert analyze(ours).accumulator_bits <= 5
    for one, other in zip(ours.layers, theirs.layers, strict=True):
        assert one.codes.shape == other.codes.shape
    assert (ours.predict(X) != theirs.predict(X)).any()


@pytest.mark.parametrize("epochs", [1, 2])
def test_leaves_an_epoch_at_least_to_the_pruner(epochs):
    model = quantize(classifier(), calibration=X)
    history = quietly(model, X, Y, epochs=epochs, pruner=Pruner(model, "accumulator"), settle=1.0)
    assert len(history.losses) == epochs
    freeze(model)


def test_the_state_that_it_finished_in_competes_with_those_after():
    model = quantize(classifier(), calibration=X)
    noise = np.random.default_rng(0).integers(0, 3, len(Y))
    history = quietly(
        model, X, noise, epochs=8, lr=0.1, pruner=Pruner(model, "accumulator"), validation=HELD_OUT
    )
    outputs = model(torch.from_numpy(HELD_OUT[0]))
    last = float(nn.functional.cross_entropy(outputs, torch.from_numpy(HELD_OUT[1])))
    assert math.isclose(last, history.validation_losses[history.best_epoch], rel_tol=1e-5)
    assert last == pytest.approx(min(history.validation_losses), rel=1e-5)


def test_no_bar_off_a_terminal(capsys):
    fit(nn.Linear(3, 3), X, Y, epochs=1)
    assert capsys.readouterr() == ("", "")


def test_a_bar_on_a_terminal(terminal):
    shown = terminal()
    fit(nn.Linear(3, 3), X, Y, epochs=2)
    assert "2/2" in shown.getvalue()


class TestRefuses:
    @pytest.mark.parametrize(
        "setting",
        [
            {"epochs": 0},
            {"batch_size": 0},
            {"lr": 0.0},
            {"settle": 1.5},
            {"teacher_weight": 1.5},
            {"temperature": 0.0},
            {"patience": 0, "validation": HELD_OUT},
            {"patience": 3},
        ],
        ids=str,
    )
    def test_settings_out_of_range(self, setting):
        argument = next(iter(setting))
        with pytest.raises(ScheduleError, match=f"{argument} is") as caught:
            quietly(nn.Linear(3, 3), X, Y, **setting)
        assert caught.value.argument == argument

    def test_targets_of_another_length(self):
        with pytest.raises(ShapeError, match="200 samples with 199 targets"):
            quietly(nn.Linear(3, 3), X, Y[:-1])

    def test_a_loss_that_is_not_finite(self):
        with pytest.raises(NotFiniteError, match="epoch 0"):
            quietly(nn.Linear(3, 3), X * np.float32(np.nan), Y)


@pytest.mark.parametrize("lr", [0.01, 1e30])
def test_parameters_share_no_memory_afterwards(lr):
    model = classifier()
    try:
        quietly(model, X, Y, epochs=2, lr=lr)
    except NotFiniteError:
        assert lr == 1e30
    sizes = {p.storage().nbytes() for p in model.parameters()}
    assert sizes == {4 * p.numel() for p in model.parameters()}
    assert all(p.grad is None for p in model.parameters())


def test_parameters_that_are_frozen_stay():
    model = classifier()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    quietly(model, X, Y, epochs=2)
    assert (model[0].weight == before).all()
