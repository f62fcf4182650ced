"""The circuit of a function: the backend's own, with its proof, a guard and a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from secateur.backends import Backend
from secateur.errors import DtypeError, InputRangeError, ShapeError
from secateur.network import Integers
from secateur.ranges import Ranges


@dataclass(frozen=True)
class FunctionCircuit:
    """A compiled function; whatever else its backend's circuit has, this has too.

    Args:
        compiled: `concrete.numpy.Circuit` or `concrete.fhe.Circuit`.
        backend: what compiled it.
        ranges: parameter → what it may be, low and high of its shape.
        output: the proved range of the result; a tuple of them where there are several.

    Example:
        >>> from secateur import Range, concrete
        >>> circuit = concrete.compile(lambda x: 3 * x - 1, {"x": Range(0, 5)})
        >>> circuit.output
        Ranges(low=array(-1), high=array(14))
        >>> circuit.emulate(5)
        array(14)
    """

    compiled: Any = field(repr=False)
    backend: Backend
    ranges: Mapping[str, Ranges]
    output: Ranges | tuple[Ranges, ...]

    def encrypt(self, *arguments: Any) -> Any:
        """Return the ciphertexts of one argument per parameter.

        With concrete-python None leaves one out, for several people to encrypt one each.

        Raises:
            DtypeError, ShapeError, InputRangeError: an argument that the proof was not made for.
        """
        return self.compiled.encrypt(*self._checked(arguments, partial=self.backend.several))

    def encrypt_run_decrypt(self, *arguments: Any) -> Any:
        """Return what the function returns, computed on encrypted data."""
        return self.compiled.decrypt(self.compiled.run(self.encrypt(*arguments)))

    def simulate(self, *arguments: Any) -> Any:
        """Return the backend's own simulation; it may not see a width that is too narrow."""
        return self.compiled.simulate(*self._checked(arguments))

    def emulate(self, *arguments: Any) -> Integers | tuple[Integers, ...]:
        """Return what the circuit decrypts to, its program computed modulo its own widths.

        Unlike `simulate` it sees every width; unlike encryption it takes no keys, and no time.

        Returns:
            int64 of the result's shape, or a tuple of them.

        Raises:
            UnprovableError: the program has an operation that is not emulated, or is virtual.
        """
        return self._emulator(*self._checked(arguments))

    @cached_property
    def _emulator(self) -> Callable[..., Any]:
        return self.backend.emulator(self.compiled)

    def _checked(self, arguments: tuple[Any, ...], partial: bool = False) -> list[Any]:
        if len(arguments) != len(self.ranges):
            raise ShapeError(
                f"the circuit takes {', '.join(self.ranges)}, but {len(arguments)} arguments are "
                "given",
                argument="arguments",
                shape=(len(arguments),),
                expected=(len(self.ranges),),
            )
        return [
            None if partial and argument is None else _check(name, argument, ranges)
            for argument, (name, ranges) in zip(arguments, self.ranges.items(), strict=True)
        ]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "compiled":
            raise AttributeError(name)
        return getattr(self.compiled, name)

    def __str__(self) -> str:
        return str(self.compiled)


def _check(name: str, argument: Any, ranges: Ranges) -> Any:
    values = np.asarray(argument)
    numbers = values.dtype.kind in "iub" or (
        values.dtype == object and all(isinstance(v, int | np.integer) for v in values.flat)
    )
    if not numbers:
        raise DtypeError(
            f"argument {name!r} has dtype {values.dtype}, expected integers",
            argument=name,
            dtype=str(values.dtype),
            expected="integers",
        )
    if values.shape != ranges.shape:
        raise ShapeError(
            f"argument {name!r} has shape {values.shape}, expected {ranges.shape}",
            argument=name,
            shape=values.shape,
            expected=ranges.shape,
        )
    outside = np.argwhere(~ranges.contains(values))
    if len(outside):
        at = tuple(int(i) for i in outside[0])
        one = ranges[at]
        raise InputRangeError(
            f"argument {name!r} has {values[at]} at {at}, but the circuit is proved for "
            f"[{one.low}, {one.high}] there",
            index=at,
            value=int(values[at]),
            low=one.low,
            high=one.high,
        )
    return int(values) if not values.shape else values.astype(np.int64)
