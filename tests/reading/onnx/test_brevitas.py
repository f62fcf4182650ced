"""Models of Brevitas, exported to QONNX and read back, are the networks that `freeze` gives."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("brevitas")
pytest.importorskip("onnxoptimizer")
sys.path.append(str(Path(__file__).parents[1] / "torch"))

import brevitas.nn as qnn  # noqa: E402
from brevitas.export import export_qonnx  # noqa: E402
from brevitas.quant import (  # noqa: E402
    Int8WeightPerTensorFloat,
    Int32Bias,
    ShiftedUint8ActPerTensorFloat,
    ShiftedUint8WeightPerTensorFloat,
    SignedBinaryActPerTensorConst,
    SignedBinaryWeightPerTensorConst,
)
from models import Residual, Signals, mlp, samples, seeded  # noqa: E402
from torch import nn  # noqa: E402

from secateur.reading.onnx import read_onnx  # noqa: E402
from secateur.reading.torch import freeze, quantize  # noqa: E402


def exported(model, shape, path):
    """The network that is read of the model's export."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        export_qonnx(model.eval(), torch.zeros(1, *shape), str(path))
    return read_onnx(path)


def assert_equal(model, shape, path):
    """The two networks have the same input and the same integers, for a thousand inputs."""
    frozen, read = freeze(model, input_shape=shape), exported(model, shape, path)
    ends = [[int(v.input.low), int(v.input.high)] for v in (frozen, read)]
    assert ends[0] == ends[1]
    assert frozen.input.scale == pytest.approx(read.input.scale, rel=1e-6)
    codes = np.random.default_rng(0).integers(ends[0][0], ends[0][1] + 1, (1000, *shape))
    np.testing.assert_array_equal(frozen(codes), read(codes))
    floats = [v.output.dequantize(v(codes)) for v in (frozen, read)]
    np.testing.assert_allclose(floats[0], floats[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "activation",
    [nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.Sigmoid, nn.Tanh, nn.Hardtanh],
)
@pytest.mark.parametrize("norm", [False, True])
def test_multilayer_perceptrons(activation, norm, tmp_path):
    x = samples(200, 12, low=-1.0)
    model = quantize(seeded(lambda: mlp(activation, 12, 24, 16, 5, norm=norm)), 4, 4, x)
    assert_equal(model, (12,), tmp_path / "model.onnx")


@pytest.mark.parametrize(("make", "shape"), [(Residual, (1, 8, 8)), (Signals, (2, 16))])
def test_convolutional_networks(make, shape, tmp_path):
    model = quantize(seeded(make), 4, 4, samples(50, *shape))
    if make is Residual:
        model.get_submodule("grouped").padding = (1, 1)  # torch 1.13 cannot export "same".
    assert_equal(model, shape, tmp_path / "model.onnx")


def test_zero_points_of_activations_and_weights(tmp_path):
    options = {"bit_width": 4, "act_quant": ShiftedUint8ActPerTensorFloat}
    layer = {"weight_bit_width": 4, "weight_quant": ShiftedUint8WeightPerTensorFloat}
    model = seeded(
        lambda: nn.Sequential(
            qnn.QuantIdentity(**options),
            qnn.QuantLinear(6, 8, **layer),
            qnn.QuantIdentity(**options),
            qnn.QuantLinear(8, 3, **layer),
        )
    )
    model.train()(samples(200, 6, low=-0.7))
    assert_equal(model, (6,), tmp_path / "model.onnx")


def test_biases_on_the_grid_of_their_accumulator(tmp_path):
    layer = {"weight_quant": Int8WeightPerTensorFloat, "bias_quant": Int32Bias, "bias": True}
    model = seeded(
        lambda: nn.Sequential(
            qnn.QuantIdentity(bit_width=4, return_quant_tensor=True),
            qnn.QuantLinear(6, 8, weight_bit_width=3, **layer),
            qnn.QuantReLU(bit_width=3, return_quant_tensor=True),
            qnn.QuantLinear(8, 3, weight_bit_width=3, **layer),
        )
    )
    model.train()(samples(200, 6, low=-0.7))
    assert_equal(model, (6,), tmp_path / "model.onnx")


def test_binary_networks(tmp_path):
    layer = {"weight_quant": SignedBinaryWeightPerTensorConst, "bias": False}
    model = seeded(
        lambda: nn.Sequential(
            qnn.QuantIdentity(bit_width=4),
            qnn.QuantLinear(6, 8, **layer),
            qnn.QuantIdentity(act_quant=SignedBinaryActPerTensorConst),
            qnn.QuantLinear(8, 3, **layer),
        )
    )
    model.train()(samples(200, 6, low=-0.7))
    assert_equal(model, (6,), tmp_path / "model.onnx")


class Adds(nn.Module):
    """A residual add of Brevitas's own."""

    def __init__(self):
        super().__init__()
        self.rounds = qnn.QuantIdentity(bit_width=4, return_quant_tensor=True)
        self.conv = qnn.QuantConv2d(2, 2, 3, padding=1, weight_bit_width=4, bias=False)
        self.add = qnn.QuantEltwiseAdd(bit_width=4, return_quant_tensor=True)
        self.head = qnn.QuantConv2d(2, 3, 1, weight_bit_width=4)

    def forward(self, x):
        x = self.rounds(x)
        y = self.add(x, self.conv(x))
        return self.head(y)


def test_residual_adds(tmp_path):
    model = seeded(Adds)
    model.train()(samples(50, 2, 6, 6, low=-1.0))
    assert_equal(model, (2, 6, 6), tmp_path / "model.onnx")
