"""Rebuild the index from the stored objects alone (invariant 6).

Order, safe to stop at any moment and to run again, also beside other processes of this node: all files are
read and what they say is sorted by time of receipt; it is recorded in that order, so that patients, studies
and series end with the same attributes as when the objects came in; last, rows without a file are removed.
Not beside other nodes: these may replace a file between its reading and its recording.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

from scp.archive.archive import Archive
from scp.archive.records import check_uids
from scp.archive.refusal import refused_for
from scp.archive.safekeeping import TRASH, TRASH_SECONDS, has_uid_of_original
from scp.background.parallel import each
from scp.background.progress import Progress
from scp.errors import (
    ObjectDamaged,
    ObjectMissing,
    ObjectRefused,
    ObjectUnavailable,
    ObjectUnreadable,
    OutOfResources,
    UidMismatch,
    ZscpError,
    message_of,
)
from scp.identity import Identity
from scp.index.attributes import HELD
from scp.model import Instance
from scp.spool import temporary

# Objects sorted in memory at a time, about 1 KB each; and those recorded in one transaction.
_RUN = 100_000
_BATCH = 500
# Those recorded beside others before a C-STORE that replaces an object, or a deletion, has its turn.
_ADDED_AT_ONCE = 100
_ONLY_IN_THE_INDEX = (
    *("stage", "outcome", "planned", "due", "accessed", "checked", "refused", "no_loss"),
    "dictionary_tried",
)


@dataclass(slots=True)
class Outcome:
    """What reindexing found: ``damaged`` are (key, fault), ``superseded`` and ``gone`` keys."""

    recorded: int = 0
    damaged: list[tuple[str, str]] = field(default_factory=list)
    superseded: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)


def reindex(archive: Archive, progress: Progress, keys: Iterable[str] | None = None) -> Outcome:
    """Rebuild the index, from all files or some; what cannot be read is reported and left where it is.

    Raises OutOfResources, also where the disk has no room for what is sorted.
    """
    outcome = Outcome()
    records = _read_all(archive, archive.files.keys() if keys is None else keys, outcome, progress)
    try:
        _record_sorted(archive, records, outcome)
    except OSError as error:
        raise OutOfResources(f"the index cannot be made again: {error.strerror}") from error
    for instance in each(lambda one: _without_file(archive, one), archive.all(), archive.files.at_once):
        if instance is not None:
            archive.forget(instance.sop_instance_uid, instance.key)
            outcome.gone.append(instance.key)
    return outcome


def _record_sorted(archive: Archive, records: Iterator[str], outcome: Outcome) -> None:
    with ExitStack() as files:
        runs = []
        while run := sorted(islice(records, _RUN)):
            runs.append(files.enter_context(TemporaryFile("w+", encoding="utf-8", dir=temporary())))
            runs[-1].writelines(f"{line}\n" for line in run)
        _record(archive, heapq.merge(*map(_lines, runs)), outcome)


def add_found(archive: Archive, progress: Progress, keys: Iterable[str]) -> Outcome:
    """Record files that the index may lack; safe beside all that other processes and nodes do.

    A held object stays as it is, unless the file has other content that came later. Raises OutOfResources.
    """
    outcome = Outcome()
    lines = _read_all(archive, keys, outcome, progress)
    while batch := [_parsed(line) for line in islice(lines, _ADDED_AT_ONCE)]:
        with archive.exclusive(TRASH, TRASH_SECONDS):  # nothing is deleted, or replaced by other content
            for instance, attributes in batch:
                if archive.files.has(instance.key):
                    _add(archive, instance, attributes, outcome)
    return outcome


def _add(archive: Archive, instance: Instance, attributes: dict[str, str], outcome: Outcome) -> None:
    held = archive.add_row(instance, attributes)
    if held is not None:
        differs = held.received_sha256 != instance.received_sha256
        if not differs or held.received_at >= instance.received_at:
            return
        if has_uid_of_original(instance) and not has_uid_of_original(held) and _is_there(archive, held):
            return
        archive.record_rows([(instance, attributes)])
        outcome.superseded.append(held.key)
    outcome.recorded += 1


def _without_file(archive: Archive, instance: Instance) -> Instance | None:
    """The instance, if its file is gone."""
    try:
        return None if archive.files.has(instance.key) else instance
    except ObjectUnavailable:  # its store is no longer configured: the object may still be in it
        return None


def _read_all(archive: Archive, keys: Iterable[str], outcome: Outcome, progress: Progress) -> Iterator[str]:
    """Each sound object as a line that sorts by its time of receipt."""

    def read(key: str) -> str:
        try:
            return _line(archive, key)
        except UidMismatch:
            return ""  # a record that was refused, and not withdrawn in time: recovery takes it up
        except (ObjectDamaged, ObjectMissing, ObjectRefused, ObjectUnreadable) as error:
            outcome.damaged.append((key, str(error)))
        except (ZscpError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - one object must not keep an index from being made
            outcome.damaged.append((key, message_of(error)))
        return ""

    for line in each(read, keys, archive.files.at_once):
        progress.advance()
        if line:
            yield line


def _line(archive: Archive, key: str) -> str:
    """A file as a line; empty where it is no longer looked into, and the index has it as known before."""
    instance, facts = archive.reader.take_up(key)
    if refused_for(instance, "survey") and any(
        one.key == key for one in archive.named(instance.sop_instance_uid)
    ):
        return ""
    if not archive.files.keeps(key):
        check_uids(instance, facts)
    held = {row.keyword: facts.attributes.get(row.keyword, "") for row in HELD}
    fields: dict[str, Any] = asdict(replace(instance))
    fields["received_at"] = instance.received_at.isoformat()
    return json.dumps([fields["received_at"], instance.sop_instance_uid, fields, held])


def _lines(file: IO[str]) -> Iterator[str]:
    file.seek(0)
    return iter(file)


def _record(archive: Archive, lines: Iterator[str], outcome: Outcome) -> None:
    """Record what was read, in the order of receipt.

    An object in the landing log or the journal may not have been acknowledged yet: it replaces no other
    content here. Recovery decides that by ``storage.duplicates`` and the holds. Nor does a lossy copy replace
    an original that is still there: a legal hold or a storage commitment may have kept that.
    """
    unsettled = archive.interrupted.unsettled()
    while batch := [_parsed(line) for line in islice(lines, _BATCH)]:
        kept = []
        contents: dict[Identity, str] = {}
        helds = each(lambda one: archive.current(one[0].identity), batch, archive.files.at_once)
        for (instance, attributes), held in zip(batch, list(helds), strict=True):
            content = contents.get(instance.identity, held.received_sha256 if held is not None else "")
            unsure = not archive.files.keeps(instance.key) or instance.key in unsettled
            if has_uid_of_original(instance):
                unsure = unsure or instance.identity in contents or _is_there(archive, held)
            if unsure and content not in ("", instance.received_sha256):
                continue
            contents[instance.identity] = instance.received_sha256
            if held is not None and held.key != instance.key and held.received_at < instance.received_at:
                outcome.superseded.append(held.key)
            kept.append((_with_what_is_known(instance, held), attributes))
        archive.record_rows(kept)
        outcome.recorded += len(kept)


def _is_there(archive: Archive, held: Instance | None) -> bool:
    """Whether a row has a file, or may have one in a store that is not there now."""
    try:
        return held is not None and archive.files.has(held.key)
    except ObjectUnavailable:
        return True


def _with_what_is_known(instance: Instance, held: Instance | None) -> Instance:
    """A row read from a file, with what only the index knows of that very file."""
    same = held is not None and held.key == instance.key and held.stored_sha256 == instance.stored_sha256
    if held is None or not same or held.pending != instance.pending:
        return instance
    return replace(instance, **{name: getattr(held, name) for name in _ONLY_IN_THE_INDEX})


def _parsed(line: str) -> tuple[Instance, dict[str, str]]:
    _, _, fields, held = json.loads(line)
    fields["received_at"] = datetime.fromisoformat(fields["received_at"])
    return Instance(**fields), held
