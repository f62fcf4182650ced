from typing import Any, final

import numpy as np
import numpy.typing as npt

__all__ = [
    "Convolution",
    "RangeTracker",
    "conv",
    "conv_positions",
    "fit_scales",
    "fractional_bounds",
    "hold_back",
    "linear",
    "num_threads",
    "partial_sums",
    "prefix_sums",
    "profile",
    "profile_network",
    "select",
    "set_num_threads",
    "table_ranges",
]

_Int64 = npt.NDArray[np.int64]
_Ends = tuple[_Int64, _Int64]

def linear(weight: Any, low: Any, high: Any, bias: Any = None, mask: Any = None) -> _Ends: ...
def partial_sums(weight: Any, low: Any, high: Any, bias: Any = None, mask: Any = None) -> _Ends: ...
def prefix_sums(weight: Any, low: Any, high: Any, bias: Any = None, mask: Any = None) -> _Ends: ...
def conv(weight: Any, low: Any, high: Any, bias: Any, mask: Any, geometry: Any) -> _Ends: ...
def conv_positions(
    weight: Any, low: Any, high: Any, bias: Any, mask: Any, geometry: Any
) -> _Ends: ...
def table_ranges(tables: Any, low: Any, high: Any, start: Any) -> _Ends: ...
def profile(
    weight: Any, order: Any, low: Any, high: Any, counts: Any, bias: Any = None
) -> _Ends: ...
def profile_network(
    weights: Any, order: Any, lows: Any, highs: Any, counts: Any
) -> list[_Ends]: ...
def select(
    codes: Any,
    saliency: Any,
    low: Any,
    high: Any,
    bits: Any,
    exact: bool,
    signed: bool,
    bias: Any,
    mask: Any,
) -> npt.NDArray[np.bool_]: ...
def fractional_bounds(
    codes: Any,
    saliency: Any,
    low: Any,
    high: Any,
    bits: Any,
    signed: bool,
    bias: Any,
    mask: Any,
) -> npt.NDArray[np.float64]: ...
def fit_scales(
    weight: Any,
    start: Any,
    low: Any,
    high: Any,
    bits: int,
    codes: tuple[int, int],
    mask: Any,
) -> npt.NDArray[np.float64]: ...
def hold_back(
    weight: Any,
    scale: Any,
    low: Any,
    high: Any,
    bits: int,
    codes: tuple[int, int],
    mask: Any,
) -> tuple[_Int64, npt.NDArray[Any]]: ...
def set_num_threads(threads: int) -> None: ...
def num_threads() -> int: ...

@final
class Convolution:
    def __new__(cls, weight: Any, bias: Any, geometry: Any) -> Convolution: ...
    def values(self, x: Any) -> _Int64 | None: ...

@final
class RangeTracker:
    def __new__(
        cls, weight: Any, low: Any, high: Any, bias: Any = None, mask: Any = None
    ) -> RangeTracker: ...
    def remove(self, channel: int, input: int) -> None: ...
    def restore(self, channel: int, input: int) -> None: ...
    def set(self, channel: int, input: int, value: int) -> None: ...
    def remove_channel(self, channel: int) -> None: ...
    def restore_channel(self, channel: int) -> None: ...
    def undo(self, steps: int) -> int: ...
    def changes(self) -> int: ...
    def range(self, channel: int) -> tuple[int, int]: ...
    def ranges(self) -> _Ends: ...
    def mask(self) -> npt.NDArray[np.bool_]: ...
    def weight(self) -> _Int64: ...
