"""Every stage's seconds and memory as networks grow, beside Brevitas's inference.

    python -m benches.scale              # what the journal does not hold yet, then the report
    python -m benches.scale VGG          # the cases of these names alone

Each case has a process of its own, whose peak of memory is read at each stage. Seconds are of
its processor, on one thread. Weights are random: none of these stages depends on what they mean.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from time import process_time
from typing import Any

from matplotlib.figure import Figure

from benches.results import RESULTS, table, write_section

JOURNAL = Path(__file__).parent / "scale.jsonl"
FIGURE = "scale.png"
STAGES = ("quantize", "freeze", "analyze", "prune", "run", "Brevitas")
#: Samples that are run at a time by Brevitas, as by us.
BATCH = 100
#: How many times as many show whether memory follows the batch.
MORE = 10


def _mlp(*widths: int) -> tuple[Any, tuple[int, ...]]:
    from torch import nn

    layers: list[Any] = []
    for fan_in, out in pairwise(widths):
        layers += [nn.Linear(fan_in, out), nn.BatchNorm1d(out), nn.ReLU()]
    return nn.Sequential(*layers[:-2]), widths[:1]


def _convolution(inputs: int, outputs: int, stride: int = 1, groups: int = 1) -> list[Any]:
    from torch import nn

    convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, groups=groups, bias=False)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]


def _vgg() -> tuple[Any, tuple[int, ...]]:
    from torch import nn

    layers, inputs = [], 3
    for outputs, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += _convolution(inputs, outputs)
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 10)), (3, 32, 32)


def _mobile() -> tuple[Any, tuple[int, ...]]:
    from torch import nn

    layers, inputs = _convolution(3, 32), 32
    for outputs, stride in ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1)):
        layers += _convolution(inputs, inputs, stride, groups=inputs)
        layers += [nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        inputs = outputs
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(512, 10)), (3, 32, 32)


def _resnet() -> tuple[Any, tuple[int, ...]]:
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, inputs: int, outputs: int, stride: int) -> None:
            super().__init__()
            self.body = nn.Sequential(
                *_convolution(inputs, outputs, stride), *_convolution(outputs, outputs)[:-1]
            )
            self.short = nn.Sequential()
            if stride > 1 or inputs != outputs:
                narrow = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
                self.short = nn.Sequential(narrow, nn.BatchNorm2d(outputs))
            self.relu = nn.ReLU()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.relu(self.body(x) + self.short(x))

    layers, inputs = _convolution(3, 64), 64
    for outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [Block(inputs, outputs, stride), Block(outputs, outputs, 1)]
        inputs = outputs
    return nn.Sequential(*layers, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(512, 10)), (3, 32, 32)


CASES: dict[str, Callable[[], tuple[Any, tuple[int, ...]]]] = {
    "MLP 2 M": lambda: _mlp(784, 1024, 1024, 256, 10),
    "table 10,000": lambda: _mlp(10_000, 256, 64, 2),
    "MobileNet-like": _mobile,
    "ResNet-18": _resnet,
    "VGG": _vgg,
    "MLP 22 M": lambda: _mlp(1024, 4096, 4096, 256, 10),
    "MLP 100 M": lambda: _mlp(4096, 9216, 6656, 256, 10),
}


def measure(name: str) -> dict[str, Any]:
    """Return the case's weights, and of each stage [seconds, MB], memory at its peak."""
    import torch

    import secateur
    from secateur import bounds

    torch.set_num_threads(1)
    bounds.set_num_threads(1)
    torch.manual_seed(0)
    module, shape = CASES[name]()
    samples = torch.rand(BATCH, *shape)
    figures: dict[str, Any] = {
        "case": name,
        "weights": sum(p.numel() for p in module.parameters() if p.ndim > 1),
    }

    def stage(what: str, call: Callable[[], Any]) -> Any:
        _forget_peak()
        start = process_time()
        result = call()
        figures[what] = [process_time() - start, _peak()]
        return result

    stage("start", lambda: None)
    model = stage("quantize", lambda: secateur.quantize(module.eval(), 3, 2, samples)).eval()
    network = stage("freeze", lambda: secateur.freeze(model))
    stage("analyze", lambda: secateur.analyze(network))
    stage("prune", lambda: secateur.prune(network, "accumulator", bits=8))
    network.predict(samples[:2].numpy())
    stage("run", lambda: network.predict(samples.numpy()))
    with torch.no_grad():
        model(samples[:2])
        stage("Brevitas", lambda: model(samples))
        many = torch.rand(BATCH * MORE, *shape)
        stage("run more", lambda: network.predict(many.numpy()))
        stage("Brevitas more", lambda: model(many))
    return figures


