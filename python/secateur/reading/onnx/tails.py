"""Tails: what the clear side makes of the scores after decryption."""

from __future__ import annotations

from secateur.reading.onnx.operators import Call, Tail, Value, operator


@operator("Softmax")
def softmax(call: Call) -> Tail:
    """Probabilities over the channels."""
    x = call.signal(0)
    shape = call.assembly.shape(x)
    axis = call.axis(int(call.attribute("axis", -1 if call.opset >= 13 else 1)), shape)
    if len(shape) != 1 or axis != 0:
        raise call.refuse(f"works on samples of shape {shape}", "only the last scores are read so")
    return Tail(x, "Softmax")


@operator("ArgMax")
def arg_max(call: Call) -> Tail:
    """The index of the greatest score."""
    return _ranked(call, int(call.attribute("axis", 0)))


@operator("TopK")
def top_k(call: Call) -> tuple[Value | None, ...]:
    """The greatest scores and their indices; of one, the class."""
    k = call.integers(1)[0] if call.given(1) else int(call.attribute("k", 1))
    if k != 1 or not call.attribute("largest", 1):
        raise call.refuse(f"ranks {k} scores", "leave it out: rank the network's scores yourself")
    tail = _ranked(call, int(call.attribute("axis", -1)))
    return (tail,) * len(call.node.outputs)


def _ranked(call: Call, axis: int) -> Tail:
    value = call.inputs[0]
    before = value if isinstance(value, Tail) else Tail(call.signal(0), call.node.operator)
    shape = call.assembly.shape(before.scores)
    if len(shape) != 1 or call.axis(axis, shape) != 0 or call.attribute("select_last_index", 0):
        raise call.refuse(f"ranks samples of shape {shape}", "only the last scores are read so")
    return Tail(before.scores, before.operator, classes=True)
