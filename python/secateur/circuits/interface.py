"""The interface: the two ends of a circuit, which is all that a client knows of its network.

A circuit, a client in this process and one across a network read and write alike: floats or
tables become codes, decrypted accumulators become integers, floats, labels or probabilities.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from secateur.errors import ArgumentError, NotFiniteError, SecateurError, ShapeError
from secateur.network import Floats, Input, Integers, Network, Output, Shape
from secateur.network.storage import from_portable, portable

#: Codes [batch, *input shape] ↦ the network's integers [batch, *output shape].
Inference = Callable[[Integers], Integers]


@dataclass(frozen=True, eq=False)
class Interface:
    """What goes into a circuit and what comes out.

    Args:
        input: what the network takes.
        output: how decrypted accumulators are read.
        shape: shape of the decrypted accumulators of one sample.
    """

    input: Input
    output: Output
    shape: Shape

    @classmethod
    def of(cls, network: Network) -> Interface:
        """Return the two ends of `network`."""
        return cls(network.input, network.output, network.shapes[network.output.source])

    def sample(self, x: ArrayLike) -> Integers:
        """Return one sample of codes, int64 [*input.shape].

        Raises:
            DtypeError, ShapeError, InputRangeError: `x` is not what the proof was made for.
        """
        sample = np.asarray(x)
        if sample.shape != self.input.shape:
            raise ShapeError(
                f"encrypt takes one sample of shape {self.input.shape}, got {sample.shape}; "
                "encrypt_run_decrypt and predict take batches",
                argument="x",
                shape=sample.shape,
                expected=self.input.shape,
            )
        self.input.check(sample[None])
        return sample.astype(np.int64)

    def codes(self, x: ArrayLike) -> Integers:
        """Return the codes of float samples, int64 of the same shape, clipped to the range.

        Args:
            x: floats [batch, *input.shape] or one sample, or a table with named columns.

        Raises:
            ArgumentError: the columns are not the features, or not in their order.
            ShapeError: a sample has another shape.
            NotFiniteError: a value is NaN.
        """
        columns = getattr(x, "columns", None)
        features = self.input.features
        if columns is not None and features is not None and tuple(columns) != features:
            raise ArgumentError(
                f"the columns are {', '.join(map(str, columns))}; "
                f"the network was made for {', '.join(features)}, in this order",
                argument="X",
                value=tuple(columns),
                expected=features,
            )
        values = np.asarray(x, dtype=np.float64)
        if self.input.shape not in (values.shape, values.shape[1:]):
            raise ShapeError(
                f"X has shape {values.shape}, expected {('batch', *self.input.shape)}",
                argument="X",
                shape=values.shape,
                expected=self.input.shape,
            )
        if np.isnan(values).any():
            raise NotFiniteError("X holds NaN, which no code stands for", argument="X")
        return self.input.quantize(values)

    def integers(self, decrypted: Any) -> Integers:
        """Read decrypted accumulators of one sample as the network does, int64 [*shape]."""
        raw = np.asarray(decrypted).astype(np.int64)
        return self.output.integers(raw.reshape(1, *self.shape))[0]

    def predict(self, x: ArrayLike, infer: Inference) -> NDArray[Any]:
        """Return what `output.answer` says; a row for each sample."""
        return self._each(x, infer, self.output.answer)

    def predict_proba(self, x: ArrayLike, infer: Inference) -> Floats:
        """Return the probability of every class, float64 [batch, classes].

        Raises:
            NetworkError: the output has no tail that makes probabilities.
        """
        self.output.check_tail()
        return self._each(x, infer, self.output.probabilities)

    def _each(
        self, x: ArrayLike, infer: Inference, read: Callable[[Floats], NDArray[Any]]
    ) -> NDArray[Any]:
        codes = self.codes(x)
        single = codes.shape == self.input.shape
        answers = read(self.output.dequantize(infer(codes[None] if single else codes)))
        return answers[0] if single else answers

    def to_json(self) -> bytes:
        """Return the interface as JSON."""
        source, output = self.input, self.output
        ends = {
            "input": {
                "name": source.name,
                "shape": source.shape,
                "low": source.low.tolist(),
                "high": source.high.tolist(),
                "scale": np.asarray(source.scale).tolist(),
                "bias": np.asarray(source.bias).tolist(),
                "features": source.features,
            },
            "output": {
                "source": output.source,
                "shape": self.shape,
                "factor": output.factor.tolist(),
                "offset": output.offset.tolist(),
                "scale": output.scale.tolist(),
                "bias": output.bias.tolist(),
                "labels": output.labels,
                "tail": output.tail,
                "ranking": portable(output.ranking),
                "steps": portable(output.steps),
            },
        }
        return json.dumps(ends).encode()

    @classmethod
    def from_json(cls, content: bytes) -> Interface:
        """Return the interface that `to_json` wrote.

        Raises:
            ValueError: the content says something else.
        """
        try:
            ends = json.loads(content)
            given, taken = ends["input"], ends["output"]
            source = Input(
                _shape(given["shape"]),
                _array(given["low"], np.int64),
                _array(given["high"], np.int64),
                _array(given["scale"], np.float64),
                _text(given["name"]),
                bias=_array(given["bias"], np.float64),
                features=_tuple(given["features"], str),
            )
            output = Output(
                _text(taken["source"]),
                _array(taken["factor"], np.int64),
                _array(taken["offset"], np.int64),
                _array(taken["scale"], np.float64),
                _array(taken["bias"], np.float64),
                labels=_tuple(taken["labels"], str | float | int),
                tail=taken["tail"],
                ranking=from_portable(taken["ranking"]) if "ranking" in taken else None,
                steps=from_portable(taken["steps"]) if "steps" in taken else (),
            )
            # A network of the output alone checks that the two go together.
            Network(
                Input(_shape(taken["shape"]), np.array(0), np.array(0), name=output.source),
                (),
                output,
            )
            return cls(source, output, _shape(taken["shape"]))
        except (
            SecateurError,
            ArithmeticError,
            AttributeError,
            KeyError,
            RecursionError,
            TypeError,
        ) as error:
            raise ValueError(f"holds no interface of a circuit: {error}") from error


def _shape(value: Any) -> Shape:
    extents = _tuple(value, int)
    if not extents or min(extents) < 1:
        raise ValueError(f"{value} is no shape")
    return extents


def _tuple(value: Any, kind: Any) -> Any:
    if value is None and kind is not int:
        return None
    if not isinstance(value, list) or not all(isinstance(v, kind) for v in value):
        raise TypeError(f"{value!r} is no list of {kind}")
    return tuple(value)


def _array(value: Any, dtype: Any) -> NDArray[Any]:
    array = np.array(value)
    if array.dtype.kind not in ("i" if dtype is np.int64 else "if"):
        raise TypeError(f"{value!r} holds no numbers of {dtype.__name__}")
    return array.astype(dtype)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no name")
    return value
