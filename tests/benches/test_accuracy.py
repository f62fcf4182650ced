"""The accuracy suite: every method on a small data set, and what is written about it."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch

import secateur

pytest.importorskip("brevitas")
pytest.importorskip("sklearn")

import brevitas.nn as qnn

from benches.accuracy import halves, readme, report, run
from benches.accuracy.datasets import DATASETS, dataset, jitter
from benches.accuracy.lessons import TEMPERATURE, distillation, taught
from benches.accuracy.measure import measure, wrapped
from benches.accuracy.methods import METHODS, Setting, _bound, _like, quantized, unpruned
from benches.accuracy.sparsity import without_loss
from secateur.sweeps import Results, sweep

BITS = 6
CHOICE = (2, 2, 2, "tables")
SPLITS = ("validation", "test")


def finals():
    """The points of all methods on wine, one seed."""
    points = run.finals("wine", {(method, BITS): CHOICE for method in METHODS})
    return [point for point in points if point["seed"] == 0]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Of what was chosen, and of another choice that was reported before."""
    chosen = [point | {"split": split} for split in SPLITS for point in finals()]
    another = [point | {"activation_bits": 1} for point in finals()[:1]]
    journal = tmp_path_factory.mktemp("wine") / "journal.jsonl"
    return sweep([*chosen, *another], measure, journal=journal)


@pytest.mark.slow
class TestMethods:
    def test_fit_the_accumulator_or_say_how_wide_they_are(self, results):
        reported = {method: run.reported(results, "wine", method, BITS) for method in METHODS}
        widths = {method: record.values["width"] for method, (record,) in reported.items()}
        assert widths.pop("unpruned") > BITS
        assert all(width <= BITS for width in widths.values())

    def test_learn(self, results):
        (ours,) = run.reported(results, "wine", "accumulator", BITS)
        assert ours.values["accuracy"] == ours.values["unlimited_accuracy"] > 0.8

    def test_fit_it_with_norms_alone_tuned(self):
        (point,) = (p for p in finals() if p["method"] == "accumulator")
        values = measure(point | {"training": "norms"})
        assert values["width"] <= BITS
        assert values["accuracy"] > 0.8

    @pytest.mark.parametrize("method", ["A2Q", "A2Q+"])
    def test_start_from_the_float_network_and_from_nothing_else(self, method):
        setting = Setting("wine", "test", 0, BITS, *CHOICE)
        networks = []
        for seed in (1, 2):
            torch.manual_seed(seed)
            networks.append(METHODS[method](setting))
        for one, other in zip(*(network.layers for network in networks), strict=True):
            assert (one.codes == other.codes).all()

    @pytest.mark.parametrize("method", ["A2Q", "A2Q+"])
    def test_start_with_more_codes_than_the_greatest_of_each_channel(self, method):
        setting = Setting("wine", "test", 0, BITS, *CHOICE)
        model = quantized(setting)
        model.input_quant.return_quant_tensor = True
        inputs = model.input_quant(torch.from_numpy(setting.data.train[0][:4]))
        weight_quant = METHODS[method].keywords["weight_quant"]
        made = _like(model.get_submodule("0"), weight_quant, setting, setting.input_bits)
        started = made.quant_weight(inputs).int()
        assert (started != 0).sum(1).float().mean() > 2
        made.weight_quant.init_tensor_quant()
        shipped = made.quant_weight(inputs).int()
        assert (shipped != 0).sum(1).float().mean() < 1

    @pytest.mark.parametrize("method", ["A2Q", "A2Q+"])
    def test_keep_to_the_largest_weights_that_a_sparse_start_leaves(self, method):
        setting = Setting("wine", "test", 0, BITS, *CHOICE[:3], "sparse")
        layer = quantized(setting).get_submodule("3")
        weight_quant = METHODS[method].keywords["weight_quant"]
        made = _like(layer, weight_quant, setting, setting.activation_bits)
        kept = made.weight != 0
        room = int(_bound(made, setting.activation_bits)[1])
        assert 1 < room < layer.in_features
        assert (kept.sum(1) == room).all()
        smallest = torch.where(kept, layer.weight.abs(), torch.inf).amin(1)
        assert (smallest >= (layer.weight.abs() * ~kept).amax(1)).all()
        trained = METHODS[method](setting)["3"].codes
        assert (trained[~kept.numpy()] == 0).all()
        assert (trained != 0).any()

    @pytest.mark.parametrize("method", ["A2Q", "A2Q+"])
    def test_bound_convolutions_too(self, method):
        setting = Setting("wine", "test", 0, BITS, *CHOICE[:3], "sparse")
        layer = qnn.QuantConv2d(8, 4, 3, stride=2)
        made = _like(layer, METHODS[method].keywords["weight_quant"], setting, 2)
        kept = made.weight.flatten(1) != 0
        assert (kept.sum(1) == int(_bound(made, 2)[1])).all()
        assert made.stride == layer.stride

    def test_wrap_where_they_are_too_wide_and_nowhere_else(self):
        setting = Setting("wine", "test", 0, BITS, *CHOICE)
        network, x = unpruned(setting), setting.data.held_out[0]
        width = secateur.analyze(network).accumulator_bits
        assert (wrapped(network, x, width) == network.predict(x)).all()
        assert (wrapped(network, x, 3) != network.predict(x)).any()


