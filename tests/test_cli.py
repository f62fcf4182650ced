"""The command line prints what the library knows, for people and as JSON."""

import json
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.pruning.plugins import SALIENCIES, STRATEGIES
from secateur.pruning.strategy import summary


def run(*arguments, status=0):
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == status, result.output
    return result.output


def test_strategies_are_listed_with_their_origin():
    lines = run("strategies").splitlines()
    assert lines[0].split() == ["name", "distribution", "version", "status", "summary"]
    for cls in STRATEGIES:
        (line,) = [x for x in lines if x.startswith(cls.name + " ") and summary(cls) in x]
        assert line.split()[1:4] == ["secateur", version("secateur"), "ok"]


def test_and_as_json():
    listed = json.loads(run("strategies", "--json"))
    assert [s["name"] for s in listed["strategies"]] == [s.name for s in STRATEGIES]
    assert [s["name"] for s in listed["saliencies"]] == [s.name for s in SALIENCIES]
    assert listed["plugins"] == []


@pytest.mark.parametrize("cls", STRATEGIES, ids=lambda c: c.name)
def test_one_strategy_shows_its_options(cls):
    told = json.loads(run("strategies", cls.name, "--json"))
    assert [o["option"] for o in told["options"]] == [f.name for f in fields(cls)]
    shown = run("strategies", cls.name)
    assert all(o["doc"] in shown for o in told["options"])


def test_an_unknown_strategy_ends_with_its_message_and_status_1():
    assert "did you mean magnitude?" in run("strategies", "magnitud", status=1)


def test_without_click_the_extra_that_brings_it_is_named():
    script = "import sys; sys.modules['click'] = None; import secateur.cli"
    failed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert "MissingExtraError: the command line needs click" in failed.stderr
    assert 'pip install "secateur[cli]"' in failed.stderr
