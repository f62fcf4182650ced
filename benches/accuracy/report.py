"""The section of RESULTS.md and its figure, made from the journals alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from benches.accuracy.datasets import DATASETS
from benches.accuracy.methods import METHODS
from benches.accuracy.run import (
    BITS,
    BOUNDED,
    CHOICE,
    CLOSE,
    FITTING,
    MORE_SEEDS,
    OURS,
    RUN_OFF_SEEDS,
    SEEDS,
    WIDTHS,
    choices,
    choose,
    mean,
    of_first_seeds,
    reported,
    rivals,
    where,
)
from benches.accuracy.sparsity import without_loss
from benches.results import table
from secateur.sweeps import Record, Results


def section(results: Results, figure: str, more: Sequence[str]) -> str:
    """Return the Markdown of the whole section.

    Args:
        results: of the comparison.
        figure: path of the figure, as seen from RESULTS.md.
        more: further subsections.
    """
    parts = [_INTRODUCTION.format(seeds=len(SEEDS)), f"![accuracy at each width]({figure})"]
    parts += [comparison(results, name) for name in DATASETS]
    parts += [close_races(results), without_teacher(results), how_chosen(results), *more]
    return "\n\n".join(parts)


def comparison(results: Results, dataset: str) -> str:
    """Return the table of one data set: held-out accuracy and proved width, method by method."""
    rows = []
    for bits in WIDTHS.get(dataset, BITS):
        finals = _finals(results, dataset, bits)
        cells = [_cell(records, "accuracy") for records in finals.values()]
        rows.append([str(bits), *cells, _cell(finals["unpruned"], "unlimited_accuracy")])
    header = ["P", *(_title(method) for method in METHODS), "unpruned, no limit"]
    remark = f"\n\n{_REMARKS[dataset]}" if dataset in _REMARKS else ""
    title = f"**{dataset.capitalize()}**{_so_far(results, dataset)}"
    return f"{title}\n\n{table(header, rows)}{remark}"


def _so_far(results: Results, dataset: str) -> str:
    """What of a data set's seeds and validation splits has not run yet, where it matters."""
    run = [
        {r.point["seed"] for r in where(results, dataset=dataset, split=split)} & set(SEEDS)
        for split in ("test", "validation")
    ]
    if all(seeds == set(SEEDS) for seeds in run):
        return ""
    tested, chosen = map(len, run)
    return f" (so far {tested} of {len(SEEDS)} seeds, chosen by {chosen} of as many splits)"


def close_races(results: Results) -> str:
    """Return mean accuracies and standard errors over all seeds, where the first do not decide."""
    rows = []
    for dataset, bits in product(DATASETS, BITS):
        records = rivals(results, dataset, bits)
        cells = [_mean_and_error(records[m]) if m in records else "" for m in FITTING]
        if records:
            rows.append([dataset, str(bits), *cells])
    text = _CLOSE_RACES.format(close=100 * CLOSE, seeds=len(SEEDS) + len(MORE_SEEDS))
    return f"{text}\n\n{table(['data', 'P', *map(_title, FITTING)], rows)}"


def without_teacher(results: Results) -> str:
    """Return the table of what the methods would have chosen on digits among other trainings."""
    untaught = [r for r in results if r.point["training"] != "taught"]
    rows = []
    for bits in BITS:
        if any(choice[-1] == "taught" for choice in choices("digits", bits, OURS)):
            each = [reported(untaught, "digits", method, bits) for method in FITTING]
            cells = [f"{_mean_and_error(r)} ({len(r)} seeds)" if r else "not run" for r in each]
            rows.append([str(bits), *cells])
    return f"{_WITHOUT_TEACHER}\n\n{table(['P', *map(_title, FITTING)], rows)}"


