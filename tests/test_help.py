"""`help` of every public name says what comes back, what goes in, and shows an example.

That the examples are true is tested where they stand: pytest runs the doctests of the package.
"""

import inspect
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import secateur
from secateur import errors
from secateur.errors import MissingExtraError

ERROR = re.compile(r"raise (\w+Error)\(")


def public() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every public function and class with its dotted name, each once."""
    seen = set()
    for name in secateur._HOME:
        found = known(secateur, name)
        if inspect.isfunction(found) or inspect.isclass(found):
            seen.add(id(found))
            yield f"secateur.{name}", found
    for name in secateur._MODULES:
        module = known(secateur, name)
        for inner in getattr(module, "__all__", None) or dir(module):
            found = known(module, inner)
            ours = str(getattr(found, "__module__", "")).startswith(module.__name__)
            a_name = inspect.isfunction(found) or inspect.isclass(found)
            if a_name and ours and not inner.startswith("_") and id(found) not in seen:
                seen.add(id(found))
                yield f"secateur.{name}.{inner}", found


def known(module: Any, name: str) -> Any:
    """Return the public name, or None where the extra that it is of is not installed."""
    try:
        return getattr(module, name)
    except MissingExtraError:
        return None


PUBLIC = dict(public())


def an_error(found: Any) -> bool:
    """Whether it is of the tree of errors, which the calls that raise them show."""
    return inspect.isclass(found) and issubclass(found, Exception)


@pytest.mark.parametrize("name", PUBLIC)
def test_its_first_line_says_what_it_is_or_gives(name):
    found = PUBLIC[name]
    summary = own_doc(found).partition("\n")[0]
    assert summary.endswith((".", ":")), summary
    assert len(summary.split()) > 3, summary


@pytest.mark.parametrize("name", [n for n, found in PUBLIC.items() if not an_error(found)])
def test_it_has_an_example(name):
    assert ">>> " in own_doc(PUBLIC[name])


@pytest.mark.parametrize("name", [n for n, found in PUBLIC.items() if not an_error(found)])
def test_it_names_every_parameter(name):
    found = PUBLIC[name]
    told = own_doc(found) + (inspect.getdoc(found.__init__) or "")
    if re.search(r"those of\s+`|as of every operation", told):
        return
    fields = getattr(found, "__dataclass_fields__", {})
    documented = {n for n, field in fields.items() if field.metadata.get("doc")}
    missing = {
        parameter
        for parameter in inspect.signature(found).parameters
        if parameter not in documented and not re.search(rf"\b{parameter}\b", told)
    }
    assert not missing


@pytest.mark.parametrize("name", [n for n, f in PUBLIC.items() if inspect.isfunction(f)])
def test_it_names_the_errors_that_it_raises_itself(name):
    found = PUBLIC[name]
    raised = set(ERROR.findall(inspect.getsource(found)))
    assert not {e for e in raised if hasattr(errors, e) and e not in own_doc(found)}


@pytest.mark.parametrize("name", [n for n, found in PUBLIC.items() if inspect.isclass(found)])
def test_every_public_method_says_what_it_gives(name):
    undocumented = [
        method
        for method, found in vars(PUBLIC[name]).items()
        if not method.startswith("_")
        and (inspect.isfunction(found) or isinstance(found, classmethod | property))
        and not inspect.getdoc(getattr(PUBLIC[name], method))
    ]
    assert not undocumented


def own_doc(found: Any) -> str:
    """The docstring that stands in the source, not what a dataclass makes up."""
    doc = inspect.cleandoc(found.__doc__ or "")
    return "" if doc.startswith(f"{found.__name__}(") else doc
