"""ONNX models by hand, and what qonnx's and onnxruntime's executors make of them."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

QONNX = "qonnx.custom_op.general"
LAST = "qonnx.custom_op.channels_last"
BATCH = 6


class Graph:
    """Builds a model node by node; tensors are known by their names."""

    def __init__(self, *shape, batch=BATCH, kind=TensorProto.FLOAT, opset=13, seed=0):
        self.rng = np.random.default_rng(seed)
        self.shape = (batch, *shape)
        self.kind, self.opset = kind, opset
        self.nodes, self.constants, self.shapes = [], [], []
        self.input = "x"

    def constant(self, values, dtype=np.float32):
        """A constant of the file; its name."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, operator, *inputs, outputs=1, **attributes):
        """A node; the name of what it gives, or their names."""
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        known = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        name = f"{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, known, names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def shaped(self, x, *shape):
        """Say of a tensor, in the file, which shape it has; the tensor."""
        self.shapes.append(helper.make_tensor_value_info(x, TensorProto.FLOAT, shape))
        return x

    def quant(self, x, scale, bits, *, zero=0.0, signed=1, narrow=0, mode="ROUND", kind="Quant"):
        """QONNX's quantiser."""
        return self.node(
            kind, x, scale, zero, float(bits),
            signed=signed, narrow=narrow, rounding_mode=mode, domain=QONNX,
        )  # fmt: skip

    def weights(self, *shape, bits=4, scale=None, narrow=1):
        """Quantised weights, of a scale for each first axis unless `scale` is given."""
        if scale is None:
            column = (shape[0], *(1,) * (len(shape) - 1))
            scale = 2.0 ** self.rng.integers(-5, -1, column) * self.rng.choice([1.0, 1.5], column)
        return self.quant(self.rng.normal(size=shape), scale, bits, narrow=narrow)

    def model(self, output, *, kind=TensorProto.FLOAT, rank=None):
        """The model that gives `output`."""
        domains = sorted({n.domain for n in self.nodes} - {""})
        graph = helper.make_graph(
            self.nodes,
            "test",
            [helper.make_tensor_value_info(self.input, self.kind, self.shape)],
            [helper.make_tensor_value_info(output, kind, rank)],
            self.constants,
            value_info=self.shapes,
        )
        opsets = [helper.make_opsetid("", self.opset)]
        versions = {LAST: self.opset}
        opsets += [helper.make_opsetid(d, versions.get(d, 1)) for d in domains]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def by_qonnx(model, x):
    """What qonnx's executor gives for float samples [BATCH, ...]."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    wrapped = ModelWrapper(onnx.ModelProto.FromString(model.SerializeToString()))
    wrapped = wrapped.transform(InferShapes())
    return execute_onnx(wrapped, {"x": x})[model.graph.output[0].name]


def by_onnxruntime(model, x):
    """What onnxruntime gives for samples [BATCH, ...]."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # As written: no node fused with another, which would round otherwise.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0]
