"""Encrypt stored files with the first key of their store: those of other keys, and those of none.

Each object's file is read and checked, written again under a new name, and read back. Only then does the
index name it, and is the old file removed, as for every replaced form
(:class:`scp.archive.replacer.Replacer`). What was done stays done: it may be stopped and run again, beside a
running node.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import structlog

from scp.archive.archive import Archive
from scp.archive.replacement import Change
from scp.background.progress import Progress
from scp.errors import ObjectDamaged, ObjectMissing, ObjectUnavailable, ZscpError
from scp.index.queue import Lease, claimed
from scp.lifecycle.stages import first_bytes, replaced
from scp.model import Instance
from scp.objects.keys_in_use import key_id_of
from scp.objects.names import copy_key, in_store, store_of, with_token
from scp.spool import sha256

_BATCH, _BATCH_BYTES = 16, 64 << 20


@dataclass(slots=True)
class Rotated:
    """How many files were encrypted anew, of how many bytes.

    ``left`` are those that could not be, and those that others work on.
    """

    files: int = 0
    bytes: int = 0
    left: int = 0


@dataclass(frozen=True, slots=True)
class KeyedStores:
    """The folders of the stores that encrypt, by name, and the id of the key for their new files."""

    roots: Mapping[str, Path]
    newest: Mapping[str, str]

    def is_due(self, key: str) -> bool:
        """Whether the file under a key lies in one of the stores, encrypted with another key or with none."""
        store = store_of(key)
        if store not in self.newest:
            return False
        try:
            return key_id_of(self.roots[store] / in_store("", key)) != self.newest[store]
        except (OSError, ObjectDamaged):
            return False  # it is missing, or no file: verify and fsck find that


def rotate(archive: Archive, stores: KeyedStores, progress: Progress) -> Rotated:
    """Encrypt anew what is due. Raises OutOfResources; what was done until then stays."""
    done = Rotated()
    owner = f"rotate/{os.getpid()}/{secrets.token_hex(4)}"
    progress.total(archive.count())
    due = _due(archive, stores, progress)
    while batch := list(first_bytes(islice(due, _BATCH), _BATCH_BYTES)):
        with claimed(archive.claims, Lease.begin(owner), batch) as mine:
            done.left += len(batch) - len(mine)
            _rewrite(archive, [one for one in mine if stores.is_due(one.key)], done)
    for entry in archive.dictionaries.entries():
        for key in filter(stores.is_due, (entry.key, copy_key(entry.key))):
            _rewrite_dictionary(archive, key, done)
    return done


def _due(archive: Archive, stores: KeyedStores, progress: Progress) -> Iterator[Instance]:
    """Objects that are due; one that is pending gets another file soon."""
    for instance in archive.all():
        progress.advance()
        if archive.files.keeps(instance.key) and not instance.pending and stores.is_due(instance.key):
            yield instance


def _rewrite(archive: Archive, instances: list[Instance], done: Rotated) -> None:
    def not_taken(change: Change, error: Exception) -> None:
        _tell(change.before.key, error)

    changes = [change for one in instances if (change := _change(archive, one)) is not None]
    try:
        taken = replaced(archive, changes, not_taken)
    except (ObjectDamaged, ObjectMissing, ObjectUnavailable) as error:  # none of them could be read back
        taken = []
        for change in changes:
            _tell(change.before.key, error)
    done.files += len(taken)
    done.bytes += sum(change.after.stored_size for change in taken)
    done.left += len(instances) - len(taken)


def _change(archive: Archive, instance: Instance) -> Change | None:
    """The same file under a new name; None if it cannot be read, or is not what was written."""
    try:
        data = archive.files.get(instance.key, instance.stored_size)
        digest = archive.files.digest(instance.key, data)
        if instance.stored_sha256 not in ("", digest):
            raise ObjectDamaged(f"{instance.key} is not what was written; restore it from a copy")
        key = with_token(instance.key, secrets.token_hex(4))
    except (ZscpError, ValueError) as error:
        _tell(instance.key, error)
        return None
    known = replace(instance, stored_sha256=digest)  # of an earlier version's row, too: it is read back by it
    return Change(known, replace(known, key=key), data)


def _rewrite_dictionary(archive: Archive, key: str, done: Rotated) -> None:
    """A dictionary keeps its name, by which files find it; a damaged one stays as it is."""
    try:
        content = bytes(archive.files.get(key))
        if sha256(content)[:16] not in key:
            raise ObjectDamaged(f"{key} is not what was written; restore it from a copy")
        archive.files.rewrite(key, content)
    except ZscpError as error:
        _tell(key, error)
        done.left += 1
        return
    done.files += 1
    done.bytes += len(content)


def _tell(key: str, error: Exception) -> None:
    structlog.get_logger("zscp").error("not encrypted anew", key=key, reason=str(error))
