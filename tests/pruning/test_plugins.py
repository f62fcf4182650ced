"""Plugins: a real second distribution, and every way in which one can be broken.

Small distributions are built on the fly: a module and a dist-info directory on the path are
all that an installed distribution is.
"""

import json
import logging
import os
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import version
from pathlib import Path
from shutil import copytree

import pytest
from layers import layer, problem

from secateur.errors import (
    ClashingStrategyError,
    PluginError,
    UnknownSaliencyError,
    UnknownStrategyError,
)
from secateur.pruning import Magnitude, plugins
from secateur.pruning.apply import apply_strategy

EXAMPLE = Path(__file__).parents[2] / "examples" / "secateur-fixed-fan-in"

GOOD = """
from dataclasses import dataclass
from typing import ClassVar
from secateur import hookimpl

@dataclass(frozen=True)
class Keep:
    '''keeps all'''
    name: ClassVar[str] = "{name}"

    def masks(self, problem):
        return {{}}

@dataclass(frozen=True)
class Square:
    '''all alike'''
    name: ClassVar[str] = "{name}"

    def score(self, problem, layer):
        return layer.weight ** 2

@hookimpl
def secateur_strategies():
    return [Keep]

@hookimpl
def secateur_saliencies():
    return [Square]
"""


class Site:
    """A directory of distributions, taken for installed while a test runs."""

    def __init__(self, path, monkeypatch):
        self.path = path
        monkeypatch.syspath_prepend(str(path))

    def install(self, distribution, code, *, number="1.0", entry_point=None, module=None):
        module = module or distribution.replace("-", "_")
        (self.path / f"{module}.py").write_text(code)
        info = self.path / f"{distribution.replace('-', '_')}-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {number}\n"
        )
        (info / "entry_points.txt").write_text(
            f"[secateur]\n{entry_point or distribution} = {module}\n"
        )


@pytest.fixture
def site(tmp_path, monkeypatch):
    plugins.plugins.cache_clear()
    yield Site(tmp_path, monkeypatch)
    plugins.plugins.cache_clear()
    for module in tmp_path.glob("*.py"):
        sys.modules.pop(module.stem, None)


def statuses():
    return {p.distribution: p.status for p in plugins.plugins()}


def test_strategies_and_saliencies_of_a_plugin_are_found_with_their_origin(site):
    site.install("acme-prune", GOOD.format(name="acme"), number="2.3")
    found = plugins.strategy("acme")
    assert (found.cls.name, found.distribution, found.version) == ("acme", "acme-prune", "2.3")
    assert plugins.saliency("acme").distribution == "acme-prune"
    assert "acme" in plugins.strategies()
    assert "acme" in plugins.saliencies()


def test_built_ins_come_from_us_and_load_no_plugin(site):
    site.install("acme-prune", "raise RuntimeError('imported')")
    found = plugins.strategy("magnitude")
    assert (found.distribution, found.version) == ("secateur", version("secateur"))
    assert plugins.saliency("magnitude").distribution == "secateur"
    assert "acme_prune" not in sys.modules


BROKEN = {
    "raises-on-import": ("raise ImportError('no such wheel')", "broken", "no such wheel"),
    "exits-on-import": ("raise SystemExit(3)", "broken", "SystemExit"),
    "does-not-parse": ("def def def", "broken", "SyntaxError"),
    "raises-in-hook": (
        "from secateur import hookimpl\n@hookimpl\ndef secateur_strategies():\n    return 1 / 0",
        "broken",
        "division by zero",
    ),
    "raises-half-way": (
        GOOD.format(name="half").replace("    return [K", "    yield Keep; yield 3 / 0; return [K"),
        "broken",
        "division by zero",
    ),
    "misspells-the-hook": (
        GOOD.format(name="typo").replace("secateur_strategies", "secateur_strategy"),
        "incompatible",
        "secateur_strategy",
    ),
    "wants-an-old-argument": (
        GOOD.format(name="old").replace("secateur_strategies()", "secateur_strategies(registry)"),
        "incompatible",
        "registry",
    ),
    "is-no-dataclass": (
        "from secateur import hookimpl\nclass Old: pass\n"
        "@hookimpl\ndef secateur_strategies():\n    return [Old]",
        "incompatible",
        "expected a frozen dataclass",
    ),
    "yields-a-value": (
        GOOD.format(name="value").replace("[Keep]", "[Keep()]"),
        "incompatible",
        "expected a class",
    ),
    "yields-no-list": (GOOD.format(name="one").replace("[Keep]", "Keep"), "broken", "iterable"),
    "uses-an-old-import": (
        GOOD.format(name="older").replace("import hookimpl", "import StrategySpec, hookimpl"),
        "broken",
        "StrategySpec",
    ),
    "has-no-summary": (
        GOOD.format(name="bare").replace("keeps all", ""),
        "incompatible",
        "no first line",
    ),
    "does-not-mask": (
        GOOD.format(name="idle").replace("masks", "apply"),
        "incompatible",
        "no method masks()",
    ),
    "leaves-a-generator": ("raise GeneratorExit", "broken", "GeneratorExit"),
    "cannot-say-why": (
        "class Mute(Exception):\n    def __str__(self): raise OSError\nraise Mute",
        "broken",
        "Mute",
    ),
}


