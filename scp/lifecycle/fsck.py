"""Check that files and rows agree, find what interrupted work left, and repair what needs no guessing.

Safe beside a running node: what a living process has put and not settled counts as under way, and each
finding is checked once more before it counts. Each repair may be interrupted and run again. The repairs are:

- a file without a row is recorded, if the index holds nothing of its instance, or something older;
- a file is removed if the index names another file of its instance that is sound. If that one is not sound,
  the file takes its place, if it is proven to hold the same. While other nodes live no file is removed, as
  one of them may have put it, and not recorded it yet;
- a row without a file is pointed to another proven file of the same object, if there is one. Else it stays:
  ``zscp verify --restore-from`` brings the object back from a copy, and ``forget`` gives it up;
- what dead processes had put and not settled is taken up, as the next start would do; deletions and
  restorations that they had begun are finished.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from scp.archive.archive import Archive
from scp.archive.pairing import State
from scp.archive.repair import repair_from_siblings
from scp.background.parallel import each
from scp.background.progress import Progress
from scp.errors import (
    ObjectDamaged,
    ObjectElsewhere,
    ObjectMissing,
    ObjectRefused,
    ObjectUnavailable,
    ObjectUnreadable,
    ZscpError,
    message_of,
)
from scp.index.nodes import KnownNode
from scp.lifecycle.deletion import Deletion
from scp.lifecycle.rebuild import make_fit
from scp.lifecycle.recovery import recover
from scp.model import Instance
from scp.objects.names import digest_in, instance_in, is_object, store_of

# Another node may have put a file and wait for its turn to record it, which takes 20 s at most; or be about
# to remove one. So many files are waited for together.
_OTHERS_SECONDS, _WAITED_FOR = 25.0, 10_000

MISSING, UNRECORDED, LEFT_OVER, UNREADABLE, UNSETTLED, UNFIT = (
    "row without a file",
    "file without a row",
    "left over",
    "unreadable file",
    "interrupted",
    "unfit index",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be; ``repaired`` says what was done about it, if anything."""

    kind: str
    key: str
    sop_instance_uid: str = ""
    told: str = ""
    repaired: str = ""


def unfitness(archive: Archive, progress: Progress, repair: bool) -> list[Finding]:
    """Whether the index knows at all what is stored; ``repair`` rebuilds it. Raises ConfigurationError."""
    pairing = archive.pairing
    if pairing is None or pairing.state() in (State.FITS, State.NEW):
        return []
    told = pairing.message(pairing.state())
    if repair:
        make_fit(archive, progress)
    return [Finding(UNFIT, "index", told=told, repaired="rebuilt from the files" if repair else "")]


def fsck(
    archive: Archive,
    progress: Progress,
    repair: bool = False,
    forget: bool = False,
    deletion: Deletion | None = None,
    wait: Callable[[float], None] = time.sleep,
) -> Iterator[Finding]:
    """Look at all files and all rows; ``wait`` gives other nodes so many seconds for what they have begun.

    Raises ObjectUnavailable where a store is not there.
    """
    if deletion is not None:
        begun = deletion.interrupted()
        if begun and repair:
            deletion.resume()
        for one in begun:
            yield Finding(UNSETTLED, one.key, one.sop_instance_uid, one.reason, "finished" if repair else "")
        for where, fault in deletion.trash.unreadable():
            yield Finding(UNREADABLE, where, told=f"{fault}; what it is of stays in the trash")
    yield from _interrupted(archive, repair)
    beside = archive.elsewhere.cluster.living()
    for key in _given_time(archive, _strays(archive, progress), wait):
        yield from _findings(key, _file(archive, key, repair, beside))
    for instance in each(lambda one: _suspect(archive, one), archive.all(), archive.files.at_once):
        if instance is not None:
            yield from _findings(instance.key, _row(archive, instance, repair, forget))


def _strays(archive: Archive, progress: Progress) -> Iterator[str]:
    """The keys of files that may not be what the index has; some are looked at together.

    No more than that is done by several threads: whether a dead process put a file is found by its lock.
    """

    def look(key: str) -> str:
        try:
            return key if archive.files.keeps(key) and _stray(archive, key) else ""
        except Exception:  # noqa: BLE001 - it is looked at once more, and told then
            return key

    for key in each(look, archive.files.keys(), archive.files.at_once):
        progress.advance()
        if key:
            yield key


def _given_time(archive: Archive, strays: Iterator[str], wait: Callable[[float], None]) -> Iterator[str]:
    """Each key when another node, of whose journal nothing is known here, has had the time to settle it."""
    if not archive.elsewhere.cluster.living():
        yield from strays
        return
    while some := list(islice(strays, _WAITED_FOR)):
        wait(_OTHERS_SECONDS)
        yield from some


def _suspect(archive: Archive, instance: Instance) -> Instance | None:
    """The instance, if its file does not seem to be there. Raises ObjectUnavailable of the first store."""
    try:
        return None if archive.files.has(instance.key) else instance
    except ObjectElsewhere:  # in the landing log of another node
        return None
    except ObjectUnavailable:  # its store is no longer configured, or not there: the file may be in it
        if not store_of(instance.key):
            raise
        return None