def test_what_a_teacher_changes_is_shown():
    taught, untaught = ((3, 2, 2, training) for training in ("taught", "norms"))
    accuracies = {taught: {"validation": 0.9, "test": 0.5}, untaught: dict.fromkeys(SPLITS, 0.75)}

    def pretend(point):
        return {"accuracy": accuracies[tuple(point[f] for f in run.CHOICE)][point["split"]]}

    points = [p for c in accuracies for p in run.finals("digits", {("accumulator", 8): c})]
    results = sweep([p | {"split": split} for p in points for split in SPLITS], pretend)
    assert run.choose(results, "digits") == {("accumulator", 8): taught}
    assert "| 8 | 0.7500 ± 0.0000 (3 seeds) | not run |" in report.without_teacher(results)


@pytest.mark.slow
class TestReport:
    def test_shows_accuracy_width_and_format(self, results):
        (ours,) = run.reported(results, "wine", "accumulator", BITS)
        text = report.section(results, "figure.png", ["more"])
        assert f"{ours.values['accuracy']:.4f} ({ours.values['width']} bits; 2/2/2)" in text
        assert "not run" in text

    def test_draws_what_there_is(self, results, tmp_path):
        pytest.importorskip("matplotlib")
        report.draw(results, tmp_path / "figure.png")
        assert 10_000 < (tmp_path / "figure.png").stat().st_size < 200_000


@pytest.mark.whole
class TestDatasets:
    @pytest.mark.parametrize("name", DATASETS)
    def test_never_choose_on_held_out_samples(self, name):
        test, validation = (dataset(name, split, 1) for split in ("test", "validation"))
        samples, held_out = test.train[0], validation.held_out[0]
        if test.recipe.scaled:
            # Otherwise than on the whole, that is by the training samples of the split alone.
            rest = np.concatenate([validation.train[0], held_out])
            held_out = (held_out - rest.min(axis=0)) / np.ptp(rest, axis=0)
        samples, held_out = (part.reshape(len(part), -1) for part in (samples, held_out))
        assert all(np.abs(samples - row).max(axis=1).min() < 1e-5 for row in held_out)
        assert 0.29 < len(test.held_out[1]) / _size(name) < 0.31

    def test_jitter_keeps_classes_and_some_images(self):
        x = np.random.default_rng(0).random((3, 64)).astype(np.float32)
        images, classes = jitter((x, np.arange(3)), seed=0, copies=9, angle=6, reach=0.3)
        assert images.shape == (27, 64)
        assert (classes == np.tile(np.arange(3), 9)).all()
        assert (images[:3] == x).all()
        moved = np.abs(images[3:].reshape(-1, 3, 64) - x)
        assert 0 < moved.mean() < 0.2


@pytest.mark.whole
class TestLessons:
    def test_teach_what_the_teacher_makes_of_images_and_mixtures(self):
        digits = dataset("digits", "validation", 1)
        x, y = (part[:80] for part in digits.given)
        lessons = taught(replace(digits, given=(x, y)))
        samples, logits = lessons.train
        assert samples.shape == (80 * 48 * 2, 64)
        assert logits.shape == (80 * 48 * 2, 10)
        assert (samples[:80] == x).all()
        assert (logits[:80].argmax(1) == y).mean() > 0.9
        assert lessons.held_out is digits.held_out
        # A mixture's softened classes are less certain than an image's.
        certainty = torch.from_numpy(logits / TEMPERATURE).softmax(1).amax(1)
        images, mixtures = certainty.chunk(2)
        assert mixtures.mean() < images.mean() - 0.05

    def test_are_learned_when_outputs_are_as_the_teachers(self):
        logits = torch.randn(5, 10, generator=torch.Generator().manual_seed(0))
        assert distillation(logits, logits).item() == pytest.approx(0, abs=1e-5)
        assert distillation(logits + 3, logits).item() == pytest.approx(0, abs=1e-5)
        assert distillation(-logits, logits).item() > 0.1


