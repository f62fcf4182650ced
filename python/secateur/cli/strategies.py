"""`secateur strategies`: what can prune, where it comes from, and its options."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import click

from secateur.cli.output import json_option, print_json, say
from secateur.pruning import plugins
from secateur.pruning.options import describe
from secateur.pruning.strategy import summary
from secateur.show.tables import Table


@click.command()
@click.argument("name", required=False)
@json_option
def strategies(name: str | None, as_json: bool) -> None:
    """List pruning strategies, saliencies and plugins, or the options of the strategy NAME."""
    if name is not None:
        _show_options(plugins.strategy(name), as_json)
        return
    offers = {
        "strategies": _offers(plugins.registered_strategies()),
        "saliencies": _offers(plugins.registered_saliencies()),
        "plugins": [
            {
                "entry_point": p.entry_point,
                "distribution": p.distribution,
                "version": p.version,
                "status": p.status,
                "error": str(p.error) if p.error else None,
            }
            for p in plugins.plugins()
        ],
    }
    if as_json:
        print_json(offers)
        return
    columns = ("name", "distribution", "version", "status", "summary")
    say(Table.of(columns, offers["strategies"]))
    say("")
    saliencies = [{**o, "saliency": o["name"]} for o in offers["saliencies"]]
    say(Table.of(("saliency", *columns[1:]), saliencies))
    for plugin in offers["plugins"]:
        if plugin["status"] != "loaded":
            why = f": {plugin['error']}" if plugin["error"] else ""
            say("\n{distribution} {version} is {status}".format(**plugin) + why)


def _offers(registered: Iterable[plugins.Registered]) -> list[dict[str, Any]]:
    return [
        {
            "name": r.cls.name,
            "distribution": r.distribution,
            "version": r.version,
            "status": r.status,
            "summary": summary(r.cls),
        }
        for r in registered
    ]


def _show_options(registered: plugins.Registered, as_json: bool) -> None:
    (offer,) = _offers([registered])
    options = [
        {"option": o.name, "type": o.type, "default": o.default, "doc": o.doc}
        for o in describe(registered.cls)
    ]
    if as_json:
        print_json({**offer, "options": options})
        return
    say(f"{offer['name']} ({offer['distribution']} {offer['version']}): {offer['summary']}\n")
    shown = [{**o, "default": str(o["default"])} for o in options]
    say(Table.of(("option", "type", "default", "doc"), shown))
