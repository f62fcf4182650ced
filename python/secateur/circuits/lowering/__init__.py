"""Lowering: a network as a function for a backend to trace, one file per family of operations.

What a backend makes of an operation is said once, in `registry`, for all backends: every
operation is written with what all of them have. Padding is an assignment into zeros, a
maximum is b + relu(a − b), convolutions are 2-dimensional.
"""

from secateur.circuits.lowering.lowered import Lowered as Lowered