def _findings(key: str, findings: Iterator[Finding]) -> Iterator[Finding]:
    """The findings of one object; one that cannot be checked is reported as an unreadable file."""
    try:
        yield from findings
    except ObjectRefused as error:
        yield Finding(UNREADABLE, key, instance_in(key), str(error))
    except (ZscpError, OSError):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it was, the others are looked at
        yield Finding(UNREADABLE, key, instance_in(key), message_of(error))


def _interrupted(archive: Archive, repair: bool) -> Iterator[Finding]:
    """What dead processes left in the journal and the landing log; recovery takes it up."""
    left = [key for key, lives in archive.interrupted.unsettled().items() if not lives and is_object(key)]
    left += archive.interrupted.landed()
    done = recover(archive) if repair else None
    for key in left:
        yield Finding(UNSETTLED, key, repaired="taken up" if repair else "")
    if done is not None:
        yield from (Finding(UNREADABLE, "", told=fault) for fault in done.damaged)


def _file(archive: Archive, key: str, repair: bool, beside: Sequence[KnownNode]) -> Iterator[Finding]:
    """``beside`` are the other nodes that lived when this began: one that fell silent may only be slow."""
    found = _stray(archive, key)
    if found is None:
        return
    uid, held = found
    if archive.interrupted.unsettled().get(key) or _stray(archive, key) is None or not archive.files.has(key):
        return  # under way, or it was when it was listed
    if not uid:
        yield Finding(UNREADABLE, key, told="it does not say which object it is; look at it, and remove it")
    elif held is None or _is_newer(archive, key, held):
        yield _unrecorded(archive, key, uid, repair)
    else:
        yield _left_over(archive, key, held, repair, beside)


def _stray(archive: Archive, key: str) -> tuple[str, Instance | None] | None:
    """A file's instance and its row, which names another file or is missing; None where there is no fault.

    A file that cannot be read belongs to the row whose object has the digest in its key.
    """
    uid = instance_in(key)
    named = archive.named(uid) if uid else []
    if any(one.key == key for one in named):
        return None
    try:
        identity = archive.reader.read_back(key)[0].identity
    except (ObjectDamaged, ObjectMissing, ObjectUnreadable):
        digest = digest_in(key)
        return uid, next((one for one in named if digest and one.received_sha256.startswith(digest)), None)
    held = archive.current(identity)
    return None if held is not None and held.key == key else (identity.sop_instance_uid, held)


def _is_newer(archive: Archive, key: str, held: Instance) -> bool:
    """Whether a file was received after what the index has: then an old index was restored."""
    try:
        return archive.reader.read_back(key)[0].received_at > held.received_at
    except (ObjectDamaged, ObjectMissing, ObjectUnreadable):
        return False


def _unrecorded(archive: Archive, key: str, uid: str, repair: bool) -> Finding:
    try:
        instance, facts = archive.reader.read_back(key)
        archive.verify(instance, deep=True)
    except ObjectUnreadable as error:  # its permissions, or a key that is missing: it may be sound
        return Finding(UNREADABLE, key, uid, str(error))
    except (ObjectDamaged, ObjectMissing) as error:
        return Finding(UNREADABLE, key, uid, f"{error}; look at it, and remove it")
    if not repair:
        return Finding(UNRECORDED, key, uid)
    archive.record_rows([(instance, facts.attributes)])
    archive.sync()
    return Finding(UNRECORDED, key, uid, repaired="recorded")


def _left_over(
    archive: Archive, key: str, held: Instance, repair: bool, beside: Sequence[KnownNode]
) -> Finding:
    told = f"the index names {held.key}"
    if not repair:
        return Finding(LEFT_OVER, key, held.sop_instance_uid, told)
    try:
        archive.verify(held, deep=True)
    except (ObjectDamaged, ObjectMissing) as error:
        taken = repair_from_siblings(archive, held)
        told, repaired = f"{told}: {error}", "taken in its place" if taken == key else ""
        return Finding(LEFT_OVER, key, held.sop_instance_uid, told, repaired)
    except ObjectUnavailable as error:
        return Finding(LEFT_OVER, key, held.sop_instance_uid, f"{told}: {error}")
    if living := archive.elsewhere.cluster.living() or beside:
        names = ", ".join(map(str, living))
        told = f"{told}; it stays while other nodes run, as one may be about to name it: {names}"
        return Finding(LEFT_OVER, key, held.sop_instance_uid, told)
    try:
        archive.recorder.put_away(key, held)
    except ObjectUnreadable as error:  # what it holds is not known: it stays
        return Finding(LEFT_OVER, key, held.sop_instance_uid, f"{told}: {error}")
    return Finding(LEFT_OVER, key, held.sop_instance_uid, told, "removed")


def _row(archive: Archive, instance: Instance, repair: bool, forget: bool) -> Iterator[Finding]:
    current = archive.current(instance.identity)
    if current is None or current.key != instance.key or _suspect(archive, instance) is None:
        return  # it was replaced meanwhile
    uid, repaired = instance.sop_instance_uid, ""
    if repair and (key := repair_from_siblings(archive, instance)):
        repaired = f"points to {key}"
    elif forget:
        archive.forget(uid, instance.key)
        repaired = "forgotten"
    told = "" if repaired else "bring it back from a copy: zscp verify --restore-from"
    yield Finding(MISSING, instance.key, uid, told, repaired)
