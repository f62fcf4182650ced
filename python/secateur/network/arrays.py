"""Arrays of frozen values: checked once, private, and read-only for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur import exact
from secateur.errors import DtypeError, NotFiniteError, ShapeError

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]

# What the engine takes as it is; other integers are widened to the next of these.
_CODES = (np.int8, np.int16, np.int32, np.int64, np.uint8)


class Frozen:
    """A frozen dataclass that is made anew, checks and all, when it is copied or unpickled."""

    def __reduce__(self) -> tuple[type[Frozen], tuple[Any, ...]]:
        values = (getattr(self, f.name) for f in fields(self) if f.init)  # type: ignore[arg-type]
        return type(self), tuple(values)


def frozen(array: ArrayLike) -> NDArray[Any]:
    """Return the elements of `array`, C-contiguous, where nobody can write them.

    The copy lies in `bytes`, which have no way to be written, through a view or its base. An
    array that lies so already is given back.

    >>> array = frozen(np.arange(3))
    >>> array.flags.writeable = True
    Traceback (most recent call last):
    ValueError: cannot set WRITEABLE flag to True of this array
    """
    array = np.asarray(array)
    owner: Any = array
    while isinstance(owner, np.ndarray) and owner.base is not None:
        owner = owner.base
    if isinstance(owner, bytes) and array.flags.c_contiguous:
        return array
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def codes(layer: str, values: Any) -> NDArray[Any]:
    """Return the codes of a layer, frozen, in an integer type that the engine takes.

    Raises:
        DtypeError: they are no integers, or do not fit int64; names the layer.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise DtypeError(
            f"layer {layer!r}: codes are {array.dtype}, expected integers; quantize first",
            argument="codes",
            dtype=str(array.dtype),
            expected="integer",
            layer=layer,
        )
    kind = array.dtype.newbyteorder("=")
    if kind not in _CODES:
        _check_fits(array, "codes", layer)
        kind = np.dtype(f"int{min(64, 16 * array.dtype.itemsize)}")
    return frozen(array.astype(kind, copy=False))


def integers(
    layer: str, argument: str, values: ArrayLike, shapes: Sequence[tuple[int, ...]] | None = None
) -> Integers:
    """Return integers of a frozen value as int64, frozen.

    Args:
        layer: whose they are.
        argument: what they are called.
        values: any integers that fit int64.
        shapes: those permitted, or None for any.

    Raises:
        DtypeError: they are no integers, or do not fit int64.
        ShapeError: another shape. Both name the layer and the argument.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iu":
        raise DtypeError(
            f"layer {layer!r}: {argument} is {array.dtype}, expected integers that fit int64",
            argument=argument,
            dtype=str(array.dtype),
            expected="integers that fit int64",
            layer=layer,
        )
    _check_fits(array, argument, layer)
    _check_shape(array, argument, layer, shapes)
    return frozen(array.astype(np.int64, copy=False))


def floats(
    layer: str,
    argument: str,
    values: ArrayLike,
    shapes: Sequence[tuple[int, ...]] | None = None,
    *,
    positive: bool = False,
) -> Floats:
    """Return finite numbers of a frozen value as float64, frozen.

    Raises:
        DtypeError: they are no real numbers.
        ShapeError: another shape than those permitted.
        NotFiniteError: NaN or infinity, or, of `positive` ones, a number that is not above 0.
            All name the layer and the argument.
    """
    array = np.asarray(values)
    if array.dtype.kind not in "iuf":
        raise DtypeError(
            f"layer {layer!r}: {argument} is {array.dtype}, expected real numbers",
            argument=argument,
            dtype=str(array.dtype),
            expected="real numbers",
            layer=layer,
        )
    _check_shape(array, argument, layer, shapes)
    array = array.astype(np.float64, copy=False)
    wrong = ~np.isfinite(array) | ((array <= 0) if positive else False)
    if wrong.any():
        at = tuple(int(i) for i in np.argwhere(wrong)[0])
        raise NotFiniteError(
            f"layer {layer!r}: {argument}{list(at) if at else ''} is {array[at]}, expected a "
            f"finite number{' above 0' * positive}",
            argument=argument,
            layer=layer,
            channel=at[0] if at else None,
        )
    return frozen(array)


def _check_fits(array: NDArray[Any], argument: str, layer: str) -> None:
    if array.dtype.kind == "u" and array.size and int(array.max()) >= exact.INT64:
        raise DtypeError(
            f"layer {layer!r}: {argument} holds {array.max()}, which int64 does not",
            argument=argument,
            dtype=str(array.dtype),
            expected="integers that fit int64",
            layer=layer,
        )


def _check_shape(
    array: NDArray[Any],
    argument: str,
    layer: str,
    shapes: Sequence[tuple[int, ...]] | None,
) -> None:
    if shapes is not None and array.shape not in shapes:
        raise ShapeError(
            f"layer {layer!r}: {argument} has shape {array.shape}, expected "
            f"{' or '.join(map(str, dict.fromkeys(shapes)))}",
            argument=argument,
            shape=array.shape,
            expected=tuple(shapes),
            layer=layer,
        )


def along_channels(values: NDArray[Any], like: NDArray[Any]) -> NDArray[Any]:
    """Shape per-channel `values` [channels] to broadcast over `like` [batch, channels, ...]."""
    return column(values, like.ndim - 1)


def column(values: NDArray[Any], axes: int) -> NDArray[Any]:
    """Shape per-channel `values` [channels] to broadcast over [channels, ...] of `axes` axes."""
    return values.reshape(-1, *(1,) * (axes - 1))


def picked(values: NDArray[Any] | None, kept: Mask) -> Any:
    """Return the kept rows of `values` [channels, ...], or the only row of [1, ...]."""
    return values if values is None or len(values) != len(kept) else values[kept]
