"""The command ``zscp``: each command reads the configuration, does one thing, and says what came of it.

Exit status 0: done. 1: something was wrong with the data. 2: usage or configuration.

What a command does its work with is imported when it runs: all of zscp takes a second of processor time.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated

import typer

from scp.cli import (
    access,
    dictionary,
    forms,
    integrity,
    key,
    nodes,
    objects,
    policy,
    retention,
    serving,
    status,
    viewing,
)
from scp.cli.common import DATA, USAGE
from scp.errors import ConfigurationError, ZscpError
from scp.telemetry import printable

# The group may read, for backup (docs/operations.md); others may nothing.
_UMASK = 0o027

# A new command is a function in its group's file; a new group is a file, and a word here.
_GROUPS = tuple(
    group.app
    for group in (
        serving,
        access,
        status,
        objects,
        viewing,
        forms,
        policy,
        integrity,
        retention,
        dictionary,
        key,
        nodes,
    )
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"zscp {version('zscp')}")
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


@functools.cache
def _app_of(*groups: typer.Typer) -> typer.Typer:
    # As Markdown: Rich's own markup would take [[peer]] for a style, and show nothing of it.
    made = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        help="zscp, a DICOM archive node.",
        rich_markup_mode="markdown",
    )
    made.callback()(_options)
    for group in groups:
        made.add_typer(group)
    return made


app = _app_of(*_GROUPS)


def app_for(arguments: Sequence[str]) -> typer.Typer:
    """With the commands of the typed one's file alone: to build all takes 0.08 s of processor time.

    All of them where nothing is typed, or no command, so that what is printed names them.
    """
    typed = [group for group in _GROUPS if {*arguments[:1]} & _words(group)]
    return _app_of(*typed) if typed else app


def _words(group: typer.Typer) -> set[str]:
    """What may stand behind ``zscp`` for a command of the group."""
    if isinstance(group.info.name, str):
        return {group.info.name}
    named = {one.name or one.callback.__name__ for one in group.registered_commands if one.callback}
    parts = [
        (one.name, one.typer_instance.info.name) for one in group.registered_groups if one.typer_instance
    ]
    return named | {name for names in parts for name in names if isinstance(name, str)}


def main() -> None:
    """Run the command line; errors that are expected end in one line and a status."""
    let_nobody_else_read()
    try:
        app_for(sys.argv[1:])()
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
