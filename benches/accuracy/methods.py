"""The methods compared: each turns one float network into a network of integers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from itertools import chain, pairwise, repeat
from typing import Any, Literal

import brevitas.nn as qnn
import torch
from brevitas.quant.scaled_int import (
    Int8AccumulatorAwareWeightQuant,
    Int8AccumulatorAwareZeroCenterWeightQuant,
)
from torch import nn

import secateur
from benches.accuracy.datasets import Dataset, Split, dataset
from benches.accuracy.lessons import taught
from secateur.network import Network
from secateur.pruning.schedule import OneShot, Reselect
from secateur.training import fit

LEARNING_RATE = 0.01
#: Training steps between two selections of `accumulator`.
EVERY = 5
LAYERS = (qnn.QuantLinear, qnn.QuantConv2d)


Training = Literal["tables", "norms", "taught", "sparse"]


@dataclass(frozen=True)
class Setting:
    """What a method is asked for.

    Args:
        dataset, split, seed: see `dataset`; the seed is of the training, too.
        bits: width that accumulators are to fit.
        weight_bits, activation_bits, input_bits: widths of the codes.
        training: "tables" tunes everything that tables absorb when the codes no longer move, in
            the last fifth of the epochs; "norms" the statistics of the batch norms alone;
            "taught" does as "tables" with what a teacher makes of many more samples; "sparse",
            of A2Q and A2Q+ alone, as "tables" from as many weights as their bound has room for.
    """

    dataset: str
    split: Split
    seed: int
    bits: int
    weight_bits: int
    activation_bits: int
    input_bits: int
    training: Training = "tables"

    @property
    def data(self) -> Dataset:
        """The data set that the network is trained and measured on."""
        data = dataset(self.dataset, self.split, self.seed)
        return taught(data) if self.training == "taught" else data


def train(
    model: nn.Module, data: Dataset, epochs: int, pruner: secateur.Pruner | None = None
) -> None:
    """Train `model` in place on the samples of `data`; the same for every method."""
    fit(
        model,
        *data.train,
        epochs=epochs,
        batch_size=data.recipe.batch_size,
        lr=LEARNING_RATE,
        pruner=pruner,
        settle=0.0,  # `finished` tunes what tables absorb, whatever the method
        loss=data.recipe.loss,
        seed=data.seed,
        progress=False,
    )


def finished(model: nn.Module, setting: Setting, pruner: secateur.Pruner | None = None) -> Network:
    """Train a quantised `model` as the recipe says, and return it in integers.

    First the weights with all the rest; then, under codes that no longer move, what tables
    absorb: biases, batch norms and the scales of activations.
    """
    data = setting.data
    epochs = data.recipe.quantized_epochs
    settling = 0 if setting.training == "norms" else epochs // 5
    train(model, data, epochs - settling, pruner)
    if pruner is not None:
        pruner.finish()
    else:
        _fix_codes(model)
    if settling:
        train(model, data, settling)
    else:
        _estimate_norms(model, data)
    return secateur.freeze(model)


def _fix_codes(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, LAYERS):
            module.weight.requires_grad_(False)
            module.weight_quant.requires_grad_(False)


def _estimate_norms(model: nn.Module, data: Dataset) -> None:
    """Give the batch norms the statistics of all samples instead of running averages."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        for samples in torch.from_numpy(data.train[0]).split(512):
            model(samples)
    model.eval()


@lru_cache(maxsize=4)
def float_network(data: Dataset) -> nn.Module:
    """Return the trained float network that every method starts from."""
    classes = int(data.held_out[1].max()) + 1
    torch.manual_seed(data.seed)
    shape, recipe = data.given[0].shape[1:], data.recipe
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise((shape[0], *recipe.channels)):
        layers += [nn.Conv2d(fan_in, fan_out, 3, 2), nn.BatchNorm2d(fan_out), nn.ReLU()]
    features = math.prod(shape)
    if recipe.channels:
        layers.append(nn.Flatten())
        features = nn.Sequential(*layers).eval()(torch.zeros(1, *shape)).shape[1]
    for fan_in, fan_out in pairwise((features, *recipe.hidden, classes)):
        layers += [nn.Linear(fan_in, fan_out), nn.BatchNorm1d(fan_out), nn.ReLU()]
    # The last batch norm is part of how the logits are read in the clear.
    model = nn.Sequential(*layers[:-1])
    train(model, data, data.recipe.epochs)
    return model


