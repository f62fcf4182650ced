"""A frozen network computes the integers of its Brevitas model."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import (
    Int8ActPerTensorFloat,
    Int8WeightPerChannelFloat,
    Int8WeightPerTensorFloat,
    Int16Bias,
    Int32Bias,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
)
from brevitas.quant.binary import (
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
)
from brevitas.quant.float import Fp8e4m3WeightPerTensorFloat
from brevitas.quant.scaled_int import Int8AccumulatorAwareZeroCenterWeightQuant
from models import Residual, Signals, disagreement, mlp, outputs, samples, seeded
from torch import nn
from torch.nn import functional
from torch.nn.utils import prune

from secateur.errors import NotFiniteError, ShapeError, UnfinishedModelError, UnsupportedModuleError
from secateur.network import Conv, Linear, Lookup
from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.quantizers import activation_quantizer

#: Float32 in the model, float64 in the tables: a value half way between two codes may round
#: either way. Measured on MLPs with batch norm: 2 codes in 10^6, all of them at 8 bits, and
#: none of 60,000 classes.
TIES = 1e-4

ACTIVATIONS = [
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    lambda: nn.PReLU(num_parameters=1, init=0.1),
    nn.RReLU,
    nn.ELU,
    nn.CELU,
    nn.SELU,
    nn.GELU,
    lambda: nn.GELU(approximate="tanh"),
    nn.SiLU,
    nn.Mish,
    nn.Sigmoid,
    nn.LogSigmoid,
    lambda: nn.Softplus(beta=2.0),
    nn.Softsign,
    nn.Tanh,
    lambda: nn.Hardtanh(-0.5, 0.75),
    nn.Hardsigmoid,
    nn.Hardswish,
]


def assert_same(model, network, x):
    """The network gives the model's classes, and its floats but for ties."""
    expected, found = outputs(model, x), network.predict(x.numpy())
    assert (expected.argmax(1) == found.argmax(1)).all()
    off = np.abs(expected - found) > 1e-4 * np.abs(expected).max()
    assert off.mean() <= TIES


class TestAgreement:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_every_activation(self, activation):
        x = samples(400, 12, low=-1.0)
        model = quantize(seeded(mlp, activation, 12, 24, 16, 5), 4, 4, x)
        network = freeze(model)
        assert_same(model, network, x)
        assert disagreement(model, network, x) <= TIES

    def test_batch_norm_and_dropout(self):
        x = samples(400, 12)
        layers = [nn.Linear(12, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Dropout()]
        model = quantize(
            seeded(nn.Sequential, *layers, nn.Linear(24, 5), nn.BatchNorm1d(5)), calibration=x
        )
        network = freeze(model)
        assert_same(model, network, x)
        assert disagreement(model, network, x) <= TIES

    @pytest.mark.parametrize(
        ("make", "x"),
        [
            (Residual, samples(100, 1, 8, 8, high=16.0)),
            (Signals, samples(200, 2, 16, low=-1.0)),
        ],
        ids=["Residual", "Signals"],
    )
    def test_conv_nets(self, make, x):
        model = quantize(seeded(make), calibration=x)
        network = freeze(model)
        assert_same(model, network, x)
        assert disagreement(model, network, x) <= TIES

    @pytest.mark.parametrize(
        "pool",
        [
            nn.MaxPool2d(2),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.AvgPool2d(3, stride=1, padding=1),
            nn.AvgPool2d(2, divisor_override=1),
            nn.AdaptiveAvgPool2d(1),
            nn.AdaptiveAvgPool2d((3, None)),
            nn.AdaptiveMaxPool2d(2),
        ],
        ids=str,
    )
    def test_pooling(self, pool):
        x = samples(60, 1, 8, 8)
        features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), pool, nn.Flatten())
        with torch.no_grad():
            fan_in = features(x).shape[1]
        model = quantize(seeded(nn.Sequential, features, nn.Linear(fan_in, 4)), calibration=x)
        assert_same(model, freeze(model), x)

    def test_whatever_moves_values_about(self):
        class Moves(nn.Module):
            def __init__(self):
                super().__init__()
                self.a, self.b = nn.Linear(12, 8), nn.Linear(8, 3)

            def forward(self, x):
                y = torch.clamp(self.a(x.reshape(x.size(0), -1)), min=0.0)
                y = -functional.dropout(y, training=self.training) * 2 + 1
                y = y.view(-1, 2, 4).permute(0, 2, 1).unsqueeze(1).squeeze(1)
                return self.b(torch.abs(y).swapaxes(1, 2).flatten(1)) / 3 - 0.5

        x = samples(200, 3, 4)
        model = quantize(seeded(Moves), 4, 4, x)
        assert_same(model, freeze(model), x)

    def test_float_channels_of_different_scale_are_flattened(self):
        x = samples(100, 1, 4, 4)
        model = quantize(
            seeded(
                nn.Sequential,
                nn.Conv2d(1, 3, 3),
                nn.BatchNorm2d(3),
                nn.Flatten(),
                nn.Tanh(),
                nn.Linear(12, 3),
            ),
            calibration=x,
        )
        assert_same(model, freeze(model), x)


