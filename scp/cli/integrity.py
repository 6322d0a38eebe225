"""Commands that look after what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import (
    DATA,
    ConfigOption,
    JsonOption,
    MatchOption,
    opened,
    opened_unfit,
    selected,
    settings_of,
)

if TYPE_CHECKING:
    from scp.archive.archive import Archive
    from scp.cli import integrity_output


app = typer.Typer()


@app.command()
def verify(
    match: MatchOption = None,
    deep: Annotated[
        bool, typer.Option("--deep", help="Also decode, and compare with what was received.")
    ] = False,
    damaged: Annotated[
        bool, typer.Option("--damaged", help="Only files that were found damaged before.")
    ] = False,
    restore_from: Annotated[
        list[Path] | None,
        typer.Option(exists=True, metavar="PATH", help="First repair from these files or folders."),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Read stored files and compare their digests; repair what can be repaired."""
    from scp.cli import integrity_output, output
    from scp.lifecycle.verify import verify as check_objects

    verdicts = integrity_output.VerifySummary()
    with opened(config, works=bool(restore_from)) as (archive, settings):
        _mend(archive, restore_from or [], settings.node.aet, verdicts)
        with output.progress("verifying", "objects") as progress:
            progress.total(archive.count())
            known = archive.integrity.damaged() if damaged else selected(archive, match)
            for verdict in check_objects(archive, known, deep):
                verdicts.add(verdict)
                progress.advance()
    verdicts.show(json)
    if verdicts.damaged:
        raise typer.Exit(DATA)


def _mend(archive: Archive, paths: list[Path], aet: str, verdicts: integrity_output.VerifySummary) -> None:
    from scp.archive import foreign
    from scp.cli import output
    from scp.lifecycle.verify import repair_from_files

    files = list(foreign.files_below(paths))
    if not files:
        return
    with output.progress("repairing", "files") as progress:
        progress.total(len(files))
        for path, repaired in repair_from_files(archive, files, aet):
            if repaired:
                verdicts.repaired.append(path)
            progress.advance()


@app.command()
def fsck(
    repair: Annotated[bool, typer.Option("--repair", help="Repair what needs no guessing.")] = False,
    forget: Annotated[
        bool, typer.Option("--forget", help="Give up objects whose files are gone: remove their rows.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Find files without index rows, rows without files, and leftovers of interrupted work."""
    from scp.cli import integrity_output, output
    from scp.lifecycle.deletion import Deletion
    from scp.lifecycle.fsck import fsck as look
    from scp.lifecycle.fsck import unfitness
    from scp.objects.stores import places

    found = []
    with (
        opened_unfit(config, repairs=repair) as (archive, settings),
        output.progress("looking", "files") as progress,
    ):
        unfit = unfitness(archive, progress, repair)
        found += unfit
        if not unfit or repair:
            progress.total(archive.count())
            found += look(archive, progress, repair, forget, Deletion(archive, places(settings)))
    integrity_output.findings(found, json)
    if any(not one.repaired for one in found):
        raise typer.Exit(DATA)


@app.command()
def reindex(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the index again from the stored files alone; stop all other nodes before."""
    from scp.cli import integrity_output, output
    from scp.lifecycle.rebuild import check_unused, make_fit
    from scp.lifecycle.reindex import reindex as rebuild

    with (
        opened_unfit(config, repairs=True) as (archive, _),
        output.progress("reindexing", "objects") as progress,
    ):
        fitted = make_fit(archive, progress)
        if fitted.outcome is None:
            check_unused(archive, "nothing was reindexed: the index fits")
        outcome = fitted.outcome or rebuild(archive, progress)
    integrity_output.reindexed(outcome, json, fitted.told)
    if outcome.damaged:
        raise typer.Exit(DATA)


@app.command("migrate-index")
def migrate_index(
    source: Annotated[str, typer.Argument(metavar="FROM", help="The URL of the index, as index.url has it.")],
    target: Annotated[str, typer.Argument(metavar="TO", help="The URL of an empty database.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Copy the index into another database, SQLite or PostgreSQL, and compare both; stop all nodes before.

    The password for PostgreSQL is index.password.
    """
    from dataclasses import asdict

    from scp.cli import output
    from scp.config.values import index_url
    from scp.errors import ConfigurationError
    from scp.index.databases import Database
    from scp.index.move import move

    settings = settings_of(config)
    try:
        urls = [index_url(each) for each in (source, target)]
    except ValueError as error:
        raise ConfigurationError(f"the URL of an index: {error}") from error
    word = settings.index.password.get_secret_value()
    before, after = (Database(url, word if url.startswith("postgresql") else "") for url in urls)
    with output.progress("copying the index", "rows") as progress:
        copied = move(before, after, progress)
    if json:
        tables = {name: asdict(digest) for name, digest in copied.items()}
        output.as_json({"from": source, "to": target, "tables": tables})
        return
    for name, digest in copied.items():
        typer.echo(f"{name}: {digest.rows} rows, SHA-256 {digest.sha256}")
    typer.echo(f"The copies are equal. Set index.url to {target} before the next start.")
