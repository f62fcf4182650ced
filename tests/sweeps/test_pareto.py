import numpy as np
from hypothesis import given, strategies as st

from secateur.sweeps.pareto import front

scores = st.integers(0, 6) | st.just(float("nan"))


def dominated_by_someone(i, gain, cost):
    return any(
        gain[j] >= gain[i] and cost[j] <= cost[i] and (gain[j] > gain[i] or cost[j] < cost[i])
        for j in range(len(gain))
    )


@given(st.lists(st.tuples(scores, scores), max_size=12))
def test_the_front_is_what_nobody_dominates(candidates):
    gain = np.array([g for g, _ in candidates], float)
    cost = np.array([c for _, c in candidates], float)
    expected = [
        not np.isnan(gain[i] + cost[i]) and not dominated_by_someone(i, gain, cost)
        for i in range(len(gain))
    ]
    assert front(gain, cost).tolist() == expected
