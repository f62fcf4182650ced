"""Records: what is known of one evaluated point."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from secateur.sweeps.points import Plain

_encode, _decode = json.JSONEncoder().encode, json.JSONDecoder().decode

#: What an evaluate function may give for each name.
Value = float | int | str | bool | None
VALUES = (float, int, str, type(None))


@dataclass(frozen=True)
class Failure:
    """An exception that evaluate raised: the name of its type, its message, its traceback.

    Example:
        >>> from secateur.sweeps import grid, sweep
        >>> results = sweep(grid(n=[0]), lambda point: {"inverse": 1 / point["n"]})
        >>> failure = results.failures.records[0].outcome.failure
        >>> failure.type, failure.message
        ('ZeroDivisionError', 'division by zero')
    """

    type: str
    message: str
    traceback: str = ""


@dataclass(frozen=True)
class Outcome:
    """What evaluating one point came to: `values`, or a `failure` and no values.

    Args:
        values: name → number or string.
        wall_s: seconds that it took.
        failure: what was raised; None where nothing was.

    Example:
        >>> Outcome({"accuracy": 0.9}, wall_s=1.5).failure is None
        True
    """

    values: Mapping[str, Value]
    wall_s: float
    failure: Failure | None = None


@dataclass(frozen=True)
class Record:
    """One evaluated point, as the journal keeps it.

    Args:
        index: the point's place among the points of the run that evaluated it.
        key: the point's identity, 32 hex digits.
        point: its content.
        provenance: distribution → version of the code that it depends on.
        outcome: what came of it.

    Example:
        >>> from secateur.sweeps import grid, sweep
        >>> record = sweep(grid(n=[3]), lambda point: {"square": point["n"] ** 2}).records[0]
        >>> record.point, record.values
        ({'n': 3}, {'square': 9})
    """

    index: int
    key: str
    point: Plain
    provenance: Mapping[str, str]
    outcome: Outcome

    @property
    def values(self) -> Mapping[str, Value]:
        """What evaluate gave; empty where it failed."""
        return self.outcome.values

    @property
    def failed(self) -> bool:
        """True where evaluate raised."""
        return self.outcome.failure is not None

    def to_json(self) -> str:
        """Return the record as a JSON object on one line."""
        failure = self.outcome.failure
        fields = {
            "index": self.index,
            "key": self.key,
            "point": self.point,
            "provenance": dict(self.provenance),
            "wall_s": round(self.outcome.wall_s, 6),
        }
        if failure is None:
            fields["values"] = dict(self.values)
        else:
            fields["failure"] = vars(failure)
        return _encode(fields)

    @classmethod
    def from_json(cls, line: str | bytes) -> Record:
        """Return the record that `to_json` wrote.

        Raises:
            ValueError, TypeError, LookupError, RecursionError: `line` is no record.
        """
        fields = _decode(line if isinstance(line, str) else line.decode())
        if not isinstance(fields, dict):
            raise TypeError("it is no object")
        failure = fields.get("failure")
        values = fields["values"] if failure is None else {}
        index, wall_s = fields["index"], fields["wall_s"]
        key, point, made_by = fields["key"], fields["point"], fields["provenance"]
        if not (
            type(index) is int
            and type(wall_s) in (int, float)
            and isinstance(key, str)
            and all(isinstance(found, dict) for found in (point, made_by, values))
            and all(isinstance(name, str) for name in made_by.values())
            and all(isinstance(value, VALUES) for value in values.values())
            and isinstance(failure, dict | None)
            and all(isinstance(part, str) for part in (failure or {}).values())
        ):
            raise TypeError("a field holds no value of its kind")
        return cls(
            index=index,
            key=key,
            point=point,
            provenance=made_by,
            outcome=Outcome(values, wall_s, None if failure is None else Failure(**failure)),
        )
