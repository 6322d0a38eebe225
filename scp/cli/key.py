"""Commands about encryption keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scp.cli.common import DATA, ConfigOption, JsonOption, opened, settings_of

app = typer.Typer(name="key", no_args_is_help=True, help="Keys by which stores encrypt their files.")


@app.command("new")
def new_key(
    path: Annotated[Path | None, typer.Argument(metavar="FILE", help="The file to make.")] = None,
    print_it: Annotated[bool, typer.Option("--print", help="Print the key, and make no file.")] = False,
) -> None:
    """Make a key of 256 random bits, in a file that only its owner may read."""
    from scp.config.keys import new_secret, write_key

    if print_it == (path is not None):
        raise typer.BadParameter("give the file to make, or --print")
    if path is None:
        typer.echo(new_secret().strip())
        return
    write_key(path)
    typer.echo(f"{path} is made. Keep a copy elsewhere: without it nothing can be read that it encrypts.")


@app.command("list")
def list_keys(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List how many files each key encrypts, and how many are not encrypted; reads the first bytes of all."""
    from scp.cli import key_output
    from scp.node.encryption import key_states

    states = key_states(settings_of(config))
    key_output.listing(states, json)
    if any(one.state in {"missing", "unknown"} for one in states):
        raise typer.Exit(DATA)


@app.command("rotate")
def rotate_keys(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Encrypt with the first key of their store what other keys encrypt, or none; it may be run again."""
    from scp.cli import key_output, output
    from scp.lifecycle.rotation import rotate
    from scp.node.encryption import check_held, keyed_stores

    with opened(config, works=True) as (archive, settings):
        if not settings.encrypts:
            raise typer.BadParameter("no store has encryption_keys")
        check_held(settings)
        with output.progress("encrypting anew", "objects") as progress:
            done = rotate(archive, keyed_stores(settings), progress)
    key_output.rotated(done, json)
    if done.left:
        raise typer.Exit(DATA)
