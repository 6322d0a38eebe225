"""Which zstd dictionaries stored objects need, and the removal of those that none needs any more.

A dictionary that is missing makes objects unreadable. So one is removed only where no row, no file in the
trash and no process can need it: the index is asked, files are read whose rows do not know, and a dictionary
stays for an hour after another one took its place, as long as an object may take from its form to its row.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version

from scp.archive.archive import Archive
from scp.errors import DictionaryNeeded, ObjectMissing, ZscpError
from scp.index.packing import DICTIONARY_UNKNOWN, DictionaryUse
from scp.model import Instance
from scp.objects import part10
from scp.objects.names import DictionaryName
from scp.objects.trash import Trash

_STAYS_SECONDS = 3600.0
_LOCK_SECONDS = 60.0
_NOTHING = DictionaryUse(0, 0)
_HEADER = 18  # bytes of the longest header of a zstd frame (RFC 8878 3.1.1.1), with its magic number


@dataclass(frozen=True, slots=True)
class HeldDictionary:
    """A dictionary of ``size`` bytes, perhaps the ``newest`` of its class; ``use`` is what rows know."""

    entry: DictionaryName
    size: int
    newest: bool
    use: DictionaryUse


def held_dictionaries(archive: Archive) -> tuple[list[HeldDictionary], int]:
    """All dictionaries, and how many objects do not know which one they need. Raises OutOfResources."""
    held, uses = archive.dictionaries, archive.stages.dictionary_uses()
    found = [
        HeldDictionary(
            one, held.size(one), held.marked(one.sop_class_uid) == one.key, uses.get(one.id, _NOTHING)
        )
        for one in held.entries()
    ]
    return found, uses.get(DICTIONARY_UNKNOWN, _NOTHING).instances


def remove_dictionary(
    archive: Archive, trash: Trash, number: int, now: float | None = None
) -> DictionaryName:
    """Remove the dictionary with an ID. Raises DictionaryNeeded, with the reason, where it may be needed.

    One for new objects loses that mark at first; it can be removed an hour later. Raises OutOfResources.
    """
    now = time.time() if now is None else now
    with archive.exclusive("training", _LOCK_SECONDS), trash.lock():
        entry = next((one for one in archive.dictionaries.entries() if one.id == number), None)
        if entry is None:
            raise DictionaryNeeded(f"there is no dictionary {number}; `zscp dictionary list` lists all")
        _check_not_for_new_ones(archive, entry, now)
        _check_nodes(archive)
        _check_objects(archive, entry)
        _check_landed(archive, entry)
        _check_trash(trash, entry)
        archive.dictionaries.remove(entry)
    return entry


def _check_not_for_new_ones(archive: Archive, entry: DictionaryName, now: float) -> None:
    held, uid = archive.dictionaries, entry.sop_class_uid
    if held.marked(uid) == entry.key:
        if archive.policy.asks_for_dictionaries():
            raise DictionaryNeeded(
                f"{entry.key} is for new objects of its class; it stays until a better one is trained, or no"
                " rule of [[policy]] says dictionary = true"
            )
        held.unmark(uid)
    newest = held.newest_id(uid)
    noticed = archive.stages.noticed_dictionaries().get(uid)
    if noticed is None or noticed.id != newest:
        archive.stages.plan_for_dictionary(uid, newest, now)
        noticed = archive.stages.noticed_dictionaries()[uid]
    if (left := noticed.at + _STAYS_SECONDS - now) > 0:
        raise DictionaryNeeded(
            f"{entry.key} was for new objects until lately, and one may be on its way; remove it in"
            f" {max(1, round(left / 60))} minutes"
        )


def _check_nodes(archive: Archive) -> None:
    for node in archive.elsewhere.cluster.others():
        if not (node.lives or node.stopped):
            raise DictionaryNeeded(
                f"node {node} ended without a word, and its landing log may need it; start it, or forget it"
            )
        if node.report.version not in ("", version("zscp")):
            raise DictionaryNeeded(f"node {node} has another version, and does not note what its files need")


def _check_objects(archive: Archive, entry: DictionaryName) -> None:
    archive.stages.note_dictionaries(_looked_up(archive))
    uses = archive.stages.dictionary_uses()
    use, unknown = uses.get(entry.id, _NOTHING), uses.get(DICTIONARY_UNKNOWN, _NOTHING)
    if use.instances:
        raise DictionaryNeeded(
            f"{use.instances} objects need {entry.key}; `zscp plan` shows if they are packed anew"
        )
    if unknown.instances:
        raise DictionaryNeeded(
            f"{unknown.instances} files cannot be read, and may need {entry.key}; `zscp verify` names them"
        )


def _check_landed(archive: Archive, entry: DictionaryName) -> None:
    """What a process acknowledged, and died before it had a row: the next start takes it up."""
    for key in archive.interrupted.landed():
        try:
            needed = part10.dictionary_id(archive.files.get(key)[:_HEADER])
        except ObjectMissing:
            continue  # it is over
        except (ZscpError, OSError):
            needed = entry.id  # nobody knows
        if needed == entry.id:
            raise DictionaryNeeded(
                f"{key} in the landing log may need {entry.key}; the next start of the node takes it up"
            )


def _looked_up(archive: Archive) -> Iterator[tuple[Instance, int]]:
    """What files need whose rows do not say it; those that cannot be read stay as they are."""
    for one in archive.stages.needing([DICTIONARY_UNKNOWN]):
        try:
            yield one, archive.files.dictionary_of(one.key, one.stored_size)
        except (ZscpError, OSError):
            continue  # counted afterwards, and told


def _check_trash(trash: Trash, entry: DictionaryName) -> None:
    found: Counter[str] = Counter()
    for one in trash.entries():
        try:
            begin = trash.begin_of(one, _HEADER)
        except ObjectMissing:
            continue
        if part10.is_framed(begin):
            found["need"] += part10.dictionary_id(begin) == entry.id
        elif part10.is_plain(begin):
            continue
        else:
            found["may need"] += 1  # it is encrypted
    for how, objects in found.items():
        if objects:
            raise DictionaryNeeded(
                f"{objects} objects in the trash {how} {entry.key}; `zscp trash purge` empties it"
            )
    if next(iter(trash.unreadable()), None) is not None:
        raise DictionaryNeeded("a note in the trash cannot be read; `zscp fsck` names it")
