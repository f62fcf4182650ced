"""Whatever a user gives the command line: a line that says what is wrong, never a traceback."""

import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

from networks import example
from secateur import save
from secateur.cli import main

SWEEP = 'evaluate = "math:sqrt"\njournal = "runs.jsonl"\n'


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A directory with a network, files that are none, and sweeps that cannot be."""
    monkeypatch.chdir(tmp_path)
    save(example("mlp", 3), "net.safetensors")
    (tmp_path / "junk").write_bytes(bytes(range(256)))
    (tmp_path / "junk.npy").write_bytes(b"\x93NUMPY\x01\x00\xff\xff" + b"{" * 99)
    (tmp_path / "objects.npy").write_bytes(b"\x80\x04.")
    (tmp_path / "empty").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    np.save("floats.npy", np.ones((2, 2)))
    np.save("wide.npy", np.full((2, 2), 2**62))
    np.save("codes.npy", np.array([[1, -2, 3], [0, 4, 0]], np.int8))
    np.savez("several.npz", a=np.ones(2))
    for name, line in {
        "deep": "points = " + "[" * 5000,
        "none": "processes = 0\n[points]\nn = [1]",
        "bool": "processes = true\n[points]\nn = [1]",
        "text": "[points]\nn = 'abc'",
        "date": "[points]\nn = [2020-01-01]",
        "escape": '[points]\n"\\u001b[2J" = [2020-01-01]',
        "number": '[points]\nn = [1]\n[unknown."\\u001b"]',
    }.items():
        (tmp_path / f"{name}.toml").write_text(SWEEP + line)
    (tmp_path / "latin.toml").write_bytes(b"a = '\xe4'")
    (tmp_path / "raises.py").write_text("raise SystemExit(0)")
    (tmp_path / "syntax.py").write_text("def")
    (tmp_path / "value.py").write_text("value = 3")
    for module in ("raises", "syntax", "value:value", "value:", ":x", ""):
        text = SWEEP.replace("math:sqrt", module) + "[points]\nn = [1]"
        (tmp_path / f"{module.replace(':', '-')}-import.toml").write_text(text)
    (tmp_path / "nowhere.toml").write_text(SWEEP.replace("runs", "no/runs") + "[points]\nn=[1]")
    return tmp_path


WRONG = [
    ("bounds", "junk"),
    ("bounds", "empty"),
    ("bounds", "net.safetensors", "--low", "3"),
    ("bounds", "codes.npy"),
    ("bounds", "codes.npy", "--low", "3", "--high", "-3"),
    ("bounds", "codes.npy", "--low", "0", "--high", str(2**70)),
    ("bounds", "floats.npy", "--low", "0", "--high", "1"),
    ("bounds", "wide.npy", "--low", "0", "--high", "100"),
    ("bounds", "junk.npy", "--low", "0", "--high", "1"),
    ("bounds", "objects.npy", "--low", "0", "--high", "1"),
    ("bounds", "junk", "--low", "0", "--high", "1"),
    ("bounds", "full"),
    ("prune", "net.safetensors", "magnitude", "no/where"),
    ("prune", "net.safetensors", "magnitude", "full"),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "samples=3"),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "seed=3"),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "network=3"),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "=3"),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "sparsity=" + "[" * 5000),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "sparsity=NaN"),
    ("prune", "net.safetensors", "magnitude", "x", "-o", "sparsity=2"),
    ("prune", "net.safetensors", "magnitude", "x", "--samples", "junk.npy"),
    ("prune", "net.safetensors", "magnitude", "x", "--samples", "objects.npy"),
    ("prune", "net.safetensors", "magnitude", "x", "--samples", "several.npz"),
    ("prune", "net.safetensors", "magnitude", "x", "--samples", "floats.npy"),
    ("prune", "net.safetensors", "magnitude", "x", "--seed", "-1"),
    ("prune", "net.safetensors", "\x1b[2J", "x"),
    ("compile", "net.safetensors", "--p-error", "2"),
    ("compile", "net.safetensors", "--p-error", "0"),
    ("compile", "net.safetensors", "--global-p-error", "nan"),
    ("compile", "net.safetensors", "--backend", "seal"),
    ("compile", "net.safetensors", "full"),
    ("compile", "net.safetensors", "junk"),
    ("compile", "junk", "new"),
    ("verify", "junk", "net.safetensors"),
    ("verify", "net.safetensors", "net.safetensors"),
    *(
        ("sweep", f"{name}.toml")
        for name in ("deep", "none", "bool", "text", "date", "escape", "number", "latin", "nowhere")
    ),
    *(
        ("sweep", f"{name}-import.toml")
        for name in ("raises", "syntax", "value-value", "value-", "-x", "")
    ),
    ("sweep", "junk"),
    ("report", "junk"),
    ("report", "empty"),
    ("report", "net.safetensors", "no/where.html"),
    ("strategies", "\x1b[2J"),
    ("nonsense",),
]


@pytest.mark.parametrize("arguments", WRONG, ids=lambda a: " ".join(a)[:60].replace("\x1b", "ESC"))
def test_it_is_said_in_a_line(here, arguments):
    before = sorted(here.rglob("*"))
    result = CliRunner().invoke(main, list(arguments))
    assert result.exit_code in (1, 2), result.output
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.stdout == ""
    assert "Error: " in result.stderr
    assert result.stderr.replace("\n", "").isprintable()
    as_json = CliRunner().invoke(main, [*arguments, "--json"])
    assert as_json.exit_code == result.exit_code
    told = json.loads(as_json.stdout, parse_constant=pytest.fail)
    assert set(told["error"]) == {"type", "message", "facts"}
    left = [p for p in here.rglob("*") if p not in before and p.suffix not in (".pyc", ".lock")]
    assert [p for p in left if p.name not in ("__pycache__", "runs.jsonl")] == []


def test_json_has_no_number_that_json_does_not_know(here):
    (here / "nan.py").write_text(
        "def evaluate(point):\n    return {'loss': float('nan'), 'worst': float('inf')}"
    )
    (here / "nan.toml").write_text(SWEEP.replace("math:sqrt", "nan:evaluate") + "[points]\nn=[1]")
    result = CliRunner().invoke(main, ["sweep", "nan.toml", "--json"])
    assert json.loads(result.stdout, parse_constant=pytest.fail)[0]["loss"] is None


def test_a_reader_that_has_seen_enough_is_no_error(here):
    program = (
        f"{sys.executable} -m secateur bounds codes.npy --low 0 --high 3 --per-channel --json"
        " | head -c 1; exit ${PIPESTATUS[0]}"
    )
    run = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert run.stderr == ""


def test_names_in_files_do_not_reach_the_terminal_as_they_are(here):
    safetensors = pytest.importorskip("safetensors.numpy")
    safetensors.save_file({"\x1b[2Jfc": np.ones((1, 2), np.int8)}, "evil.safetensors")
    shown = CliRunner().invoke(main, ["bounds", "evil.safetensors", "--low", "0", "--high", "1"])
    assert shown.exit_code == 0
    assert r"\x1b[2Jfc" in shown.stdout
    assert shown.stdout.replace("\n", "").isprintable()


def test_without_click_the_command_says_what_to_install():
    script = "import sys; sys.modules['click'] = None; from secateur.__main__ import main; main()"
    failed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert failed.returncode == 1
    assert failed.stderr == ('Error: the command line needs click: pip install "secateur[cli]"\n')