def _forget_peak() -> None:
    """Let the peak of memory start from what is held now, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> float:
    """Return the peak of memory since it was forgotten, in MB; else since the process began."""
    with suppress(OSError):
        status = Path("/proc/self/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return getrusage(RUSAGE_SELF).ru_maxrss / 1024


def run(names: Sequence[str] = tuple(CASES), journal: Path = JOURNAL) -> None:
    """Measure the cases that the journal does not hold, each in a process of its own."""
    known = {figures["case"] for figures in records(journal)}
    for name in names:
        if name not in known:
            command = [sys.executable, "-m", "benches.scale", "--measure", name]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            with journal.open("a") as lines:
                lines.write(done.stdout.splitlines()[-1] + "\n")


def records(journal: Path = JOURNAL) -> list[dict[str, Any]]:
    """Return the figures of every case that has been measured, in the order of their weights."""
    if not journal.exists():
        return []
    found = map(json.loads, journal.read_text().splitlines())
    return sorted(found, key=lambda figures: figures["weights"])


def report(found: Sequence[dict[str, Any]]) -> str:
    """Return the section: of every stage seconds, memory, and how both grow."""
    head = ("network", "weights")
    cells = [(f["case"], f"{f['weights'] / 1e6:.1f} M") for f in found]
    seconds = [
        (*names, *(f"{f[what][0]:.2f}" for what in STAGES), f"{f['run'][0] / f['Brevitas'][0]:.2f}")
        for names, f in zip(cells, found, strict=True)
    ]
    memory = [
        (*names, *(f"{f[what][1] / 1000:.2f}" for what in (*STAGES, "run more", "Brevitas more")))
        for names, f in zip(cells, found, strict=True)
    ]
    growth = [
        (*names, *(f"{f[w][0] / f['weights'] * 1e9:.0f}" for w in STAGES[:4]))
        for names, f in zip(cells, found, strict=True)
    ]
    return "\n\n".join(
        [
            "## Scale",
            f"Seconds of one processor for each stage, 3-bit weights, 2-bit activations; {BATCH} "
            "samples run at once, by `network.predict` and by the Brevitas model. The stages of "
            "a case run in one process; `python -m benches.scale` measures what is not here yet.",
            table((*head, *STAGES, "run / Brevitas"), seconds),
            f"![Seconds of each stage as networks grow]({FIGURE})",
            "Memory at each stage's peak, in GB, with all that the process holds: the models of "
            f"torch and the network. The last two run {BATCH * MORE} samples at once.",
            table((*head, *STAGES, f"run {BATCH * MORE}", f"Brevitas {BATCH * MORE}"), memory),
            "Nanoseconds for each weight, which show how a stage grows:",
            table((*head, *STAGES[:4]), growth),
        ]
    )


def draw(found: Sequence[dict[str, Any]], path: Path) -> None:
    """Save the seconds of each stage against the number of weights."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    panel = figure.subplots()
    for what in STAGES:
        chain = ("o-", [f for f in found if f["case"].startswith("MLP")], what)
        others = ("x", [f for f in found if not f["case"].startswith("MLP")], None)
        colour = f"C{STAGES.index(what)}"
        for style, cases, label in (chain, others):
            sizes, times = [f["weights"] for f in cases], [f[what][0] for f in cases]
            panel.plot(sizes, times, style, color=colour, label=label)
    panel.set(xscale="log", yscale="log", xlabel="weights", ylabel="seconds of one processor")
    figure.legend(title="lines: perceptrons", fontsize="small", loc="outside right center")
    figure.savefig(path, dpi=120)


def main(names: Sequence[str] = ()) -> None:
    """Measure what the journal lacks, and regenerate the section of RESULTS.md."""
    run(names or tuple(CASES))
    found = records()
    draw(found, RESULTS.parent / FIGURE)
    write_section("scale", report(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(sys.argv[2])))
    else:
        main(sys.argv[1:])
