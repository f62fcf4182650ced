from typing import Any

import numpy as np
import numpy.typing as npt

_Int64 = npt.NDArray[np.int64]

def linear(
    weight: Any, low: Any, high: Any, bias: Any = None, mask: Any = None
) -> tuple[_Int64, _Int64]: ...
def partial_sums(
    weight: Any, low: Any, high: Any, bias: Any = None, mask: Any = None
) -> tuple[_Int64, _Int64]: ...
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
def set_num_threads(threads: int) -> None: ...
def num_threads() -> int: ...
