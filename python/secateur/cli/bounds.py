"""`secateur bounds`: proved ranges, of a network or of weights alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from secateur import bounds as engine
from secateur.analysis import RangeReport, analyze
from secateur.cli.output import json_option, print_json, say
from secateur.errors import FileFormatError, SecateurError
from secateur.extras import needed_for
from secateur.network import storage
from secateur.ranges import Ranges
from secateur.show.tables import Table


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--low", type=int, help="Least value of every input, for weights alone.")
@click.option("--high", type=int, help="Greatest value of every input, for weights alone.")
@click.option("--per-channel", is_flag=True, help="Print every channel, not only the widest.")
@json_option
def bounds(
    model: Path, low: int | None, high: int | None, per_channel: bool, as_json: bool
) -> None:
    """Print the proved range of every accumulator of MODEL.

    MODEL is a network that `secateur.save` wrote. With --low and --high it is weights alone,
    integers [out, in, ...] over inputs between these: a NumPy file (.npy) or a safetensors file,
    every array of two axes or more a layer. Of a convolution all taps are counted; where it pads
    with zeros, let the inputs' range hold 0.
    """
    if (low is None) != (high is None):
        raise click.UsageError("--low and --high go together")
    if low is None or high is None:
        if model.suffix == ".npy":
            raise click.UsageError("weights alone need the range of their inputs: --low and --high")
        _show_report(analyze(storage.load(model)), per_channel, as_json)
        return
    layers = {name: _ranges(name, codes, low, high) for name, codes in _weights(model).items()}
    _show_layers(layers, per_channel, as_json)


def _show_report(report: RangeReport, per_channel: bool, as_json: bool) -> None:
    if not as_json:
        say(_table({node.name: node.channels for node in report}) if per_channel else report)
        say(f"widest accumulator: {report.accumulator_bits} bits")
        return
    nodes = [
        {
            "name": node.name,
            "kind": node.kind,
            "shape": node.shape,
            "low": node.channels.low,
            "high": node.channels.high,
            "bits": node.bits(),
            "exact": bool(node.exact.all()),
        }
        for node in report
    ]
    print_json({"accumulator_bits": report.accumulator_bits, "nodes": nodes})


def _show_layers(layers: Mapping[str, Ranges], per_channel: bool, as_json: bool) -> None:
    widest = max((int(ranges.bits().max()) for ranges in layers.values()), default=0)
    if as_json:
        told = [
            {"name": name, "low": ranges.low, "high": ranges.high, "bits": ranges.bits()}
            for name, ranges in layers.items()
        ]
        print_json({"accumulator_bits": widest, "layers": told})
        return
    say(_table(layers, widest_alone=not per_channel))
    say(f"widest accumulator: {widest} bits")


def _table(layers: Mapping[str, Ranges], widest_alone: bool = False) -> Table:
    """One row per channel of every layer, or only that of its widest channel."""
    tables = {name: ranges.table() for name, ranges in layers.items()}
    heading = next(iter(tables.values())).heading
    return Table(
        ("layer", *heading),
        [
            (name, *row)
            for name, table in tables.items()
            for row in (table.rows[layers[name].widest],) * widest_alone or table.rows
        ],
    )


def _weights(path: Path) -> dict[str, NDArray[Any]]:
    """Return layer name → integers [out, in, ...] of a file of weights."""
    try:
        if path.suffix == ".npy":
            found = {path.stem: np.load(path, allow_pickle=False)}
        else:
            with needed_for("a file of weights"):
                import safetensors.numpy
            found = safetensors.numpy.load_file(path)
    except OSError:
        raise
    except Exception as error:
        problem = f"is no file of weights: {error}"
        raise FileFormatError(f"{path} {problem}", path=str(path), problem=problem) from error
    layers = {name: array for name, array in found.items() if array.ndim >= 2 and array.size}
    if not layers:
        problem = "holds no weights [out, in, ...]"
        raise FileFormatError(f"{path} {problem}", path=str(path), problem=problem)
    return layers


def _ranges(name: str, codes: NDArray[Any], low: int, high: int) -> Ranges:
    try:
        return engine.linear(codes.reshape(len(codes), -1), low, high)
    except SecateurError as error:
        raise error.at_layer(name) from error
