"""Commands that look after what is stored."""

from __future__ import annotations

from typing import Annotated

import typer

from scp import report
from scp.commands.common import DATA, ConfigOption, JsonOption, MatchOption, opened, selected
from scp.lifecycle.reindex import reindex as rebuild
from scp.lifecycle.verify import verify as check_objects

app = typer.Typer()


@app.command()
def verify(
    match: MatchOption = None,
    deep: Annotated[bool, typer.Option("--deep", help="Also restore what was received.")] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Read stored objects and check them against the digests of what was written."""
    with opened(config) as (archive, _), report.progress("verifying", "objects") as progress:
        progress.total(archive.index.counts().instances)
        verdicts = report.VerifySummary()
        for verdict in check_objects(archive, selected(archive, match), deep):
            verdicts.add(verdict)
            progress.advance()
    verdicts.show(json)
    if verdicts.damaged:
        raise typer.Exit(DATA)


@app.command()
def reindex(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Make the index anew from the stored objects alone."""
    with opened(config) as (archive, _), report.progress("reindexing", "objects") as progress:
        outcome = rebuild(archive, progress)
    report.reindexed(outcome, json)
    if outcome.damaged:
        raise typer.Exit(DATA)
