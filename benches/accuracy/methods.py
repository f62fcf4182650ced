"""The methods compared: each turns one float network into a network of integers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import pairwise
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.quant.scaled_int import (
    Int8AccumulatorAwareWeightQuant,
    Int8AccumulatorAwareZeroCenterWeightQuant,
)
from torch import nn

import secateur
from benches.accuracy.datasets import Dataset, Split, dataset
from secateur.network import Network
from secateur.pruning.schedule import OneShot, Reselect
from secateur.training import fit

LEARNING_RATE = 0.01
#: Training steps between two selections of `accumulator`.
EVERY = 5


@dataclass(frozen=True)
class Setting:
    """What a method is asked for.

    Args:
        dataset, split, seed: see `dataset`; the seed is of the training, too.
        bits: width that accumulators are to fit.
        weight_bits, activation_bits, input_bits: widths of the codes.
    """

    dataset: str
    split: Split
    seed: int
    bits: int
    weight_bits: int
    activation_bits: int
    input_bits: int

    @property
    def data(self) -> Dataset:
        """The data set that the network is trained and measured on."""
        return dataset(self.dataset, self.split, self.seed)


def train(model: nn.Module, setting: Setting, pruner: secateur.Pruner | None = None) -> None:
    """Train `model` as the data set's recipe says; the same for every method."""
    recipe = setting.data.recipe
    fit(
        model,
        *setting.data.train,
        epochs=recipe.epochs,
        batch_size=recipe.batch_size,
        lr=LEARNING_RATE,
        pruner=pruner,
        seed=setting.seed,
        progress=False,
    )


def float_network(setting: Setting) -> nn.Module:
    """Return the trained float network that every method starts from."""
    return _float_network(setting.dataset, setting.split, setting.seed)


@lru_cache(maxsize=4)
def _float_network(name: str, split: Split, seed: int) -> nn.Module:
    setting = Setting(name, split, seed, 0, 0, 0, 0)
    x, y = setting.data.train
    widths = (x.shape[1], *setting.data.recipe.hidden)
    torch.manual_seed(seed)
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(widths[-1], int(y.max()) + 1))
    train(model, setting)
    return model


def quantized(setting: Setting) -> nn.Module:
    """Return the float network with quantisers, not trained further yet."""
    return secateur.quantize(
        float_network(setting),
        setting.weight_bits,
        setting.activation_bits,
        setting.data.train[0],
        input_bits=setting.input_bits,
    ).train()


def unpruned(setting: Setting) -> Network:
    """Return the network trained with its quantisers, as wide as it comes."""
    return _unpruned(replace(setting, bits=0))


@lru_cache(maxsize=8)
def _unpruned(setting: Setting) -> Network:
    model = quantized(setting)
    train(model, setting)
    return secateur.freeze(model)


def accumulator(setting: Setting) -> Network:
    """Return the network pruned by our strategy, its masks selected anew as weights move."""
    model = quantized(setting)
    pruner = secateur.Pruner(model, "accumulator", bits=setting.bits, schedule=Reselect(EVERY))
    train(model, setting, pruner)
    pruner.finish()
    return secateur.freeze(model)


def connections(setting: Setting) -> Network:
    """Return the network pruned by Concrete ML's rule, each neuron held to it.

    The connections are chosen once, as there, but of the trained float network rather than of
    random weights; in training they stay.
    """
    model = quantized(setting)
    pruner = secateur.Pruner(
        model,
        "connections",
        bits=setting.bits,
        weight_bits=setting.weight_bits,
        schedule=OneShot(),
    )
    pruner.select()
    train(model, setting, pruner)
    pruner.finish()
    return secateur.freeze(model)


def accumulator_aware(setting: Setting, weight_quant: type) -> Network:
    """Return the network with a Brevitas weight quantiser that knows the accumulator's width."""
    model = quantized(setting)
    for name, module in list(model.named_modules()):
        if isinstance(module, qnn.QuantIdentity):
            # The weight quantisers ask the layer's input for its width.
            module.return_quant_tensor = True
        if isinstance(module, qnn.QuantLinear):
            setattr(model, name, _like(module, weight_quant, setting))
    train(model, setting)
    return secateur.freeze(model)


def _like(layer: Any, weight_quant: type, setting: Setting) -> qnn.QuantLinear:
    made = qnn.QuantLinear(
        layer.in_features,
        layer.out_features,
        bias=True,
        weight_quant=weight_quant,
        weight_bit_width=setting.weight_bits,
        weight_accumulator_bit_width=setting.bits,
    )
    with torch.no_grad():
        made.weight.copy_(layer.weight)
        made.bias.copy_(layer.bias)
    return made


#: Name → what makes the network; the first is ours.
METHODS: dict[str, Callable[[Setting], Network]] = {
    "accumulator": accumulator,
    "A2Q+": partial(accumulator_aware, weight_quant=Int8AccumulatorAwareZeroCenterWeightQuant),
    "A2Q": partial(accumulator_aware, weight_quant=Int8AccumulatorAwareWeightQuant),
    "connections": connections,
    "unpruned": unpruned,
}