class TestBrevitasModels:
    @staticmethod
    def settled(model, x):
        """The model once its activation quantisers have seen data."""
        model.train()
        for _ in range(5):
            model(x)
        return model.eval()

    @pytest.mark.parametrize(
        "layers",
        [
            lambda: (
                qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
                qnn.QuantLinear(10, 8, weight_bit_width=3, bias_quant=Int32Bias),
                qnn.QuantReLU(bit_width=3, return_quant_tensor=True),
                qnn.QuantLinear(
                    8,
                    4,
                    weight_quant=Int8WeightPerChannelFloat,
                    weight_bit_width=4,
                    bias_quant=Int16Bias,
                ),
            ),
            lambda: (
                qnn.QuantIdentity(act_quant=ShiftedUint8ActPerTensorFloat, bit_width=4),
                qnn.QuantLinear(
                    10,
                    8,
                    weight_bit_width=1,
                    weight_quant=Int8WeightPerTensorFloat,
                    weight_narrow_range=False,
                ),
                qnn.QuantTanh(bit_width=3),
                qnn.QuantLinear(
                    8, 8, weight_bit_width=3, output_quant=Int8ActPerTensorFloat, output_bit_width=3
                ),
                qnn.QuantHardTanh(min_val=-1.0, max_val=1.0, bit_width=3),
                qnn.QuantLinear(
                    8, 4, weight_quant=ShiftedUint8WeightPerTensorFloat, weight_bit_width=3
                ),
            ),
            lambda: (
                qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
                qnn.QuantLinear(
                    10,
                    8,
                    weight_quant=Int8AccumulatorAwareZeroCenterWeightQuant,
                    weight_bit_width=3,
                    weight_accumulator_bit_width=8,
                ),
                qnn.QuantReLU(bit_width=3, return_quant_tensor=True),
                qnn.QuantLinear(8, 4, weight_bit_width=4),
            ),
        ],
        ids=["integer-bias", "zero-points", "a2q+"],
    )
    def test_are_taken_as_they_are(self, layers):
        x = samples(400, 10, low=-1.0)
        torch.manual_seed(0)
        model = self.settled(nn.Sequential(*layers()), x)
        assert_same(model, freeze(model, input_shape=(10,)), x)

    def test_residual_add(self):
        class Adds(nn.Module):
            def __init__(self):
                super().__init__()
                self.rounds = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
                self.layer = qnn.QuantLinear(10, 10, weight_bit_width=4)
                self.add = qnn.QuantEltwiseAdd(input_bit_width=3, output_bit_width=4)
                self.head = qnn.QuantLinear(10, 3, weight_bit_width=3)

            def forward(self, x):
                x = self.rounds(x)
                return self.head(self.add(self.layer(x), x))

        x = samples(400, 10, low=-1.0)
        torch.manual_seed(0)
        model = self.settled(Adds(), x)
        assert_same(model, freeze(model, input_shape=(10,)), x)

    @pytest.mark.parametrize("way", ["FLOOR", "CEIL", "ROUND_TO_ZERO", "ROUND"])
    @pytest.mark.parametrize("kind", [Int8ActPerTensorFloat, ShiftedUint8ActPerTensorFloat])
    def test_every_rounding_of_activations(self, kind, way):
        x = samples(2000, 10, low=-1.0)
        torch.manual_seed(0)
        layers = (
            qnn.QuantIdentity(bit_width=8),
            qnn.QuantLinear(10, 8, weight_bit_width=8),
            qnn.QuantIdentity(act_quant=kind, bit_width=3, float_to_int_impl_type=way),
            qnn.QuantLinear(8, 4, weight_bit_width=3),
        )
        model = self.settled(nn.Sequential(*layers), x)
        network = freeze(model, input_shape=(10,))
        assert (outputs(model, x).argmax(1) == network.predict(x).argmax(1)).mean() > 0.999
        assert disagreement(model, network, x) <= TIES

    def test_binary_activations_and_weights(self):
        x = samples(400, 10, low=-1.0)
        torch.manual_seed(0)
        layers = (
            qnn.QuantIdentity(bit_width=8),
            qnn.QuantLinear(10, 8, weight_quant=SignedBinaryWeightPerTensorConst),
            qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
            qnn.QuantLinear(8, 4, weight_bit_width=3),
        )
        model = self.settled(nn.Sequential(*layers), x)
        network = freeze(model, input_shape=(10,))
        assert set(network["1"].codes.ravel().tolist()) == {-1, 1}
        assert set(network.nodes(network.quantize_input(x))["2"].ravel().tolist()) == {-1, 1}
        assert_same(model, network, x)

    def test_input_shape_is_asked_for(self):
        model = nn.Sequential(qnn.QuantIdentity(), qnn.QuantLinear(3, 2))
        with pytest.raises(UnfinishedModelError, match="input_shape="):
            freeze(model)


