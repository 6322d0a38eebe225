"""After a crash: what was made durable is found again, and recorded where the index lacks it.

Nothing is scanned but what processes that died left in their own folders: the journal's entries, which are
files in their places whose rows may be missing, and the records of the landing log, acknowledged or not.
"""

from __future__ import annotations

from dataclasses import dataclass

from scp.archive import Archive
from scp.errors import (
    DictionaryMissing,
    DuplicateRejected,
    ObjectDamaged,
    ObjectMissing,
    ObjectUnavailable,
    UidMismatch,
)
from scp.model import Instance
from scp.objects.dictionaries import is_dictionary
from scp.objects.store import digest_in, store_of
from scp.stored import check_uids


@dataclass(slots=True)
class Recovered:
    """What a start found of processes that died.

    ``recorded`` objects; ``damaged`` files that cannot be read, as key and fault; and how many landed records
    are ``unfinished``: not whole, or refused, so never acknowledged.
    """

    recorded: int = 0
    damaged: tuple[str, ...] = ()
    unfinished: int = 0


def recover(archive: Archive) -> Recovered:
    """Take up what processes that died left; safe beside those that live, and to stop and run again."""
    found = Recovered()
    for key in archive.store.recover():
        if not is_dictionary(key):  # nothing depends on one that is there and not in use
            _from_journal(archive, key, found)
    for key in archive.landing.recover(archive.index.sync) if archive.landing is not None else ():
        _from_log(archive, key, found)
    if archive.backlog is not None:
        archive.backlog.announce()
    return found


def _from_journal(archive: Archive, key: str, found: Recovered) -> None:
    """A file in its place: the newest of an object is recorded, and all its others removed."""
    try:
        instance, facts = archive.read_back(key)
    except ObjectDamaged as error:
        found.damaged += (f"{key}: {error}",)
        return
    held = archive.index.current(instance.identity)
    if held is None or held.received_at < instance.received_at:
        try:
            archive.record(instance, facts)
            held = instance
        except DuplicateRejected as error:  # so it was never acknowledged; it goes to the trash below
            found.damaged += (f"{key}: {error}",)
    elif held.received_at == instance.received_at and not _was_on_its_way(archive, key, held):
        # Its deliveries were recorded with it: it must not be sent twice.
        archive.index.record(instance, facts.attributes)
        held = instance
    if held is None:
        return
    archive.index.sync()
    for left in list(archive.siblings(key, instance.sop_instance_uid)):
        if left != held.key and (left == key or _is_superseded(archive, left, held)):
            archive.put_away(left, held)
    found.recorded += 1


def _is_superseded(archive: Archive, key: str, held: Instance) -> bool:
    """Whether a file holds an older content, or another form, of what is held.

    Two patients may have an object of this SOP Instance UID in one study: the other one's is left alone.
    """
    if any(one.key == key for one in archive.index.named(held.sop_instance_uid)):
        return False
    digest = digest_in(key)
    if digest and held.received_sha256.startswith(digest):
        return True
    try:
        left, _ = archive.read_back(key)
    except (ObjectDamaged, ObjectMissing, ObjectUnavailable):
        return False  # whose it was is not known
    return left.identity == held.identity and left.received_at <= held.received_at


def _was_on_its_way(archive: Archive, key: str, held: Instance) -> bool:
    """Whether a file had not been read back yet from another store, so that the one that is held counts."""
    if not store_of(key) or held.key == key:
        return False
    try:
        return archive.has(held.key)
    except ObjectUnavailable:
        return True


def _from_log(archive: Archive, key: str, found: Recovered) -> None:
    """A record: recorded if it is whole and came after what is held; else it has moved on, or was refused."""
    try:
        instance, facts = archive.read_back(key)
        check_uids(instance, facts)
    except (ObjectDamaged, UidMismatch):
        found.unfinished += 1
        return
    held = archive.index.current(instance.identity)
    if held is not None and held.received_at >= instance.received_at:
        return
    if archive.refuses(instance.identity) or (held is not None and not _gives_way(archive, held)):
        found.unfinished += 1
        return
    try:
        archive.record(instance, facts)
    except DuplicateRejected:  # what is held is under a hold
        found.unfinished += 1
        return
    found.recorded += 1


def _gives_way(archive: Archive, held: Instance) -> bool:
    """Whether another content would have been taken in the place of what is held."""
    if archive.duplicates == "replace":
        return True
    try:
        archive.verify(held)
    except ObjectUnavailable:
        return False  # it may be as good as ever
    except (ObjectMissing, ObjectDamaged) as error:
        return not isinstance(error, DictionaryMissing)  # one that can be brought back is no rot
    return False
