"""Torch and Brevitas models in, networks of integers out."""

from secateur.reading.torch.freeze import freeze
from secateur.reading.torch.quantize import quantize

__all__ = ["freeze", "quantize"]
