"""Commands about objects: in, out, listed, counted."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import (
    DATA,
    AllPatientsOption,
    ConfigOption,
    IssuerOption,
    JsonOption,
    MatchOption,
    Patient,
    PatientOption,
    identity_in,
    opened,
    query_for,
    selected,
)

if TYPE_CHECKING:
    from scp.archive.archive import Archive

app = typer.Typer()


@app.command("import")
def import_(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATHS", exists=True, help="Files, or folders of them.")
    ],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Keep DICOM files as if they had been received.

    Files that are not DICOM are skipped and listed. Exit status 0 means that all files are stored now.
    """
    from scp.archive import foreign
    from scp.audit.messages import imported
    from scp.audit.trail import recording
    from scp.cli import objects_output, output
    from scp.lifecycle import transfer
    from scp.lifecycle.auditing import FilesAudit

    with opened(config, works=True) as (archive, settings), recording(settings) as trail:
        files = list(foreign.files_below(paths))
        with (
            output.progress("importing", "files") as progress,
            FilesAudit(trail, imported, paths) as audit,
        ):
            progress.total(len(files))
            summary = objects_output.ImportSummary()
            for result in transfer.import_files(archive, files, settings.node.aet):
                summary.add(result)
                audit.add(result.instance, result.reason if result.outcome == "failed" else "")
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def export(  # noqa: PLR0913, PLR0917 - typer's options
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="Folder to write to.")],
    match: MatchOption = None,
    syntax: Annotated[
        str,
        typer.Option(help="received, stored, or a transfer syntax by keyword or UID."),
    ] = "received",
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    all_patients: AllPatientsOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write objects as plain DICOM files, <study>/<series>/<instance>.dcm."""
    from scp.audit.messages import exported
    from scp.audit.trail import recording
    from scp.cli import objects_output, output
    from scp.lifecycle import transfer
    from scp.lifecycle.auditing import FilesAudit

    wanted = _syntax(syntax)
    with opened(config) as (archive, settings), recording(settings) as trail:
        patient = Patient(patient_id, issuer, all_patients or not match)
        instances = patient.of(selected(archive, match))
        with (
            output.progress("exporting", "objects") as progress,
            FilesAudit(trail, exported, [target]) as audit,
        ):
            progress.total(len(instances))
            summary = objects_output.ExportSummary(target)
            for result in transfer.export(archive, instances, target, wanted):
                summary.add(result)
                audit.add(result.instance, result.reason)
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def ls(  # noqa: PLR0913, PLR0917 - typer's options
    match: MatchOption = None,
    level: Annotated[str, typer.Option(help="patient, study, series or image.")] = "study",
    limit: Annotated[int, typer.Option(help="Most lines; 0: all.")] = 100,
    commitments: Annotated[
        bool,
        typer.Option(
            "--commitments", help="Instead: results of storage commitment that are not reported yet."
        ),
    ] = False,
    send_queue: Annotated[
        bool,
        typer.Option("--send-queue", "--outgoing", help="Instead: objects that are not sent to peers yet."),
    ] = False,
    conflicts: Annotated[
        bool,
        typer.Option(
            "--conflicts", help="Instead: objects that contradict each other about patient or study."
        ),
    ] = False,
    unreadable: Annotated[
        bool,
        typer.Option(
            "--unreadable", help="Instead: objects that cannot be read in the transfer syntax they came in."
        ),
    ] = False,
    refused: Annotated[
        bool,
        typer.Option("--refused", help="Instead: objects that are not encoded or decoded any more, and why."),
    ] = False,
    damaged: Annotated[
        bool,
        typer.Option("--damaged", help="Instead: objects whose file was damaged or missing when last read."),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List patients, studies, series or images, or one of the other lists."""
    lists = {
        "damaged": damaged,
        "refused": refused,
        "conflicts": conflicts,
        "unreadable": unreadable,
        "send_queue": send_queue,
        "commitments": commitments,
    }
    with opened(config) as (archive, _):
        for name, wanted in lists.items():
            if wanted:
                _print_list(archive, name, limit, json)
                return
        _print_level(archive, level.upper(), match, limit, json)


def _print_list(archive: Archive, name: str, limit: int, json: bool) -> None:
    """What one of the options of ``ls`` asks for instead of studies."""
    from scp.cli import lists_output
    from scp.lifecycle import attention

    most = limit or None
    match name:
        case "damaged":
            lists_output.damaged(attention.damaged_objects(archive, most), limit, json)
        case "refused":
            lists_output.refused(attention.refused_objects(archive, most), limit, json)
        case "conflicts":
            lists_output.conflicts(attention.conflicts(archive, None), json)
        case "unreadable":
            lists_output.unreadable(attention.unreadable_objects(archive, most), limit, json)
        case "send_queue":
            lists_output.send_queue(archive.send_queue.sums(), json)
        case "commitments":
            lists_output.commitments(attention.outstanding_commitments(archive, None), json)


def _print_level(archive: Archive, level: str, match: list[str] | None, limit: int, json: bool) -> None:
    from scp.cli import objects_output

    columns = objects_output.COLUMNS.get(level)
    if columns is None:
        raise typer.BadParameter("--level is patient, study, series or image")
    if level == "IMAGE":
        found = _first(archive.find(query_for(level, match, (*columns, "IssuerOfPatientID"))), limit)
        rows = [objects_output.with_storage(row, archive.current(identity_in(row))) for row in found]
    else:
        rows = _first(archive.find(query_for(level, match, columns)), limit)
    objects_output.listing(level, rows, limit, json)


@app.command()
def stats(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show how many objects are stored, and what compression saves."""
    from scp.cli import objects_output

    with opened(config) as (archive, _):
        objects_output.statistics(archive.statistics(), json)


def _syntax(name: str) -> str:
    from scp.syntaxes import BY_KEYWORD, BY_UID

    if name in ("received", "stored"):
        return name
    row = BY_KEYWORD.get(name) or BY_UID.get(name)
    if row is None:
        raise typer.BadParameter(f"{name} is no transfer syntax; try {', '.join(list(BY_KEYWORD)[:3])}, …")
    return row.uid


def _first(rows: Generator[dict[str, str], None, None], limit: int) -> list[dict[str, str]]:
    """The first rows and one more, which tells that there are more; 0 is all."""
    with closing(rows):
        return list(islice(rows, limit + 1 if limit else None))
