"""Small models of every kind that networks know, and how far a network is from its model."""

from itertools import pairwise

import numpy as np
import torch
from brevitas.nn.quant_layer import QuantNonLinearActLayer
from torch import nn
from torch.nn import functional

from secateur.network import Lookup
from secateur.reading.torch.trace import evaluating


def samples(*shape, seed=0, low=0.0, high=1.0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator) * (high - low) + low


def seeded(make, *args):
    """A model of random weights, with batch norms that have seen something."""
    torch.manual_seed(0)
    model = make(*args)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model


class Residual(nn.Module):
    """A conv net with everything: a shared layer, a residual add, a concat, moves, pooling."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, 4, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(1, 4, 1)
        self.grouped = nn.Conv2d(8, 4, 3, padding="same", groups=2)
        self.head = nn.Linear(64, 5)

    def forward(self, x):
        x = x / 16
        left = functional.relu(self.norm(self.first(x)))
        y = functional.relu(self.second(left) + self.shortcut(x))
        y = torch.cat([y, functional.relu(self.norm(self.first(x)))], 1)
        y = functional.relu(functional.max_pool2d(self.grouped(y), 2))
        y = y.permute(0, 2, 3, 1).transpose(1, 3)
        return self.head(torch.flatten(y, 1))


class Signals(nn.Module):
    """A 1-d conv net with strides, dilation and means."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(2, 4, 3, stride=2, padding=1),
            nn.Sigmoid(),
            nn.AvgPool1d(2),
            nn.Conv1d(4, 6, 3, padding=2, dilation=2),
            nn.Hardtanh(),
        )
        self.head = nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.features(x).mean(-1))


def mlp(activation, *widths, norm=False):
    layers = []
    for fan_in, out in pairwise(widths[:-1]):
        layers += [nn.Linear(fan_in, out), *([nn.BatchNorm1d(out)] if norm else []), activation()]
    return nn.Sequential(*layers, nn.Linear(*widths[-2:]))


def outputs(model, x):
    """The model's floats in evaluation mode."""
    with evaluating(model):
        y = model(x)
    return getattr(y, "value", y).double().numpy()


def disagreement(model, network, x):
    """The fraction of activation codes that differ between a model and its network."""
    seen = []
    rounders = [m for m in model.modules() if isinstance(m, QuantNonLinearActLayer)]

    def note(module, inputs, output):
        value = getattr(output, "value", output).double()
        seen.append((value / float(module.act_quant.scale())).round().numpy())

    handles = [m.register_forward_hook(note) for m in rounders]
    outputs(model, x)
    for handle in handles:
        handle.remove()
    nodes = network.nodes(network.quantize_input(x.numpy()))
    lookups = [
        nodes["input"],
        *(nodes[o.name] for o in network.operations if isinstance(o, Lookup)),
    ]
    assert len(lookups) == len(seen)
    different = [(a.reshape(b.shape) != b).ravel() for a, b in zip(seen, lookups, strict=True)]
    return float(np.concatenate(different).mean())
