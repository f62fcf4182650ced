import dataclasses
import functools
from importlib.metadata import version

import evaluates
import numpy as np
import pytest

from secateur.errors import UnknownStrategyError
from secateur.sweeps.provenance import fingerprint, provenance


def evaluate(point, **options):
    return {}


@dataclasses.dataclass(frozen=True)
class Evaluate:
    epochs: int
    data: object

    def __call__(self, point):
        return {}


def test_a_built_in_strategy_is_this_library():
    assert provenance({"strategy": "magnitude"}) == {"secateur": version("secateur")}
    assert provenance({"bits": 3}) == {"secateur": version("secateur")}


def test_an_unknown_strategy_is_an_error():
    with pytest.raises(UnknownStrategyError, match=r"magnitud"):
        provenance({"strategy": "magnitud"})


def test_a_function_is_its_name_and_what_is_bound_to_it():
    assert fingerprint(evaluates.product)["evaluate"] == "evaluates.product"
    bound = functools.partial(evaluate, epochs=3, data=np.ones(2), loss=len)
    assert fingerprint(bound)["evaluate"] == [
        "test_provenance.evaluate",
        {"epochs": 3, "data": "numpy.ndarray", "loss": "builtins.len"},
    ]


def test_an_evaluate_object_is_its_type_and_its_fields():
    one, other = (fingerprint(Evaluate(epochs, len)) for epochs in (1, 2))
    assert one["evaluate"] == ["test_provenance.Evaluate", {"epochs": 1, "data": "builtins.len"}]
    assert one != other
