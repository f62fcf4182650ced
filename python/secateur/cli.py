"""The command line: a thin shell over the library.

Results go to stdout, everything else to stderr; `--json` prints the same as one JSON value.
An error of the library ends with its message and status 1, a misused command with status 2,
a certificate that does not hold with status 3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

from secateur import certificate as certificates
from secateur import plugins, storage
from secateur.errors import MissingExtraError, SecateurError
from secateur.pruning.options import describe

try:
    import click
except ImportError as error:
    raise MissingExtraError(
        'the command line needs click, which is not installed; pip install "secateur[cli]"',
        package="click",
        extra="cli",
        feature="the command line",
    ) from error


class _Group(click.Group):
    """A group whose commands end with one line where the library raises."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SecateurError as error:
            raise click.ClickException(str(error)) from error


@click.group(cls=_Group)
@click.version_option(package_name="secateur")
def main() -> None:
    """Prune networks until the worst case provably fits an encrypted accumulator."""


@main.command()
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
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
        click.echo(json.dumps(offers, indent=2))
        return
    columns = ("name", "distribution", "version", "status", "summary")
    _table(columns, offers["strategies"])
    click.echo()
    _table(("saliency", *columns[1:]), [{**o, "saliency": o["name"]} for o in offers["saliencies"]])
    for plugin in offers["plugins"]:
        if plugin["status"] != "loaded":
            click.echo("\n{distribution} {version} is {status}".format(**plugin), nl=False)
            click.echo(f": {plugin['error']}" if plugin["error"] else "")


@main.command()
@click.argument("certificate", type=click.Path(exists=True, dir_okay=False))
@click.argument("network", type=click.Path(exists=True, dir_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")
def verify(certificate: str, network: str, as_json: bool) -> None:
    """Compute all that CERTIFICATE says of NETWORK again, and say where they differ."""
    certified = certificates.Certificate.load(certificate)
    verdict = certificates.verify(certified, storage.load(network))
    if as_json:
        click.echo(json.dumps({"holds": verdict.holds, **asdict(verdict)}, indent=2))
    else:
        click.echo(verdict)
    if not verdict.holds:
        raise SystemExit(3)


def _offers(registered: Iterable[plugins.Registered[Any]]) -> list[dict[str, Any]]:
    return [
        {
            "name": r.spec.name,
            "distribution": r.distribution,
            "version": r.version,
            "status": r.status,
            "summary": r.spec.summary,
        }
        for r in registered
    ]


def _show_options(registered: plugins.Registered[Any], as_json: bool) -> None:
    (offer,) = _offers([registered])
    options = [
        {"option": o.name, "type": o.type, "default": o.default, "doc": o.doc}
        for o in describe(registered.spec)
    ]
    if as_json:
        click.echo(json.dumps({**offer, "options": options}, indent=2, default=str))
        return
    click.echo(
        f"{offer['name']} ({offer['distribution']} {offer['version']}): {offer['summary']}\n"
    )
    _table(("option", "type", "default", "doc"), options)


def _table(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
    lines = [columns, *([str(row[c]) for c in columns] for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        click.echo("  ".join(f.ljust(w) for f, w in zip(line, widths, strict=True)).rstrip())
