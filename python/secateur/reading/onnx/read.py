"""From an ONNX model to the frozen network of integers that it means."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from onnx import ModelProto

from secateur.errors import ArgumentError, BitsError, SecateurError, UnsupportedOperatorError
from secateur.network import Activation, Network, Quantize
from secateur.ranges import Range
from secateur.reading.onnx import (  # noqa: F401  (their operators register themselves)
    elementwise,
    layers,
    moves,
    pools,
    quantisers,
    tails,
)
from secateur.reading.onnx.model import INTEGERS, LARGEST_TENSOR, Graph, Node, load, several
from secateur.reading.onnx.operators import (
    ADVICE,
    INPUT_ADVICE,
    Call,
    Constant,
    Tail,
    Value,
    read,
    refusal,
    tensor,
)
from secateur.reading.signals import Assembly, Scaling, Signal, Waiting

_SUM_BITS = range(2, 17)

#: Functions that may wait for one table.
_MOST_STEPS = 2048

Source = str | os.PathLike[str] | bytes | ModelProto


def read_onnx(
    model: Source, *, input: Quantize | Range | None = None, sum_bits: int | None = None
) -> Network:
    """Return the network of integers that a quantised ONNX model means.

    QONNX (Quant, BipolarQuant, Trunc, MultiThreshold) and ONNX's own quantisation
    (QuantizeLinear and DequantizeLinear, QLinear and Integer operators) are read, mixed as they
    come. Between an accumulator and the next codes everything becomes one table, evaluated in
    float64 on the float32 numbers of the file: the integers are those that the file means, and
    differ from a float32 run of it where a value lies next to a tie.

    Softmax, LogSoftmax, Sigmoid, ArgMax, ArgMin and TopK at the end are left to the clear side:
    `predict` gives the scores before them, `output.answer` of these what the file gives, and so
    does a circuit's `predict`; `output.probabilities` gives the chances. A last activation is
    applied in the clear by `predict`. Several outputs are read where all are read off the same
    scores: values and indices, chances and class.

    Args:
        model: path of the file, its bytes, or a model in memory.
        input: what the codes of the input are where the model does not say: a grid
            `Quantize(scale, low, high)`, or a `Range` of integers with scale 1. With it, the
            model's own first quantiser becomes a table. An integer input has its type's range.
        sum_bits: 2 to 16; sums of unlike scales, which are refused otherwise, are rounded to a
            grid of so many bits, operand by operand. The one departure from what the file
            means; `explain` states the largest error of each sum.

    Raises:
        UnsupportedOperatorError: a node that no network has; names node, operator and remedy.
        ArgumentError, BitsError: `input` is none of these, `sum_bits` out of its range.
        FileFormatError: the file is damaged, or refers to data outside its directory.
        MissingExtraError: the onnx package is not installed.
        NotFiniteError: NaN or infinity among its constants.
        NetworkError, ShapeError, AccumulatorOverflowError: nodes that do not fit together.

    >>> import numpy as np
    >>> from onnx import helper, numpy_helper, TensorProto
    >>> def constant(name, *values):
    ...     return numpy_helper.from_array(np.array(values, np.float32).squeeze(), name)
    >>> quant = {"domain": "qonnx.custom_op.general", "narrow": 0}
    >>> graph = helper.make_graph(
    ...     [
    ...         helper.make_node("Quant", ["x", "s", "z", "b"], ["q"], signed=0, **quant),
    ...         helper.make_node("Quant", ["w", "s", "z", "b"], ["p"], signed=1, **quant),
    ...         helper.make_node("MatMul", ["q", "p"], ["y"], name="fc"),
    ...     ],
    ...     "example",
    ...     [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2])],
    ...     [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
    ...     [
    ...         constant("s", 0.5),
    ...         constant("z", 0),
    ...         constant("b", 3),
    ...         constant("w", [1.0, -0.5], [0.5, 1.5]),
    ...     ],
    ... )
    >>> opsets = [helper.make_opsetid("", 13), helper.make_opsetid("qonnx.custom_op.general", 1)]
    >>> network = read_onnx(helper.make_model(graph, opset_imports=opsets))
    >>> network["fc"].codes
    array([[ 2,  1],
           [-1,  3]], dtype=int8)
    >>> network.predict(np.array([[1.0, 2.0]]))
    array([[2. , 2.5]])
    """
    reader = Reader(load(model), input, sum_bits)
    for node in reader.graph.nodes:
        reader.passage(node)
    return reader.network()


@dataclass(frozen=True, eq=False)
class Passage:
    """What became of one node.

    Args:
        node: the node.
        became: the operations of the network that it gave, by name.
        folded: whether it was a constant.
        notes: where scales, zero points and biases went.
    """

    node: Node
    became: tuple[str, ...]
    folded: bool
    notes: tuple[str, ...]


@dataclass(eq=False)
class Reader:
    """Sends the values of a graph through its nodes, one after the other."""

    graph: Graph
    input: Quantize | Range | None
    sum_bits: int | None
    assembly: Assembly = field(init=False)
    values: dict[str, Value | None] = field(init=False)

    def __post_init__(self) -> None:
        self.node: Node | None = None
        if self.sum_bits is not None and self.sum_bits not in _SUM_BITS:
            raise BitsError(
                f"sum_bits is {self.sum_bits}, expected {_SUM_BITS.start} to {_SUM_BITS.stop - 1}",
                argument="sum_bits",
                bits=self.sum_bits,
                lowest=_SUM_BITS.start,
                highest=_SUM_BITS.stop - 1,
            )
        self.assembly = Assembly(
            self._refuse, ADVICE, INPUT_ADVICE, self.sum_bits, ", or round them: sum_bits=8"
        )
        self.values = {name: tensor(t) for name, t in self.graph.constants.items()}
        self.values[self.graph.input] = self._take()
        self.readers = Counter(i for node in self.graph.nodes for i in node.inputs)
        self.readers.update(self.graph.outputs)
        self.waiting = self.readers.copy()
        self.folded = 0

    def _refuse(self, name: str, problem: str) -> SecateurError:
        operator = self.node.operator if self.node else "the graph"
        at = self.node.name if self.node else name
        return UnsupportedOperatorError(
            f"node {at!r} ({operator}): {problem}",
            node=at,
            operator=operator,
            problem=problem,
            remedy=ADVICE,
        )

    def _take(self) -> Signal:
        shape = self.graph.shape[1:]
        if isinstance(self.input, Range):
            return self.assembly.take(shape, Quantize(1.0, self.input.low, self.input.high))
        if isinstance(self.input, Quantize):
            return self.assembly.take(shape, self.input)
        if self.input is not None:
            raise ArgumentError(
                f"input is {self.input!r}, expected Quantize(scale, low, high) or Range(low, high)",
                argument="input",
                value=self.input,
                expected="a Quantize or a Range",
            )
        raw = self.assembly.take(shape)
        if self.graph.kind in INTEGERS:
            return Signal(raw.source, raw.steps, Range(*INTEGERS[self.graph.kind]), raw=True)
        return raw

    def passage(self, node: Node) -> Passage:
        """Read one node, whose inputs have been read, and return what became of it."""
        self.node = node
        for name in filter(None, node.inputs):
            if name not in self.values:
                problem = f"reads {name!r}, an output that only training or ranking needs"
                raise refusal(node, problem, "drop it from the model")
        call = Call(
            node,
            tuple(self.values[i] if i else None for i in node.inputs),
            self.assembly,
            self.graph.shape[0],
            self.graph.opset,
            tuple(self.readers[i] for i in node.inputs),
        )
        before = len(self.assembly.operations)
        carried = tails.passed(call)
        given = read(call) if carried is None else (carried,)
        for output, value in zip(node.outputs, given, strict=False):
            self.values[output] = value
            self.folded += value.values.size if isinstance(value, Constant) else 0
            if isinstance(value, Signal) and len(value.steps) > _MOST_STEPS:
                problem = f"is more than {_MOST_STEPS} functions away from the last quantiser"
                raise refusal(node, problem, ADVICE)
        if self.folded > LARGEST_TENSOR:
            raise refusal(node, "makes too many constants", "fold them: onnxsim or onnxruntime")
        self._drop(node)
        became = tuple(self.assembly.operations)[before:]
        for name in became:
            call.check_size(self.assembly.shapes[name])
            if name in self.assembly.errors:
                error = self.assembly.errors[name]
                call.note(f"operands rounded to one grid: floats are off by {error:.3g} at most")
        folded = all(isinstance(v, Constant) for v in given)
        return Passage(node, became, folded, tuple(call.notes))

    def _drop(self, node: Node) -> None:
        """Forget the values that no node will read any more."""
        for name in filter(None, node.inputs):
            self.waiting[name] -= 1
            value = self.values.get(name)
            if not self.waiting[name]:
                self.values.pop(name, None)
                if isinstance(value, Constant) and name not in self.graph.constants:
                    self.folded -= value.values.size

    def network(self) -> Network:
        """Return the network, its output the last value."""
        self.node = None
        tail = self._given(*self.graph.outputs)
        scores, steps = _apart(tail.scores)
        channels = self.assembly.shape(scores)[0]
        # Of a single channel, whichever way its float falls, the class is the first.
        labels = tuple(range(channels)) if channels > 1 else (0, 0)
        self.assembly.give(
            self.graph.outputs[0],
            scores,
            labels=labels if tail.classes else None,
            tail=tail.tail,
            ranking=tail.ranking,
            steps=steps,
        )
        return self.assembly.network()

    def _given(self, first: str, *more: str) -> Tail:
        """Return what the outputs are: readings of one and the same, or an error."""
        tail = self._output(first)
        for name in more:
            other = self._output(name)
            tails, rankings = (
                {getattr(t, part) for t in (tail, other)} - {None} for part in ("tail", "ranking")
            )
            apart = tail.scores.source != other.scores.source or any(
                a is not b for a, b in zip_longest(tail.scores.steps, other.scores.steps)
            )
            if apart or len(tails) > 1 or len(rankings) > 1 or not (tails or rankings):
                problem, remedy = several("output", self.graph.outputs)
                raise self._refuse("the model", f"{problem}; {remedy}")
            tail = Tail(
                tail.scores,
                tail.operator,
                next(iter(tails), None),
                next(iter(rankings), None),
                tail.classes or other.classes,
            )
        return tail

    def _output(self, name: str) -> Tail:
        """Return one output, a last sigmoid of it as its tail."""
        value = self.values.get(name)
        if isinstance(value, Constant) or value is None:
            raise self._refuse(name, "the output does not depend on the input")
        tail = value if isinstance(value, Tail) else Tail(value, "the output")
        *steps, last = tail.scores.steps or (None,)
        if tail.tail is None and last == Activation("sigmoid"):
            return replace(tail, scores=replace(tail.scores, steps=tuple(steps)), tail="sigmoid")
        return tail


def _apart(x: Signal) -> tuple[Signal, tuple[Waiting, ...]]:
    """Return scores as no more than scaled, and what the clear side does after that."""
    if x.raw or x.scaling is not None:
        return x, ()
    first, *rest = x.steps
    if isinstance(first, Scaling):
        return replace(x, steps=(first,)), tuple(rest)
    return replace(x, steps=()).scaled(1.0), x.steps
