"""A pruner in a training loop: masks that move, a finish that is proved."""

import copy
import warnings
from dataclasses import dataclass
from typing import ClassVar

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8WeightPerChannelFloat
from torch import nn
from torch.nn import functional
from torch.nn.utils import parametrize, prune

from secateur.analysis import analyze
from secateur.errors import (
    BrokenPromiseError,
    InfeasibleError,
    MissingDataError,
    NotFiniteError,
    OptionError,
    ScheduleError,
    UnfinishedModelError,
    UnknownStrategyError,
)
from secateur.pruning import (
    NM,
    Accumulator,
    Compensated,
    Connections,
    L1Ball,
    Magnitude,
    Random,
    Structured,
)
from secateur.pruning.apply import apply_strategy
from secateur.pruning.schedule import Gradual, Iterative, OneShot, Reselect
from secateur.pruning.shrink import shrink
from secateur.pruning.torch import Pruner
from secateur.reading.torch import freeze, masks, quantize


def blobs(classes=4, features=12, samples=240, seed=0):
    """Samples around one centre per class, and their classes."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.rand(classes, features, generator=generator)
    y = torch.arange(samples) % classes
    noise = torch.randn(samples, features, generator=generator)
    return (centres[y] + 0.15 * noise).clamp(0.0, 1.0), y


X, Y = blobs()


def classifier(seed=0, weight_bits=3):
    torch.manual_seed(seed)
    module = nn.Sequential(
        nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 16), nn.ReLU(),
        nn.Linear(16, 4),
    )  # fmt: skip
    return quantize(module, weight_bits, 2, X)


class ConvNet(nn.Module):
    """A shared convolution, a residual add and a pooling before the last layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.body = nn.Conv2d(4, 4, 3, padding=1)
        self.head = nn.Linear(4, 4)

    def forward(self, x):
        x = functional.relu(self.stem(x.reshape(-1, 1, 3, 4)))
        x = functional.relu(self.body(x) + self.body(functional.relu(self.body(x))))
        return self.head(x.mean((2, 3)))


def train(model, steps, pruner=None, optimizer=None, lr=0.02, x=X):
    optimizer = optimizer or torch.optim.Adam(model.parameters(), lr=lr)
    model.train()
    for step in range(steps):
        batch = slice(40 * (step % 6), 40 * (step % 6) + 40)
        optimizer.zero_grad()
        functional.cross_entropy(model(x[batch]), Y[batch]).backward()
        optimizer.step()
        if pruner is not None:
            pruner.step()


def widths(model, **options):
    """Span bits of every accumulator of the frozen model."""
    return [node.bits() for node in analyze(freeze(model, **options)).accumulators]


def sparsity(masks):
    return 1 - sum(m.sum() for m in masks.values()) / sum(m.size for m in masks.values())


