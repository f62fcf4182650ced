"""The pages of the documentation: every block of Python runs, and the site builds strictly."""

import doctest
import re
import subprocess
import sys

import pytest

PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)
#: Page → what its blocks need beside the library; concrete/test_guide.py has that of functions.
PAGES = {
    "index": (),
    "hardware": (),
    "sweeps": ("distributed",),
    "strategies": (),
    "explanation": (),
    "onnx": ("onnx",),
    "estimators": ("sklearn", "torch", "brevitas"),
    "training": ("torch", "brevitas"),
    "deployment": ("concrete",),
    "price": ("torch", "brevitas", "concrete", "optuna"),
    "tutorial": ("torch", "brevitas", "concrete"),
}


def blocks(path):
    return PYTHON.findall(path.read_text())


def page(request, name):
    return request.config.rootpath / "docs" / f"{name}.md"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(
            name,
            marks=(pytest.mark.encrypted, pytest.mark.slow)
            if name in ("tutorial", "deployment")
            else (),
        )
        for name in PAGES
    ],
)
@pytest.mark.whole
def test_every_block_of_a_page_runs(request, name, tmp_path):
    for package in PAGES[name]:
        pytest.importorskip(package)
    found = blocks(page(request, name))
    examples = doctest.DocTestParser().get_doctest(
        "".join(block for block in found if ">>>" in block), {"__name__": name}, name, name, 0
    )
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(examples).failed == 0
    scripts = [block for block in found if ">>>" not in block]
    if scripts:
        (tmp_path / "page.py").write_text("\n".join(scripts))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "page.py"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr


def test_no_page_has_blocks_that_nobody_runs(request):
    with_blocks = {
        path.stem for path in (request.config.rootpath / "docs").glob("*.md") if blocks(path)
    }
    # tests/concrete/test_guide.py runs the guide to functions; the lines for those who come from
    # Concrete ML stand beside its own, which cannot be installed with ours.
    assert with_blocks <= {*PAGES, "functions", "concrete-ml"}


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_has_every_public_name(request, tmp_path):
    pytest.importorskip("mkdocs")
    pytest.importorskip("mkdocstrings")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=request.config.rootpath, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    import secateur

    reference = (tmp_path / "reference" / "index.html").read_text()
    for name, home in secateur._HOME.items():
        assert f'id="secateur.{home}.{name}"' in reference
    assert "<blockquote>" not in reference, "an example that is not shown as code"
