"""`secateur bounds`, `prune`, `compile` and `verify`: one network from file to circuit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
import numpy as np

from secateur.analysis import analyze
from secateur.circuits import certificate as certificates
from secateur.circuits.circuit import compile as compile_network
from secateur.cli.output import json_option, print_json
from secateur.network import Network, storage
from secateur.pruning import plugins
from secateur.pruning.options import from_text
from secateur.pruning.prune import prune as prune_network
from secateur.show.tables import Table

_file = click.Path(exists=True, dir_okay=False)


@click.command()
@click.argument("model", type=_file)
@json_option
def bounds(model: str, as_json: bool) -> None:
    """Print the proved range of every node of the network in the file MODEL."""
    report = analyze(storage.load(model))
    if not as_json:
        click.echo(report)
        click.echo(f"widest accumulator: {report.accumulator_bits} bits")
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


def _pairs(context: click.Context, parameter: click.Parameter, given: Any) -> dict[str, str]:
    """Read NAME=VALUE pairs."""
    pairs = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals:
            raise click.BadParameter(f"{pair!r} is not of the form NAME=VALUE")
        pairs[name] = text
    return pairs


@click.command()
@click.argument("model", type=_file)
@click.argument("strategy")
@click.argument("output", type=click.Path(dir_okay=False))
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    callback=_pairs,
    metavar="NAME=VALUE",
    help="An option of the strategy, such as bits=6; may be repeated.",
)
@click.option("--samples", type=_file, help="NumPy file of input codes [samples, ...].")
@click.option("--seed", default=0, show_default=True, help="Of the strategy's randomness.")
@json_option
def prune(
    model: str,
    strategy: str,
    output: str,
    options: dict[str, str],
    samples: str | None,
    seed: int,
    as_json: bool,
) -> None:
    """Prune the network in the file MODEL with STRATEGY and write it to the file OUTPUT."""
    network = storage.load(model)
    codes = None if samples is None else np.load(samples, allow_pickle=False)
    given = from_text(plugins.strategy(strategy).cls, options)
    pruned = prune_network(network, [(strategy, given)], samples=codes, seed=seed)
    storage.save(pruned, output)
    before, after = analyze(network), analyze(pruned)
    layers = [
        {
            "layer": layer.name,
            "bits before": before[layer.name].bits(),
            "bits": after[layer.name].bits(),
            "sparsity before": _sparsity(network, layer.name),
            "sparsity": _sparsity(pruned, layer.name),
        }
        for layer in pruned.layers
    ]
    if as_json:
        print_json({"output": output, "accumulator_bits": after.accumulator_bits, "layers": layers})
    else:
        click.echo(Table.of(tuple(layers[0]) if layers else (), layers))
        click.echo(f"widest accumulator: {before.accumulator_bits} bits before, ", nl=False)
        click.echo(f"{after.accumulator_bits} now")


def _sparsity(network: Network, name: str) -> float:
    codes = next(layer.codes for layer in network.layers if layer.name == name)
    return float(np.mean(codes == 0))


@click.command()
@click.argument("model", type=_file)
@click.argument("directory", required=False, type=click.Path(file_okay=False))
@click.option("--backend", help="concrete-numpy or concrete-python; what is installed if left out.")
@click.option("--p-error", type=float, help="Probability that one lookup goes wrong.")
@click.option("--global-p-error", type=float, help="Probability that any of an inference does.")
@json_option
def compile(
    model: str,
    directory: str | None,
    backend: str | None,
    p_error: float | None,
    global_p_error: float | None,
    as_json: bool,
) -> None:
    """Compile the network in the file MODEL, print its cost, and save it to DIRECTORY if given."""
    circuit = compile_network(
        storage.load(model), backend, p_error=p_error, global_p_error=global_p_error
    )
    if directory is not None:
        circuit.save(directory)
    if as_json:
        print_json({"backend": circuit.backend.name, **asdict(circuit.cost)})
    else:
        click.echo(circuit)


@click.command()
@click.argument("certificate", type=_file)
@click.argument("network", type=_file)
@json_option
def verify(certificate: str, network: str, as_json: bool) -> None:
    """Compute all that CERTIFICATE says of NETWORK again, and say where they differ."""
    certified = certificates.Certificate.load(certificate)
    verdict = certificates.verify(certified, storage.load(network))
    if as_json:
        print_json({"holds": verdict.holds, **asdict(verdict)})
    else:
        click.echo(verdict)
    if not verdict.holds:
        raise SystemExit(3)