def test_the_broken_ones_are_contained_named_and_explained(site, caplog):
    for distribution, (code, _, _) in BROKEN.items():
        site.install(distribution, code)
    site.install("zz-last", GOOD.format(name="good"))
    with caplog.at_level(logging.WARNING):
        assert "good" in plugins.strategies()
    found = {p.distribution: p for p in plugins.plugins()}
    for distribution, (_, status, cause) in BROKEN.items():
        plugin = found[distribution]
        assert plugin.status == status, distribution
        assert isinstance(plugin.error, PluginError)
        assert cause in str(plugin.error)
        assert (plugin.error.distribution, plugin.error.version) == (distribution, "1.0")
        assert plugin.error.reason == status
        assert plugin.error.__cause__ is not None
        assert f"{distribution} 1.0" in caplog.text
    assert found["zz-last"].status == "loaded"


def test_a_built_in_cannot_be_shadowed(site):
    site.install("usurper", GOOD.format(name="magnitude"))
    assert plugins.strategy("magnitude").distribution == "secateur"
    assert plugins.strategies()["magnitude"] is Magnitude
    (usurper,) = [r for r in plugins.registered_strategies() if r.distribution == "usurper"]
    assert usurper.status == "shadowed"


def test_a_name_offered_twice_is_an_error_on_use_that_names_both(site):
    site.install("acme-one", GOOD.format(name="acme"))
    site.install("acme-two", GOOD.format(name="acme"), number="0.4")
    assert "acme" not in plugins.strategies()
    assert "acme" not in plugins.saliencies()
    with pytest.raises(
        ClashingStrategyError, match=r"acme-one 1\.0 and by acme-two 0\.4"
    ) as caught:
        plugins.strategy("acme")
    assert caught.value.distributions == ["acme-one 1.0", "acme-two 0.4"]
    with pytest.raises(ClashingStrategyError):
        plugins.saliency("acme")


def test_one_module_under_two_entry_points_clashes_with_nobody(site):
    site.install("acme-prune", GOOD.format(name="acme"), entry_point="one = acme_prune\ntwo")
    assert [p.entry_point for p in plugins.plugins()] == ["one", "two"]
    assert plugins.strategy("acme").distribution == "acme-prune"


