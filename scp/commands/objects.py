"""Commands about objects: in, out, listed, counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from scp import report, report_outgoing, report_unreadable
from scp.commands.common import DATA, ConfigOption, JsonOption, MatchOption, opened, query_for, selected
from scp.lifecycle import transfer
from scp.lifecycle.explain import fault_now
from scp.syntaxes import BY_KEYWORD, BY_UID

app = typer.Typer()


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders of them.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Keep DICOM files as if they had been received; what is no DICOM file is skipped."""
    with opened(config) as (archive, settings):
        files = list(transfer.files_below(paths))
        with report.progress("importing", "files") as progress:
            progress.total(len(files))
            summary = report.ImportSummary()
            for result in transfer.import_files(archive, files, settings.node.aet):
                summary.add(result)
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def export(
    target: Annotated[Path, typer.Argument(help="Folder to write to.")],
    match: MatchOption = None,
    syntax: Annotated[
        str,
        typer.Option(help="received, stored, or a transfer syntax by keyword or UID."),
    ] = "received",
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write objects as plain DICOM files, <study>/<series>/<instance>.dcm."""
    wanted = _syntax(syntax)
    with opened(config) as (archive, _):
        instances = list(selected(archive, match))
        with report.progress("exporting", "objects") as progress:
            progress.total(len(instances))
            summary = report.ExportSummary(target)
            for result in transfer.export(archive, instances, target, wanted):
                summary.add(result)
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def ls(  # noqa: PLR0913, PLR0917 - typer's options
    match: MatchOption = None,
    level: Annotated[str, typer.Option(help="patient, study, series or image.")] = "study",
    limit: Annotated[int, typer.Option(help="0: all.")] = 100,
    commitments: Annotated[
        bool, typer.Option("--commitments", help="Instead: storage commitment that is yet to be reported.")
    ] = False,
    outgoing: Annotated[
        bool, typer.Option("--outgoing", help="Instead: what is yet to be sent to peers.")
    ] = False,
    unreadable: Annotated[
        bool,
        typer.Option("--unreadable", help="Instead: what cannot be read in the transfer syntax it came in."),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List what is held."""
    if unreadable:
        with opened(config) as (archive, _):
            listed = archive.index.checks.unreadable(limit or None)
            faults = [(one, fault_now(archive, one)) for one in listed]
        report_unreadable.unreadable(faults, limit, json)
        return
    if outgoing:
        with opened(config) as (archive, _):
            report_outgoing.outgoing(archive.index.deliveries.all(), archive.index.held, json)
        return
    if commitments:
        with opened(config) as (archive, _):
            report.commitments(archive.index.commitments.all(), json)
        return
    columns = report.COLUMNS.get(level.upper())
    if columns is None:
        raise typer.BadParameter("--level is patient, study, series or image")
    with opened(config) as (archive, _):
        rows = report.first(archive.find(query_for(level.upper(), match, columns)), limit)
        if level.upper() == "IMAGE":
            rows = [report.with_storage(row, archive.index.held(row["SOPInstanceUID"])) for row in rows]
    report.listing(level.upper(), rows, limit, json)


@app.command()
def stats(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show how much is held, and what keeping it compressed saves."""
    with opened(config) as (archive, _):
        index = archive.index
        outstanding = len(index.commitments.all())
        rows = index.statistics(tuple(archive.store.tiers))
        more = report.Outstanding(
            index.backlog(), outstanding, index.deliveries.outstanding(), len(index.checks.damaged())
        )
        report.statistics(index.counts(), rows, more, json)


def _syntax(name: str) -> str:
    if name in ("received", "stored"):
        return name
    row = BY_KEYWORD.get(name) or BY_UID.get(name)
    if row is None:
        raise typer.BadParameter(f"{name} is no transfer syntax; try {', '.join(list(BY_KEYWORD)[:3])}, …")
    return row.uid
