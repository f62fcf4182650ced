"""Coarse accumulators: training sees what lookups will see, and frozen tables can be rounded."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from networks import inputs
from secateur import Pruner, analyze, coarsen, freeze, narrow, quantize
from secateur.errors import BitsError, UnknownLayerError
from secateur.narrowing import harmless_roundings
from secateur.pruning.schedule import Gradual, Iterative, OneShot, Reselect
from secateur.training import fit

WIDTHS = {"0": 6, "3": 5, "6": 7}


def perceptron(norm=True):
    torch.manual_seed(0)
    norms = (nn.BatchNorm1d(12), nn.BatchNorm1d(8)) if norm else (nn.Identity(), nn.Identity())
    return nn.Sequential(
        *(nn.Linear(16, 12), norms[0], nn.ReLU()),
        *(nn.Linear(12, 8), norms[1], nn.ReLU()),
        nn.Linear(8, 3),
    )


def data():
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(160, 16, generator=generator)
    return x, (x[:, :3] + x[:, 3:6]).argmax(1)


def trained(module, bits, widths=WIDTHS, schedule=None, x=None, y=None, epochs=6):
    if x is None:
        x, y = data()
    model = coarsen(quantize(module, 3, 2, x), bits, widths)
    pruner = Pruner(model, "accumulator", bits=widths, schedule=schedule or Reselect(5))
    fit(model, x, y, epochs=epochs, batch_size=32, pruner=pruner, progress=False)
    pruner.finish()
    fit(model, x, y, epochs=2, batch_size=32, progress=False)
    return model, x


def roundings(network):
    found = {}
    for rounding in harmless_roundings(narrow(network)):
        if rounding.width <= WIDTHS.get(rounding.source, 16):
            found[rounding.source] = rounding.bits
    return found


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize(
    "schedule", [Reselect(5), OneShot(3), Iterative(2, 5), Gradual(2, 20, 5)], ids=repr
)
def test_frozen_tables_can_be_rounded_and_agree_with_the_model(norm, schedule):
    model, x = trained(perceptron(norm), {"0": 3, "3": 2}, schedule=schedule)
    network = freeze(model)
    found = roundings(network)
    assert found["0"] >= 3
    assert found["3"] >= 2
    expected = model(x).detach().numpy()
    assert np.abs(network.predict(x.numpy()) - expected).max() < 1e-5
    report = analyze(network)
    assert all(report[name].bits() <= bits for name, bits in WIDTHS.items())


def test_a_convolution_with_padding_and_no_bias():
    torch.manual_seed(0)
    module = nn.Sequential(
        *(nn.Conv2d(1, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU()),
        *(nn.Conv2d(4, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)),
    )
    x = torch.rand(96, 1, 6, 6)
    widths = {"0": 6, "3": 6, "6": 7}
    model, _ = trained(module, {"0": 3, "3": 2}, widths, x=x, y=x.mean((1, 2, 3)).gt(0.5).long())
    network = freeze(model)
    assert {r.source: r.bits for r in harmless_roundings(narrow(network))}.items() >= {
        ("0", 3),
        ("3", 2),
    }
    assert np.abs(network.predict(x.numpy()) - model(x).detach().numpy()).max() < 1e-5


def test_blocks_are_those_of_the_bias_where_there_is_room():
    x, _ = data()
    model = coarsen(quantize(perceptron(False), 3, 2, x), {"0": 2}, 16)
    model.eval()
    coarse = model.get_submodule("0_coarse")
    layer = model.get_submodule("0")
    scale, bias, offset = coarse.units()
    assert torch.equal(offset % 4, torch.round(bias / scale) % 4)
    with torch.no_grad():
        y = layer(model.get_submodule("input_quant")(x))
        accumulators = torch.round((y - bias) / scale) + offset
        got = torch.round((coarse(y) - bias) / scale + offset - 1.5)
        assert accumulators.min() >= 0
        assert torch.equal(got, accumulators // 4 * 4)


def test_the_gradient_passes_straight_through():
    x, _ = data()
    model = coarsen(quantize(perceptron(), 3, 2, x), 2, 6)
    y = torch.linspace(-1, 1, 24).reshape(2, 12).requires_grad_()
    model.get_submodule("0_coarse")(y).sum().backward()
    assert (y.grad == 1).all()


def test_the_given_model_stays_and_state_is_its_own():
    x, _ = data()
    model = quantize(perceptron(), 3, 2, x)
    before = model.eval()(x)
    coarse = coarsen(model, 3, 6).eval()
    assert torch.equal(model(x), before)
    assert coarse.state_dict().keys() == model.state_dict().keys()
    twin = copy.deepcopy(coarse)
    twin.get_submodule("0").weight.data.zero_()
    assert not torch.equal(twin(x), coarse(x))


def test_nothing_dropped_is_nothing_changed():
    x, _ = data()
    model = quantize(perceptron(), 3, 2, x).eval()
    assert torch.equal(coarsen(model, 0, 6)(x), model(x))


def test_every_input_of_a_small_box():
    torch.manual_seed(1)
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    x = torch.rand(64, 4)
    model, _ = trained(module, {"0": 2}, {"0": 5, "2": 6}, x=x, y=x[:, 0].gt(0.5).long())
    network = freeze(model)
    codes = inputs(network)
    floats = torch.as_tensor(codes * network.input.scale, dtype=torch.float32)
    assert np.abs(network.predict(floats.numpy()) - model(floats).detach().numpy()).max() < 1e-5


class TestRefusals:
    def test_the_logits_and_unknown_names(self):
        model = quantize(perceptron(), 3, 2, data()[0])
        for name in ("6", "nothing"):
            with pytest.raises(UnknownLayerError, match="'0', '3'"):
                coarsen(model, {name: 1}, 6)

    @pytest.mark.parametrize(("bits", "width"), [(6, 6), (-1, 6), (16, 20), (1.5, 6)])
    def test_bits_that_leave_nothing(self, bits, width):
        model = quantize(perceptron(), 3, 2, data()[0])
        with pytest.raises(BitsError, match="layer '0'"):
            coarsen(model, {"0": bits}, width)

    def test_a_layer_without_a_width(self):
        model = quantize(perceptron(), 3, 2, data()[0])
        with pytest.raises(UnknownLayerError, match="no accumulator_bits"):
            coarsen(model, 1, {"0": 6})
