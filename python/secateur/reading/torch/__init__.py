"""Torch and Brevitas models in, networks of integers out."""

from secateur.reading.torch.coarsen import coarsen
from secateur.reading.torch.freeze import freeze
from secateur.reading.torch.quantize import quantize

__all__ = ["coarsen", "freeze", "quantize"]