class TestChoice:
    def test_offers_a_sparse_start_to_those_that_hold_norms(self):
        offered = {m for m in METHODS for c in run.choices("digits", 5, m) if c[-1] == "sparse"}
        assert offered == {"A2Q", "A2Q+"}
        assert not any(c[-1] == "sparse" for c in run.choices("digits", 8, "A2Q+"))
        assert any(c[-1] == "sparse" for c in run.choices("mnist_5k", 8, "A2Q+"))

    def test_is_the_best_on_validation(self):
        points = list(run.candidates("digits"))
        best = run.choices("digits", 8, run.OURS)[-1]

        def pretend(point):
            return {"accuracy": 0.9 if tuple(point[f] for f in run.CHOICE) == best else 0.5}

        chosen = run.choose(sweep(points, pretend), "digits")
        assert chosen["accumulator", 8] == best
        assert chosen["accumulator", 4] == run.choices("digits", 4, run.OURS)[0]
        assert len(chosen) == len(METHODS) * len(run.BITS)

    def test_asks_further_splits_of_close_choices_and_of_no_others(self):
        best, close, far, *_ = run.choices("digits", 8, run.OURS)
        first = {best: 0.95, close: 0.945, far: 0.93}
        # Over all splits `far` would be the best of the three.
        later = {best: 0.85, close: 0.895}

        def pretend(point):
            choice = tuple(point[f] for f in run.CHOICE)
            accuracies = first if point["seed"] in run.SEEDS else later
            return {"accuracy": accuracies.get(choice, 0.5)}

        points = [p for p in run.candidates("digits") if p["bits"] == 8]
        further = list(run.run_offs(sweep(points, pretend), "digits"))
        assert {tuple(p[f] for f in run.CHOICE) for p in further} == {best, close}
        assert len(further) == 2 * len(run.RUN_OFF_SEEDS) * len(METHODS)
        assert all(p["split"] == "validation" and p["seed"] not in run.SEEDS for p in further)
        chosen = run.choose(sweep([*points, *further], pretend), "digits")
        assert set(chosen.values()) == {close}

    def test_loses_no_more_than_half_a_point(self):
        assert without_loss({0.0: 0.98, 0.5: 0.981, 0.7: 0.9751, 0.8: 0.97, 0.9: 0.99}) == 0.7


def _size(name):
    parts = dataset(name, "test", 1)
    copies = 24 if name == "digits" else 1
    return len(parts.train[1]) // copies + len(parts.held_out[1])


def test_reads_a_journal_that_is_committed():
    assert all(not record.failed for record in Results.read(run.JOURNAL))


class TestReadme:
    def test_takes_the_first_example_up_to_its_circuit(self):
        lines = readme.example(readme.README.read_text())
        assert "pruner" in lines
        assert "secateur.compile" not in lines

    def test_refuses_an_example_without_a_seed(self):
        with pytest.raises(ValueError, match="seed"):
            readme.example("```python\nnetwork = 1\ncircuit = 2\n```")

    def test_prints_the_accuracy_that_the_readme_shows(self):
        shown = re.search(r"^accuracy (\S+)$", readme.README.read_text(), re.MULTILINE)
        (first,) = (r for r in Results.read(readme.JOURNAL) if r.point["seed"] == 0)
        assert float(shown[1]) == round(first.values["accuracy"], 2)


@pytest.mark.whole
class TestHalves:
    @pytest.mark.parametrize("method", [m for m in halves.METHODS if m != "whole"])
    def test_have_at_most_half_of_the_lookups(self, method):
        pytest.importorskip("concrete")
        point = {"split": "validation", "seed": 0, "method": method, "epochs": 6}
        values = halves.measure(point)
        assert 16 < values["lookups"] <= 32  # neurons whose weights are all 0 go as well
        assert values["width"] <= halves.BITS
        assert values["accuracy"] > 0.5
