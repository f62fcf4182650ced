"""Tensors changed in place: later readers see the change, as in torch."""

import pytest
import torch
from models import outputs, samples, seeded
from torch import nn
from torch.nn import functional

from secateur.errors import UnsupportedModuleError
from secateur.reading.torch import freeze, quantize
from secateur.reading.torch.trace import symbolic_trace


class Body(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 2)
        self.relu = nn.ReLU(inplace=True)
        self.body = body

    def forward(self, x):
        return self.second(self.body(self, self.first(x)))


def relu_then_add(self, y):
    z = y.relu_()
    return z + y


def module_then_add(self, y):
    z = self.relu(y)
    return z + y


def function_then_add(self, y):
    functional.relu(y, True)
    return y * 2


def residual(self, y):
    z = torch.tanh(y)
    z += y
    z.mul_(2).clamp_(max=1.0)
    return z


@pytest.mark.parametrize("body", [relu_then_add, module_then_add, function_then_add, residual])
def test_are_read_as_torch_does(body):
    x = samples(300, 4, low=-1.0)
    module = seeded(Body, body)
    expected = outputs(module, x)
    model = quantize(module, 10, 10, x)
    assert abs(outputs(model, x) - expected).max() < 0.03
    assert abs(freeze(model).predict(x) - outputs(model, x)).max() < 1e-4
    assert module.relu.inplace


@pytest.mark.parametrize("body", [relu_then_add, module_then_add, function_then_add, residual])
def test_graphs_change_nothing_in_place(body):
    traced = symbolic_trace(seeded(Body, body))
    for module in traced.modules():
        module.inplace = False
    x = samples(5, 4, low=-1.0)
    kept = x.clone()
    assert torch.equal(traced(x), seeded(Body, body)(x))
    assert torch.equal(x, kept)


def test_that_are_read_through_another_view_are_refused():
    def body(self, y):
        view = y.view(-1, 4)
        y.relu_()
        return view + y

    with pytest.raises(UnsupportedModuleError, match="'relu_' changes 'first' in place") as caught:
        quantize(seeded(Body, body), calibration=samples(20, 4))
    assert caught.value.layer == "relu_"