def how_chosen(results: Results) -> str:
    """Return the validation accuracies that the choices on digits were made by."""
    chosen = choose(results, "digits")
    rows = []
    for bits in BITS:
        for choice in choices("digits", bits, BOUNDED[0]):
            row = [str(bits), _format(choice), choice[-1]]
            wanted = dict(zip(CHOICE, choice, strict=True)) | {"bits": bits}
            for method in METHODS:
                records = where(
                    results, dataset="digits", split="validation", method=method, **wanted
                )
                text = f"{mean(records, 'accuracy'):.3f}" if records else "not run"
                if choice not in choices("digits", bits, method):
                    text = ""
                row.append(f"**{text}**" if chosen.get((method, bits)) == choice else text)
            rows.append(row)
    text = _CHOICES.format(seeds=len(SEEDS), more=len(RUN_OFF_SEEDS), close=100 * CLOSE)
    return f"{text}\n\n{table(['P', 'w/a/in', 'training', *METHODS], rows)}"


def sparsity_section(means: Mapping[str, Mapping[float, float]]) -> str:
    """Return the table of accuracies by sparsity, and how much can go.

    Args:
        means: network → sparsity → mean accuracy.
    """
    levels = sorted({level for each in means.values() for level in each})
    rows = [
        [name, *(f"{each[level]:.4f}" for level in levels), f"{without_loss(each):.0%}"]
        for name, each in means.items()
    ]
    header = ["network", *(f"{level:.0%}" for level in levels), "at most 0.5 points lost"]
    return f"{_SPARSITY}\n\n{table(header, rows)}"


def reselection_section(results: Iterable[Record]) -> str:
    """Return the table of what a selection costs beside a training step."""
    rows = []
    for record in results:
        step_ms, select_ms = (1e3 * float(record.values[k] or 0) for k in ("step_s", "select_s"))
        ratio = select_ms / step_ms
        row = [str(record.point["bits"]), f"{step_ms:.0f} ms", f"{select_ms:.0f} ms"]
        rows.append([*row, f"{ratio:.2f}", f"{ratio / 20:.1%}"])
    header = ["P", "one training step", "one selection", "ratio", "overhead, every 20 steps"]
    return f"{_RESELECTION}\n\n{table(header, rows)}"


def draw(results: Results, path: Path) -> None:
    """Save the figure: held-out accuracy against P, one panel for each data set."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, len(DATASETS), figsize=(16, 3.6), layout="constrained")
    for panel, dataset in zip(panels, DATASETS, strict=True):
        for method in METHODS:
            finals = {bits: _finals(results, dataset, bits)[method] for bits in BITS}
            line = {bits: mean(records, "accuracy") for bits, records in finals.items() if records}
            if not line:
                continue
            style = {"linewidth": 2.5, "zorder": 3} if method == OURS else {"linewidth": 1.2}
            panel.plot(*zip(*line.items(), strict=True), "o-", label=_title(method), **style)
        panel.set(title=dataset, xlabel="accumulator bits P", xticks=BITS)
        panel.grid(alpha=0.3)
    panels[0].set_ylabel(f"held-out accuracy, mean of {len(SEEDS)}")
    panels[0].legend(fontsize=8)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _finals(results: Results, dataset: str, bits: int) -> dict[str, list[Record]]:
    return {m: of_first_seeds(reported(results, dataset, m, bits)) for m in METHODS}


def _cell(records: Sequence[Record], name: str) -> str:
    """Return mean accuracy, the widest proved width of any seed, and what was chosen."""
    if not records:
        return "not run"
    width = max(int(record.values["width"] or 0) for record in records)
    needs = "needs " if width > records[0].point["bits"] else ""
    choice = [records[0].point[name] for name in CHOICE]
    training = f", {choice[-1]}" if choice[-1] in ("taught", "sparse") else ""
    value = _mean_and_error(records, name)
    return f"{value} ({needs}{width} bits; {_format(choice)}{training})"


def _mean_and_error(records: Sequence[Record], name: str = "accuracy") -> str:
    """Return the mean and its standard error, where there are several records."""
    values = np.array([record.values[name] for record in records])
    if len(values) == 1:
        return f"{values[0]:.4f}"
    return f"{values.mean():.4f} ± {values.std(ddof=1) / len(values) ** 0.5:.4f}"


def _format(choice: Sequence[Any]) -> str:
    return "/".join(map(str, choice[:3]))


def _title(method: str) -> str:
    return f"secateur `{method}`" if method == OURS else method


_REMARKS = {
    "mnist_5k": """\
