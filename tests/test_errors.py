"""Every exception of the tree: its base, its facts, its life across processes."""

import inspect
import pickle

import pytest

from secateur import errors

CLASSES = [
    value
    for _, value in inspect.getmembers(errors, inspect.isclass)
    if issubclass(value, errors.SecateurError)
]
LEAVES = [c for c in CLASSES if c is not errors.SecateurError]


@pytest.mark.parametrize("cls", LEAVES)
def test_descends_from_the_builtin_that_a_caller_expects(cls):
    builtins = [b for b in cls.__mro__ if b.__module__ == "builtins"]
    assert builtins[0] is not Exception, f"{cls.__name__} has no builtin base of its own"


@pytest.mark.parametrize("cls", CLASSES)
def test_facts_are_attributes_and_survive_pickling(cls):
    facts = {name: f"value of {name}" for name in cls.facts}
    copy = pickle.loads(pickle.dumps(cls("what, where, how many, what next", **facts)))
    assert type(copy) is cls
    assert str(copy) == "what, where, how many, what next"
    assert {name: getattr(copy, name) for name in cls.facts} == facts


@pytest.mark.parametrize("cls", CLASSES)
def test_unnamed_facts_are_none_and_unknown_ones_refused(cls):
    assert all(getattr(cls("message"), name) is None for name in cls.facts)
    with pytest.raises(TypeError, match="no fact named weather"):
        cls("message", weather="fair")


@pytest.mark.parametrize("cls", LEAVES)
def test_every_class_is_raised_by_the_library_and_caught_in_a_test(cls, request):
    root = request.config.rootpath
    raised = [
        path
        for path in (root / "python").rglob("*.py")
        if path.name != "errors.py" and cls.__name__ in path.read_text()
    ]
    raised += [p for p in (root / "rust").rglob("*.rs") if cls.__name__ in p.read_text()]
    assert raised, f"nothing raises {cls.__name__}"
    tested = [
        path
        for path in (root / "tests").rglob("*.py")
        if path.name != "test_errors.py" and cls.__name__ in path.read_text()
    ]
    assert tested, f"no test catches {cls.__name__}"
