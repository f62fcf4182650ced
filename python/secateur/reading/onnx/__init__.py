"""ONNX models in, networks of integers out."""

from secateur.reading.onnx.explanation import Explanation, explain
from secateur.reading.onnx.read import read_onnx

__all__ = ["Explanation", "explain", "read_onnx"]
