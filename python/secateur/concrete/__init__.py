"""Proved compilation of functions that users wrote for concrete-numpy or concrete-python.

    circuit = secateur.concrete.compile(function, {"x": Range(0, 15)}, shapes={"x": (8,)})

takes the place of `Compiler(function, {"x": "encrypted"}).compile(inputset)`: the widths
follow from the declared ranges of the inputs, not from samples of them.
"""

from secateur.concrete.circuit import FunctionCircuit as FunctionCircuit
from secateur.concrete.compile import circuit as circuit, compile as compile
