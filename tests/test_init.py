"""The public names: imported on use, known to type checkers, clear about missing extras."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import secateur
from secateur.errors import MissingExtraError

SOURCE = Path(secateur.__file__)


def test_type_checkers_see_every_public_name_and_no_other():
    tree = ast.parse(SOURCE.read_text())
    checked = next(n for n in tree.body if isinstance(n, ast.If))
    imported = {
        alias.name: f"{statement.module}.{alias.name}"
        for statement in checked.body
        for alias in statement.names
    }
    homes = {name: f"secateur.{home}.{name}" for name, home in secateur._HOME.items()}
    modules = {name: f"secateur.{home}" for name, home in secateur._MODULES.items()}
    assert imported == {**homes, **modules}


@pytest.mark.parametrize("name", [*secateur._HOME, *secateur._MODULES])
def test_every_public_name_is_there(name):
    assert getattr(secateur, name) is not None
    assert name in dir(secateur)


def test_readers_are_where_a_user_looks():
    assert dir(secateur.reading) == ["explain", "read_onnx"]
    assert secateur.reading.read_onnx is secateur.read_onnx
    assert callable(secateur.reading.explain)
    with pytest.raises(AttributeError, match="no attribute 'read_tflite'"):
        _ = secateur.reading.read_tflite


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="no attribute 'pruna'"):
        _ = secateur.pruna


def test_analysis_alone_imports_neither_torch_nor_a_backend():
    heavy = {"torch", "brevitas", "onnx", "concrete", "matplotlib", "safetensors", "pandas"}
    program = (
        "import sys, secateur; secateur.analyze; secateur.bounds.linear; secateur.narrow;"
        "secateur.prune; print(*sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert heavy.isdisjoint(done.stdout.split())


@pytest.mark.parametrize(
    ("package", "name", "extra"),
    [
        ("torch", "quantize", "torch"),
        ("brevitas", "freeze", "torch"),
        ("onnx", "read_onnx", "onnx"),
    ],
)
def test_a_missing_extra_is_named(package, name, extra):
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "import secateur\n"
        "from secateur.errors import MissingExtraError\n"
        "try:\n"
        f"    secateur.{name}\n"
        "except MissingExtraError as error:\n"
        "    print(error.package, error.extra, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.startswith(f"{package} {extra} "), done.stderr
    assert f'pip install "secateur[{extra}]"' in done.stdout
    assert issubclass(MissingExtraError, ImportError)


def test_no_two_files_of_tests_share_a_name():
    """Pytest imports them by their bare names: the second one would end the run."""
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
