"""Every argument of every call is accounted for: what a network cannot do is refused by name."""

import operator
from inspect import signature

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from models import outputs, samples, seeded
from torch import nn
from torch.nn import functional

from secateur.errors import UnsupportedModuleError
from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.calls import _CALLS, _SAME_AS_MODULE


class Calls(nn.Module):
    """A layer, a call, another layer."""

    def __init__(self, call, width=4):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(width, 2)
        self.call = call

    def forward(self, x):
        return self.second(self.call(torch.relu(self.first(x))))


def assert_read_right(module, x):
    model = quantize(module, 6, 6, x)
    off = abs(freeze(model).predict(x) - outputs(model, x)).max()
    assert off < 1e-4


def refuse(call, match):
    with torch.no_grad():
        result = call(torch.rand(2, 4))
    with pytest.raises(UnsupportedModuleError, match=match) as caught:
        quantize(seeded(Calls, call, result.shape[-1]), calibration=samples(20, 4))
    return caught.value


@pytest.mark.parametrize(
    "call",
    [
        lambda x: torch.add(x, 2, alpha=5),
        lambda x: torch.add(input=x, other=2),
        lambda x: torch.sub(x, 2, alpha=3),
        lambda x: 3 - x,
        lambda x: x.add(1).mul(2),
        lambda x: x.div(2, rounding_mode=None),
        lambda x: torch.true_divide(x, 4),
        lambda x: torch.cat((x, x), axis=-1),
        lambda x: functional.leaky_relu(x - 1, 0.2, True),
        lambda x: functional.dropout(x, 0.5, False),
        lambda x: x.view(x.size(0), x.size(1)),
        lambda x: x.unsqueeze(1).mean(dim=-1, keepdim=True).squeeze(1),
        lambda x: torch.clamp(x, max=0.5),
        lambda x: x**2,
        lambda x: torch.square(x) + x * x,
        lambda x: x[:, 1:3],
        lambda x: x[..., ::2],
        lambda x: x[:, None, -1],
        lambda x: x[:, 2:] + x[:, :2],
        lambda x: functional.pad(x, (1, 2)),
        lambda x: functional.pad(x.view(-1, 2, 2), (1, 0, 0, 1)).flatten(1),
        lambda x: functional.pad(x, (-1, 0), "constant", 0.0),
    ],
)
def test_calls_with_arguments_are_read_right(call):
    with torch.no_grad():
        width = call(torch.rand(2, 4)).shape[1]
    assert_read_right(seeded(Calls, call, width), samples(200, 4, low=-1.0))


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda x: torch.add(x, x * 2, alpha=5), "layer 'add': .*alpha=5"),
        (lambda x: torch.sub(x, x * 2), "'sub' of two tensors"),
        (lambda x: torch.div(x, 2, rounding_mode="floor"), "'div': .*rounding_mode='floor'"),
        (lambda x: x.div(0), "division by 0"),
        (lambda x: 1 / x, "a number divided by a tensor"),
        (lambda x: x * (x + 1), "'mul' of two tensors"),
        (lambda x: x**3, "only the square"),
        (lambda x: 2**x, "only the square"),
        (lambda x: functional.pad(x.unsqueeze(1), (1, 1), "circular").squeeze(1), "'circular'"),
        (lambda x: torch.cat([x[:1], x[:1]]), "takes some samples of the batch"),
        (lambda x: x[:, torch.tensor([0, 2])], "neither a slice nor a number"),
        (lambda x: x * float("inf"), "not finite"),
        (lambda x: torch.add(x, 1, out=torch.empty(0)), "'out'"),
        (lambda x: x.unsqueeze(1).mean(-1, dtype=torch.float32), "'dtype'"),
        (lambda x: x + x.unsqueeze(1).sum(), "every spatial axis"),
        (lambda x: x.view(torch.int32).view(torch.float32), "bits as torch.int32"),
        (lambda x: functional.softplus(x, 1.0, 2.0), "ends at 2.0"),
        (lambda x: functional.max_pool1d(x.unsqueeze(1), 2, 2, 0, 1, True), "ceil_mode"),
        (
            lambda x: functional.avg_pool1d(x.unsqueeze(1), 2, 2, 1, False, False),
            "no common divisor",
        ),
        (lambda x: torch.clamp(x, x, x), "is no number"),
        (lambda x: x + x.size(0), "'add' with a number that depends on the batch"),
        (lambda x: x + x[:, :1], "a sum of tensors of shapes"),
        (lambda x: x.to(torch.float16).to(torch.float32), "'to'"),
        (lambda x: operator.floordiv(x, 2), "'floordiv'"),
    ],
)
def test_arguments_that_no_network_has(call, match):
    assert refuse(call, match).layer


