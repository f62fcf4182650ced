"""The command line: a thin shell over the library.

Results go to stdout, everything else to stderr; `--json` prints the same as one JSON value, an
error as `{"error": {"type", "message", "facts"}}`. An error of the library, or of a file, ends
with its message and status 1, a misused command with status 2, a certificate that does not hold
or points that failed with status 3, Ctrl-C with 130.
"""

from __future__ import annotations

from secateur.extras import needed_for

with needed_for("the command line"):
    import click

from secateur.cli.bounds import bounds
from secateur.cli.networks import compile, prune, verify
from secateur.cli.output import Group
from secateur.cli.reading import read
from secateur.cli.serving import serve
from secateur.cli.strategies import strategies
from secateur.cli.sweeps import report, sweep


@click.group(cls=Group)
@click.version_option(package_name="secateur")
def main() -> None:
    """Prune networks until the worst case provably fits an encrypted accumulator."""


for command in (read, strategies, bounds, prune, compile, verify, serve, sweep, report):
    main.add_command(command)
