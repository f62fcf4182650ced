"""A width taken from samples, and one that is proved.

Eleven two-bit inputs with weights ±1. Of a hundred random samples none comes near the worst
case, so that the compiler takes too narrow a width from them; the worst case then overflows,
and its result is wrong without a word. Runs with either backend, in seconds: simulation by
the backend shows the same as encryption does.
"""

import numpy as np

from secateur import Range, concrete
from secateur.backends import backend_named

backend = backend_named()  # whichever of the two is installed
fhe = backend.namespace  # `concrete.numpy` or `concrete.fhe`

weights = np.array([[1, -1, 1, -1, 1, -1, 1, -1, 1, -1, 1]]).T
halved_relu = fhe.univariate(lambda v: np.maximum(v, 0) // 2)


def neuron(x):
    return halved_relu(x @ weights)


random = np.random.default_rng(0)
samples = [random.integers(0, 4, size=11) for _ in range(100)]
sampled = fhe.Compiler(neuron, {"x": "encrypted"}).compile(samples)
proved = concrete.compile(neuron, {"x": Range(0, 3)}, shapes={"x": (11,)})

worst = np.where(weights[:, 0] > 0, 3, 0)
print("in the clear:", np.maximum(worst @ weights, 0) // 2)
print("width sampled:", backend.simulate(sampled, worst))
print("width proved: ", backend.simulate(proved, worst))