@torch.fx.wrap
def hardtanh(x):
    return x * 2


def test_functions_of_the_name_of_one_of_torch():
    assert refuse(lambda x: hardtanh(x), "no network has the operation 'hardtanh'").operation


class TestTensorsOfTheModel:
    """Parameters, buffers and constants in forward scale and shift, each element its own way."""

    class Scales(nn.Module):
        def __init__(self, shape):
            super().__init__()
            self.factor = nn.Parameter(torch.rand(shape) + 0.5)
            self.register_buffer("shift", torch.rand(shape))
            self.first, self.second = nn.Conv1d(2, 3, 2), nn.Linear(9, 2)

        def forward(self, x):
            y = torch.relu(self.first(x)) * self.factor.abs() - self.shift / 2
            return self.second((y * torch.tensor(0.5)).flatten(1)) + torch.tensor([[1.0, -1.0]])

    @pytest.mark.parametrize("shape", [(), (3, 1), (1, 3, 1), (3,), (3, 3)])
    def test_are_part_of_tables(self, shape):
        assert_read_right(seeded(self.Scales, shape), samples(100, 2, 4, low=-1.0))

    def test_are_those_of_the_moment(self):
        x = samples(100, 2, 4, low=-1.0)
        model = quantize(seeded(self.Scales, (3, 1)), 6, 6, x)
        with torch.no_grad():
            model.factor.mul_(3)
        assert abs(freeze(model).predict(x) - outputs(model, x)).max() < 1e-4

    def test_before_the_first_quantiser_belong_to_the_input(self):
        class Standard(nn.Module):
            def __init__(self):
                super().__init__()
                self.register_buffer("mean", torch.tensor([1000.0, 0.0, -5.0]))
                self.register_buffer("spread", torch.tensor([100.0, 0.1, 3.0]))
                self.layer = nn.Linear(3, 2)

            def forward(self, x):
                return self.layer((x - self.mean) / self.spread)

        x = samples(200, 3, low=-1.0) * torch.tensor([100.0, 0.1, 3.0])
        x = x + torch.tensor([1000.0, 0.0, -5.0])
        model = quantize(seeded(Standard), 6, 4, x)
        network = freeze(model)
        assert network.input.scale.shape == (3,)
        assert network.input.bias == pytest.approx(np.array([1000.0, 0.0, -5.0]))
        assert abs(network.predict(x) - outputs(model, x)).max() < 1e-4

    def test_of_a_shape_that_goes_with_no_sample(self):
        assert refuse(lambda x: x * torch.ones(1, 1, 4), r"shape \(1, 1, 4\)").layer == "mul"
        error = refuse(lambda x: x.unsqueeze(2) * torch.ones(4, 3), r"shape \(4, 3\) for \(4, 1\)")
        assert error.layer == "mul"


def test_brevitas_layers_that_truncate():
    model = nn.Sequential(qnn.QuantIdentity(return_quant_tensor=True), qnn.TruncAvgPool2d(2))
    with pytest.raises(UnsupportedModuleError, match="'1': no network has the module TruncAvg"):
        freeze(model.eval(), input_shape=(1, 4, 4))


class TestPermutations:
    def test_name_their_axes_as_torch_does(self):
        class Moves(nn.Module):
            def __init__(self):
                super().__init__()
                self.layer = nn.Linear(6, 2)

            def forward(self, x):
                x = torch.transpose(x, dim0=1, dim1=2).permute(dims=(0, 2, 1))
                return self.layer(torch.flatten(x.movedim(1, 2), start_dim=1))

        assert_read_right(seeded(Moves), samples(50, 2, 3))


@pytest.mark.parametrize("name", sorted(_SAME_AS_MODULE))
def test_functions_that_count_as_modules_take_the_arguments_of_torch(name):
    """The order of arguments is torch's: what comes second there comes second here."""
    function = getattr(functional, name)
    _, arguments = _SAME_AS_MODULE[name]
    documented = (function.__doc__ or "").split("->")[0]
    for argument in arguments.split():
        if argument not in ("inplace", "return_indices"):
            assert argument in documented or argument in signature(function).parameters
    places = [documented.find(f"{a}=") for a in arguments.split()]
    places = [p for p in places if p >= 0]
    assert places == sorted(places)
    assert name in _CALLS
