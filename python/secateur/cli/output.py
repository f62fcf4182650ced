"""What every command shares: how results and errors are printed."""

from __future__ import annotations

import json
from typing import Any

import click
import numpy as np

from secateur.errors import SecateurError

#: Makes a command print one JSON value in place of text for people.
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON value.")


class Group(click.Group):
    """A group whose commands end with one line where the library raises, or on Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SecateurError as error:
            raise click.ClickException(str(error)) from error
        except KeyboardInterrupt as stop:
            click.echo(f"\n{stop}" if str(stop) else "\nstopped", err=True)
            raise SystemExit(130) from None


def print_json(value: Any) -> None:
    """Print one JSON value; NumPy's numbers and arrays as Python's."""
    click.echo(json.dumps(value, indent=2, default=_plain))


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)
