"""Sweeps from a file, their reports, and what they end with, on the command line."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.sweeps import Results

pytestmark = pytest.mark.whole

CONFIG = """
evaluate = "cli_evaluate:square"
journal = "runs.jsonl"
[points]
n = [1, 2, 3]
strategy = ["magnitude", "random"]
"""

EVALUATE = """
import time

def square(point):
    if point["n"] == 4:
        raise ValueError("no fours")
    return {"accuracy": 1 / point["n"], "complexity": 10.0 ** -point["n"], "bits.fc": point["n"]}

def slow(point):
    time.sleep(0.2)
    return {"accuracy": 1.0}
"""


def run(*arguments, status=0):
    result = CliRunner().invoke(main, [str(a) for a in arguments])
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture
def config(tmp_path):
    (tmp_path / "cli_evaluate.py").write_text(textwrap.dedent(EVALUATE))
    (tmp_path / "sweep.toml").write_text(CONFIG)
    return tmp_path / "sweep.toml"


def test_a_sweep_runs_and_goes_on(config):
    shown = run("sweep", config)
    assert "6 points, 0 failed" in shown
    journal = config.parent / "runs.jsonl"
    before = journal.read_bytes()
    rows = json.loads(run("sweep", config, "--json"))
    assert journal.read_bytes() == before
    assert [(r["n"], r["strategy"], r["accuracy"]) for r in rows] == [
        (n, s, 1 / n) for n in (1, 2, 3) for s in ("magnitude", "random")
    ]


def test_processes_give_the_same(config):
    alone = json.loads(run("sweep", config, "--json"))
    config.write_text(
        CONFIG.replace("[points]", "processes = 2\n[points]").replace("runs.", "other.")
    )
    assert [r["accuracy"] for r in json.loads(run("sweep", config, "--json"))] == [
        r["accuracy"] for r in alone
    ]


def test_failed_points_end_with_status_3_and_are_tried_again_on_request(config):
    config.write_text(CONFIG.replace("[1, 2, 3]", "[3, 4]"))
    assert "ValueError: no fours" in run("sweep", config, status=3)
    module = config.parent / "cli_evaluate.py"
    module.write_text(module.read_text().replace("== 4", "== 5"))
    sys.modules.pop("cli_evaluate")
    run("sweep", config, status=3)
    assert "4 points, 0 failed" in run("sweep", config, "--retry-failed")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("cli_evaluate:square", "cli_evaluate:cube", "cannot be imported"),
        ("cli_evaluate:square", "nowhere", 'give "module:name"'),
        ('journal = "runs.jsonl"', "", "journal missing"),
        ('journal = "runs.jsonl"', "journal = 3", "journal = 3; there are evaluate (str)"),
        ("[points]", "[pionts]", "pionts"),
        ("[points]", "[points", "sweep.toml"),
    ],
)
def test_a_wrong_config_ends_with_status_2(config, old, new, complaint):
    config.write_text(CONFIG.replace(old, new))
    assert complaint in run("sweep", config, status=2)


def test_an_unknown_strategy_ends_with_status_1(config):
    config.write_text(CONFIG.replace("magnitude", "magnitud"))
    assert "did you mean magnitude?" in run("sweep", config, status=1)


def test_ctrl_c_ends_with_status_130_and_tells_how_to_go_on(config):
    config.write_text(CONFIG.replace(":square", ":slow").replace("[1, 2, 3]", "[1,2,3,4,5,6,7]"))
    program = "import sys; from secateur.cli import main; main()"
    driver = subprocess.Popen(
        [sys.executable, "-c", program, "sweep", config],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    journal = config.parent / "runs.jsonl"
    for _ in range(600):
        if journal.exists() and journal.read_text().count("\n") >= 3:
            break
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGINT)
    stdout, stderr = driver.communicate(timeout=120)
    assert driver.returncode == 130
    assert stdout == ""
    assert f"kept in {journal}; run the same sweep again to go on" in stderr
    assert "Traceback" not in stderr
    assert "14 points, 0 failed" in run("sweep", config)


def test_a_report_is_written_beside_its_journal(config):
    run("sweep", config)
    journal = config.parent / "runs.jsonl"
    told = json.loads(run("report", journal, "--json"))
    assert told["report"] == str(journal.with_suffix(".html"))
    front = Results.read(journal).pareto("accuracy", "complexity")
    assert [row["n"] for row in told["front"]] == [r.point["n"] for r in front]
    assert "<title>runs</title>" in journal.with_suffix(".html").read_text()
    output = config.parent / "page.html"
    run("report", journal, output, "--title", "Squares", "--cost", "bits.fc")
    assert "<title>Squares</title>" in output.read_text()


def test_a_column_that_is_not_there_ends_with_status_1(config):
    run("sweep", config)
    journal = config.parent / "runs.jsonl"
    assert "no column 'energy'; there are" in run("report", journal, "--cost", "energy", status=1)