def test_ctrl_c_while_a_plugin_loads_stops(site):
    site.install("acme-prune", "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        plugins.plugins()


def test_a_value_of_a_plugins_class_has_its_origin(site):
    site.install("acme-prune", GOOD.format(name="acme"))
    value = plugins.strategies()["acme"]()
    (step,) = apply_strategy(problem(layer([[1, 2]])), value).steps
    assert (step.strategy, step.distribution) == (value, "acme-prune")


def test_a_clash_ends_where_one_of_the_two_is_switched_off(site, monkeypatch):
    site.install("acme-one", GOOD.format(name="acme"))
    site.install("acme-two", GOOD.format(name="acme"))
    monkeypatch.setenv(plugins.DISABLE, "acme-two")
    assert plugins.strategy("acme").distribution == "acme-one"


def test_two_distributions_with_one_entry_point_name_both_load(site):
    site.install("acme-one", GOOD.format(name="first"), entry_point="acme")
    site.install("acme-two", GOOD.format(name="second"), entry_point="acme")
    assert {"first", "second"} <= set(plugins.strategies())


@pytest.mark.parametrize("listed", ["all", "Acme.Prune, other", "x,acme_prune", "the-entry-point"])
def test_plugins_can_be_switched_off(site, monkeypatch, listed):
    site.install("acme-prune", "raise RuntimeError", entry_point="the-entry-point")
    monkeypatch.setenv(plugins.DISABLE, listed)
    assert statuses() == {"acme-prune": "disabled"}
    assert "acme_prune" not in sys.modules


def test_an_unknown_name_gets_near_ones_and_the_plugins_that_did_not_load(site):
    site.install("acme-prune", GOOD.format(name="checkerboard"))
    site.install("broken-prune", "import no_such_module")
    message = r"mean checkerboard\?.*not loaded: broken-prune 1\.0 \(broken\)"
    with pytest.raises(UnknownStrategyError, match=message) as caught:
        plugins.strategy("chequerboard")
    assert caught.value.near == ["checkerboard"]
    with pytest.raises(UnknownSaliencyError, match="broken-prune") as caught:
        plugins.saliency("weight")
    assert "magnitude" in caught.value.known


def test_a_plugin_without_hooks_is_loaded_and_offers_nothing(site):
    site.install("shy", "import secateur")
    (plugin,) = plugins.plugins()
    assert (plugin.status, plugin.strategies, plugin.saliencies) == ("loaded", (), ())


def test_metadata_may_be_missing(site):
    site.install("headless", GOOD.format(name="headless"))
    (site.path / "headless-1.0.dist-info" / "METADATA").unlink()
    assert plugins.strategy("headless").distribution == "unknown name"


def test_importing_the_library_loads_no_plugin_and_no_torch(site):
    site.install("acme-prune", "raise RuntimeError('imported')")
    script = (
        "import sys, secateur; secateur.strategies, secateur.prune, secateur.hookimpl\n"
        "print([m for m in ('torch', 'brevitas', 'acme_prune', 'click') if m in sys.modules])"
    )
    environment = {**os.environ, "PYTHONPATH": str(site.path)}
    run = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The interpreter of a fresh environment with the example package installed in it."""
    base = tmp_path_factory.mktemp("plugin")
    source, wheels = copytree(EXAMPLE, base / "source"), base / "wheels"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-index"]
    build = [*pip, "wheel", *offline, "--no-build-isolation", "--wheel-dir", wheels, source]
    subprocess.run(build, check=True)
    (wheel,) = wheels.glob("*.whl")

    venv.create(base / "env", with_pip=False)
    python = base / "env" / "bin" / "python"
    place = {"base": str(base / "env"), "platbase": str(base / "env")}
    packages = Path(sysconfig.get_path("purelib", vars=place))
    # The library and what it needs come from the environment of the tests.
    ours = sysconfig.get_path("purelib")
    (packages / "ours.pth").write_text(f"import site; site.addsitedir({ours!r})\n")
    subprocess.run([*pip, "--python", python, "install", *offline, wheel], check=True)
    return python


def run(python, *arguments, **options):
    done = subprocess.run(
        [python, *arguments], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
class TestInstalledPlugin:
    def test_it_prunes_a_network_by_name(self, installed):
        script = """
import json, sys
sys.path.insert(0, sys.argv[1])
from networks import example
from secateur.analysis import analyze
from secateur.pruning.apply import apply_strategy
from secateur.pruning.prune import problem_of, prune

network = example("mlp")
options = dict(fan_in=2, bits=4, saliency="relative")
(step,) = apply_strategy(problem_of(network), "fixed-fan-in", **options).steps
pruned = prune(network, "fixed-fan-in", **options)
print(json.dumps({
    "origin": [step.distribution, step.version],
    "bits": analyze(pruned).accumulator_bits,
    "most": max(int((layer.codes != 0).sum(axis=1).max()) for layer in pruned.layers),
}))
"""
        told = json.loads(run(installed, "-c", script, str(Path(__file__).parents[1])))
        assert told["origin"] == ["secateur-fixed-fan-in", "1.0.0"]
        assert told["bits"] <= 4
        assert told["most"] == 2

    def test_the_command_line_lists_it(self, installed):
        main = "from secateur.cli import main; main()"
        listed = json.loads(run(installed, "-c", main, "strategies", "--json"))
        (row,) = [r for r in listed["strategies"] if r["name"] == "fixed-fan-in"]
        assert (row["distribution"], row["version"]) == ("secateur-fixed-fan-in", "1.0.0")
        assert row["status"] == "ok"
        assert "relative" in {r["name"] for r in listed["saliencies"]}

    def test_its_own_tests_pass(self, installed):
        tests = EXAMPLE / "tests"
        run(installed, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", tests, tests)
