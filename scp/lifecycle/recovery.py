"""After a crash: what was made durable is found again, and recorded where the index lacks it.

Only what dead processes left in their own folders is scanned: the journal's entries, which are files in their
places whose rows may be missing, and the records of the landing log, acknowledged or not.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

from scp.archive.archive import Archive
from scp.archive.records import check_uids
from scp.archive.replacement import Change
from scp.background.alone import alone
from scp.errors import (
    DictionaryMissing,
    DuplicateRejected,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    ObjectUnreadable,
    Superseded,
    UidMismatch,
    message_of,
)
from scp.model import Instance
from scp.objects.names import store_of


@dataclass(slots=True)
class Recovered:
    """What a start found of dead processes.

    ``recorded`` counts objects; ``damaged`` are files that cannot be read, as key and fault; ``unfinished``
    counts landed records that are not whole, or refused. Of those a copy is kept in ``.damaged``.
    """

    recorded: int = 0
    damaged: tuple[str, ...] = ()
    unfinished: int = 0


def recover(archive: Archive) -> Recovered:
    """Take up what dead processes left; safe beside living ones, and to stop and run again."""
    found = Recovered()
    for key in archive.interrupted.files():
        with _alone(archive, key, found):
            _from_journal(archive, key, found)
    take_up_landed(archive, found)
    archive.wake_encoder()
    return found


def take_up_landed(archive: Archive, found: Recovered) -> None:
    """Take up the records of the landing log that are not over, and that the index does not name.

    Afterwards the index names each of them, or it is over; except where its object cannot be looked at now.
    Safe beside processes that encode, and to stop and run again.
    """
    for key in archive.interrupted.landed():
        with _alone(archive, key, found):
            _from_log(archive, key, found)
    archive.sync()


def _alone(archive: Archive, key: str, found: Recovered) -> AbstractContextManager[None]:
    """What cannot be taken up stays where it is, and the next start looks at it; the others are taken up."""

    def stays(error: Exception) -> None:
        archive.interrupted.keep(key)
        found.damaged += (f"{key}: {message_of(error)}",)

    remedy = "the next start, or zscp fsck, looks at it again"
    return alone("not recovered", quiet=(), otherwise=stays, key=key, remedy=remedy)


def _from_journal(archive: Archive, key: str, found: Recovered) -> None:
    """A file in its place: the newest content of an object is recorded, and what it replaces removed.

    A row that names another sound file of the same content stays: another node may have put that.
    """
    try:
        instance, facts = archive.reader.take_up(key)
    except ObjectUnreadable:
        raise  # it is taken up by the start that can read it, as it has the key, permissions, or memory
    except (ObjectDamaged, ObjectMissing) as error:
        found.damaged += (f"{key}: {error}",)
        return
    held = archive.interrupted.held(instance)
    if held is None or held.received_at < instance.received_at:
        try:
            archive.recorder.record(instance, facts, found=True)
            held = instance
        except Superseded:
            held = archive.current(instance.identity) or instance
        except DuplicateRejected as error:  # so it was never acknowledged; it stays, and fsck lists it
            found.damaged += (f"{key}: {error}",)
            return
    elif held.received_at == instance.received_at and not _stands(archive, key, held):
        # Only where the row still names that file. What is to be sent of it was recorded with it.
        archive.replace([Change(held, instance)])
        held = archive.current(instance.identity) or instance
    archive.sync()
    _remove_replaced(archive, key, held)
    found.recorded += 1


def _remove_replaced(archive: Archive, key: str, held: Instance) -> None:
    """Remove other files of an object by what they hold: that the index does not name them is no reason.

    A file is removed where it is older than the one that is held, or the same, and that one is proven to be
    sound. All others stay, and fsck lists them. Beside other nodes only ``key`` is removed: these may have
    put, and not recorded yet, what else there is.
    """
    found = [key] if archive.elsewhere.are_others() else archive.files.siblings(key, held.sop_instance_uid)
    others = [left for left in found if left != held.key]
    if not others or not _is_sound(archive, held):
        return
    for left in others:
        if _is_superseded(archive, left, held):
            archive.recorder.put_away(left, held)


def _is_sound(archive: Archive, held: Instance) -> bool:
    try:
        archive.verify(held, deep=True)
    except (ObjectDamaged, ObjectMissing, ObjectUnavailable):
        return False
    return True


def _is_superseded(archive: Archive, key: str, held: Instance) -> bool:
    """Whether a file holds an older content, or another form, of the object that is held.

    Two patients may have an object with this SOP Instance UID in one study: the other one's is left alone.
    """
    if any(one.key == key for one in archive.named(held.sop_instance_uid)):
        return False
    try:
        left, _ = archive.reader.take_up(key)
    except (ObjectDamaged, ObjectMissing, ObjectUnavailable):
        return False  # whose it was is not known
    return left.identity == held.identity and left.received_at <= held.received_at


def _stands(archive: Archive, key: str, held: Instance) -> bool:
    """Whether the row of an object's content stays, and does not name the file ``key`` instead."""
    if held.key == key or _is_sound(archive, held):
        return True
    if not store_of(key):
        return False
    try:  # a file in another store was perhaps not read back yet
        return archive.files.has(held.key)
    except ObjectUnavailable:
        return True


def _from_log(archive: Archive, key: str, found: Recovered) -> None:
    """A landed record is recorded if it came after what is held; else it is over, if that file is there.

    One that is not whole, or would be refused, was not acknowledged, as far as can be told: a copy is kept.
    """
    try:
        instance, facts = archive.reader.take_up(key)
        check_uids(instance, facts)
    except (ObjectMissing, ObjectUnreadable):
        return  # it was settled meanwhile, or is looked at again by the next start
    except DictionaryMissing:
        raise  # it may have been acknowledged, and is sound when the dictionary is back: it stays in the log
    except (ObjectDamaged, UidMismatch):
        _set_aside(archive, key, found)
        return
    held = archive.interrupted.held(instance)
    if held is not None and held.key == key:
        return
    if held is not None and held.received_at >= instance.received_at:
        _settle_by(archive, key, held, found)
    elif not archive.would_take(instance.identity, held):
        _set_aside(archive, key, found)
    elif archive.interrupted.counts(key):  # or it went through encoding and deletion since it was listed
        _record(archive, key, found)


def _record(archive: Archive, key: str, found: Recovered) -> None:
    instance, facts = archive.reader.take_up(key)
    try:
        archive.recorder.record(instance, facts, found=True)
        found.recorded += 1
    except Superseded:  # by what a peer stored meanwhile
        _from_log(archive, key, found)
    except DuplicateRejected:  # what is held is under a hold, so that this one was not acknowledged
        _set_aside(archive, key, found)


def _settle_by(archive: Archive, key: str, held: Instance, found: Recovered) -> None:
    """A record whose object is held elsewhere is over, if that file is there; else it is all that is left.

    A record with other content was replaced: it is over once the trash has it.
    """
    try:
        if archive.files.has(held.key):
            if archive.recorder.trash_landed(key, held):
                archive.interrupted.end(key)
            return
    except ObjectUnavailable:
        return  # looked at again when its medium is there
    instance, facts = archive.reader.take_up(key)
    if instance.received_sha256 == held.received_sha256:
        archive.recorder.record(instance, facts)
        found.recorded += 1


def _set_aside(archive: Archive, key: str, found: Recovered) -> None:
    archive.interrupted.set_aside(key)
    found.unfinished += 1
