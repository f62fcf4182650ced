"""Torch and Brevitas models in, networks of integers out."""

from secateur.quantization.freeze import freeze
from secateur.quantization.quantize import quantize

__all__ = ["freeze", "quantize"]
