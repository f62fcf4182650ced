"""When masks are due, and how far they go."""

import pytest
from hypothesis import given, strategies as st

from secateur.errors import ScheduleError
from secateur.pruning.schedule import Gradual, Iterative, OneShot, Reselect

STEPS = range(1, 400)


def due(schedule):
    return [step for step in STEPS if schedule.due(step)]


def test_one_shot_is_due_once():
    assert due(OneShot(at=7)) == [7]
    assert OneShot(at=7).fraction(7) == 1.0


def test_reselect_goes_on_for_ever_or_to_its_end():
    assert due(Reselect(every=100, begin=50)) == [50, 150, 250, 350]
    assert due(Reselect(every=100, begin=50, end=250)) == [50, 150, 250]


def test_iterative_goes_as_far_again_every_round():
    schedule = Iterative(rounds=3, steps=10, begin=5)
    assert [(s, schedule.fraction(s)) for s in due(schedule)] == [
        (5, 1 / 3),
        (15, 2 / 3),
        (25, 1.0),
    ]


def test_gradual_follows_zhu_and_gupta():
    schedule = Gradual(begin=10, end=110, every=30)
    assert due(schedule) == [10, 40, 70, 100, 110]
    # s_t = s_f + (s_i - s_f)(1 - t)^3, with s_i = 0 and s_f = 1.
    assert [schedule.fraction(s) for s in (10, 60, 110, 500)] == [0.0, 0.875, 1.0, 1.0]


@given(
    st.builds(Iterative, st.integers(1, 9), st.integers(1, 30), st.integers(1, 30))
    | st.builds(Gradual, st.integers(1, 50), st.integers(51, 300), st.integers(1, 40))
)
def test_the_way_never_leads_back_and_ends_at_the_target(schedule):
    fractions = [schedule.fraction(step) for step in due(schedule)]
    assert fractions == sorted(fractions)
    assert fractions[0] >= 0.0
    assert fractions[-1] == 1.0


@pytest.mark.parametrize(
    ("make", "argument"),
    [
        (lambda: OneShot(at=0), "at"),
        (lambda: Reselect(every=0), "every"),
        (lambda: Reselect(begin=0), "begin"),
        (lambda: Reselect(begin=9, end=8), "end"),
        (lambda: Iterative(rounds=0, steps=5), "rounds"),
        (lambda: Iterative(rounds=2, steps=0), "steps"),
        (lambda: Gradual(begin=5, end=5), "end"),
        (lambda: Gradual(begin=5, end=9, power=-1.0), "power"),
    ],
)
def test_settings_that_no_run_can_follow(make, argument):
    with pytest.raises(ScheduleError, match=f"{argument} is") as caught:
        make()
    assert caught.value.argument == argument
