"""What `quantize` makes of a module: where quantisers stand, what trains, what is refused."""

import copy
import subprocess
import sys

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from models import Residual, Signals, mlp, outputs, samples, seeded
from torch import nn
from torch.nn import functional

from secateur.errors import BitsError, NotFiniteError, ShapeError, UnsupportedModuleError
from secateur.network import Lookup
from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.quantizers import _least_error_scale


def quantizers(model):
    return [name for name, m in model.named_modules() if isinstance(m, qnn.QuantIdentity)]


def is_signed(model, name):
    return model.get_submodule(name).act_quant.is_signed


class TestQuantisers:
    def test_stand_before_every_layer_and_nowhere_else(self):
        module = nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(), nn.Linear(8, 3)
        )
        assert quantizers(quantize(module, calibration=samples(20, 6))) == [
            "input_quant",
            "2_quant",
        ]

    def test_follow_sums_and_averages(self):
        model = quantize(Signals(), calibration=samples(20, 2, 16))
        assert sorted(quantizers(model)) == [
            "features.1_quant",
            "features.2_quant",
            "features.4_quant",
            "input_quant",
            "mean_quant",
        ]

    def test_are_shared_by_what_is_joined(self):
        model = quantize(seeded(Residual), calibration=samples(20, 1, 8, 8, high=16.0))
        assert {"add_quant", "cat_quant"} <= set(quantizers(model))
        calls = [n.target for n in model.graph.nodes if n.op == "call_module"]
        assert calls.count("add_quant") == calls.count("cat_quant") == 2

    def test_join_codes_of_one_scale_without_another(self):
        class Doubles(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

            def forward(self, x):
                y = functional.max_pool1d(torch.relu(self.a(x)).unsqueeze(1), 1)
                return self.b((y + y).flatten(1))

        names = quantizers(quantize(Doubles(), calibration=samples(20, 4)))
        assert names == ["input_quant", "relu_quant", "add_quant"]

    @pytest.mark.parametrize(
        ("activation", "signed"), [(nn.ReLU, False), (nn.Sigmoid, False), (nn.Tanh, True)]
    )
    def test_have_signed_codes_where_values_can_be_negative(self, activation, signed):
        model = quantize(mlp(activation, 6, 8, 3), calibration=samples(20, 6))
        assert is_signed(model, "1_quant") == signed

    @pytest.mark.parametrize("low", [0.0, -1.0])
    def test_of_the_input_follow_the_calibration(self, low):
        model = quantize(mlp(nn.ReLU, 6, 8, 3), calibration=samples(20, 6, low=low))
        assert is_signed(model, "input_quant") == (low < 0)

    def test_start_at_the_least_squared_error(self):
        x = samples(2000, 1)
        model = quantize(nn.Linear(1, 1), 3, 2, x)
        scale = float(model.input_quant.act_quant.scale())

        def error(s):
            return float(((x / s).round().clamp(0, 3) * s - x).square().sum())

        assert error(scale) <= min(error(s) for s in np.linspace(0.1, 0.5, 40)) * 1.02


class TestTheModel:
    def test_computes_nearly_what_the_module_does_at_many_bits(self):
        x = samples(200, 6, low=-1.0)
        module = seeded(mlp, nn.ELU, 6, 16, 16, 3)
        model = quantize(module, 10, 10, x)
        assert np.abs(outputs(model, x) - outputs(module, x)).max() < 0.01

    def test_leaves_the_module_alone(self):
        module = seeded(Residual)
        before = copy.deepcopy(module.state_dict())
        quantize(module, calibration=samples(20, 1, 8, 8))
        assert type(module.first) is nn.Conv2d
        assert all((before[k] == v).all() for k, v in module.state_dict().items())

    @pytest.mark.parametrize("training", [True, False])
    def test_keeps_the_mode(self, training):
        module = mlp(nn.ReLU, 6, 8, 3).train(training)
        assert quantize(module, calibration=samples(20, 6)).training == training

    def test_trains_weights_biases_and_scales(self):
        x = samples(20, 6)
        model = quantize(seeded(mlp, nn.ReLU, 6, 8, 3), calibration=x)
        model(x).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())

    def test_swaps_a_max_pool_with_the_activation_after_it(self):
        def make(*middle):
            return nn.Sequential(nn.Conv2d(1, 2, 3), *middle, nn.Flatten(), nn.Linear(18, 2))

        x = samples(20, 1, 8, 8)
        pooled_first = quantize(seeded(make, nn.MaxPool2d(2), nn.ReLU()), calibration=x)
        activated_first = quantize(seeded(make, nn.ReLU(), nn.MaxPool2d(2)), calibration=x)
        assert len([o for o in freeze(pooled_first).operations if isinstance(o, Lookup)]) == 1
        assert (outputs(pooled_first, x) == outputs(activated_first, x)).all()

    def test_pools_before_an_activation_that_falls_somewhere(self):
        module = nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.GELU(), nn.Flatten(), nn.Linear(18, 2)
        )
        model = quantize(module, calibration=samples(20, 1, 8, 8))
        assert quantizers(model) == ["input_quant", "0_quant", "2_quant"]

    def test_drops_out_in_training_only_even_by_function(self):
        class Drops(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(6, 64), nn.Linear(64, 3)

            def forward(self, x):
                return self.b(functional.dropout(self.a(x).relu(), 0.5, self.training))

        x = samples(20, 6)
        model = quantize(Drops(), calibration=x)
        assert (outputs(model, x) == outputs(model, x)).all()
        assert (model(x) != model(x)).any()

    def test_saves_and_restores_its_state(self):
        x = samples(50, 6)
        model = quantize(seeded(mlp, nn.ReLU, 6, 8, 3), calibration=x)
        other = quantize(mlp(nn.ReLU, 6, 8, 3), calibration=samples(50, 6, seed=1))
        other.load_state_dict(model.state_dict())
        assert (outputs(other, x) == outputs(model, x)).all()

    def test_survives_copying(self):
        x = samples(50, 6)
        model = quantize(seeded(mlp, nn.ReLU, 6, 8, 3), calibration=x)
        assert (freeze(copy.deepcopy(model)).predict(x) == freeze(model).predict(x)).all()

    def test_built_with_brevitas_learns_its_input_shape(self):
        module = nn.Sequential(qnn.QuantIdentity(), qnn.QuantLinear(6, 3))
        model = quantize(module, calibration=samples(20, 6))
        assert freeze(model).input.shape == (6,)
        assert quantizers(model) == ["0"]


class TestModelsOfEveryHabit:
    """What people write in their modules: supported where its meaning is clear."""

    @staticmethod
    def check(module, x, bits=8):
        model = quantize(module, bits, bits, x)
        network = freeze(model)
        assert abs(network.predict(x) - outputs(model, x)).max() < 1e-3
        return model, network

    def test_doubles(self):
        x = samples(50, 6, low=-1.0).double()
        model, _ = self.check(seeded(mlp, nn.ReLU, 6, 8, 3).double(), x)
        assert {p.dtype for p in model.parameters()} == {torch.float64}

    def test_arguments_with_a_default(self):
        class Masks(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(6, 3)

            def forward(self, x, mask=None, *, scale=2.0, plain=True):
                x = self.layer(x) * scale
                return x if mask is None and plain else x * mask

        self.check(seeded(Masks), samples(50, 6))

    def test_lazy_layers(self):
        module = nn.Sequential(nn.LazyLinear(8), nn.ReLU(), nn.LazyLinear(3))
        self.check(module, samples(50, 6))
        assert isinstance(module[0], nn.LazyLinear)

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        "reparametrize",
        [nn.utils.weight_norm, nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm],
    )
    def test_weights_that_are_computed(self, reparametrize):
        x = samples(50, 6)
        layer = reparametrize(seeded(nn.Linear, 6, 3))
        layer(x)
        model, _ = self.check(nn.Sequential(layer), x)
        assert np.abs(outputs(model, x) - outputs(layer, x)).max() < 0.05

    def test_slopes_of_each_channel(self):
        prelu = nn.PReLU(3)
        with torch.no_grad():
            prelu.weight.copy_(torch.tensor([0.1, -0.5, 1.5]))
        for layer, x in (
            (nn.Linear(6, 3), samples(50, 6, low=-1.0)),
            (nn.Conv1d(2, 3, 2), samples(50, 2, 2, low=-1.0)),
        ):
            self.check(nn.Sequential(layer, prelu, nn.Flatten(), nn.Linear(3, 2)), x)

    @pytest.mark.parametrize(
        ("last", "tail"),
        [(nn.Softmax(1), "softmax"), (nn.Softmax(-1), "softmax"), (nn.Sigmoid(), "sigmoid")],
    )
    def test_a_tail_that_makes_probabilities(self, last, tail):
        x = samples(50, 6)
        model = quantize(nn.Sequential(seeded(nn.Linear, 6, 3), last), 8, 8, x)
        network = freeze(model)
        assert network.output.tail == tail
        chances = network.output.probabilities(network.predict(x))
        assert chances == pytest.approx(outputs(model, x), abs=1e-5)

    def test_a_softmax_in_the_middle(self):
        module = nn.Sequential(nn.Linear(6, 3), nn.Softmax(1), nn.Linear(3, 2))
        with pytest.raises(UnsupportedModuleError, match="'1': a softmax is understood at the end"):
            quantize(module, calibration=samples(20, 6))

    @pytest.mark.parametrize("last", [nn.ReLU(), nn.PReLU(3)])
    def test_a_last_activation_is_refused_at_once(self, last):
        module = nn.Sequential(nn.Linear(6, 3), last)
        with pytest.raises(UnsupportedModuleError, match="'1': ends the model in an activation"):
            quantize(module, calibration=samples(20, 6))

    def test_scripts(self):
        with pytest.raises(UnsupportedModuleError, match=r"the one that torch\.jit\.script was"):
            quantize(torch.jit.script(mlp(nn.ReLU, 6, 3)), calibration=samples(20, 6))
        inner = nn.Sequential(torch.jit.script(nn.Linear(6, 3)))
        with pytest.raises(UnsupportedModuleError, match=r"'0': .*scripted module"):
            quantize(inner, calibration=samples(20, 6))


class TestCalibration:
    @pytest.mark.parametrize("level", [0.0, 1e-18])
    def test_layers_that_are_dead_get_a_sane_scale_and_a_warning(self, level):
        module = seeded(mlp, nn.ReLU, 6, 8, 3)
        with torch.no_grad():
            module[0].weight.fill_(0.0)
            module[0].bias.fill_(level)
        with pytest.warns(UserWarning, match="layer '1_quant': all values are 0"):
            model = quantize(module, calibration=samples(20, 6))
        assert float(model.get_submodule("1_quant").act_quant.scale()) == pytest.approx(1 / 3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(3):
            optimizer.zero_grad()
            model(samples(20, 6)).square().sum().backward()
            optimizer.step()
        assert all(p.isfinite().all() for p in model.parameters())

    def test_features_that_are_lost_are_told(self):
        x = samples(50, 6) * torch.tensor([1.0, 1.0, 1e-3, 1.0, 1e-3, 0.0])
        with pytest.warns(UserWarning, match="2 of 6 features are always read as 0; feature 2"):
            quantize(mlp(nn.ReLU, 6, 8, 3), calibration=x)

    @pytest.mark.parametrize("bits", [1, 2, 4, 8])
    @pytest.mark.parametrize("signed", [True, False])
    def test_scales_are_as_good_as_those_of_a_full_search(self, bits, signed):
        rows = torch.randn(64, 4608, generator=torch.Generator().manual_seed(0))
        rows[::2] = rows[::2] ** 3
        rows = rows if signed else rows.abs()
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
        widest = rows.abs().amax(1) / max(-low, high)

        def error(scale):
            codes = (rows / scale[:, None]).round().clamp(low, high)
            return (codes * scale[:, None] - rows).square().sum(1)

        least = torch.stack([error(widest * (1 - k / 64)) for k in range(64)]).amin(0)
        found = error(_least_error_scale(rows, low, high))
        assert float(found.sum()) <= 1.001 * float(least.sum())


class TestRefuses:
    @pytest.mark.parametrize("argument", ["weight_bits", "activation_bits", "input_bits"])
    @pytest.mark.parametrize("bits", [0, 17, 2.5])
    def test_bits_outside_1_to_16(self, argument, bits):
        with pytest.raises(BitsError, match=f"{argument} is {bits}") as caught:
            quantize(mlp(nn.ReLU, 6, 8, 3), calibration=samples(20, 6), **{argument: bits})
        assert (caught.value.argument, caught.value.highest) == (argument, 16)

    @pytest.mark.parametrize("calibration", [np.zeros((0, 6)), np.zeros(6), None])
    def test_no_calibration_samples(self, calibration):
        with pytest.raises(ShapeError, match="calibration has shape"):
            quantize(mlp(nn.ReLU, 6, 8, 3), calibration=calibration)

    def test_calibration_of_another_shape(self):
        with pytest.raises(ShapeError, match=r"samples of shape \(5,\)"):
            quantize(mlp(nn.ReLU, 6, 8, 3), calibration=samples(20, 5))

    def test_nan(self):
        module = mlp(nn.ReLU, 6, 8, 3)
        with pytest.raises(NotFiniteError, match="calibration holds NaN"):
            quantize(module, calibration=np.full((20, 6), np.nan))
        with torch.no_grad():
            module[2].weight[1, 4] = torch.nan
        with pytest.raises(NotFiniteError, match="layer '2', channel 1") as caught:
            quantize(module, calibration=samples(20, 6))
        assert (caught.value.layer, caught.value.channel) == ("2", 1)

    @pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
    def test_empty_layers(self):
        module = nn.Sequential(nn.Linear(6, 0), nn.ReLU(), nn.Linear(0, 3))
        with pytest.raises(ShapeError, match="layer '0': its weight has shape"):
            quantize(module, calibration=samples(20, 6))

    def test_modules_that_no_network_has(self):
        class Recurs(nn.Module):
            def __init__(self):
                super().__init__()
                self.cell = nn.ModuleDict({"gru": nn.GRU(6, 3, batch_first=True)})

            def forward(self, x):
                return self.cell["gru"](x)[0]

        with pytest.raises(UnsupportedModuleError, match=r"'cell\.gru'") as caught:
            quantize(Recurs(), calibration=samples(20, 4, 6))
        assert caught.value.layer == "cell.gru"


def test_torch_does_not_warn_of_the_tensors_that_brevitas_names():
    code = (
        "import warnings, torch; warnings.simplefilter('error');"
        "from torch import nn; import secateur; x = torch.rand(9, 3);"
        "model = secateur.quantize(nn.Sequential(nn.Linear(3, 2)), calibration=x);"
        "model(x); secateur.freeze(model)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