def quantized(setting: Setting) -> nn.Module:
    """Return the float network with quantisers, not trained further yet."""
    return secateur.quantize(
        float_network(setting.data),
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
    return finished(quantized(setting), setting)


def accumulator(setting: Setting) -> Network:
    """Return the network pruned by our strategy, its masks selected anew as weights move."""
    model = quantized(setting)
    pruner = secateur.Pruner(model, "accumulator", bits=setting.bits, schedule=Reselect(EVERY))
    return finished(model, setting, pruner)


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
    return finished(model, setting, pruner)


def accumulator_aware(setting: Setting, weight_quant: type) -> Network:
    """Return the network with a Brevitas weight quantiser that knows the accumulator's width."""
    model = quantized(setting)
    widths = chain([setting.input_bits], repeat(setting.activation_bits))
    for name, module in list(model.named_modules()):
        if isinstance(module, qnn.QuantIdentity):
            # The weight quantisers ask the layer's input for its width.
            module.return_quant_tensor = True
        if isinstance(module, LAYERS):
            setattr(model, name, _like(module, weight_quant, setting, next(widths)))
    return finished(model, setting)


def _like(layer: Any, weight_quant: type, setting: Setting, input_bits: int) -> Any:
    options = {
        "bias": True,
        "weight_quant": weight_quant,
        "weight_bit_width": setting.weight_bits,
        "weight_accumulator_bit_width": setting.bits,
    }
    if isinstance(layer, qnn.QuantConv2d):
        shape = layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride
        made = qnn.QuantConv2d(*shape, **options)
    else:
        made = qnn.QuantLinear(layer.in_features, layer.out_features, **options)
    with torch.no_grad():
        made.weight.copy_(layer.weight)
        if setting.training == "sparse":
            kept = _largest(made.weight, int(_bound(made, input_bits)[1]))
            made.weight.mul_(kept)
            # The others stay 0.
            made.weight.register_hook(partial(torch.mul, kept))
        made.bias.copy_(layer.bias)
        # Scales and norms start from these weights, not from those that it was made with.
        made.weight_quant.init_tensor_quant()
        # No norm starts below its bound. As shipped it starts where a channel's greatest weight
        # is the greatest code; at 2 bits, rounded towards zero, all lesser weights are then 0.
        norm, bound = _bound(made, input_bits)
        norm.value.copy_(torch.maximum(norm.value, norm.scaling_impl.value + bound.log2()))
    return made


def _bound(layer: Any, input_bits: int) -> tuple[nn.Module, torch.Tensor]:
    """Return what holds the norms of `layer`, and the bound that they are held to."""
    norm = layer.weight_quant.tensor_quant.pre_scaling_impl
    return norm, norm.calc_max_l1_norm(torch.tensor(float(input_bits)), False)


def _largest(weight: torch.Tensor, count: int) -> torch.Tensor:
    """Return a mask that keeps the `count` largest of every channel of `weight` [out, ...]."""
    rows = weight.flatten(1)
    kept = rows.abs().topk(min(max(1, count), rows.shape[1]), dim=1).indices
    return torch.zeros_like(rows).scatter(1, kept, 1.0).view_as(weight)


#: Name → what makes the network; the first is ours.
METHODS: dict[str, Callable[[Setting], Network]] = {
    "accumulator": accumulator,
    "A2Q+": partial(accumulator_aware, weight_quant=Int8AccumulatorAwareZeroCenterWeightQuant),
    "A2Q": partial(accumulator_aware, weight_quant=Int8AccumulatorAwareWeightQuant),
    "connections": connections,
    "unpruned": unpruned,
}
