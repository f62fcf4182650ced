"""`python -m secateur`: the command line."""

from __future__ import annotations

import sys

from secateur.errors import MissingExtraError


def main() -> None:
    """Run the command line, or say what it lacks."""
    try:
        from secateur.cli import main as command
    except MissingExtraError as error:
        sys.exit(f"Error: {error}")
    command(prog_name="secateur")


if __name__ == "__main__":
    main()
