"""ONNX models in, networks of integers out."""

from secateur.reading.onnx.read import read_onnx

__all__ = ["read_onnx"]
