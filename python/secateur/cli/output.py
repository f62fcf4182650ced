"""What every command shares: how results and errors are printed."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from secateur.errors import SecateurError
from secateur.show.tables import plain, printable

#: Makes a command print one JSON value in place of text for people, errors included.
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


class Group(click.Group):
    """A group whose commands end with one line, or one JSON value, where they cannot go on."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except (KeyboardInterrupt, click.Abort) as stop:
            say(f"\n{stop}" if str(stop) else "\nstopped", err=True)
            sys.exit(130)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        given = list(sys.argv[1:] if args is None else args)
        extra["standalone_mode"] = False
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _warn
                status = super().main(given, prog_name, **extra)
        except click.ClickException as error:
            status = error.exit_code
            if "--json" in given:
                _print_error(type(error).__name__, error.format_message(), {})
            else:
                error.show()
        except SecateurError as error:
            status = 1
            facts = {name: getattr(error, name) for name in error.facts}
            _fail(error, facts, "--json" in given)
        except BrokenPipeError:
            # Whoever read stdout has seen enough; nothing may be flushed to it at exit.
            status = 1
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except (OSError, MemoryError, RecursionError) as error:
            status = 1
            _fail(error, {}, "--json" in given)
        sys.exit(status if isinstance(status, int) else 0)


def _fail(error: BaseException, facts: dict[str, Any], as_json: bool) -> None:
    message = str(error) or type(error).__name__
    if as_json:
        _print_error(type(error).__name__, message, facts)
    else:
        say(f"Error: {message}", err=True)


def _print_error(kind: str, message: str, facts: dict[str, Any]) -> None:
    print_json({"error": {"type": kind, "message": message, "facts": facts}})


def _warn(message: Warning | str, *_: Any, **__: Any) -> None:
    say(f"Warning: {message}", err=True)


def say(what: object, err: bool = False) -> None:
    """Print `what` line by line, control characters of names that files hold written out."""
    for line in str(what).split("\n"):
        click.echo(printable(line), err=err)


def print_json(value: Any) -> None:
    """Print one JSON value; NumPy's numbers and arrays as Python's, null for NaN."""
    click.echo(json.dumps(plain(value), indent=2, allow_nan=False))


def check_place(path: Path) -> None:
    """Refuse a file to be written, before any work, where it could not be.

    Raises:
        click.UsageError: its directory is not there or cannot be written.
    """
    directory = path.absolute().parent
    if not directory.is_dir():
        raise click.UsageError(f"there is no directory {directory} to write {path.name} to")
    if path.is_dir() or not os.access(path if path.exists() else directory, os.W_OK):
        raise click.UsageError(f"{path} cannot be written")
