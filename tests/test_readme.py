"""The README's code runs, and prints what the README says."""

import re
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("concrete")

BLOCK = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def words(output):
    """The output without what another version of torch trains otherwise: ranges, accuracy."""
    return re.sub(r"-?\d+(\.\d+)?", "#", " ".join(output.split()))


@pytest.fixture(scope="module")
def blocks(request):
    return BLOCK.findall((request.config.rootpath / "README.md").read_text())


def run(code, folder):
    script = folder / "example.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], capture_output=True, text=True, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_example_is_one_of_the_two_below(request, blocks):
    text = (request.config.rootpath / "README.md").read_text()
    assert len(blocks) == text.count("```python") == 2


@pytest.mark.encrypted
def test_the_example_trains_proves_and_answers_encrypted(blocks, tmp_path):
    code, output = blocks[0]
    printed = run(code, tmp_path)
    assert words(printed) == words(output)
    assert float(re.search(r"accuracy (\S+)", printed)[1]) >= 0.9
    bits = [int(row.split()[6]) for row in printed.splitlines() if " linear " in row]
    assert max(bits) == 5


def test_the_failure_worth_seeing_is_seen(blocks, tmp_path):
    code, output = blocks[1]
    assert run(code, tmp_path) == output
