"""Commands about zstd dictionaries."""

from __future__ import annotations

from typing import Annotated

import typer

from scp.cli.common import DATA, ConfigOption, JsonOption, deleting, opened

app = typer.Typer(
    name="dictionary", no_args_is_help=True, help="zstd dictionaries, for small objects of one kind."
)


@app.command("train")
def train_dictionaries(
    sop_class: Annotated[
        str, typer.Option(help="Of this SOP class, by UID or keyword; all by default.")
    ] = "",
    size: Annotated[str, typer.Option(help="Most bytes of a dictionary.")] = "512KiB",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Train dictionaries from stored objects; those that make such objects smaller are stored, and used."""
    from scp.cli import dictionary_output, output
    from scp.lifecycle import training

    wanted, most = _sop_class(sop_class), _bytes(size)
    results = []
    with opened(config, works=True) as (archive, _):
        with output.progress("looking for objects", "objects") as progress:
            progress.total(archive.count())
            found = training.samples(archive.all(), progress, wanted)
        with output.progress("training", "objects") as progress:
            progress.total(sum(len(sample.kept) for sample in found.values()))
            results = [training.train(archive, uid, one, most, progress) for uid, one in found.items()]
    dictionary_output.trained(results, json)


@app.command("list")
def list_dictionaries(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List the dictionaries that are stored, and how many objects need each."""
    from scp.cli import dictionary_output
    from scp.lifecycle.dictionary_use import held_dictionaries

    with opened(config) as (archive, _):
        rows, unknown = held_dictionaries(archive)
    dictionary_output.listing(rows, unknown, json)


@app.command("remove")
def remove_dictionary(
    number: Annotated[int, typer.Argument(metavar="ID", help="The dictionary's ID, as `list` shows it.")],
    config: ConfigOption = None,
) -> None:
    """Remove a dictionary that no stored object needs; one that may be needed stays, and status 1 says so."""
    from scp.cli import output
    from scp.errors import DictionaryNeeded
    from scp.lifecycle import dictionary_use

    with opened(config, works=True) as (archive, settings), deleting(archive, settings) as deletion:
        try:
            removed = dictionary_use.remove_dictionary(archive, deletion.trash, number)
        except DictionaryNeeded as error:
            typer.echo(f"not removed: {error}", err=True)
            raise typer.Exit(DATA) from None
    output.show(f"{removed.key} is removed.")


def _sop_class(name: str) -> str:
    """The UID of a SOP class, given as such or by keyword; empty for none. Raises BadParameter."""
    from pydicom import uid as registered
    from pydicom.uid import UID

    known = getattr(registered, name, None) if name else ""
    uid = known if isinstance(known, UID) else UID(name)
    if name and not uid.is_valid:
        raise typer.BadParameter(f"--sop-class {name} is no UID, and no keyword of PS3.6")
    return uid


def _bytes(text: str) -> int:
    from scp.config.values import byte_count

    try:
        return byte_count(text)
    except ValueError as error:
        raise typer.BadParameter(f"--size: {error}") from None