class TestFinish:
    @pytest.mark.parametrize(
        "schedule",
        [
            OneShot(at=10),
            Reselect(every=7),
            Reselect(every=5, begin=10, end=20),
            Iterative(rounds=3, steps=8),
            Gradual(begin=5, end=30, every=5),
            OneShot(at=10_000),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("bits", [3, 5])
    def test_proves_every_accumulator(self, schedule, bits):
        model = classifier()
        pruner = Pruner(model, "accumulator", schedule=schedule, bits=bits)
        train(model, 40, pruner)
        pruner.finish()
        assert max(widths(model)) <= bits

    def test_leaves_the_codes_and_the_masks_that_it_proved(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4)
        train(model, 30, pruner)
        final = pruner.finish()
        for layer in freeze(model).layers:
            assert (layer.codes[~final[layer.name]] == 0).all()
            assert (layer.codes != 0).any()

    def test_holds_whatever_the_scales_have_done(self):
        # Brevitas's own default takes scales from the greatest weight, which a mask may remove.
        torch.manual_seed(0)
        options = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 4}
        model = nn.Sequential(
            qnn.QuantIdentity(bit_width=3),
            qnn.QuantLinear(12, 24, **options),
            qnn.QuantReLU(bit_width=3),
            qnn.QuantLinear(24, 4, **options),
        )
        pruner = Pruner(
            model, "accumulator", bits=6, input_shape=(12,), schedule=Reselect(every=5, end=20)
        )
        train(model, 40, pruner, lr=0.05)
        pruner.finish()
        assert max(widths(model, input_shape=(12,))) <= 6

    def test_does_not_change_what_the_model_computes_once_its_masks_fit(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=5, schedule=Reselect(every=1))
        train(model, 20, pruner)
        model.eval()
        with torch.no_grad():
            before = model(X)
            pruner.finish()
            after = model(X)
        assert (before.argmax(1) == after.argmax(1)).all()
        assert torch.allclose(before, after, rtol=1e-4, atol=1e-5)

    def test_removes_more_where_fixed_masks_no_longer_fit(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4, scales="learned", schedule=OneShot())
        train(model, 1, pruner)
        selected = {name: mask.copy() for name, mask in pruner.masks.items()}
        with torch.no_grad():
            for layer in (m for m in model.modules() if masks.on(m)):
                masks.unmasked(layer).mul_(3)
        fits = pruner.fits
        assert not fits
        assert "needs" in str(fits)
        assert all(miss.excess > 0 for miss in fits.misses)
        with pytest.warns(UserWarning, match=r"has removed .* changed since the last step"):
            final = pruner.finish()
        assert sum(final.removed.values()) > 0
        assert all((selected[name] | ~final[name]).all() for name in final)
        assert sparsity(final) > sparsity(selected)
        assert max(widths(model)) <= 4

    def test_lets_what_tables_absorb_train_on_under_the_same_codes(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        train(model, 10, pruner, optimizer)
        pruner.finish()
        before = freeze(model)
        train(model, 20, optimizer=optimizer)
        after = freeze(model)
        for ours, theirs in zip(before.layers, after.layers, strict=True):
            assert (ours.codes == theirs.codes).all()
        assert (before.predict(X.numpy()) != after.predict(X.numpy())).any()
        assert max(widths(model)) <= 4

    def test_takes_masks_and_pruner_off(self):
        model = classifier()
        names = set(model.state_dict())
        pruner = Pruner(model, "magnitude", sparsity=0.5)
        with pytest.raises(UnfinishedModelError):
            freeze(model)
        pruner.finish()
        assert set(model.state_dict()) == names
        with pytest.raises(ScheduleError, match="has finished"):
            pruner.step()
        assert pruner.finish() is pruner.finish()
        assert pruner.fits
        assert pruner.masks == dict(pruner.finish())

    def test_serves_conv_nets_and_layers_that_are_called_twice(self):
        torch.manual_seed(0)
        model = quantize(ConvNet(), 3, 2, X)
        pruner = Pruner(model, Accumulator(dict.fromkeys(("stem", "body", "body.2", "head"), 5)))
        train(model, 30, pruner)
        final = pruner.finish()
        assert (final["body"] == final["body.2"]).all()
        network = freeze(model)
        report = analyze(network)
        assert max(report[layer.name].bits() for layer in network.layers) <= 5

    def test_serves_chains(self):
        model = classifier()
        chain = [("magnitude", {"sparsity": 0.5}), ("accumulator", {"bits": 5})]
        pruner = Pruner(model, chain, schedule=Gradual(begin=2, end=20, every=6))
        train(model, 30, pruner)
        assert sparsity(pruner.finish()) >= 0.5
        assert max(widths(model)) <= 5

    def test_reports_a_promise_that_is_not_kept(self):
        @dataclass(frozen=True)
        class KeepAll:
            """Removes nothing, whatever it promised."""

            name: ClassVar[str] = "keep-all"

            def masks(self, problem):
                return {}

            def widths(self, problem):
                return {layer.name: 2 for layer in problem.layers}

        pruner = Pruner(classifier(), KeepAll())
        with pytest.raises(BrokenPromiseError, match="promised 2 span bits"):
            pruner.finish()


SCHEDULES = (
    OneShot(at=3),
    Iterative(rounds=3, steps=4),
    Gradual(begin=2, end=10, every=3),
    Reselect(every=4, begin=2, end=8),
    Reselect(every=6),
)
STRATEGIES = (
    Accumulator(bits=4),
    Accumulator(bits=4, scales="learned"),
    Accumulator(bits=5, budget="signed"),
    Accumulator(bits={"0": 3, "3": 5}),
    Compensated(bits=5),
    Connections(bits=5),
    L1Ball(bits=5),
    Magnitude(sparsity=0.6),
    Magnitude(sparsity=0.6, scope="global"),
    NM(n=1, m=3),
    Random(sparsity=0.6),
    Structured(sparsity=0.5),
    [Structured(sparsity=0.5), Accumulator(bits=4)],
)


@pytest.mark.table
class TestEveryScheduleWithEveryStrategy:
    @pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
    @pytest.mark.parametrize("schedule", SCHEDULES, ids=str)
    def test_keeps_its_promise_from_the_last_selection_on(self, schedule, strategy):
        model = classifier()
        pruner = Pruner(model, strategy, schedule=schedule, samples=X[:16])
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        fixed = None
        for _ in range(45):
            train(model, 1, pruner, optimizer)
            assert pruner.fits or not pruner.complete
            fixed = pruner.masks if pruner.complete and fixed is None else fixed
        model.eval()
        before = model(X)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            final = pruner.finish()
        assert not any(final.removed.values())
        assert torch.allclose(model(X), before, rtol=1e-3, atol=1e-4)
        if not isinstance(schedule, Reselect):
            # In a chain, neurons stay removed; accumulators select again among those that are left.
            chain = isinstance(strategy, list)
            stays = {n: m.any(axis=1, keepdims=True) if chain else m for n, m in fixed.items()}
            assert not any((final[name] & ~stays[name]).any() for name in final)


def scales(model):
    """The weight scales of every layer, by name."""
    layers = ((n, m) for n, m in model.named_modules() if hasattr(m, "weight_quant"))
    return {name: layer.weight_quant.scale().detach().clone() for name, layer in layers}


def energy(model, pruner):
    """What the codes of the moment keep of each layer's squares."""
    problem = pruner._problem(pruner.masks)
    kept = {}
    for x in problem.layers:
        scale = scales(model)[x.name.split(".")[0]].double().numpy()
        lost = x.weight - scale * x.codes * x.mask
        kept[x.name] = (x.weight**2 - lost**2).sum()
    return kept


class TestScales:
    """The scales of weights follow the budget, where the strategy asks for it."""

    @pytest.mark.parametrize("bits", [3, 4, 5])
    def test_keep_more_of_the_weights_than_learned_ones(self, bits):
        kept = {}
        for how in ("fitted", "learned"):
            model = classifier()
            pruner = Pruner(model, "accumulator", bits=bits, scales=how)
            pruner.select()
            kept[how] = energy(model, pruner)
        assert all(kept["fitted"][name] > kept["learned"][name] for name in kept["fitted"])

    def test_are_left_alone_by_every_other_strategy(self):
        for strategy, options in (
            ("accumulator", {"bits": 4, "scales": "learned"}),
            ("accumulator", {"bits": 4, "budget": "signed"}),
            ("l1-ball", {"bits": 4}),
            ("magnitude", {"sparsity": 0.5}),
        ):
            model = classifier()
            before = scales(model)
            Pruner(model, strategy, **options).select()
            assert all(torch.equal(before[name], scale) for name, scale in scales(model).items())

    def test_are_fitted_to_what_earlier_strategies_keep(self):
        alone, chained = classifier(), classifier()
        Pruner(alone, "accumulator", bits=4).select()
        pruner = Pruner(chained, [("magnitude", {"sparsity": 0.9}), ("accumulator", {"bits": 4})])
        pruner.select()
        finer = scales(chained)["0"] < scales(alone)["0"]
        assert finer.float().mean() > 0.5
        assert sparsity(pruner.masks) >= 0.9

    def test_are_fitted_for_the_layers_that_are_promised_a_width(self):
        model = classifier()
        before = scales(model)
        Pruner(model, "accumulator", bits={"3": 3}).select()
        changed = {name for name, s in scales(model).items() if not torch.equal(before[name], s)}
        assert changed == {"3"}

    def test_that_a_quantiser_takes_from_statistics_stay_its_own(self):
        options = {"weight_quant": Int8WeightPerChannelFloat, "weight_bit_width": 4}
        model = nn.Sequential(qnn.QuantIdentity(bit_width=3), qnn.QuantLinear(12, 4, **options))
        pruner = Pruner(model, "accumulator", bits=5, input_shape=(12,))
        pruner.select()
        pruner.finish()
        assert max(widths(model, input_shape=(12,))) <= 5

    def test_of_a_layer_that_is_called_twice_are_the_coarser_of_both(self):
        torch.manual_seed(0)
        model = quantize(ConvNet(), 3, 2, X)
        pruner = Pruner(model, [Random(0.6), Accumulator({"body": 5, "body.2": 5})])
        problem = pruner._problem(pruner.masks)
        random = apply_strategy(problem, "random", sparsity=0.6)
        calls = [problem.with_masks(random)[name].fitted_scales(5) for name in ("body", "body.2")]
        assert (calls[0] != calls[1]).any()
        pruner.select()
        after = scales(model)["body"].flatten()
        assert after.tolist() == pytest.approx(np.maximum(*calls), rel=1e-6)

    def test_of_any_strategy_are_set_where_it_says(self):
        @dataclass(frozen=True)
        class Halve:
            """Halves the scales of the first layer."""

            name: ClassVar[str] = "halve"

            def masks(self, problem):
                return {}

            def fitted_scales(self, problem):
                first = problem.layers[0]
                assert first.code_range == (-3, 3)
                return {first.name: first.scale / 2}

        model = classifier()
        before, codes = scales(model), freeze(model)["0"].codes.astype(int)
        pruner = Pruner(model, Halve())
        pruner.select()
        after = scales(model)
        assert torch.allclose(after["0"], before["0"] / 2)
        assert torch.equal(after["3"], before["3"])
        assert (abs(pruner._problem(pruner.masks)["0"].codes) >= abs(codes)).all()

    def test_that_have_run_away_are_reported(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4)
        with torch.no_grad():
            layer = model.get_submodule("3")
            layer.weight_quant.tensor_quant.scaling_impl.value[5] = torch.inf
        with pytest.raises(NotFiniteError, match="layer '3': the scale of channel 5 is inf"):
            pruner.select()

    def test_are_fitted_again_where_the_last_codes_do_not_fit(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4, schedule=OneShot())
        train(model, 1, pruner)
        before = scales(model)
        with torch.no_grad():
            masks.unmasked(model.get_submodule("3")).mul_(8)
        pruner.finish()
        assert (scales(model)["3"] > 4 * before["3"]).float().mean() > 0.9
        assert max(widths(model)) <= 4


class TestMasks:
    def test_follow_the_weights(self):
        model = classifier()
        pruner = Pruner(model, "magnitude", sparsity=0.5, schedule=Reselect(every=5))
        train(model, 5, pruner)
        first = pruner.masks
        train(model, 60, pruner, lr=0.1)
        back = [(pruner.masks[name] & ~first[name]).any() for name in first]
        assert any(back)

    def test_let_removed_weights_go_on_training(self):
        model = classifier()
        pruner = Pruner(model, "magnitude", sparsity=0.5, schedule=OneShot())
        train(model, 1, pruner)
        layer, removed = model.get_submodule("0"), torch.from_numpy(~pruner.masks["0"])
        before = masks.unmasked(layer).detach().clone()
        train(model, 1, pruner)
        assert (masks.unmasked(layer)[removed] != before[removed]).all()
        assert (layer.weight[removed] == 0).all()

    def test_stay_fixed_after_the_schedule(self):
        model = classifier()
        pruner = Pruner(model, "magnitude", sparsity=0.5, schedule=OneShot(at=5))
        train(model, 5, pruner)
        first = pruner.masks
        train(model, 40, pruner, lr=0.1)
        assert all((pruner.masks[name] == first[name]).all() for name in first)
        last = pruner.finish()
        assert all((last[name] == first[name]).all() for name in first)

    def test_go_gradually(self):
        model = classifier()
        pruner = Pruner(
            model, "magnitude", sparsity=0.8, schedule=Iterative(rounds=4, steps=5, begin=5)
        )
        seen = []
        for _ in range(20):
            train(model, 1, pruner)
            seen.append(round(sparsity(pruner.masks), 2))
        assert seen == [0.0] * 4 + [0.2] * 5 + [0.4] * 5 + [0.6] * 5 + [0.8]

    def test_go_gradually_in_bits(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4, schedule=Iterative(rounds=3, steps=5))
        dense = sparsity(pruner.select(0.0))
        removed = [sparsity(pruner.select(f)) for f in (0.34, 0.67, 1.0)]
        assert dense == 0.0
        assert removed == sorted(removed)
        assert 0.0 < removed[0] < removed[2]

    def test_never_bring_back_what_another_mask_removed(self):
        model = classifier()
        layer = model.get_submodule("3")
        theirs = torch.rand(layer.weight.shape) > 0.3
        prune.custom_from_mask(layer, "weight", theirs)
        pruner = Pruner(model, "accumulator", bits=5, schedule=Reselect(every=3))
        train(model, 30, pruner)
        assert not (pruner.finish()["3"] & ~theirs.numpy()).any()

    def test_are_parametrizations_whose_weight_is_what_is_left(self):
        model = classifier()
        pruner = Pruner(model, "magnitude", sparsity=0.5, schedule=OneShot())
        train(model, 1, pruner)
        layer = model.get_submodule("0")
        assert parametrize.is_parametrized(layer, "weight")
        assert masks.on(layer).kept.dtype == torch.uint8
        assert (layer.weight == masks.unmasked(layer) * masks.on(layer).kept).all()
        penalty = layer.weight.abs().sum()
        penalty.backward()
        assert (masks.unmasked(layer).grad != 0).any()

    def test_are_the_same_for_the_same_seed(self):
        def run():
            model = classifier()
            pruner = Pruner(model, "random", sparsity=0.5, seed=3, schedule=OneShot())
            train(model, 1, pruner)
            return pruner.masks

        first, second = run(), run()
        assert all((first[name] == second[name]).all() for name in first)

    @pytest.mark.parametrize("saliency", ["magnitude", "activation", "gradient", "fisher"])
    def test_follow_saliencies_that_look_at_data(self, saliency):
        model = classifier()
        pruner = Pruner(
            model, "accumulator", bits=4, saliency=saliency, samples=X[:16], targets=Y[:16]
        )
        train(model, 3, pruner)
        pruner.finish()
        assert max(widths(model)) <= 4


class TestProblem:
    """What a strategy is given."""

    @staticmethod
    def given(model, **keywords):
        problems = []

        @dataclass(frozen=True)
        class Watch:
            """Keeps everything and remembers the problem."""

            name: ClassVar[str] = "watch"

            def masks(self, problem):
                problems.append(problem)
                return {}

        pruner = Pruner(model, Watch(), **keywords)
        pruner.select()
        return pruner, problems[0]

    def test_shows_weights_and_codes_of_the_network(self):
        model = classifier()
        network = freeze(model)
        _, problem = self.given(model)
        for layer in network.layers:
            assert (problem[layer.name].codes == layer.codes).all()
            assert (problem[layer.name].low == 0).all()
            assert (problem[layer.name].high == 3).all()
        assert [(c.producer, c.consumer) for c in problem.couplings] == [("0", "3"), ("3", "5")]

    def test_shows_the_codes_that_removed_weights_would_have(self):
        model = classifier()
        codes = freeze(model)["3"].codes
        pruner, _ = self.given(model)
        masks.on(model.get_submodule("3")).kept.zero_()
        assert (pruner._problem(pruner._allowed)["3"].codes == codes).all()

    def test_gives_one_gradient_for_each_sample(self):
        model = classifier().eval()
        _, problem = self.given(model, samples=X[:5], targets=Y[:5])
        total = functional.cross_entropy(model(X[:5]), Y[:5])
        weight = masks.unmasked(model.get_submodule("3"))
        (expected,) = torch.autograd.grad(total, weight)
        assert problem.gradients["3"].shape == (5, *weight.shape)
        assert np.allclose(problem.gradients["3"].mean(0), expected, atol=1e-6)

    def test_gives_the_inputs_of_every_layer(self):
        model = classifier()
        _, problem = self.given(model, samples=X[:5])
        assert {n: a.shape for n, a in problem.activations.items()} == {
            "0": (5, 12),
            "3": (5, 24),
            "5": (5, 16),
        }


class TestState:
    @pytest.mark.parametrize("made", ["before", "after"])
    def test_is_saved_and_restored_with_the_models(self, made):
        def make():
            model = classifier()
            pruner = Pruner(model, "accumulator", bits=4, schedule=OneShot(at=4))
            return model, pruner, torch.optim.Adam(model.parameters(), lr=0.02)

        model, pruner, optimizer = make()
        train(model, 6, pruner, optimizer)
        saved = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
        train(model, 30, pruner, optimizer)

        resumed, again, other = make()
        resumed.load_state_dict(saved[0])
        # Brevitas makes new parameters of its scales when a state is loaded; ours put them back.
        if made == "after":
            other = torch.optim.Adam(resumed.parameters(), lr=0.02)
        other.load_state_dict(saved[1])
        train(resumed, 30, again, other)
        assert all((model.state_dict()[k] == v).all() for k, v in resumed.state_dict().items())

    def test_of_a_finished_model_fits_a_fresh_one(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4)
        train(model, 10, pruner)
        pruner.finish()
        other = classifier(seed=1)
        other.load_state_dict(model.state_dict())
        for ours, theirs in zip(freeze(other).layers, freeze(model).layers, strict=True):
            assert (ours.codes == theirs.codes).all()

    def test_says_whether_the_target_is_reached(self):
        model = classifier()
        pruner = Pruner(model, "magnitude", schedule=Iterative(rounds=2, steps=3))
        reached = []
        for _ in range(5):
            train(model, 1, pruner)
            reached.append(pruner.complete)
        assert reached == [False, False, False, True, True]

    def test_is_independent_of_the_optimiser(self):
        model = classifier()
        pruner = Pruner(model, "accumulator", bits=4)
        train(model, 10, pruner, torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9))
        pruner.finish()
        assert max(widths(model)) <= 4


class TestRefuses:
    def test_unknown_strategies_and_options_before_anything_else(self):
        model = classifier()
        with pytest.raises(UnknownStrategyError):
            Pruner(model, "acumulator", bits=4)
        with pytest.raises(OptionError):
            Pruner(model, "accumulator", bit=4)
        assert not any(map(masks.on, model.modules()))

    @pytest.mark.parametrize("schedule", [Gradual(begin=1, end=9), Iterative(rounds=2, steps=3)])
    def test_a_strategy_that_cannot_go_gradually_where_it_would_have_to(self, schedule):
        @dataclass(frozen=True)
        class Whole:
            """All or nothing."""

            name: ClassVar[str] = "whole"

            def masks(self, problem):
                return {}

        model = classifier()
        with pytest.raises(ScheduleError, match=r"'whole' has no toward.*OneShot or Reselect"):
            Pruner(model, ["magnitude", Whole()], schedule=schedule)
        assert not any(map(masks.on, model.modules()))
        pruner = Pruner(model, Whole(), schedule=Iterative(rounds=1, steps=3))
        with pytest.raises(ScheduleError, match="'whole' has no toward"):
            pruner.select(0.5)

    def test_widths_that_a_sum_pool_exceeds_whatever_is_pruned(self):
        model = quantize(ConvNet(), 3, 2, X)
        with pytest.raises(InfeasibleError, match="masks do not narrow it") as caught:
            Pruner(model, "accumulator", bits=4)
        assert caught.value.needed_bits == 6  # 12 positions of a sum of two codes up to 3
        assert not any(map(masks.on, model.modules()))
        Pruner(model, Accumulator({"stem": 4, "body": 4, "body.2": 4, "head": 4}))


class TestLossesThatSalienciesSee:
    """Without samples a saliency sees the gradients of training itself."""

    def stepped(self, pruner, model, steps, start=0):
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        for step in range(start, start + steps):
            batch = slice(40 * (step % 6), 40 * (step % 6 + 1))
            optimizer.zero_grad()
            functional.cross_entropy(model(X[batch]), Y[batch]).backward()
            optimizer.step()
            yield {
                n: masks.unmasked(model.get_submodule(p)).grad.clone()
                for n, p in pruner._paths.items()
            }
            pruner.step()

    def test_they_are_of_the_last_batches_from_the_first_selection_on(self):
        model = classifier()
        pruner = Pruner(model, Structured(0.5, saliency="taylor"), schedule=Gradual(2, 30, 28))
        seen = list(self.stepped(pruner, model, 25))
        gradients = pruner._problem(pruner.masks).gradients["3"]
        assert np.array_equal(gradients, np.stack([g["3"].numpy() for g in seen[-20:]]))
        assert gradients.dtype == np.float64

    def test_half_of_the_neurons_go_and_the_accumulators_fit(self):
        model = classifier()
        chain = [Structured(0.5, saliency="taylor"), Accumulator(bits=5)]
        pruner = Pruner(model, chain, schedule=Gradual(2, 20, 6))
        for _ in self.stepped(pruner, model, 30):
            pass
        assert pruner.fits
        pruner.finish()
        network = shrink(freeze(model))
        assert [len(layer.codes) for layer in network.layers] == [12, 8, 4]
        assert analyze(network).accumulator_bits <= 5

    def test_accumulators_are_chosen_anew_within_the_neurons_that_are_left(self):
        model = classifier()
        chain = [Structured(0.5, saliency="taylor"), Accumulator(bits=4)]
        pruner = Pruner(model, chain, schedule=Gradual(2, 10, 4))
        for _ in self.stepped(pruner, model, 10):
            pass
        assert pruner.complete
        before, neurons = pruner.masks["0"], pruner.masks["0"].any(axis=1)
        with torch.no_grad():  # what was removed of the neurons that are left now matters most
            weight = masks.unmasked(model.get_submodule("0"))
            weight[torch.from_numpy(~before)] = 5.0
        for _ in self.stepped(pruner, model, 20, 10):
            pass
        assert pruner.fits
        after = pruner.masks["0"]
        assert (after & ~before).any()
        assert not after[~neurons].any()
        state = model.state_dict()
        twin = classifier()
        resumed = Pruner(twin, chain, schedule=Gradual(2, 10, 4))
        twin.load_state_dict(state)
        for _ in zip(
            self.stepped(pruner, model, 20, 30), self.stepped(resumed, twin, 20, 30), strict=True
        ):
            pass
        assert all((pruner.masks[n] == resumed.masks[n]).all() for n in pruner.masks)

    def test_a_copy_goes_on_as_the_original(self):
        model = classifier()
        pruner = Pruner(model, "structured", saliency="taylor", schedule=Gradual(2, 20, 6))
        for _ in self.stepped(pruner, model, 4):
            pass
        twin, other = copy.deepcopy((model, pruner))
        for _ in zip(
            self.stepped(pruner, model, 20, 4), self.stepped(other, twin, 20, 4), strict=True
        ):
            pass
        assert all((pruner.masks[n] == other.masks[n]).all() for n in pruner.masks)

    def test_where_there_are_none_the_error_says_what_to_do(self):
        model = classifier()
        pruner = Pruner(model, "structured", saliency="taylor")
        before = pruner.masks
        with pytest.raises(MissingDataError, match="between backward"):
            pruner.select()
        assert all((before[n] == m).all() for n, m in pruner.masks.items())
        assert not pruner.complete
