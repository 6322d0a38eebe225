"""Commands about what goes: delete, hold, trash, retention, and the clock by which it goes."""

from __future__ import annotations

import sys
import time
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
    acting,
    deleting,
    naming_patients,
    opened,
    selected,
)
from scp.errors import ClockDoubted, ObjectMissing

if TYPE_CHECKING:
    from scp.archive.archive import Archive
    from scp.model import Instance


app = typer.Typer()
hold = typer.Typer(no_args_is_help=True, help="Legal holds: what must not be deleted.")
trash = typer.Typer(no_args_is_help=True, help="What was deleted, until it is purged.")
app.add_typer(hold, name="hold")
app.add_typer(trash, name="trash")

UidArgument = Annotated[
    str | None,
    typer.Argument(metavar="UID", help="UID of a study, series or instance, or with --level patient its ID."),
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; it is logged and kept.")]
NowOption = Annotated[bool, typer.Option("--now", help="Purge at once: the objects cannot be restored.")]
TrashArgument = typer.Argument(
    metavar="UID", help="UID of a study or instance, or the id that trash list shows."
)
LevelOption = Annotated[str, typer.Option(help="patient, study, series or image.")]


@app.command()
def delete(  # noqa: PLR0913, PLR0917 - what the command line takes
    reason: ReasonOption,
    uid: UidArgument = None,
    match: MatchOption = None,
    level: Annotated[str, typer.Option(help="What UID is: study, series, image, or patient.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be deleted.")] = False,
    now: NowOption = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    all_patients: AllPatientsOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Delete a patient, study, series or instance: into the trash, unless it is under a hold."""
    from scp.cli import output
    from scp.cli import retention_output as report

    with opened(config, works=not dry_run) as (archive, settings):
        patient = Patient(patient_id, issuer, all_patients)
        wanted = patient.of(_wanted(archive, uid, match, level), one_patient=level.upper() == "PATIENT")
        if not wanted:
            typer.echo(f"zscp: {uid or 'what --match asks for'} is not stored", err=True)
        if dry_run or (wanted and not json):
            report.doomed(wanted, json)
        if dry_run:
            return
        if wanted and sys.stdin.isatty() and not yes:
            typer.confirm(f"Delete {output.number(len(wanted), 'object')}?", abort=True)
        with deleting(archive, settings) as deletion:
            deletion.resume()
            removal = deletion.delete(wanted, f"by hand: {reason}")
            entries = deletion.trash.entries() if now else []
            deletion.purge_entries(one for one in entries if one.key in removal.keys)
            originals = sum(1 for one in entries if one.lossy_copy in removal.deleted)
    report.removed(removal, now, originals, json)
    if removal.held or removal.left or not wanted:
        raise typer.Exit(DATA)


@app.command()
def retention(
    schedule: Annotated[
        bool, typer.Option("--schedule", help="Instead: from which day on what may go, by which rule.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show what the retention rules would delete now; nothing is deleted."""
    from scp.cli import retention_output as report
    from scp.lifecycle.retention import Retention

    with opened(config) as (archive, settings):
        clock = archive.clock.read()
        if clock.doubt:
            typer.echo(f"note: {clock.doubt}", err=True)
        found = Retention(archive, lambda: settings).plan(clock.now)
        (report.schedule if schedule else report.plan)(found, json)


@app.command()
def clock(
    trust: Annotated[
        bool, typer.Option("--trust", help="The clock is right: believe it from now on.")
    ] = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show whether the clock is trusted, by which objects are deleted, purged and made lossy.

    The exit status is 1 where it is not.
    """
    from scp.cli import retention_output as report

    with opened(config, works=trust) as (archive, _):
        found = archive.clock.trust() if trust else archive.clock.read()
    report.clock(found, json)
    if found.doubt:
        raise typer.Exit(DATA)


@hold.command("add")
def add(
    uid: Annotated[
        str, typer.Argument(metavar="UID", help="The UID, or the Patient ID; it need not be held yet.")
    ],
    reason: ReasonOption,
    level: LevelOption = "study",
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    config: ConfigOption = None,
) -> None:
    """Hold a patient, study, series or instance, and what is added later; of all patients who have it."""
    from scp.model import LEVELS
    from scp.objects.holds import Hold

    if level.upper() not in LEVELS:
        raise typer.BadParameter("--level is patient, study, series or image")
    wanted = Hold(level.upper(), uid.strip(), reason, time.time(), "", patient_id, issuer)
    with opened(config) as (archive, settings), acting(archive, settings) as (actions, who):
        actions.hold(wanted, who)
    typer.echo(f"{level.lower()} {uid.strip()} is under a hold")


@hold.command("remove")
def remove(
    uid: Annotated[str, typer.Argument(metavar="UID", help="As given to add.")],
    level: Annotated[str, typer.Option(help="Only holds of this level, as given to add.")] = "",
    patient_id: Annotated[str | None, typer.Option(help="Only holds that were added with this one.")] = None,
    issuer: Annotated[str | None, typer.Option(help="Only holds that were added with this one.")] = None,
    config: ConfigOption = None,
) -> None:
    """Remove all holds on it, or those that the options name."""
    from scp.cli import output

    with opened(config) as (archive, settings), acting(archive, settings) as (actions, who):
        found = actions.release(uid.strip(), who, level.upper(), (patient_id, issuer))
    typer.echo(f"{output.number(len(found), 'hold')} on {uid.strip()} removed")


@hold.command("list")
def list_holds(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List all holds."""
    from scp.cli import retention_output as report
    from scp.lifecycle.deletion import Deletion
    from scp.objects.stores import places

    with opened(config) as (archive, settings):
        report.holds(Deletion(archive, places(settings)).holds.all(), json)


@trash.command("list")
def list_trash(config: ConfigOption = None, json: JsonOption = False) -> None:
    """List what was deleted or replaced, when and why."""
    from scp.cli import retention_output as report
    from scp.lifecycle.deletion import Deletion
    from scp.objects.stores import places

    with opened(config) as (archive, settings):
        report.trash(Deletion(archive, places(settings)).trash.entries(), json)


@trash.command()
def restore(  # noqa: PLR0913, PLR0917 - what the command line takes
    uid: Annotated[str, TrashArgument],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the stored object with other content into the trash.")
    ] = False,
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    all_patients: AllPatientsOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Bring a study or instance back as it was when it was deleted or replaced."""
    from scp.cli import retention_output as report

    with opened(config, works=True) as (archive, settings), acting(archive, settings) as (actions, who):
        try:
            with naming_patients():
                found = actions.in_trash(uid, who, (patient_id, issuer), all_patients)
                back = list(actions.restore(found, who, replace))
        except ObjectMissing:
            if not json:
                raise
            back = []
    report.restored(back, json)
    if not back:
        raise typer.Exit(DATA)


@trash.command()
def purge(  # noqa: PLR0913, PLR0917 - what the command line takes
    uid: Annotated[str | None, TrashArgument] = None,
    now: Annotated[
        bool,
        typer.Option(
            "--now", help="Whatever its age; originals of lossy copies only if UID or --originals names them."
        ),
    ] = False,
    originals: Annotated[
        bool, typer.Option("--originals", help="With --now: originals of lossy copies, too.")
    ] = False,
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    all_patients: AllPatientsOption = False,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Remove for good what has lain in the trash for storage.trash; originals, for storage.originals."""
    from scp.cli import retention_output as report
    from scp.lifecycle.selection import OfPatient
    from scp.objects.trashed import GONE

    if originals and not now:
        raise typer.BadParameter("--originals goes with --now")
    with opened(config, works=True) as (archive, settings), deleting(archive, settings) as deletion:
        deletion.resume()
        among = None
        if uid:
            with naming_patients():
                of = OfPatient(patient_id, issuer, all_patients)
                among = of.in_trash(deletion.trash.entries(GONE), uid)
        clock, storage = archive.clock.read(), settings.storage
        if clock.doubt and not now:
            raise ClockDoubted(clock.doubt)
        at = clock.wall
        before = at if now else at - storage.trash
        of_originals = at if now and (uid or originals) else at - storage.originals
        gone = deletion.purge(before, of_originals, among)
        left = deletion.trash.entries(GONE) if now and of_originals < before else []
    report.purged(gone, sum(1 for one in left if one.lossy_copy), json)


def _wanted(archive: Archive, uid: str | None, match: list[str] | None, level: str) -> list[Instance]:
    """What a UID or match names. Raises BadParameter for neither or both: everything is never meant."""
    from scp.lifecycle.selection import named
    from scp.model import LEVELS

    if level.upper() not in ("", *LEVELS):
        raise typer.BadParameter("--level is patient, study, series or image")
    if bool(uid) == bool(match):
        raise typer.BadParameter("give a UID, or --match")
    return list(selected(archive, match)) if match else named(archive, uid or "", level.upper())
