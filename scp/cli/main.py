"""The command ``zscp``: each command reads the configuration, does one thing, and says what came of it.

They are in :mod:`scp.cli`. Exit status 0: done. 1: something was wrong with the data. 2: usage or
configuration.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from scp.cli import dictionary, forms, integrity, objects, retention, serving
from scp.cli.common import DATA, USAGE
from scp.errors import ConfigurationError, ZscpError

app = typer.Typer(no_args_is_help=True, add_completion=False, help="zscp, a DICOM archive node.")
for group in (serving, objects, forms, integrity, retention):
    app.add_typer(group.app)
app.add_typer(dictionary.app, name="dictionary")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zscp {version('zscp')}")
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; errors that are expected end in one line and a status."""
    try:
        app()
    except ConfigurationError as error:
        _end(str(error), USAGE)
    except ZscpError as error:
        _end(f"{type(error).__name__}: {error}", DATA)


def _end(message: str, status: int) -> None:
    typer.echo(f"zscp: {message}", err=True)
    sys.exit(status)
