"""Every extra works alone: the built wheel, in an environment that holds nothing else.

The small ones run always, those that bring gigabytes with SECATEUR_EXTRAS=all.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
import venv
from pathlib import Path

import pytest

from secateur.files import lock

NETWORK = """
    import numpy as np
    import secateur
    from secateur.network import Input, Linear, Network, Output

    one, zero = np.ones(1), np.zeros(1)
    network = Network(
        Input((4,), np.array(0), np.array(3)),
        (Linear("fc", "input", np.array([[1, -2, 3, 0], [3, 3, -1, 2]], np.int8)),),
        Output("fc", one.astype(int), zero.astype(int), one, zero),
    )
"""

#: Extra → what it is for. Each program ends well, or its extra is broken.
PROGRAMS = {
    "": """
        from secateur.errors import MissingExtraError

        assert secateur.bounds.linear(network["fc"].codes, 0, 3).high.tolist() == [12, 24]
        assert secateur.analyze(network).accumulator_bits == 5
        pruned = secateur.prune(network, "accumulator", bits=4)
        assert secateur.analyze(secateur.narrow(pruned)).accumulator_bits <= 4
        assert secateur.verify(secateur.Certificate.of(pruned), pruned).holds
        results = secateur.sweep(secateur.grid(n=range(3)), lambda p: {"square": p["n"] ** 2})
        assert results.best("square").point == {"n": 2}
        assert secateur.sweep_bounds(network, [{}])["accumulator_bits"].tolist() == [5]
        print(secateur.Ranges([0], [7]).to_json(), secateur.__version__)
        for need in (
            lambda: secateur.quantize,
            lambda: secateur.save(network, "x"),
            lambda: secateur.plot,
            lambda: secateur.compile(network),
            lambda: results.to_pandas(),
        ):
            try:
                need()
            except MissingExtraError as error:
                print(error)
            else:
                raise AssertionError("an extra is here that should not be")
    """,
    "cli": """
        import json, subprocess, sys

        def run(*arguments):
            command = [sys.executable, "-I", "-m", "secateur", *arguments]
            return subprocess.run(command, check=True, capture_output=True, text=True).stdout

        np.save("codes.npy", network["fc"].codes)
        secateur.save(network, "net.safetensors")
        print(run("bounds", "codes.npy", "--low", "0", "--high", "3", "--per-channel"))
        print(run("strategies"), run("bounds", "net.safetensors"))
        run("prune", "net.safetensors", "accumulator", "pruned.safetensors", "-o", "bits=4")
        pruned = secateur.load("pruned.safetensors")
        secateur.Certificate.of(pruned).save("certificate.json")
        print(run("verify", "certificate.json", "pruned.safetensors"))
        open("square.py", "w").write("def f(p): return {'accuracy': p['n'], 'complexity': p['n']}")
        open("sweep.toml", "w").write(
            'evaluate = "square:f"\\njournal = "runs.jsonl"\\nprocesses = 2\\n[points]\\nn = [1, 2]'
        )
        assert len(json.loads(run("sweep", "sweep.toml", "--json"))) == 2
        run("report", "runs.jsonl")
        assert "Sweep" in open("runs.html").read() or "runs" in open("runs.html").read()
    """,
    "files": """
        secateur.save(network, "net.safetensors")
        again = secateur.load("net.safetensors")
        assert (again["fc"].codes == network["fc"].codes).all()
    """,
    "plot": """
        from secateur.sweeps import Sparsities

        points = secateur.grid(strategy=["accumulator", "magnitude"], n=range(1, 4))
        results = secateur.sweep(
            points, lambda p: {"accuracy": 0.5 + p["n"] / 10, "complexity": 10.0 ** p["n"]}
        )
        for figure in (
            secateur.plot.pareto(results),
            secateur.plot.ranges(secateur.analyze(network)),
            secateur.plot.profile(secateur.sweep_bounds(network, Sparsities([0, 0.5, 1]))),
        ):
            figure.savefig("figure.png")
    """,
    "sweep": """
        from square import f

        if __name__ == "__main__":
            for _ in range(2):
                results = secateur.sweep(
                    secateur.grid(n=[1, 2]), f, executor=2, journal="runs.jsonl"
                )
            results.to_parquet("runs.parquet")
            assert results.to_pandas()["accuracy"].tolist() == [1, 2]
            assert len(secateur.analyze(network)["fc"].channels.to_pandas()) == 2
    """,
    "torch": """
        import torch
        from torch import nn
        from secateur.training import fit

        x, y = torch.rand(64, 4), torch.randint(0, 2, (64,))
        module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
        fit(module, x, y, epochs=2)
        model = secateur.quantize(module, weight_bits=3, activation_bits=2, calibration=x)
        pruner = secateur.Pruner(model, "accumulator", bits=4)
        fit(model, x, y, epochs=2, pruner=pruner)
        pruner.finish()
        assert secateur.analyze(secateur.freeze(model)).accumulator_bits <= 4
    """,
    "onnx": """
        from onnx import TensorProto, helper, numpy_helper

        def constant(name, values):
            return numpy_helper.from_array(np.array(values), name)

        constants = [
            constant("x_scale", np.float32(0.5)), constant("x_zero", np.uint8(0)),
            constant("w_scale", np.float32(0.25)), constant("w_zero", np.int8(0)),
            constant("codes", np.array([[1, 2], [-3, 0], [2, 2]], np.int8)),
        ]
        nodes = [
            helper.make_node("QuantizeLinear", ["x", "x_scale", "x_zero"], ["xq"]),
            helper.make_node("DequantizeLinear", ["xq", "x_scale", "x_zero"], ["xd"]),
            helper.make_node("DequantizeLinear", ["codes", "w_scale", "w_zero"], ["w"]),
            helper.make_node("MatMul", ["xd", "w"], ["y"]),
        ]
        graph = helper.make_graph(
            nodes, "g",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2])],
            constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
        network = secateur.read_onnx(model)
        assert secateur.analyze(network).accumulator_bits > 8
    """,
    "sklearn": """
        from sklearn.datasets import load_iris

        x, y = load_iris(return_X_y=True)
        classifier = secateur.SecateurClassifier(hidden_layers=(8,), max_epochs=9)
        assert classifier.fit(x.astype("float32"), y).predict(x[:3].astype("float32")).shape == (3,)
    """,
    "fhe": """
        from secateur import Range
        from secateur.deployment import Client, Server

        circuit = secateur.compile(network)
        x = np.array([3, 0, 3, 1])
        assert (circuit.simulate(x) == network(x)).all()
        circuit.save("circuit")
        server, client = Server.load("circuit/server"), Client.load("circuit/client")
        answer = server.run(client.encrypt(x), server.keys(client.evaluation_keys()))
        assert (client.decrypt(answer) == network(x)).all()
        print(secateur.concrete.compile(lambda x: x * 3, {"x": Range(0, 3)}))
    """,
    "client": """
        from secateur.deployment import Client
        from secateur.errors import ServiceError

        secateur.compile(network).save("circuit")
        for _ in range(2):
            client = Client.load("circuit/client", "me.keys", "correct horse")
        try:
            client.connect("http://127.0.0.1:9")
        except ServiceError as error:
            print(error)
    """,
    "serve": """
        import json, signal, subprocess, sys
        from urllib.request import urlopen

        secateur.compile(network).save("circuit")
        command = [sys.executable, "-I", "-m", "secateur", "serve", "circuit", "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            with urlopen(server.stdout.readline().strip() + "/health") as answer:
                assert json.load(answer)["status"] == "ok"
            server.send_signal(signal.SIGINT)
    """,
}
HELPERS = "def f(p):\n    return {'accuracy': p['n'], 'complexity': p['n']}\n"
SMALL = ("", "cli", "files", "plot", "sweep")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory, request):
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    held = lock(request.config.rootpath / "target" / "wheel")  # the other lane builds there too
    try:
        subprocess.run([*build, "--wheel-dir", folder, request.config.rootpath], check=True)
    finally:
        held.release()
    (path,) = folder.glob("*.whl")
    return path


def test_every_extra_has_a_program(request):
    text = (request.config.rootpath / "pyproject.toml").read_text()
    table = re.search(r"\[project.optional-dependencies\]\n(.*?)\n\[", text, re.DOTALL).group(1)
    extras = re.findall(r"^(\w+) = \[", table, re.MULTILINE)
    assert {*extras} == {*PROGRAMS, "all"} - {""}


@pytest.mark.slow
@pytest.mark.parametrize("extra", PROGRAMS, ids=lambda extra: extra or "bare")
def test_it_does_alone_what_it_is_for(wheel, extra, tmp_path):
    if extra not in SMALL and os.environ.get("SECATEUR_EXTRAS") != "all":
        pytest.skip("gigabytes: asked for with SECATEUR_EXTRAS=all")
    python = environment(tmp_path / "env", f"{wheel}[{extra}]" if extra else str(wheel))
    (tmp_path / "square.py").write_text(HELPERS)
    program = textwrap.dedent(NETWORK) + textwrap.dedent(PROGRAMS[extra])
    (tmp_path / "program.py").write_text(program)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    done = subprocess.run(
        [python, "program.py"], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.rmtree(tmp_path / "env")  # gigabytes, which pytest would keep


def environment(path: Path, *requirements: str) -> Path:
    """Return the interpreter of a new environment that holds `requirements` and no more."""
    venv.create(path, with_pip=False)
    python = path / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    subprocess.run([*install, *requirements], check=True)
    return python
