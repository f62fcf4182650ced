import pytest

from secateur.errors import ResultError
from secateur.sweeps.run import sweep
from secateur.sweeps.suggestions import suggest

optuna = pytest.importorskip("optuna")
optuna.logging.set_verbosity(optuna.logging.ERROR)

SPACE = {"n": optuna.distributions.IntDistribution(0, 50)}


def study(**more):
    return optuna.create_study(sampler=optuna.samplers.TPESampler(seed=1), **more)


def hill(point):
    if point["n"] == 13:
        raise ValueError("no luck")
    return {"height": float(-((point["n"] - 20) ** 2)), "cost": point["n"]}


def test_the_study_learns_what_came_of_its_suggestions():
    searched = study(direction="maximize")
    results = sweep(suggest(searched, SPACE, 40, "height"), hill)
    assert {t.params["n"]: t.value for t in searched.trials if t.value is not None} == {
        r.point["n"]: r.values["height"] for r in results if not r.failed
    }
    assert abs(searched.best_params["n"] - 20) <= 1


def test_each_suggestion_knows_the_results_of_those_before():
    alone, driven = study(direction="maximize"), study(direction="maximize")
    alone.optimize(lambda t: hill({"n": t.suggest_int("n", 0, 50)})["height"], 20, catch=ValueError)
    sweep(suggest(driven, SPACE, 20, "height"), hill)
    assert [t.params for t in driven.trials] == [t.params for t in alone.trials]


def test_failures_and_repeated_suggestions_leave_no_trial_open():
    space = {"n": optuna.distributions.CategoricalDistribution([12, 13])}
    searched = study(direction="maximize")
    sweep(suggest(searched, space, 10, "height"), hill)
    states = {(t.params["n"], t.state.name) for t in searched.trials}
    assert states == {(12, "COMPLETE"), (13, "FAIL")}


def test_several_objectives_and_processes():
    import evaluates

    searched = study(directions=["maximize", "minimize"])
    space = {n: optuna.distributions.IntDistribution(0, 2) for n in "ab"}
    points = suggest(searched, space, 12, "product", "half", ahead=2)
    sweep(points, evaluates.product, executor=2)
    assert {t.state.name for t in searched.trials} == {"COMPLETE"}
    assert all(
        t.values == [t.params["a"] * t.params["b"], t.params["a"] / 2] for t in searched.trials
    )


def test_running_again_tells_a_new_study_from_the_journal(tmp_path):
    journal = tmp_path / "runs.jsonl"
    first, again = study(direction="maximize"), study(direction="maximize")
    sweep(suggest(first, SPACE, 15, "height"), hill, journal=journal)
    new = []
    sweep(
        suggest(again, SPACE, 20, "height"),
        hill,
        journal=journal,
        on_event=lambda event: None if event.skipped else new.append(event),
    )
    assert [t.params for t in again.trials[:15]] == [t.params for t in first.trials]
    assert len(new) <= 5


def test_an_objective_that_evaluate_does_not_give_is_named():
    with pytest.raises(ResultError, match=r"objective 'depth'.*evaluate gave height, cost"):
        sweep(suggest(study(), SPACE, 5, "depth"), hill)
