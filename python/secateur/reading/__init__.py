"""What networks are read from: one room for each source.

`read_onnx` gives the network of an ONNX file, `explain` says what became of each of its nodes.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from secateur.reading.onnx import explain as explain, read_onnx as read_onnx

# Name → module of this room, imported when it is first used: each needs an extra of its own.
_HOME = {"explain": "onnx", "read_onnx": "onnx"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'secateur.reading' has no attribute {name!r}")
    from secateur.extras import needed_for

    with needed_for(f"secateur.reading.{name}"):
        value = getattr(import_module(f"secateur.reading.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(_HOME)
