"""Every argument of every call is accounted for: what a network cannot do is refused by name."""

import operator

import brevitas.nn as qnn
import pytest
import torch
from models import outputs, samples, seeded
from torch import nn
from torch.nn import functional

from secateur.errors import UnsupportedModuleError
from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.parts import _CALLS, _SAME_AS_MODULE


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
    with pytest.raises(UnsupportedModuleError, match=match) as caught:
        quantize(seeded(Calls, call), calibration=samples(20, 4))
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
        lambda x: torch.cat((x, x), axis=-1)[:, :] if False else torch.cat((x, x), axis=-1),
        lambda x: functional.leaky_relu(x - 1, 0.2, True),
        lambda x: functional.dropout(x, 0.5, False),
        lambda x: x.view(x.size(0), x.size(1)),
        lambda x: x.unsqueeze(1).mean(dim=-1, keepdim=True).squeeze(1),
        lambda x: functional.avg_pool1d(x.unsqueeze(1), x.size(1)).flatten(1),
        lambda x: torch.clamp(x, max=0.5),
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
        (lambda x: x * x, "'mul' of two tensors"),
        (lambda x: x * float("inf"), "not finite"),
        (lambda x: torch.add(x, 1, out=torch.empty(1)), "'out'"),
        (lambda x: x.unsqueeze(1).mean(-1, dtype=torch.float64), "'dtype'"),
        (lambda x: x.unsqueeze(1).sum(), "lost the batch axis|every spatial axis"),
        (lambda x: x.view(torch.int32).view(torch.float32), "bits as torch.int32"),
        (lambda x: functional.softplus(x, 1.0, 2.0), "ends at 2.0"),
        (lambda x: functional.max_pool1d(x.unsqueeze(1), 2, 2, 0, 1, True), "ceil_mode"),
        (
            lambda x: functional.avg_pool1d(x.unsqueeze(1), 2, 2, 1, False, False),
            "no common divisor",
        ),
        (lambda x: torch.clamp(x, x, x), "is no number"),
        (lambda x: x + x.size(0), "is no number"),
        (lambda x: x + x[:, :1], "'getitem'"),
        (lambda x: x.to(torch.float16), "'to'"),
        (lambda x: operator.floordiv(x, 2), "'floordiv'"),
    ],
)
def test_arguments_that_no_network_has(call, match):
    assert refuse(call, match).layer


def test_functions_of_the_name_of_one_of_torch():
    def relu(x):
        return x * 2

    relu.__module__ = "mine"
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    graph.output(graph.call_function(relu, (x,)))
    module = torch.fx.GraphModule(nn.Module(), graph)
    with pytest.raises(UnsupportedModuleError, match="the operation 'relu'"):
        quantize(module, calibration=samples(5, 4))


def test_modules_with_more_than_one_argument():
    class Joins(nn.Module):
        def __init__(self):
            super().__init__()
            self.rounds, self.cat = qnn.QuantIdentity(), qnn.QuantCat()
            self.layer = qnn.QuantLinear(6, 2)

        def forward(self, x):
            x = self.rounds(x)
            return self.layer(self.cat([x, x], dim=2))

    network = freeze(Joins().eval(), input_shape=(2, 3))
    assert network["cat"].axis == 1


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
            assert argument in documented or argument in function.__code__.co_varnames
    places = [documented.find(f"{a}=") for a in arguments.split()]
    places = [p for p in places if p >= 0]
    assert places == sorted(places)
    assert name in _CALLS
