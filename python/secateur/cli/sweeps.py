"""`secateur sweep` and `report`: many points from one file, and what came of them."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from secateur.cli.output import check_place, json_option, print_json, say
from secateur.show.tables import Table
from secateur.sweeps import Results, grid, sweep as run_sweep

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@click.command()
@click.argument("config", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--retry-failed", is_flag=True, help="Evaluate points again that failed before.")
@json_option
def sweep(config: Path, retry_failed: bool, as_json: bool) -> None:
    """Run the sweep that the file CONFIG describes, or go on with it.

    \b
    evaluate = "digits:recipe"    # module:name, looked for beside CONFIG first
    journal = "digits.jsonl"      # beside CONFIG
    processes = 2                 # left out: one point after the other, here
    [points]                      # every combination of
    strategy = ["accumulator", "l1-ball"]
    bits = [4, 5, 6, 7, 8]
    seed = [0, 1, 2]
    """
    settings = _read(config)
    journal = config.parent / settings["journal"]
    results = run_sweep(
        grid(**settings["points"]),
        _evaluate(settings["evaluate"], config),
        executor=settings.get("processes"),
        journal=journal,
        retry_failed=retry_failed,
    )
    if as_json:
        print_json(_rows(results))
    else:
        columns = [c for c in results.columns if c != "sweep.failure" or len(results.failures)]
        say(Table.of(columns, _rows(results)))
        say(f"{len(results)} points, {len(results.failures)} failed; kept in {journal}")
    if len(results.failures):
        raise SystemExit(3)


@click.command()
@click.argument("journal", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("output", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--gain", default="accuracy", show_default=True, help="Better where greater.")
@click.option("--cost", default="complexity", show_default=True, help="Better where less.")
@click.option("--by", default="strategy", show_default=True, help="Told apart by colour.")
@click.option("--floor", type=float, help="Least gain that counts for the front.")
@click.option("--title", help="Of the page; the journal's name if left out.")
@json_option
def report(
    journal: Path,
    output: Path | None,
    gain: str,
    cost: str,
    by: str,
    floor: float | None,
    title: str | None,
    as_json: bool,
) -> None:
    """Write the report of the sweep in the file JOURNAL as one HTML file, OUTPUT.

    OUTPUT is beside JOURNAL if left out. The Pareto front goes to stdout.
    """
    from secateur.show.report import write_report

    page = output or journal.with_suffix(".html")
    check_place(page)
    results = Results.read(journal)
    write_report(
        results, page, gain=gain, cost=cost, by=by, floor=floor, title=title or journal.stem
    )
    front = results.pareto(gain, cost, floor=floor)
    if as_json:
        print_json({"report": str(page), "front": _rows(front)})
    else:
        fields = dict.fromkeys(name for record in front for name in record.point)
        say(Table.of([*fields, gain, cost], _rows(front)))
        say(f"report: {page}", err=True)


def _read(config: Path) -> dict[str, Any]:
    try:
        settings = tomllib.loads(config.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{config}: {error}") from error
    known = {"evaluate": str, "journal": str, "points": dict, "processes": int}
    for name, value in settings.items():
        if type(value) is not known.get(name):
            raise click.UsageError(
                f"{config}: {name} = {value!r}; there are "
                + ", ".join(f"{n} ({kind.__name__})" for n, kind in known.items())
            )
    missing = sorted(known.keys() - settings.keys() - {"processes"})
    if missing:
        raise click.UsageError(
            f"{config}: {' and '.join(missing)} missing; see `secateur sweep --help`"
        )
    return settings


def _evaluate(name: str, config: Path) -> Any:
    module, _, attribute = name.partition(":")
    sys.path.insert(0, str(config.parent.resolve()))
    try:
        evaluate = getattr(import_module(module), attribute)
        if not callable(evaluate):
            raise TypeError(f"it is a {type(evaluate).__name__}, no function")
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise click.UsageError(
            f'{config}: evaluate = "{name}" cannot be imported ({type(error).__name__}: {error}); '
            'give "module:name" of a module beside this file, or one that is installed'
        ) from error
    return evaluate


def _rows(results: Results) -> list[dict[str, Any]]:
    columns = results.columns
    return [{name: columns[name][i] for name in columns} for i in range(len(results))]
