"""The page of reference: every public name, its examples as code; for mkdocs and griffe."""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import griffe

import secateur.pruning

#: Public modules whose own names are all of the reference to them.
_WHOLE = ("bounds", "network", "sweeps", "deployment", "concrete", "training", "testing", "errors")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Return the page, the page of reference with what `reference` gives below it."""
    if page.file.src_uri != "reference.md":
        return markdown
    return "\n".join([markdown, *reference(secateur._HOME)])


def reference(homes: Mapping[str, str]) -> Iterator[str]:
    """Yield a heading for every group of names, and a directive for each name."""
    groups = defaultdict(list)
    for name, home in homes.items():
        groups[home.partition(".")[0]].append(f"secateur.{home}.{name}")
    for group, names in groups.items():
        yield f"# {group.replace('_', ' ').capitalize()}\n"
        yield from (f"::: {name}\n" for name in names)
    for module in _WHOLE:
        yield f"# secateur.{module}\n"
        yield f"::: secateur.{module}\n    options: {{show_root_heading: false}}\n"


class Examples(griffe.Extension):
    """Shows the examples of docstrings as code, and the options of strategies with their words."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value += options(obj.path)
            # Google's style, as griffe reads it, has the plural alone.
            headed = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
            example = re.compile(r"^>>> .*?(?=\n\n(?!>>>)|\Z)", re.DOTALL | re.MULTILINE)
            obj.docstring.value = example.sub(r"```pycon\n\g<0>\n```", headed)


def options(path: str) -> str:
    """Return the section of parameters of a strategy or saliency, whose fields document them."""
    module, _, name = path.rpartition(".")
    loaded = getattr(sys.modules.get(module), name, None)
    fields = getattr(loaded, "__dataclass_fields__", {}) if isinstance(loaded, type) else {}
    told = [f"    {n}: {f.metadata['doc']}." for n, f in fields.items() if "doc" in f.metadata]
    return "\n".join(["", "", "Args:", *told]) if told else ""
