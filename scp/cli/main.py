"""The command ``zscp``: each command reads the configuration, does one thing, and says what came of it.

Exit status 0: done. 1: something was wrong with the data. 2: usage or configuration.

What a command does its work with is imported when it runs: all of zscp takes a second of processor time.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from scp.cli import dictionary, forms, integrity, key, nodes, objects, policy, retention, serving
from scp.cli.common import DATA, USAGE
from scp.errors import ConfigurationError, ZscpError
from scp.telemetry import printable

# The group may read, for backup (docs/operations.md); others may nothing.
_UMASK = 0o027

app = typer.Typer(no_args_is_help=True, add_completion=False, help="zscp, a DICOM archive node.")
# A new command is a function in its group's file; a new group is a file, and a word here.
for group in (serving, objects, forms, policy, integrity, retention, dictionary, key, nodes):
    app.add_typer(group.app)


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
    let_nobody_else_read()
    try:
        app()
    except ConfigurationError as error:
        _end(str(error), USAGE)
    except ZscpError as error:
        _end(str(error), DATA)


def let_nobody_else_read() -> None:
    """Whatever is made has mode 0640, folders 0750, or less where the umask is stricter: patients' data."""
    os.umask(_UMASK | os.umask(_UMASK))


def _end(message: str, status: int) -> None:
    typer.echo(f"zscp: {printable(message)}", err=True)
    sys.exit(status)
