"""Files into the archive and out of it, without a network."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from scp.archive import foreign
from scp.archive.archive import Archive
from scp.archive.deliver import Outgoing
from scp.archive.records import imported_from
from scp.background.parallel import each
from scp.encoding.facts import survey
from scp.encoding.uids import uid_of
from scp.errors import DictionaryMissing, NoLosslessWay, ObjectDamaged, message_of
from scp.model import Instance, Received
from scp.objects import part10
from scp.objects.dictionaries_beside import dictionaries_beside
from scp.objects.names import path_component
from scp.objects.part10 import Part10
from scp.resources.room import Room
from scp.resources.room import of as room_of
from scp.spool import Buffer, copied, sha256, slices
from scp.syntaxes import EXPLICIT, IMPLICIT

_DICOMDIR = "1.2.840.10008.1.3.10"  # Media Storage Directory: describes files, is no instance


@dataclass(frozen=True, slots=True)
class Imported:
    """What became of one file: ``outcome`` is that of :class:`scp.model.Kept`, ``skipped`` or ``failed``.

    ``note`` says what was assumed of one that was taken, such as a transfer syntax that was guessed.
    """

    path: Path
    outcome: str
    reason: str = ""
    received_size: int = 0
    stored_size: int = 0
    note: str = ""
    instance: Instance | None = None


def import_files(archive: Archive, paths: Iterable[Path], aet: str) -> Iterator[Imported]:
    """Keep each DICOM file, as if it had been received now; other files are skipped."""

    def one(path: Path) -> Imported:
        try:
            with archive.trials.of_key(_key_of(path), "survey"):
                return _import(archive, path, aet)
        except Exception as error:  # noqa: BLE001 - the other files are imported all the same
            return Imported(path, "failed", message_of(error))

    return each(one, paths)


def _key_of(path: Path) -> str:
    """A file's key for the journal of attempts; a file that was replaced has another. Raises OSError."""
    found = path.stat()
    told = f"{path.absolute()} {found.st_size} {found.st_mtime_ns}"
    return f"import:{sha256(told.encode(errors='surrogateescape'))[:32]}"


def _import(archive: Archive, path: Path, aet: str) -> Imported:
    try:
        file, assumed = _read(archive, path)
    except DictionaryMissing:
        raise
    except ObjectDamaged as error:
        return Imported(path, "skipped", str(error))
    if file.sop_class_uid == _DICOMDIR:
        return Imported(path, "skipped", "a DICOMDIR")
    received, doubt = imported_from(file, aet)
    received = _by_its_own_uids(received)
    kept = archive.ingest(received)
    note = "; ".join(filter(None, (assumed, doubt)))
    return Imported(
        path, kept.outcome, "", len(received.dataset), kept.instance.stored_size, note, kept.instance
    )


def received_file(archive: Archive, path: Path, aet: str) -> Received:
    """A DICOM file as if it was received. Raises ObjectDamaged for what is no DICOM file, OSError."""
    return _by_its_own_uids(imported_from(_read(archive, path)[0], aet)[0])


def _read(archive: Archive, path: Path) -> tuple[Part10, str]:
    return foreign.read(copied(path), dictionaries_beside(path, archive.dictionaries.by_id))


def _by_its_own_uids(received: Received) -> Received:
    """Take the UIDs from the dataset: a file's meta information may be wrong or incomplete."""
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

    Where objects of several patients have the same UIDs, the later one is ``<instance>_<digest>.dcm``, with
    the first digits of the SHA-256 of what was received.

    ``syntax`` is ``received`` (what came in; where that cannot be made again, as stored), ``stored``,
    or a transfer syntax UID. On a disk that objects are stored on, ``storage.reserve`` bytes are left free.
    """

    room = room_of(target)

    def one(named: tuple[Path, Instance]) -> Exported:
        path, instance = named
        try:
            outgoing = _outgoing(archive, instance, syntax)
            _write(path, outgoing, room)
        except Exception as error:  # noqa: BLE001 - the others are written all the same
            return Exported(instance, path, reason=message_of(error))
        return Exported(instance, path, outgoing.transfer_syntax)

    return each(one, _paths(instances, target))


def _paths(instances: Iterable[Instance], target: Path) -> Iterator[tuple[Path, Instance]]:
    taken: set[Path] = set()
    for one in instances:
        uids = (one.study_instance_uid, one.series_instance_uid, one.sop_instance_uid)
        study, series, name = map(path_component, uids)
        path = target / study / series / f"{name}.dcm"
        if path in taken:
            path = path.with_name(f"{name}_{one.received_sha256[:16]}.dcm")
        taken.add(path)
        yield path, one


def zipped(archive: Archive, instances: Iterable[Instance], syntax: str) -> Iterator[bytes]:
    """As :func:`export`, but as a ZIP file, piece by piece, in which nothing is compressed.

    What cannot be written is named in ``failed.txt``, with the reason, at its end. An object that fails while
    it is decoded, half written, ends it with that error: a ZIP file without its end is seen to be none.
    """
    out = _Pieces()
    failed: list[str] = []
    with ZipFile(out, "w") as file:
        for path, instance in _paths(instances, Path()):
            try:
                outgoing = _outgoing(archive, instance, syntax)
            except Exception as error:  # noqa: BLE001 - the others are written all the same
                failed.append(f"{instance.sop_instance_uid}: {message_of(error)}")
                continue
            with file.open(ZipInfo(str(path)), "w", force_zip64=True) as entry:
                for part in _pieces(outgoing):
                    entry.write(part)
                    yield from out.taken()
            yield from out.taken()
        if failed:
            file.writestr("failed.txt", "\n".join(failed) + "\n")
    yield from out.taken()


class _Pieces:
    """A file to write to, whose bytes are taken from time to time."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def write(self, part: bytes, /) -> int:
        self._parts.append(bytes(part))
        return len(part)

    def flush(self) -> None:
        """Nothing waits elsewhere."""

    def close(self) -> None:
        """Nothing is open."""

    def taken(self) -> list[bytes]:
        """What was written since it was last taken."""
        parts, self._parts = self._parts, []
        return parts


def plain_file(archive: Archive, instance: Instance, syntax: str) -> Iterator[Buffer]:
    """The DICOM file of one object, piece by piece; ``syntax`` as for :func:`export`.

    Raises, before the first piece, NoLosslessWay and what reading the object raises.
    """
    return _pieces(_outgoing(archive, instance, syntax))


def _outgoing(archive: Archive, instance: Instance, syntax: str) -> Outgoing:
    if syntax == "stored":
        return archive.fetch(instance, [instance.transfer_syntax])
    if syntax != "received":
        return archive.fetch(instance, [syntax])
    try:
        return archive.fetch(instance, [instance.received_transfer_syntax])
    except NoLosslessWay:
        return archive.fetch(instance, [instance.transfer_syntax, EXPLICIT, IMPLICIT])


def _pieces(outgoing: Outgoing) -> Iterator[Buffer]:
    """The Part 10 file of an object."""
    instance = outgoing.instance
    file = Part10(
        instance.sop_class_uid,
        instance.sop_instance_uid,
        outgoing.transfer_syntax,
        b"",
        source_aet=instance.calling_aet,
    )
    yield part10.head(file)
    yield from chain.from_iterable(map(slices, outgoing.chunks))


def _write(path: Path, outgoing: Outgoing, room: Room) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part")
    with unfinished.open("wb") as out:
        for part in _pieces(outgoing):
            room.check(len(part))
            out.write(part)
    unfinished.replace(path)
