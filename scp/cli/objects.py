"""Commands about objects: in, out, listed, counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from math import inf
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
    keys_in,
    opened,
    selected,
)
from scp.errors import ObjectDamaged, ObjectMissing

if TYPE_CHECKING:
    from scp.archive.archive import Archive
    from scp.archive.history import HistoryReport
    from scp.config.settings import Settings
    from scp.objects.holds import Hold
    from scp.viewing.search import SearchHit

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
    """Write objects as plain DICOM files, `<study>/<series>/<instance>.dcm`."""
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
def send(  # noqa: PLR0913, PLR0917 - typer's options
    aet: Annotated[str, typer.Argument(metavar="AET", help="The AE title of a configured peer.")],
    uid: Annotated[
        str | None, typer.Argument(metavar="UID", help="UID of a study, series or instance; or give --match.")
    ] = None,
    match: MatchOption = None,
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    all_patients: AllPatientsOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Queue objects for a peer; the running node sends them within a minute."""
    from scp.cli import objects_output
    from scp.lifecycle.selection import named
    from scp.lifecycle.sending import send as queue

    if bool(uid) == bool(match):
        raise typer.BadParameter("give a UID, or --match")
    with opened(config, works=True) as (archive, settings):
        found = selected(archive, match) if match else named(archive, uid or "")
        wanted = Patient(patient_id, issuer, all_patients).of(found)
        if not wanted:
            raise ObjectMissing(f"{uid or 'what --match asks for'} is not stored")
        asked = queue(archive, settings, wanted, aet)
    objects_output.asked_to_send(asked, json)


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
    with opened(config) as (archive, settings):
        for name, wanted in lists.items():
            if wanted:
                _print_list(archive, name, limit, json)
                return
        _print_level(archive, settings, level.upper(), match, limit, json)


def _print_list(archive: Archive, name: str, limit: int, json: bool) -> None:
    """What one of the options of ``ls`` asks for instead of studies."""
    from scp.archive.outstanding import outstanding_commitments
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
            lists_output.commitments(outstanding_commitments(archive.commitments, None), json)


def _print_level(
    archive: Archive, settings: Settings, level: str, match: list[str] | None, limit: int, json: bool
) -> None:
    from scp.cli import objects_output
    from scp.model import LEVELS

    if level not in LEVELS:
        raise typer.BadParameter("--level is patient, study, series or image")
    keys = keys_in(match)
    found = islice(_hits(archive, settings, level, keys), limit + 1 if limit else None)
    if level == "IMAGE":
        rows = [
            objects_output.with_storage(dict(one.attributes), archive.current(identity_in(one.attributes)))
            for one in found
        ]
    else:
        rows = [objects_output.with_sums(one, keys) for one in found]
    objects_output.listing(level, rows, limit, json)


def _hits(archive: Archive, settings: Settings, level: str, keys: dict[str, str]) -> Iterator[SearchHit]:
    """All matches, page after page."""
    from scp.lifecycle.deletion import Deletion
    from scp.objects.stores import places
    from scp.viewing.search import MOST, search

    holds: list[Hold] | None = None
    with suppress(ObjectDamaged):  # a hold that cannot be read hides no object; zscp hold list says which
        holds = Deletion(archive, places(settings)).holds.all()
    page = search(archive, level, keys, None, MOST, inf, holds)
    yield from page.hits
    while page.following is not None:
        page = search(archive, level, keys, page.following, MOST, inf, holds)
        yield from page.hits


@app.command()
def stats(
    by: Annotated[
        str,
        typer.Option(
            help="Traffic, and what is kept, by hour, day, month, peer, modality, service, form or store."
        ),
    ] = "",
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="Of so many days until now; hours of 14 at most.")
    ] = 30,
    chart: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Draw what is kept and saved over time: a .svg or .png; again for both. Needs matplotlib.",
        ),
    ] = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show how many objects are stored, and what compression saves; with --by, over time.

    Figures over time are those that nodes have written into the index (docs/operations.md); days are of UTC.
    """
    if chart:
        from scp.cli import chart as charts

        charts.check_names(chart)
    with opened(config) as (archive, settings):
        if not by and not chart:
            from scp.cli import objects_output

            objects_output.statistics(archive.statistics(), json)
            return
        from scp.cli import history_output

        found = _report(archive, settings, by or "day", days)
        history_output.report(found, json)
        if chart:
            from scp.cli import savings_chart

            savings_chart.draw(found, archive.history.savings(["modality"]), chart)


def _report(archive: Archive, settings: Settings, by: str, days: int) -> HistoryReport:
    """Raises BadParameter."""
    from datetime import UTC, datetime, timedelta

    from scp.archive.history import REPORTS, free_by_store

    known = next((one for one in REPORTS if one == by), None)
    if known is None:
        raise typer.BadParameter(f"--by is {', '.join(REPORTS[:-1])} or {REPORTS[-1]}")
    now = datetime.now(UTC)
    return archive.history.report(known, now - timedelta(days=days), now, free_by_store(settings))


def _syntax(name: str) -> str:
    from scp.syntaxes import BY_KEYWORD, BY_UID

    if name in ("received", "stored"):
        return name
    row = BY_KEYWORD.get(name) or BY_UID.get(name)
    if row is None:
        raise typer.BadParameter(f"{name} is no transfer syntax; try {', '.join(list(BY_KEYWORD)[:3])}, …")
    return row.uid
