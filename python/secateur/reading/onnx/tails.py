"""Tails: what the clear side makes of the scores after decryption."""

from __future__ import annotations

import math
from dataclasses import replace

from secateur.network import Ranking, Shape
from secateur.reading.onnx.operators import Call, Tail, Value, operator


@operator("Softmax", "LogSoftmax")
def softmax(call: Call) -> Tail:
    """Probabilities over the channels, or their logarithms."""
    x = call.signal(0)
    shape = call.assembly.shape(x)
    axis = call.axis(int(call.attribute("axis", -1 if call.opset >= 13 else 1)), shape)
    # Before opset 13 all axes from the given one on were one.
    if axis != 0 or (call.opset < 13 and math.prod(shape[1:]) > 1):
        raise call.refuse(
            f"works on samples of shape {shape}, not over their first axis",
            "over the channels only: axis=1, with a Transpose before it",
        )
    call.note("in the clear: output.answer, output.probabilities")
    return Tail(
        x, call.node.operator, "softmax" if call.node.operator == "Softmax" else "log_softmax"
    )


@operator("Log")
def log(call: Call) -> Tail:
    """The logarithm of probabilities: a LogSoftmax."""
    value = call.inputs[0]
    if not isinstance(value, Tail) or value.tail != "softmax" or value.ranking is not None:
        raise call.refuse("takes a logarithm of what is no Softmax's", "leave it out")
    return replace(value, tail="log_softmax", operator="Log")


@operator("ArgMax", "ArgMin")
def best(call: Call) -> Tail:
    """The index of the greatest score, or of the least."""
    before, axis = _scores(call, int(call.attribute("axis", 0)))
    least, last = call.node.operator == "ArgMin", bool(call.attribute("select_last_index", 0))
    if axis:
        shape = call.assembly.shape(before.scores)
        order = (axis, *(a for a in range(len(shape)) if a != axis))
        scores = call.assembly.transpose(f"{call.name}.first", before.scores, order)
        before = replace(before, scores=scores)
    call.note("in the clear: output.answer")
    return replace(before, ranking=Ranking(None, least, last), classes=True)


@operator("TopK")
def top_k(call: Call) -> tuple[Value | None, ...]:
    """The greatest scores, or the least, and their indices."""
    before, axis = _scores(call, int(call.attribute("axis", -1)))
    shape = call.assembly.shape(before.scores)
    counts = call.integers(1) if call.given(1) else [int(call.attribute("k", 1))]
    if axis or len(counts) != 1 or not 1 <= counts[0] <= shape[0]:
        raise call.refuse(
            f"ranks {counts} of samples of shape {shape}",
            "one to all of the channels are ranked: axis=1",
        )
    # One label is no axis of an answer, however it was asked for.
    count = counts[0] if counts[0] > 1 else None
    ranked = replace(before, ranking=Ranking(count, not call.attribute("largest", 1)))
    call.note("in the clear: output.answer")
    return (ranked, replace(ranked, classes=True))


def _scores(call: Call, given: int) -> tuple[Tail, int]:
    """Return what is ranked, and along which axis of a sample; 0 where it has a tail."""
    value = call.inputs[0]
    before = value if isinstance(value, Tail) else Tail(call.signal(0), call.node.operator)
    shape: Shape = call.assembly.shape(before.scores)
    axis = call.axis(given, shape)
    if before.ranking is not None or (axis and before.tail is not None):
        raise call.refuse(
            f"ranks what {before.operator} gives along another axis, or ranked already",
            "rank the channels once: axis=1",
        )
    return before, axis


#: What changes neither probabilities nor labels: types, names, and axes of one element.
_PASSED = ("Identity", "Dropout", "Cast")
_SQUEEZED = ("Squeeze", "Unsqueeze", "Reshape", "Flatten")


def passed(call: Call) -> Tail | None:
    """Return the tail that a node hands on as it is; None where it is none, or no such node."""
    value = call.inputs[0] if call.inputs else None
    if not isinstance(value, Tail):
        return None
    one = len(call.assembly.shape(value.scores)) == 1
    label = one and value.ranking is not None and value.ranking.count is None
    if call.node.operator in _PASSED or (label and call.node.operator in _SQUEEZED):
        call.note("in the clear: changes no answer")
        return value
    return None
