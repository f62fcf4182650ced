"""`secateur read`: from an ONNX file to a network's file."""

from __future__ import annotations

import click

from secateur.cli.output import json_option, print_json
from secateur.extras import needed_for
from secateur.network import Quantize, storage


@click.command()
@click.argument("model", type=click.Path(exists=True, dir_okay=False))
@click.argument("output", type=click.Path(dir_okay=False))
@click.option(
    "--input",
    "grid",
    type=(float, int, int),
    metavar="SCALE LOW HIGH",
    help="What the codes of the input are, where the model does not quantise it.",
)
@click.option(
    "--sum-bits", type=int, help="Bits of the grid that sums of unlike scales are rounded to."
)
@json_option
def read(
    model: str,
    output: str,
    grid: tuple[float, int, int] | None,
    sum_bits: int | None,
    as_json: bool,
) -> None:
    """Read the ONNX file MODEL and write its network to the file OUTPUT.

    Prints what became of every node. Where one is refused, nothing is written.
    """
    with needed_for("reading ONNX"):
        from secateur.reading.onnx import explain
    explanation = explain(model, input=None if grid is None else Quantize(*grid), sum_bits=sum_bits)
    if explanation.network is not None:
        storage.save(explanation.network, output)
    if as_json:
        nodes = [
            {
                "name": line.name,
                "operator": line.operator,
                "became": line.became,
                "notes": line.notes,
                "refused": str(line.refused) if line.refused else None,
            }
            for line in explanation.lines
        ]
        ties = [{"table": t.table, "entries": t.entries, "near": t.near} for t in explanation.ties]
        refused = [str(error) for error in explanation.refused]
        print_json({"output": output, "nodes": nodes, "ties": ties, "refused": refused})
    else:
        click.echo(explanation)
    if explanation.refused:
        raise SystemExit(1)
