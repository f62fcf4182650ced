"""Torch and Brevitas models in, networks of integers out."""

import warnings

import torch
from brevitas.utils.torch_utils import rename_tensor

from secateur.reading.torch.coarsen import coarsen
from secateur.reading.torch.freeze import freeze
from secateur.reading.torch.quantize import quantize

# Brevitas names the dimensions of every layer's input, of which torch warns, once a process.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", "Named tensors")
    rename_tensor(torch.zeros(1), None)

__all__ = ["coarsen", "freeze", "quantize"]