class TestTheNetwork:
    def test_bears_the_names_of_the_modules(self):
        model = quantize(seeded(Signals), calibration=samples(20, 2, 16))
        assert [o.name for o in freeze(model).operations] == [
            "features.0",
            "features.1",
            "features.2",
            "features.2_quant",
            "features.3",
            "features.4",
            "mean",
            "mean.2",
            "mean_quant",
            "head",
        ]

    def test_has_codes_of_the_widths_asked_for(self):
        x = samples(50, 6, low=-1.0)
        model = quantize(seeded(mlp, nn.Tanh, 6, 8, 8, 3), 4, 3, x, input_bits=5)
        network = freeze(model)
        assert (int(network.input.low), int(network.input.high)) == (-16, 15)
        tables = [o.table for o in network.operations if isinstance(o, Lookup)]
        assert [(t.quantize.low, t.quantize.high) for t in tables] == [(-4, 3), (-4, 3)]
        for layer in network.layers:
            assert layer.codes.dtype == np.int8
            assert np.abs(layer.codes).max() <= 7
            assert layer.bias is None

    def test_wide_codes_get_a_wider_type(self):
        model = quantize(mlp(nn.ReLU, 6, 8, 3), 12, 3, samples(50, 6))
        assert {layer.codes.dtype for layer in freeze(model).layers} == {np.dtype(np.int16)}

    def test_one_bit_weights_are_zero_or_minus_one(self):
        network = freeze(quantize(seeded(mlp, nn.ReLU, 6, 8, 3), 1, 1, samples(50, 6)))
        codes = np.concatenate([layer.codes.ravel() for layer in network.layers])
        assert set(codes.tolist()) == {-1, 0}

    def test_shared_layers_become_two(self):
        network = freeze(quantize(seeded(Residual), calibration=samples(20, 1, 8, 8)))
        first, again = network["first"], network["first.2"]
        assert (first.codes == again.codes).all()

    def test_geometry_of_a_convolution(self):
        conv = nn.Conv2d(2, 4, (2, 3), stride=(1, 2), padding="valid", dilation=(2, 1), groups=2)
        same = nn.Conv2d(4, 2, (4, 3), padding="same")
        module = nn.Sequential(conv, nn.ReLU(), same, nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        x = samples(30, 2, 6, 5)
        model = quantize(seeded(lambda: module), calibration=x)
        network = freeze(model)
        first, second = (o for o in network.operations if isinstance(o, Conv))
        assert (first.stride, first.dilation, first.groups) == ((1, 2), (2, 1), 2)
        assert first.padding == ((0, 0), (0, 0))
        assert second.padding == ((1, 2), (1, 1))
        assert_same(model, network, x)

    def test_model_is_left_in_its_mode(self):
        model = quantize(mlp(nn.ReLU, 6, 8, 3), calibration=samples(50, 6))
        model.get_submodule("0").eval()
        freeze(model)
        assert model.training
        assert not model.get_submodule("0").training

    def test_sums_of_scales_in_the_ratio_of_small_integers(self):
        x = samples(400, 4, low=-1.0)
        model = seeded(Adds, qnn.QuantIdentity(bit_width=3))
        network = freeze(model.eval(), input_shape=(4,))
        assert "add.times2" in [o.name for o in network.operations]
        assert_same(model, network, x)

    def test_factor_before_the_first_quantiser_belongs_to_the_input(self):
        class Scaled(nn.Module):
            def __init__(self):
                super().__init__()
                self.fc = nn.Linear(4, 3)

            def forward(self, x):
                return self.fc(x / 255)

        x = samples(50, 4, high=255.0)
        model = quantize(Scaled(), 4, 4, x)
        network = freeze(model)
        assert [type(o) for o in network.operations] == [Linear]
        assert_same(model, network, x)


class Adds(nn.Module):
    """Adds codes of two bits, and what `rounds` makes of the layer that reads them."""

    def __init__(self, rounds):
        super().__init__()
        self.a, self.b = qnn.QuantIdentity(bit_width=2), rounds
        self.layer = qnn.QuantLinear(4, 4)

    def forward(self, x):
        x = self.a(x)
        return self.layer(x + self.b(self.layer(x)))


class TestRefuses:
    """What cannot become a network is refused by the name of the layer."""

    @staticmethod
    def refuse(model, match, shape=(4,)):
        model.eval()
        with pytest.raises(UnsupportedModuleError, match=match) as caught:
            freeze(model, input_shape=shape)
        return caught.value

    def test_unknown_modules(self):
        model = nn.Sequential(qnn.QuantIdentity(), nn.Softmin(1))
        error = self.refuse(model, "layer '1': no network has the module Softmin")
        assert (error.layer, error.operation) == ("1", "Softmin")
        assert "Linear" in error.supported

    def test_unknown_operations(self):
        class Cubes(nn.Module):
            def forward(self, x):
                return x**3

        assert self.refuse(Cubes(), "only the square").operation == "pow"

    def test_float_layers(self):
        model = nn.Sequential(qnn.QuantIdentity(), nn.Linear(4, 2))
        assert self.refuse(model, "'1': Linear has float weights").layer == "1"

    def test_an_input_that_is_not_quantised(self):
        error = self.refuse(nn.Sequential(qnn.QuantLinear(4, 2)), "'0': its input 'input' has not")
        assert error.layer == "0"

    def test_an_activation_that_is_not_quantised(self):
        model = nn.Sequential(
            qnn.QuantIdentity(), qnn.QuantLinear(4, 4), nn.ReLU(), qnn.QuantLinear(4, 2)
        )
        assert self.refuse(model, "'3': its input '1' has not").layer == "3"

    def test_a_last_activation(self):
        model = nn.Sequential(qnn.QuantIdentity(), qnn.QuantLinear(4, 4), nn.Tanh())
        assert self.refuse(model, "'2': the model ends in an activation").layer == "2"

    def test_sums_of_different_scales(self):
        rounds = activation_quantizer(torch.linspace(-1, 1, 50) * 0.7321, 3, signed=True)
        assert self.refuse(Adds(rounds), "'add': adds codes of scales").layer == "add"

    def test_more_than_one_output(self):
        class Twins(nn.Module):
            def forward(self, x):
                return x, x

        self.refuse(Twins(), "not one tensor")

    def test_control_flow(self):
        class Branches(nn.Module):
            def forward(self, x):
                return x if x.sum() > 0 else -x

        assert self.refuse(Branches(), "cannot be traced").operation == "Branches"

    @pytest.mark.parametrize(
        ("layer", "match"),
        [
            (nn.MaxPool2d(2, ceil_mode=True), "ceil_mode=True"),
            (nn.MaxPool2d(2, dilation=2), "dilation=2"),
            (nn.AvgPool2d(3, padding=1, count_include_pad=False), "no common divisor"),
            (nn.AdaptiveAvgPool2d(3), "does not split evenly"),
            (nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular"), "padding_mode='circular'"),
            (nn.BatchNorm2d(1, track_running_stats=False), "without running statistics"),
        ],
        ids=str,
    )
    def test_settings_without_an_integer_counterpart(self, layer, match):
        model = nn.Sequential(qnn.QuantIdentity(), layer)
        assert self.refuse(model, match, (1, 8, 8)).layer

    def test_activation_scales_per_channel(self):
        rounds = qnn.QuantIdentity(
            scaling_per_output_channel=True,
            per_channel_broadcastable_shape=(1, 4),
            scaling_stats_permute_dims=(1, 0),
        )
        self.refuse(nn.Sequential(rounds), "no single integer grid")

    @pytest.mark.parametrize(
        ("options", "match"),
        [
            ({"quant_type": "ternary", "threshold": 0.7}, "TernaryQuant"),
            ({"float_to_int_impl_type": "stochastic_round"}, "StochasticRound"),
            ({"quant_delay_steps": 10}, "nothing else"),
        ],
    )
    def test_activation_quantisers_of_other_kinds(self, options, match):
        rounds = qnn.QuantIdentity(
            act_quant=Int8ActPerTensorFloat,
            bit_width=2,
            scaling_impl_type="const",
            scaling_init=1.0,
            **options,
        )
        error = self.refuse(nn.Sequential(qnn.QuantIdentity(), rounds), match)
        assert error.layer == "1"

    @pytest.mark.parametrize("scale", [torch.nan, torch.inf, -torch.inf])
    def test_activation_scales_that_are_no_numbers(self, scale):
        model = quantize(mlp(nn.ReLU, 4, 8, 2), calibration=samples(20, 4))
        scaling = model.get_submodule("1_quant").act_quant.fused_activation_quant_proxy
        with torch.no_grad():
            scaling.tensor_quant.scaling_impl.value.fill_(scale)
        with pytest.raises(NotFiniteError, match="layer '1_quant': the scale") as caught:
            freeze(model)
        assert (caught.value.argument, caught.value.layer) == ("scale", "1_quant")

    def test_weights_that_are_no_multiples_of_their_scale(self):
        layer = qnn.QuantLinear(4, 2, weight_quant=Fp8e4m3WeightPerTensorFloat)
        with torch.no_grad():
            layer.weight.copy_(torch.tensor([[1.0, 0.3, 1e-4, 1e-4]]))
        self.refuse(nn.Sequential(qnn.QuantIdentity(), layer), "layer '1'")

    @pytest.mark.parametrize("when", ["before", "after"])
    def test_hooks_that_change_values(self, when):
        model = nn.Sequential(qnn.QuantIdentity(), qnn.QuantLinear(4, 4), nn.ReLU())
        if when == "before":
            model[2].register_forward_pre_hook(lambda module, args: (args[0] + 1,))
        else:
            model[2].register_forward_hook(lambda module, args, result: result + 1)
        assert self.refuse(model, "'2': a hook on it changes").layer == "2"
        for hooks in (model[2]._forward_hooks, model[2]._forward_pre_hooks):
            hooks.clear()
        model.register_forward_hook(lambda module, args, result: result + 1)
        self.refuse(model, "hooks on the whole model")

    def test_hooks_that_only_look(self):
        seen = []
        model = nn.Sequential(qnn.QuantIdentity(), qnn.QuantLinear(4, 4))
        model[1].register_forward_hook(lambda module, args, result: seen.append(result.shape))
        freeze(model.eval(), input_shape=(4,))
        assert seen

    def test_an_input_shape_that_the_model_does_not_take(self):
        model = nn.Sequential(qnn.QuantIdentity(), qnn.QuantLinear(4, 2))
        with pytest.raises(ShapeError, match=r"samples of shape \(5,\)"):
            freeze(model, input_shape=(5,))

    @pytest.mark.parametrize(
        ("layer", "tensor"), [("0", "weight"), ("0", "bias"), ("1", "running_var"), ("1", "bias")]
    )
    def test_nan(self, layer, tensor):
        x = samples(20, 4)
        model = quantize(mlp(nn.ReLU, 4, 8, 2, norm=True), calibration=x)
        with torch.no_grad():
            getattr(model.get_submodule(layer), tensor)[3] = torch.nan
        with pytest.raises(NotFiniteError, match=f"layer '{layer}', channel 3") as caught:
            freeze(model)
        assert (caught.value.layer, caught.value.channel) == (layer, 3)

    def test_masks_that_are_still_selected(self):
        model = quantize(mlp(nn.ReLU, 4, 8, 2), calibration=samples(20, 4))
        prune.identity(model.get_submodule("2"), "weight")
        with pytest.raises(UnfinishedModelError, match="layer '2' is being pruned"):
            freeze(model)
