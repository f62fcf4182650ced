"""Random pruning follows the seed and nothing else."""

import numpy as np
from layers import layer, problem

from secateur.pruning.apply import apply_strategy

WEIGHTS = layer(np.ones((10, 10), int))


def masks(seed):
    return apply_strategy(problem(WEIGHTS, seed=seed), "random", sparsity=0.3)["fc"]


def test_as_many_are_removed_as_asked():
    assert (~masks(0)).sum() == 30


def test_another_seed_removes_others_and_the_same_seed_the_same():
    assert (masks(0) != masks(1)).any()
    assert (masks(1) == masks(1)).all()