An MLP 784-64-64-10 without any enlargement of its 3,500 samples. From starts that are not sparse
nearly all codes of A2Q and A2Q+ round to 0 here, and stay there. Tried for them on one validation
split, without gain for A2Q+: a half, a quarter, twice and four times as many weights as their
norms have room for, a learning rate of 0.003, what is kept centred, drawn together by a square
root or made alike, and 3-bit weights with 1-bit activations.""",
    "mnist_5k, convolutional": """\
Two convolutions of 3×3 at every second place, 8 and 16 channels, then one affine layer; the same
samples as images.""",
}

_INTRODUCTION = """\
## Accuracy at a proved width

`python -m benches.accuracy` runs what its journals lack and writes this section.

Every accumulator of every layer, logits included, has to fit P span bits, as proved by
`secateur.analyze` on the final integers. Accuracy is on the held-out 30 %, the same for all; mean
of {seeds} seeds ± its standard error. In brackets: the proved width of the widest accumulator of
any seed, and the bits of weights/activations/inputs. All methods start from the same float network
and train by the same recipe: Adam with one learning rate, as many steps, the same samples. When
the codes are final, what tables absorb is tuned: biases, batch norms and scales of activations in
the last fifth of the steps, or the statistics of the batch norms alone. On digits, from 7 bits on,
they may also be *taught*: all learn the logits of a convolutional teacher for many more samples,
and start from a float network that did. All this each method chooses for itself at each P, on
validation splits of the training samples.

- **secateur `accumulator`**: masks that keep the most saliency under the span budget, selected
  anew every few steps while removed weights go on training, each time after the scales of the
  weights have been fitted to the budget.
- **A2Q, A2Q+**: Brevitas's accumulator-aware weight quantisers. Norms that would start below their
  bound start at it; as shipped, 2-bit codes of all but a channel's greatest weights start at 0.
  On digits up to P = 6, and on mnist_5k at every P, they may also start *sparse*: each neuron keeps
  as many of its largest weights as its norm has room for, and the others stay 0.
- **connections**: Concrete ML's rule, each neuron held to its Ω connections, chosen once, from
  the trained float network.
- **unpruned**: no limit in training; where its span exceeds P bits, a P-bit accumulator wraps
  around. The last column is the same network where accumulators are as wide as they need."""

_CLOSE_RACES = """\
**Where {seeds} seeds are asked.** Methods within {close:g} point of ours in the mean of the first
seeds: mean of {seeds} seeds ± its standard error, all on the same held-out samples."""

_WITHOUT_TEACHER = """\
**Without the teacher.** What the methods would have chosen on digits had they not been offered it:
held-out accuracy, mean ± its standard error over the seeds measured. Choices follow validation
splits, whatever the held-out samples say; of these there are 540, so that 0.2 points are one."""

_CHOICES = """\
**How the choices were made.** Accuracy on validation splits of the training samples of digits, by
networks trained without them: mean of {seeds} splits, and of {more} more for choices within
{close:g} point of the method's best. Bold is what was chosen. Training: what tables absorb is tuned
in the end, or norms alone, or tables after learning from a teacher or from a sparse start. The
other data sets choose likewise, and always tune all that tables absorb."""

_SPARSITY = """\
**How much can go** (Han et al. 2015: train, prune, retrain; `magnitude` over the whole network).
Held-out accuracy on digits by the fraction of weights removed, mean of three seeds; the
quantised network has 3-bit weights, activations and inputs."""

_RESELECTION = """\
**What re-selection costs.** A million weights (784-1000-200-80, 3-bit weights, 2-bit activations),
batch 64, one thread, medians of one run."""
