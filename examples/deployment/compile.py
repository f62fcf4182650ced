"""Compile a small network and save its parts: python compile.py DIRECTORY

The network asks four yes-or-no questions and gives two scores, of which the greater decides.
It stands for one that `secateur.freeze` would give.
"""

import sys

import numpy as np

import secateur
from secateur.network import (
    Activation,
    FunctionTable,
    Input,
    Linear,
    Lookup,
    Network,
    Output,
    Quantize,
)

network = Network(
    input=Input((4,), low=np.array(0), high=np.array(1)),
    operations=(
        Linear("questions", "input", np.array([[2, -1, 1, 0], [0, 1, 1, -2], [-1, 0, 1, 1]])),
        Lookup("relu", "questions", FunctionTable((Activation("relu"),), Quantize(1.0, 0, 2))),
        Linear("scores", "relu", np.array([[1, -1, 1], [-1, 1, 0]])),
    ),
    output=Output(
        "scores",
        factor=np.array([1]),
        offset=np.array([0]),
        scale=np.array([0.5]),
        bias=np.array([0.25]),
    ),
)

circuit = secateur.compile(secateur.narrow(network))
circuit.save(sys.argv[1])
print(circuit)
