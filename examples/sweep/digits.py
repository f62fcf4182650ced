"""A sweep: which strategy keeps most accuracy at each width, and what does it cost encrypted?

    python examples/sweep/digits.py    # trains, prunes and prices 45 networks: some minutes
    python examples/sweep/digits.py    # nothing left to do: the journal has it all

Scikit-learn's digits (1,797 real images), a 64-32-32-10 network, three strategies at 4 to 8
accumulator bits, three seeds. Stop it at any moment and run it again. Leaves beside this file
the journal, a report to open in a browser, and the chart.
"""

from collections import OrderedDict
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import secateur
from secateur import plot
from secateur.show.report import write_report
from secateur.sweeps import Recipe

HERE = Path(__file__).parent


def build():
    """Make the float network."""
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(64, 32),
            norm1=nn.BatchNorm1d(32),
            relu1=nn.ReLU(),
            fc2=nn.Linear(32, 32),
            norm2=nn.BatchNorm1d(32),
            relu2=nn.ReLU(),
            fc3=nn.Linear(32, 10),
        )
    )


def data():
    """Give the digits, 30 % of them held out."""
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(
        images.astype(np.float32) / 16, labels, test_size=0.3, random_state=0, stratify=labels
    )
    return train_x, train_y, test_x, test_y


recipe = Recipe(
    build,
    data,
    float_epochs=40,
    epochs=80,
    weight_bits=2,
    activation_bits=2,
    input_bits=2,
    global_p_error=0.01,
)

points = secateur.grid(
    strategy=["accumulator", "l1-ball", "connections"], bits=range(4, 9), seed=range(3)
)

if __name__ == "__main__":
    results = secateur.sweep(points, recipe, executor=2, journal=HERE / "digits.jsonl")
    print(results.to_pandas().groupby(["strategy", "bits"])["accuracy"].mean().unstack().round(3))
    write_report(results, HERE / "digits.html", title="Digits at 4 to 8 accumulator bits")
    plot.pareto(results).savefig(HERE / "digits.png", dpi=150)
