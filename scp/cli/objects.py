"""Commands about objects: in, out, listed, counted."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Annotated

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

app = typer.Typer()


@app.command("import")
def import_(
    paths: Annotated[list[Path], typer.Argument(exists=True, help="Files, or folders of them.")],
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Keep DICOM files as if they had been received.

    What is no DICOM file is skipped and listed. Exit status 0 says that all files are held now.
    """
    from scp.archive import foreign
    from scp.cli import objects_output, output
    from scp.lifecycle import transfer

    with opened(config, works=True) as (archive, settings):
        files = list(foreign.files_below(paths))
        with output.progress("importing", "files") as progress:
            progress.total(len(files))
            summary = objects_output.ImportSummary()
            for result in transfer.import_files(archive, files, settings.node.aet):
                summary.add(result)
                progress.advance()
    summary.show(json)
    if summary.failed:
        raise typer.Exit(DATA)


@app.command()
def export(  # noqa: PLR0913, PLR0917 - typer's options
    target: Annotated[Path, typer.Argument(help="Folder to write to.")],
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
    from scp.cli import objects_output, output
    from scp.lifecycle import transfer

    wanted = _syntax(syntax)
    with opened(config) as (archive, _):
        patient = Patient(patient_id, issuer, all_patients or not match)
        instances = patient.of(selected(archive, match))
        with output.progress("exporting", "objects") as progress:
            progress.total(len(instances))
            summary = objects_output.ExportSummary(target)
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
    send_queue: Annotated[
        bool, typer.Option("--send-queue", "--outgoing", help="Instead: what is yet to be sent to peers.")
    ] = False,
    conflicts: Annotated[
        bool,
        typer.Option("--conflicts", help="Instead: objects that contradict each other in whose they are."),
    ] = False,
    unreadable: Annotated[
        bool,
        typer.Option("--unreadable", help="Instead: what cannot be read in the transfer syntax it came in."),
    ] = False,
    refused: Annotated[
        bool,
        typer.Option("--refused", help="Instead: what is not encoded or decoded any more, and why."),
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """List what is held."""
    from scp.cli import lists_output, objects_output
    from scp.lifecycle.explain import fault_now

    if refused:
        with opened(config) as (archive, _):
            lists_output.refused(archive.integrity.refused(limit or None), limit, json)
        return
    if conflicts:
        with opened(config) as (archive, _):
            lists_output.conflicts(archive.conflicts(), json)
        return
    if unreadable:
        with opened(config) as (archive, _):
            listed = archive.integrity.unreadable(limit or None)
            faults = [(one, fault_now(archive, one)) for one in listed]
        lists_output.unreadable(faults, limit, json)
        return
    if send_queue:
        with opened(config) as (archive, _):
            lists_output.send_queue(archive.send_queue.all(), archive.queued_instance, json)
        return
    if commitments:
        with opened(config) as (archive, _):
            lists_output.commitments(archive.commitments.all(), json)
        return
    columns = objects_output.COLUMNS.get(level.upper())
    if columns is None:
        raise typer.BadParameter("--level is patient, study, series or image")
    with opened(config) as (archive, _):
        if level.upper() == "IMAGE":
            found = archive.find(query_for("IMAGE", match, (*columns, "IssuerOfPatientID")))
            rows = [
                objects_output.with_storage(row, archive.current(identity_in(row)))
                for row in _first(found, limit)
            ]
        else:
            rows = _first(archive.find(query_for(level.upper(), match, columns)), limit)
    objects_output.listing(level.upper(), rows, limit, json)


@app.command()
def stats(config: ConfigOption = None, json: JsonOption = False) -> None:
    """Show how much is held, and what keeping it compressed saves."""
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
