"""What Concrete ML makes of one training set: runs in an environment of its own.

`python rival.py DATA.npz < points.jsonl > results.jsonl`: each point is trained once and
compiled with every rounding; each line that comes back is a point with its rounding and what
was measured. Nothing of secateur is imported.
"""

from __future__ import annotations

import copy
import json
import sys
import time
import traceback
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

warnings.filterwarnings("ignore")

import brevitas.nn as qnn  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from brevitas.quant import Int8ActPerTensorFloat, Uint8ActPerTensorFloat  # noqa: E402
from concrete import fhe  # noqa: E402
from concrete.ml.sklearn import NeuralNetClassifier  # noqa: E402
from concrete.ml.torch.compile import compile_brevitas_qat_model  # noqa: E402
from torch import nn  # noqa: E402

P_ERROR = 2.0**-40
EXACT, APPROXIMATE = fhe.Exactness.EXACT, fhe.Exactness.APPROXIMATE
#: Rounding of accumulators before lookups: none, or to so many bits, exactly or about.
ROUNDINGS: dict[str, dict[str, Any] | None] = {
    "none": None,
    **{f"exact {n}": {"n_bits": n, "method": EXACT} for n in (4, 5, 6)},
    **{f"approximate {n}": {"n_bits": n, "method": APPROXIMATE} for n in (4, 5, 6)},
}


def network(sizes: list[int], bits: int, signed: bool) -> nn.Sequential:
    """Return the float architecture with Brevitas's quantisers, as Concrete ML takes it."""
    layers: list[nn.Module] = [
        qnn.QuantIdentity(
            act_quant=Int8ActPerTensorFloat if signed else Uint8ActPerTensorFloat,
            bit_width=bits,
            return_quant_tensor=True,
        )
    ]
    for fan_in, fan_out in pairwise(sizes):
        layers += [
            qnn.QuantLinear(fan_in, fan_out, bias=True, weight_bit_width=bits),
            nn.BatchNorm1d(fan_out),
            qnn.QuantReLU(
                act_quant=Uint8ActPerTensorFloat, bit_width=bits, return_quant_tensor=True
            ),
        ]
    return nn.Sequential(*layers[:-1])


def train(model: nn.Module, x: torch.Tensor, y: torch.Tensor, epochs: int, data: Any) -> None:
    """Adam, the learning rate along a cosine: the loop of secateur.training.fit."""
    batch_size, seed = int(data["batch_size"]), int(data["seed"])
    torch.manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=float(data["lr"]))
    steps = epochs * -(-len(x) // batch_size)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    model.train()
    for _ in range(epochs):
        for index in torch.split(torch.randperm(len(x)), batch_size):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
            scheduler.step()
    model.eval()


def brevitas(point: dict[str, Any], data: Any) -> Iterator[dict[str, Any]]:
    """The architecture of ours, trained from the same float network, with each rounding."""
    x, y = torch.from_numpy(data["train_x"]), torch.from_numpy(data["train_y"])
    model = network(data["sizes"].tolist(), point["bits"], bool((data["train_x"] < 0).any()))
    state = {k.removeprefix("float."): v for k, v in data.items() if k.startswith("float.")}
    with torch.no_grad():
        layers = [m for m in model if isinstance(m, (nn.Linear, nn.BatchNorm1d))]
        for number, layer in enumerate(layers):
            for name, value in layer.state_dict().items():
                if (given := state.get(f"{number}.{name}")) is not None:
                    value.copy_(torch.from_numpy(given))
    train(model, x, y, int(data["quantized_epochs"]), data)
    # The last batch norm is affine, and read in the clear.
    norm = model[-1]
    logits = nn.Sequential(*list(model)[:-1])
    for name, rounding in ROUNDINGS.items():
        if point.get("roundings") and name not in point["roundings"]:
            continue
        start = time.perf_counter()
        module = compile_brevitas_qat_model(
            copy.deepcopy(logits),
            data["calibration"],
            rounding_threshold_bits=rounding,
            p_error=P_ERROR,
        )
        norm.eval()

        def classes(values: Any) -> Any:
            with torch.no_grad():
                return norm(torch.from_numpy(np.asarray(values)).float()).argmax(1).numpy()

        yield {
            **point,
            "rounding": name,
            **measured(module, module.fhe_circuit, data, classes),
            "wall_s": time.perf_counter() - start,
        }


def classifier(point: dict[str, Any], data: Any) -> Iterator[dict[str, Any]]:
    """NeuralNetClassifier, which trains a network of its own from scratch."""
    sizes = data["sizes"].tolist()
    start = time.perf_counter()
    torch.manual_seed(int(data["seed"]))
    model = NeuralNetClassifier(
        module__n_layers=len(sizes) - 1,
        module__n_hidden_neurons_multiplier=sizes[1] / sizes[0],
        module__n_w_bits=point["bits"],
        module__n_a_bits=point["bits"],
        max_epochs=int(data["epochs"]) + int(data["quantized_epochs"]),
        batch_size=int(data["batch_size"]),
        lr=float(data["lr"]),
        verbose=False,
        train_split=None,
    )
    model.fit(data["train_x"], data["train_y"])
    if point["pruned"]:
        model = model.prune(data["train_x"], data["train_y"], point["pruned"])
    model.compile(data["calibration"], p_error=P_ERROR)
    module = model.quantized_module_
    yield {
        **point,
        "rounding": "power of two",
        **measured(module, model.fhe_circuit, data, lambda v: np.asarray(v).argmax(1)),
        "wall_s": time.perf_counter() - start,
    }


def measured(module: Any, circuit: Any, data: Any, classes: Any) -> dict[str, Any]:
    """Return accuracy in the clear and simulated, complexity, and the corners that differ."""
    x, y = data["test_x"], data["test_y"]
    result: dict[str, Any] = {
        "complexity": float(circuit.complexity),
        "clear_accuracy": float((classes(module.forward(x, fhe="disable")) == y).mean()),
        "accuracy": float((classes(module.forward(x, fhe="simulate")) == y).mean()),
    }
    corners = module.quantize_input(data["corners"])
    clear, run = (
        module.quantized_forward(corners, fhe=fhe_mode) for fhe_mode in ("disable", "simulate")
    )
    result["corners_wrong"] = int((clear != run).reshape(len(clear), -1).any(axis=1).sum())
    result["corners"] = len(clear)
    result["input_bytes"] = int(circuit.size_of_inputs)
    result["key_bytes"] = int(circuit.size_of_bootstrap_keys + circuit.size_of_keyswitch_keys)
    return result


METHODS = {"brevitas": brevitas, "classifier": classifier}


def main() -> None:
    """Measure the points of stdin on the data set of the first argument."""
    torch.set_num_threads(1)
    with np.load(sys.argv[1]) as archive:
        data = dict(archive)
    for line in sys.stdin:
        point = json.loads(line)
        try:
            for result in METHODS[point["method"]](point, data):
                print(json.dumps(result), flush=True)
        except Exception:
            failure = traceback.format_exc()
            print(json.dumps({**point, "failed": failure.splitlines()[-1]}), flush=True)
            print(failure, file=sys.stderr)


if __name__ == "__main__":
    main()
