"""Files into the archive and out of it, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from scp.archive import Archive
from scp.encoding.facts import survey
from scp.errors import DictionaryMissing, NoLosslessWay, ObjectDamaged, ZscpError
from scp.lifecycle.beside import dictionaries_beside
from scp.lifecycle.parallel import each
from scp.model import Instance, Received
from scp.objects import part10
from scp.objects.part10 import Part10
from scp.objects.store import path_component
from scp.outgoing import Outgoing
from scp.spool import copied
from scp.stored import received_from
from scp.syntaxes import EXPLICIT, IMPLICIT
from scp.uids import uid_of

_DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory: describes files, is no instance


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file: ``outcome`` is that of :class:`scp.model.Kept`, ``skipped`` or ``failed``."""

    path: Path
    outcome: str
    reason: str = ""
    received_size: int = 0
    stored_size: int = 0


def files_below(paths: Iterable[Path]) -> Iterator[Path]:
    """The files that ``paths`` are or hold, in order."""
    for path in paths:
        if path.is_dir():
            yield from (entry for entry in sorted(path.rglob("*")) if entry.is_file())
        else:
            yield path


def import_files(archive: Archive, paths: Iterable[Path], aet: str) -> Iterator[Imported]:
    """Keep each DICOM Part 10 file, as if it had been received now; other files are skipped."""

    def one(path: Path) -> Imported:
        try:
            return _import(archive, path, aet)
        except (ZscpError, OSError) as error:
            return Imported(path, "failed", str(error))

    return each(one, paths)


def _import(archive: Archive, path: Path, aet: str) -> Imported:
    try:
        file = part10.unpack(copied(path), dictionaries_beside(path, archive.dictionaries.by_id))
    except DictionaryMissing:
        raise
    except ObjectDamaged as error:
        return Imported(path, "skipped", str(error))
    if file.sop_class_uid == _DICOMDIR:
        return Imported(path, "skipped", "a DICOMDIR")
    received = _by_its_own_uids(received_from(file, aet))
    kept = archive.ingest(received)
    return Imported(path, kept.outcome, "", len(received.dataset), kept.instance.stored_size)


def received_file(archive: Archive, path: Path, aet: str) -> Received:
    """A DICOM Part 10 file as if it was received. Raises ObjectDamaged for what is none, OSError."""
    file = part10.unpack(copied(path), dictionaries_beside(path, archive.dictionaries.by_id))
    return _by_its_own_uids(received_from(file, aet))


def _by_its_own_uids(received: Received) -> Received:
    """A file's meta information may be wrong or poor; what counts is what the dataset says it is."""
    attributes = survey(received).attributes
    return replace(
        received,
        sop_class_uid=uid_of(attributes.get("SOPClassUID", "")) or received.sop_class_uid,
        sop_instance_uid=uid_of(attributes.get("SOPInstanceUID", "")) or received.sop_instance_uid,
    )


@dataclass(frozen=True, slots=True)
class Exported:
    """One object written as a file, or why not."""

    instance: Instance
    path: Path
    transfer_syntax: str = ""
    reason: str = ""


def export(archive: Archive, instances: Iterable[Instance], target: Path, syntax: str) -> Iterator[Exported]:
    """Write objects as plain Part 10 files, ``<study>/<series>/<instance>.dcm`` below ``target``.

    ``syntax`` is ``received`` (what came in; where that cannot be made again, as stored), ``stored``,
    or a transfer syntax UID.
    """

    def one(instance: Instance) -> Exported:
        study, series, name = map(
            path_component,
            (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid),
        )
        path = target / study / series / f"{name}.dcm"
        try:
            outgoing = _outgoing(archive, instance, syntax)
            _write(path, outgoing)
        except (ZscpError, OSError) as error:
            return Exported(instance, path, reason=str(error))
        return Exported(instance, path, outgoing.transfer_syntax)

    return each(one, instances)


def _outgoing(archive: Archive, instance: Instance, syntax: str) -> Outgoing:
    if syntax == "stored":
        return archive.fetch(instance, [instance.transfer_syntax])
    if syntax != "received":
        return archive.fetch(instance, [syntax])
    try:
        return archive.fetch(instance, [instance.received_transfer_syntax])
    except NoLosslessWay:
        return archive.fetch(instance, [instance.transfer_syntax, EXPLICIT, IMPLICIT])


def _write(path: Path, outgoing: Outgoing) -> None:
    instance = outgoing.instance
    file = Part10(
        instance.sop_class_uid,
        instance.sop_instance_uid,
        outgoing.transfer_syntax,
        b"",
        source_aet=instance.calling_aet,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as out:
        out.write(part10.head(file))
        for chunk in outgoing.chunks:
            out.write(chunk)
    unfinished.replace(path)
