"""What the commands share: their options, the archive that the configuration describes, what is selected."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scp.errors import ConfigurationError, IndexUnfit, OutOfResources, SeveralPatients
from scp.telemetry import printable

if TYPE_CHECKING:
    from scp.archive.archive import Archive
    from scp.config.settings import Settings
    from scp.identity import Identity
    from scp.index.databases import Database
    from scp.lifecycle.actions import ObjectActions, Who
    from scp.lifecycle.deletion import Deletion
    from scp.model import Instance, Query


ConfigOption = Annotated[
    Path | None, typer.Option("--config", "-c", help="The configuration file; without one, defaults.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output.")]
MatchOption = Annotated[
    list[str] | None,
    typer.Option("--match", "-m", metavar="KEY=VALUE", help="As in C-FIND; may be given several times."),
]

PatientOption = Annotated[
    str | None,
    typer.Option(
        "--patient-id", help="Only objects of this Patient ID; an empty one: only those without an ID."
    ),
]
IssuerOption = Annotated[
    str | None, typer.Option("--issuer", help="Only objects whose Patient ID is of this issuer.")
]
AllPatientsOption = Annotated[
    bool, typer.Option("--all-patients", help="Where several patients have the study: those of all of them.")
]

DATA, USAGE = 1, 2  # exit statuses


def settings_of(config: Path | None) -> Settings:
    """The configuration, with the log set up by it. Raises ConfigurationError."""
    from scp import telemetry
    from scp.config.load import load

    settings = load(config, os.environ)
    telemetry.configure(settings.log)
    return settings


@contextmanager
def opened(config: Path | None, works: bool = False) -> Iterator[tuple[Archive, Settings]]:
    """The archive that a configuration describes, with an index that knows what is stored.

    Where it does not, a command that ``works`` rebuilds it first, as a node would; all others change
    nothing, and raise IndexUnfit or IndexDamaged, which say what to do. Raises ConfigurationError and
    OutOfResources.
    """
    from scp.node.build import open_archive, require_index

    settings = settings_of(config)
    if not works:
        require_index(settings)
    archive = open_archive(settings, repairs=works)
    try:
        if works:
            from scp.cli import output
            from scp.lifecycle.rebuild import make_fit

            with output.progress("rebuilding the index", "objects") as progress:
                make_fit(archive, progress)
        if archive.pairing is not None:
            archive.pairing.require()
        yield archive, settings
        if works and archive.pairing is not None:
            archive.pairing.advance_if_changed()
    finally:
        archive.close()


@contextmanager
def acting(archive: Archive, settings: Settings) -> Iterator[tuple[ObjectActions, Who]]:
    """What acts on objects, and who typed the command, for the audit trail."""
    from scp.audit.actors import operator, this_command
    from scp.audit.trail import recording
    from scp.lifecycle.actions import ObjectActions

    with recording(settings) as trail:
        yield ObjectActions(archive, lambda: settings, trail), (operator(), this_command())


@contextmanager
def deleting(archive: Archive, settings: Settings) -> Iterator[Deletion]:
    """What deletes and restores, and tells the audit trail who typed the command."""
    from scp.audit.trail import recording
    from scp.lifecycle.auditing import by_command
    from scp.lifecycle.deletion import Deletion
    from scp.objects.stores import places

    with recording(settings) as trail:
        yield Deletion(archive, places(settings), by_command(trail))


@contextmanager
def opened_unfit(config: Path | None, repairs: bool) -> Iterator[tuple[Archive, Settings]]:
    """As :func:`opened`, whatever the index knows of what is stored: for what looks at it, or repairs it."""
    from scp.node.build import open_archive, require_index

    settings = settings_of(config)
    if not repairs:
        require_index(settings)
    archive = open_archive(settings, repairs=repairs)
    try:
        yield archive, settings
    finally:
        archive.close()


def index_fault(settings: Settings, note: Callable[[str], None]) -> str:
    """Why the index does not know what is stored; empty where it does, or nothing is stored yet.

    ``note`` is called with what an admin should know of an index that does. Makes nothing that is not there.
    Raises ConfigurationError where an admin has to decide what was meant.
    """
    from scp.index.files import exists
    from scp.index.sql import SqlIndex
    from scp.node.build import database_of, open_archive, require_index

    try:
        require_index(settings)
        place = database_of(settings)
        if not exists(place) or not SqlIndex.is_current(place):
            return ""  # nothing is stored yet, or the next start migrates the index first
        if not (settings.storage.in_bucket or settings.storage.path.exists()):
            _require_empty(place)
            return ""
        archive = open_archive(settings)
        try:
            if archive.pairing is not None:
                archive.pairing.require()
            if doubt := archive.clock.read().doubt:
                note(doubt)
        finally:
            archive.close()
    except (IndexUnfit, OutOfResources) as error:
        return str(error)
    return ""


def _require_empty(place: Database) -> None:
    """Raises ConfigurationError where an index names objects, and there is no folder for them."""
    from scp.archive.pairing import NO_STORE
    from scp.index.sql import SqlIndex

    index = SqlIndex.open(place)
    try:
        if index.has_keys(""):
            raise ConfigurationError(NO_STORE)
    finally:
        index.close()


def vr_of(keyword: str) -> str:
    """The VR of an attribute; empty for what is none."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword

    tag = tag_for_keyword(keyword)
    return dictionary_VR(tag) if tag is not None else ""


