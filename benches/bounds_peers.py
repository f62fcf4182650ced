"""Other ways to the range of a linear layer, timed beside the engine and held against it."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from secateur import bounds


class Layer(NamedTuple):
    """int8 codes `[out, in]` with input ranges `[in]`, or one for all."""

    weight: Any
    low: Any
    high: Any


def layer(out: int, width: int, each: bool = False, seed: int = 0) -> Layer:
    """A layer of random 8-bit codes; its inputs lie in [0, 255] or each within [-128, 127]."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-128, 128, (out, width), np.int8)
    if not each:
        return Layer(weight, 0, 255)
    return Layer(weight, -rng.integers(0, 129, width), rng.integers(0, 128, width))


def secateur(codes: Layer) -> Callable[[], Any]:
    """The engine."""

    def run() -> Any:
        ranges = bounds.linear(*codes)
        return ranges.low, ranges.high

    return run


def numpy_int64(codes: Layer) -> Callable[[], Any]:
    """The textbook's two products of matrix and vector in 64-bit integers; weights widened once."""
    weight = codes.weight.astype(np.int64)
    low, high = (np.broadcast_to(s, weight.shape[1]).astype(np.int64) for s in codes[1:])

    def run() -> Any:
        positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
        return positive @ low + negative @ high, positive @ high + negative @ low

    return run


def _midpoint_radius(codes: Layer, dtype: Any) -> Callable[[], Any]:
    # The codes start as floats here: only the products are on the clock, and |weight|.
    weight = codes.weight.astype(dtype)
    low, high = (np.broadcast_to(s, weight.shape[1]).astype(dtype) for s in codes[1:])

    def run() -> Any:
        middle = weight @ ((low + high) / 2)
        radius = np.abs(weight) @ ((high - low) / 2)
        return middle - radius, middle + radius

    return run


def blas_float32(codes: Layer) -> Callable[[], Any]:
    """BLAS products with midpoint and radius in float32, as verifiers of networks do."""
    return _midpoint_radius(codes, np.float32)


def blas_float64(codes: Layer) -> Callable[[], Any]:
    """The same in float64."""
    return _midpoint_radius(codes, np.float64)


def torch_float32(codes: Layer) -> Callable[[], Any]:
    """Interval products of torch tensors in float32."""
    import torch

    weight = torch.from_numpy(codes.weight.astype(np.float32))
    sides = (np.broadcast_to(s, weight.shape[1]).astype(np.float32) for s in codes[1:])
    low, high = map(torch.from_numpy, sides)

    def run() -> Any:
        middle = weight @ ((low + high) / 2)
        radius = weight.abs() @ ((high - low) / 2)
        return (middle - radius).numpy(), (middle + radius).numpy()

    return run


def qonnx(codes: Layer) -> Callable[[], Any]:
    """The function with which qonnx sizes accumulators."""
    from qonnx.util.range_analysis import calculate_matvec_accumulator_extremum as extremum

    weight = codes.weight.astype(np.int64)
    return lambda: extremum(weight, codes.low, codes.high)


PEERS: dict[str, Callable[[Layer], Callable[[], Any]]] = {
    "NumPy int64": numpy_int64,
    "BLAS float32": blas_float32,
    "BLAS float64": blas_float64,
    "torch float32": torch_float32,
    "qonnx": qonnx,
}


def available(name: str) -> bool:
    """Whether the peer's package is installed."""
    return (
        not (name.startswith("torch") or name == "qonnx") or find_spec(name.split()[0]) is not None
    )


def wrong_channels(answer: Any, exact: Any) -> int:
    """In how many channels the peer's range is not the exact one."""
    low, high = (np.asarray(a) != np.asarray(b) for a, b in zip(answer, exact, strict=True))
    return int((low | high).sum())
