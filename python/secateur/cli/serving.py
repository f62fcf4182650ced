"""`secateur serve`: a saved circuit over HTTP."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("directory", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, help="Port; 0 takes a free one.")
@click.option("--workers", type=click.IntRange(1), help="Processes that compute.")
@click.option("--waiting", type=click.IntRange(0), help="Requests that may wait for one.")
@click.option("--run-seconds", type=click.FloatRange(0, min_open=True), help="For one inference.")
@click.option(
    "--receive-seconds", type=click.FloatRange(0, min_open=True), help="For a request to arrive."
)
@click.option(
    "--keys",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory for clients' evaluation keys; without it they end with the process.",
)
@click.option("--keys-per-owner", type=click.IntRange(1), help="Evaluation keys of each owner.")
@click.option("--keys-in-all", type=click.IntRange(1), help="Evaluation keys of all owners.")
@click.option("--expiry-hours", type=click.FloatRange(0, min_open=True), help="Of unused keys.")
@click.option(
    "--tokens",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of lines OWNER TOKEN; without it everybody is let in.",
)
@click.option("--tls-certificate", type=click.Path(exists=True, dir_okay=False), help="PEM file.")
@click.option("--tls-key", type=click.Path(exists=True, dir_okay=False), help="PEM file.")
def serve(
    directory: Path,
    host: str,
    port: int,
    keys: Path | None,
    expiry_hours: float | None,
    tokens: Path | None,
    tls_certificate: str | None,
    tls_key: str | None,
    **given: float | None,
) -> None:
    """Serve the saved circuit in DIRECTORY until Ctrl-C; logs JSON on stderr."""
    # What needs the extra "serve" is imported by now.
    from secateur.deployment.app import Limits
    from secateur.deployment.serving import serve as serve_circuit, tokens_of

    if (tls_certificate is None) != (tls_key is None):
        raise click.UsageError("--tls-certificate and --tls-key go together")
    names = {"run_seconds": "run_s", "receive_seconds": "receive_s"}
    limits = {names.get(name, name): value for name, value in given.items() if value is not None}
    if expiry_hours is not None:
        limits["expiry_s"] = 3600 * expiry_hours
    serve_circuit(
        directory,
        host=host,
        port=port,
        limits=Limits(**limits),  # type: ignore[arg-type]
        keys=keys,
        authenticate=None if tokens is None else tokens_of(tokens),
        certificate=tls_certificate,
        private_key=tls_key,
    )
