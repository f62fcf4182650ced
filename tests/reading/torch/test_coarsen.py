"""Coarse accumulators: training sees what lookups will see, and frozen tables can be rounded."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from backends import BACKENDS
from networks import inputs
from secateur import Pruner, analyze, coarsen, compile, freeze, narrow, quantize
from secateur.errors import BitsError, UnknownLayerError
from secateur.narrowing import deviation, harmless_roundings, round_by_price
from secateur.network import Lookup
from secateur.pruning import Accumulator
from secateur.pruning.schedule import Gradual, Iterative, OneShot, Reselect
from secateur.training import fit

WIDTHS = {"0": 6, "3": 5, "6": 7}
DROPPED = {"0": 3, "3": 2}


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


@pytest.fixture(scope="module")
def roomy():
    """A finished model that leaves room for its blocks, its samples, and what its pruner said."""
    x, y = data()
    model = coarsen(quantize(perceptron(), 3, 2, x), DROPPED, WIDTHS, about=True)
    strategy = Accumulator(bits=WIDTHS, dropped_about=DROPPED)
    pruner = Pruner(model, strategy, schedule=Reselect(5))
    fit(model, x, y, epochs=6, batch_size=32, pruner=pruner, progress=False)
    fitted = bool(pruner.fits)
    removed = pruner.finish().removed
    fit(model, x, y, epochs=2, batch_size=32, progress=False)
    return model, x, fitted, removed


class TestAbout:
    """Bits that are to be dropped approximately: half a block stays free at both ends."""

    def test_the_spans_leave_it(self, roomy):
        model, _, fitted, removed = roomy
        assert fitted
        assert not any(removed.values())
        report = analyze(freeze(model))
        for name, bits in DROPPED.items():
            span = int(report[name].channels.span.max())
            assert 2 ** (WIDTHS[name] - 1) <= span < 2 ** WIDTHS[name] - 2**bits

    def test_the_network_agrees_with_the_model_and_drops_the_bits_within_its_width(self, roomy):
        model, x, _, _ = roomy
        network = freeze(model)
        assert np.abs(network.predict(x.numpy()) - model(x).detach().numpy()).max() < 1e-5
        narrowed = narrow(network)
        exact = {"0": (6, 0), "3": (5, 0)}
        prices = {(WIDTHS[name], bits): 1.0 for name, bits in DROPPED.items()}
        rounded = round_by_price(
            narrowed,
            lambda *at: 5.0 if at in exact.values() else 9.0,
            lambda *at: prices.get(at, 9.0),
        )
        report = analyze(rounded)
        for lookup in (o for o in rounded.operations if isinstance(o, Lookup)):
            assert lookup.rounding_bits == DROPPED[lookup.source]
            reached, half = report[lookup.source].channels.hull(), 1 << lookup.rounding_bits - 1
            assert reached.low >= half
            assert reached.high + half < 1 << WIDTHS[lookup.source]
        codes = network.quantize_input(x.numpy())
        assert (rounded(codes) == network(codes)).all()

    def test_a_compiled_circuit_is_cheaper_and_strays_no_further_than_is_proved(self, roomy):
        backend = next((b for b in BACKENDS if b.name == "concrete-python"), None)
        if backend is None:
            pytest.skip("concrete-python alone rounds")
        model, x, _, _ = roomy
        network = freeze(model)
        exact, about = (
            compile(network, backend.name, p_error=2.0**-40, rounding=rounding)
            for rounding in ("exact", "approximate")
        )
        assert about.price.complexity < 0.8 * exact.price.complexity
        assert about.price.bits["0"] == WIDTHS["0"]
        assert next(p.rounding_bits for p in about.price.layers if p.elements) == DROPPED["0"]
        codes = network.quantize_input(x[:60].numpy())
        expected = network(codes)
        assert (exact.simulate(codes) == expected).all()
        astray = np.abs(about.simulate(codes) - expected)
        assert (astray <= deviation(about.report.network)).all()

    def test_without_room_a_bit_more_is_needed(self):
        model, _ = trained(perceptron(), DROPPED)
        narrowed = narrow(freeze(model))
        widths = []
        round_by_price(narrowed, lambda *at: 1.0, lambda *at: widths.append(at) or 9.0)
        assert (7, 3) in widths
        assert (6, 3) not in widths

    def test_blocks_begin_half_a_block_below_where_all_is_used(self):
        x, _ = data()
        coarse = coarsen(quantize(perceptron(False), 3, 2, x), {"0": 2}, 6, about=True)
        coarse = coarse.get_submodule("0_coarse")
        _, _, offset = coarse.units()
        rows = coarse._codes(coarse._layer[0])[0].flatten(1)
        low = torch.minimum(rows * coarse.grid.low, rows * coarse.grid.high).sum(1)
        span = rows.abs().sum(1) * coarse.grid.codomain.span
        used = span >= 63 - 4  # not pruned yet
        assert used.any()
        assert (offset + low == 2)[used].all()


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
