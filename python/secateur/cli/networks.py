"""`secateur prune`, `compile` and `verify`: one network from file to circuit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from secateur import checker
from secateur.analysis import analyze
from secateur.circuits.certificate import Certificate, verify as verify_certificate
from secateur.cli.output import check_place, json_option, print_json, say
from secateur.errors import FileFormatError
from secateur.files import check_new_directory
from secateur.network import Network, storage
from secateur.pruning import plugins
from secateur.pruning.options import from_text
from secateur.pruning.prune import prune as prune_network
from secateur.show.tables import Table

_file = click.Path(exists=True, dir_okay=False, path_type=Path)


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
@click.argument("output", type=click.Path(dir_okay=False, path_type=Path))
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
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Of the strategy's randomness.",
)
@json_option
def prune(
    model: Path,
    strategy: str,
    output: Path,
    options: dict[str, str],
    samples: Path | None,
    seed: int,
    as_json: bool,
) -> None:
    """Prune the network in the file MODEL with STRATEGY and write it to the file OUTPUT."""
    check_place(output)
    network = storage.load(model)
    codes = None if samples is None else _samples(samples)
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
        say(Table.of(tuple(layers[0]) if layers else (), layers))
        say(
            f"widest accumulator: {before.accumulator_bits} bits before, "
            f"{after.accumulator_bits} now"
        )


def _samples(path: Path) -> NDArray[Any]:
    try:
        found = np.load(path, allow_pickle=False)
        if not isinstance(found, np.ndarray):
            raise ValueError("it holds several arrays")
    except OSError:
        raise
    except Exception as error:
        problem = f"is no array of samples: {error}"
        raise FileFormatError(f"{path} {problem}", path=str(path), problem=problem) from error
    return found


def _sparsity(network: Network, name: str) -> float:
    codes = next(layer.codes for layer in network.layers if layer.name == name)
    return float(np.mean(codes == 0))


def _probability(context: click.Context, parameter: click.Parameter, given: Any) -> float | None:
    if given is not None and not 0 < given < 1:
        raise click.BadParameter(f"{given} is no probability between 0 and 1")
    return given


@click.command()
@click.argument("model", type=_file)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--backend", help="concrete-numpy or concrete-python; what is installed if left out.")
@click.option(
    "--p-error", type=float, callback=_probability, help="Probability that one lookup goes wrong."
)
@click.option(
    "--global-p-error",
    type=float,
    callback=_probability,
    help="Probability that any of an inference does.",
)
@json_option
def compile(
    model: Path,
    directory: Path | None,
    backend: str | None,
    p_error: float | None,
    global_p_error: float | None,
    as_json: bool,
) -> None:
    """Compile the network in the file MODEL, print its price, and save it to DIRECTORY if given."""
    from secateur.circuits.circuit import compile as compile_network

    if directory is not None:
        check_new_directory(directory)
    circuit = compile_network(
        storage.load(model), backend, p_error=p_error, global_p_error=global_p_error
    )
    if directory is not None:
        circuit.save(directory)
    if as_json:
        print_json(asdict(circuit.price))
    else:
        say(circuit)


@click.command()
@click.argument("certificate", type=_file)
@click.argument("network", type=_file)
@click.option("--independent", is_flag=True, help="By the checker that shares no code with us.")
@json_option
def verify(certificate: Path, network: Path, independent: bool, as_json: bool) -> None:
    """Compute all that CERTIFICATE says of NETWORK again, and say where they differ."""
    if independent:
        problems = checker.check(str(certificate), str(network))
        holds, found = not problems, {"differences": problems}
        text = "\n".join(problems) or "the certificate holds"
    else:
        verdict = verify_certificate(Certificate.load(certificate), storage.load(network))
        holds, found, text = verdict.holds, asdict(verdict), str(verdict)
    if as_json:
        print_json({"holds": holds, **found})
    else:
        say(text)
    if not holds:
        raise SystemExit(3)
