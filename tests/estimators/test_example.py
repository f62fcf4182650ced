"""The example of the estimators runs, and its encrypted answers are the clear ones."""

import subprocess
import sys

import pytest

pytest.importorskip("concrete")


@pytest.mark.encrypted
@pytest.mark.slow
def test_from_a_table_to_encrypted_answers(request):
    script = request.config.rootpath / "examples" / "classifier.py"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", script], capture_output=True, text=True, check=True
    )
    lines = {line.split(maxsplit=1)[0]: line.split() for line in done.stdout.splitlines()}
    assert float(lines["accuracy"][1]) > 0.9
    assert set(lines["encrypted:"][1:]) <= {"malignant", "benign"}
    assert len(lines["encrypted:"]) == 4