def query_for(level: str, match: list[str] | None, columns: tuple[str, ...] = ()) -> Query:
    """A relational query by the command line's keys. Raises BadParameter."""
    from scp.model import Query, QueryKey

    wanted = keys_in(match)
    keys = (*wanted, *(column for column in columns if column not in wanted))
    wanted_keys = (QueryKey(key, vr_of(key), wanted.get(key, "")) for key in keys)
    return Query("PATIENT", level, tuple(wanted_keys), relational=True)


def keys_in(match: list[str] | None) -> dict[str, str]:
    """Keyword → value of what --match says. Raises BadParameter."""
    wanted = {}
    for pair in match or []:
        key, separator, value = pair.partition("=")
        if not separator:
            raise typer.BadParameter(f"--match {pair} is not KEY=VALUE")
        wanted[key] = value
    if unknown := [key for key in wanted if not vr_of(key)]:
        raise typer.BadParameter(f"--match: {', '.join(unknown)} is no attribute's keyword")
    return wanted


def selected(archive: Archive, match: list[str] | None) -> Iterator[Instance]:
    """The instances that match, or all."""
    from scp.model import LEVELS

    if not match:
        yield from archive.all()
        return
    for found in archive.find(query_for(LEVELS[-1], match, ("IssuerOfPatientID",))):
        instance = archive.current(identity_in(found))
        if instance is not None:
            yield instance


def identity_in(found: Mapping[str, str]) -> Identity:
    """Which object a match at IMAGE level is; the Issuer of Patient ID must have been asked for."""
    from scp.identity import Identity

    uids = (found["SOPInstanceUID"], found["StudyInstanceUID"])
    return Identity(*uids, found["PatientID"], found["IssuerOfPatientID"])


@dataclass(frozen=True, slots=True)
class Patient:
    """Whose objects a command is about, as its options say (:class:`scp.lifecycle.selection.OfPatient`)."""

    patient_id: str | None = None
    issuer: str | None = None
    all_patients: bool = False

    def of(self, instances: Iterable[Instance], one_patient: bool = False) -> list[Instance]:
        """Those of the patient. Raises BadParameter where it is not clear whose are meant."""
        from scp.lifecycle.selection import OfPatient

        with naming_patients():
            return OfPatient(*astuple(self)).of(instances, one_patient)


@contextmanager
def naming_patients() -> Iterator[None]:
    """Tell by which options to say whose objects are meant, as a fault of usage."""
    try:
        yield
    except SeveralPatients as error:
        raise typer.BadParameter(
            f"{printable(str(error))}; give --patient-id or --issuer, or --all-patients to mean all of them"
        ) from error
