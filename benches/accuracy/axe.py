"""Error correction after training: `Compensated` beside Brevitas's AXE, on the digits network.

AXE (Colbert et al., "Accumulator-Aware Post-Training Quantization for Large Language Models",
TMLR 2025) is run as Brevitas ships it, from `brevitas_examples`: A2GPTQ or A2GPFQ, then its bias
correction. Both sides start from the same trained network, see the same calibration samples, and
are asked for the same bits; AXE's are of two's complement with equal ends, which P span bits hold.

Protocol, fixed before any held-out sample was looked at: for each width of weights and each P,
AXE's algorithm, its order of weights and whether batch norms are estimated anew (on the
calibration samples, as tables absorb them) are chosen by the mean accuracy over three validation
splits; `Compensated` has no choice and keeps its defaults. Then both are measured on the held-out
samples with three seeds. Seconds are of one run, without training.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from time import perf_counter
from typing import Any

import brevitas.nn as qnn
import numpy as np
import torch
from torch import nn

import secateur
from benches.accuracy.methods import Setting, _estimate_norms, finished, quantized
from benches.results import table as markdown
from secateur.network import Network
from secateur.sweeps import Record, Results, sweep

JOURNAL = Path(__file__).parent / "axe.jsonl"
SEEDS = range(3)
WEIGHT_BITS = (2, 3)
BITS = (8, 6)
OURS = {"method": "compensated"}
#: What AXE has its choice of.
VARIANTS = tuple(
    {"method": "AXE", "algorithm": algorithm, "ordered": ordered, "norms": norms}
    for algorithm, ordered, norms in product(("gptq", "gpfq"), (True, False), (True, False))
)


@lru_cache(maxsize=1)
def trained(split: Any, weight_bits: int, seed: int) -> tuple[nn.Module, Network, Setting]:
    """Return the trained model that nothing has pruned, its network, and how they came about."""
    setting = Setting("digits", split, seed, 16, weight_bits, 2, 2)
    model = quantized(setting)
    return model, finished(model, setting), setting


def axe(model: nn.Module, setting: Setting, bits: int, variant: Mapping[str, Any]) -> Network:
    """Return the network with the codes that AXE gives it."""
    from brevitas_examples.imagenet_classification.ptq import ptq_common

    final, model = model, copy.deepcopy(model)
    for module in model.modules():
        if isinstance(module, qnn.QuantIdentity):
            # AXE asks the layer's input for its width.
            module.return_quant_tensor = True
    loader = [(batch, None) for batch in torch.from_numpy(setting.data.given[0]).split(256)]
    apply = {"gptq": ptq_common.apply_gptq, "gpfq": ptq_common.apply_gpfq}[variant["algorithm"]]
    more = {"use_quant_activations": True} if variant["algorithm"] == "gptq" else {}
    apply(loader, model, act_order=variant["ordered"], max_accumulator_bit_width=bits, **more)
    ptq_common.apply_bias_correction(loader, model)
    # What it leaves behind cannot be traced any more: `forward` is bound to one model for all.
    final = copy.deepcopy(final)
    final.load_state_dict({name: model.state_dict()[name] for name in final.state_dict()})
    if variant["norms"]:
        _estimate_norms(final, setting.data)
    return secateur.freeze(final.eval())


def measure(point: Mapping[str, Any]) -> dict[str, float]:
    """Return the accuracy that is kept, the proved width and how long it took."""
    torch.set_num_threads(1)
    model, network, setting = trained(point["split"], point["weight_bits"], point["seed"])
    start = perf_counter()
    if point["method"] == "compensated":
        samples = network.quantize_input(setting.data.given[0])
        pruned = secateur.prune(network, secateur.Compensated(point["bits"]), samples=samples)
    else:
        pruned = axe(model, setting, point["bits"], point)
    wall_s = perf_counter() - start
    x, y = setting.data.held_out
    return {
        "accuracy": float((pruned.predict(x).argmax(1) == y).mean()),
        "unpruned_accuracy": float((network.predict(x).argmax(1) == y).mean()),
        "width": secateur.analyze(pruned).accumulator_bits,
        "wall_s": wall_s,
    }


def run(journal: Path = JOURNAL) -> Results:
    """Return the results of all points, evaluating what the journal does not hold."""
    networks = [{"weight_bits": w, "seed": s} for w, s in product(WEIGHT_BITS, SEEDS)]
    validation = [
        {"split": "validation", **network, "bits": bits, **variant}
        for network, bits, variant in product(networks, BITS, VARIANTS)
    ]
    sweep(validation, measure, journal=journal)
    chosen = choose(Results.read(journal))
    test = [
        {"split": "test", **network, "bits": bits, **method}
        for network, bits in product(networks, BITS)
        for method in (OURS, chosen[network["weight_bits"], bits])
    ]
    return sweep(test, measure, journal=journal)


def choose(records: Iterable[Record]) -> dict[tuple[int, int], dict[str, Any]]:
    """Return (weight bits, P) → AXE's variant of the greatest mean validation accuracy."""
    found: dict[tuple[int, int], dict[int, list[float]]] = {}
    for record in records:
        if record.failed or record.point["split"] != "validation":
            continue
        (number,) = (k for k, v in enumerate(VARIANTS) if v.items() <= record.point.items())
        key = record.point["weight_bits"], record.point["bits"]
        found.setdefault(key, {}).setdefault(number, []).append(record.values["accuracy"])
    return {
        key: VARIANTS[max(each, key=lambda number: np.mean(each[number]))]
        for key, each in found.items()
    }


def table(results: Iterable[Record]) -> str:
    """Return a table of Markdown: held-out accuracy ± standard error, width and seconds."""
    found: dict[tuple[int, int], dict[str, list[Record]]] = {}
    for record in results:
        if record.point["split"] == "test":
            key = record.point["weight_bits"], record.point["bits"]
            found.setdefault(key, {}).setdefault(record.point["method"], []).append(record)
    rows = []
    for (weight_bits, bits), by_method in sorted(found.items(), key=lambda each: each[0]):
        every = [r for records in by_method.values() for r in records]
        whole = np.mean([r.values["unpruned_accuracy"] for r in every])
        cells = [_cell(by_method[name]) for name in ("compensated", "AXE")]
        point = by_method["AXE"][0].point
        how = [point["algorithm"].upper(), *(n for n in ("ordered", "norms") if point[n])]
        rows.append([str(weight_bits), str(bits), f"{whole:.3f}", *cells, ", ".join(how)])
    header = ["weight bits", "P", "unpruned", "compensated", "AXE", "AXE's choice"]
    return markdown(header, rows)


def _cell(records: list[Record]) -> str:
    accuracies = np.array([r.values["accuracy"] for r in records])
    error = accuracies.std(ddof=1) / len(accuracies) ** 0.5 if len(accuracies) > 1 else 0.0
    width = max(r.values["width"] for r in records)
    wall_s = np.median([r.values["wall_s"] for r in records])
    return f"{accuracies.mean():.3f} ± {error:.3f} ({width:.0f} bits, {wall_s:.1f} s)"


if __name__ == "__main__":
    print(table(run()))
