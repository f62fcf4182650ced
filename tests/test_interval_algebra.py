"""Ranges are computed on in one place: nobody else subtracts a low from a high."""

import ast
from pathlib import Path

import pytest

import secateur

ROOT = Path(secateur.__file__).parent

#: Whose lows and highs are not ends of ranges: pixels of a chart, and the checker, which shares
#: no code with the library on purpose.
APART = {"show/charts.py", "checker.py", "ranges.py"}


def names(node):
    """The names that an expression's outermost part is called by."""
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.Subscript):
        return names(node.value)
    return set()


@pytest.mark.parametrize(
    "path",
    [p for p in ROOT.rglob("*.py") if p.relative_to(ROOT).as_posix() not in APART],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_no_end_of_a_range_meets_arithmetic_elsewhere(path):
    """`x.high - y.low` and the like, in int64, wrap; `Ranges` and `Range` never do."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
            ends = names(node.left), names(node.right)
            assert ends != ({"high"}, {"low"}), f"{path}:{node.lineno} subtracts a low from a high"
            assert ends != ({"low"}, {"high"}), f"{path}:{node.lineno} subtracts a high from a low"
