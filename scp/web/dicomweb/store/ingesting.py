"""Parts become objects of the archive as those of C-STORE do: same policy, same statuses, same log."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from scp import telemetry
from scp.archive.admission import Admission
from scp.archive.behind import Acknowledged, Unrecorded
from scp.archive.described import count_limit, describe
from scp.archive.encode import uids_within
from scp.audit import events
from scp.audit.actors import this_process
from scp.audit.stored import StoredCounts
from scp.encoding.facts import survey
from scp.encoding.uids import uid_of
from scp.errors import UidMismatch, ZscpError, public
from scp.model import Facts, Kept, Received
from scp.resources.pressure import pressure
from scp.telemetry import RequestEvent
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.store.part_file import SentFile
from scp.web.dicomweb.store.response import FailedObject, StoreOutcome

# What the log and the metrics call the storing of one object; its request has another name.
_OBJECT = "stow-rs"


@dataclass(frozen=True, slots=True)
class OfStudy(Admission):
    """As Admission; with a ``study``, objects of others are rejected."""

    study: str = ""

    def check(self, received: Received, facts: Facts) -> None:
        """See Admission. Raises UidMismatch also for an object of another study."""
        Admission.check(self, received, facts)  # a class with slots has no super()
        found = uids_within(received, facts).study
        if self.study and found != self.study:
            raise UidMismatch(f"its Study Instance UID is {found}, and the request is for {self.study}")


class Part(Protocol):
    """What came of one object."""

    def content(self) -> SentFile:
        """A DICOM file. Raises what kept it from being one."""


class Ingesting:
    """Ingests the objects of one request, in one thread at a time; ``outcome`` is what became of them."""

    def __init__(self, asked: Asked) -> None:
        """Raises OutOfResources while the index cannot be opened."""
        self._asked, self._archive, self._rules = asked, asked.desk.archive(), asked.desk.storing
        settings = asked.desk.settings()
        storage, self._access, self._called = settings.storage, settings.access, settings.node.aet
        self._admission = OfStudy(storage.incomplete, storage.unreadable, asked.named.get("study", ""))
        self._unrecorded, self._audit = Unrecorded(), _StoreAudit(asked)
        self.outcome = StoreOutcome()

    def take(self, parts: list[Part]) -> None:
        """Ingest parts, one after the other; the list is empty afterwards."""
        while parts:
            with telemetry.request(_OBJECT, calling_aet=self._asked.caller.calling_aet) as event:
                self._one(parts.pop(0), event)

    def finish(self) -> None:
        """Return when the index has all of them; they are durable before."""
        if not self._unrecorded.wait():
            self._asked.event.warn("the index does not have yet what was stored")
        self._audit.end()

    def _one(self, part: Part, event: RequestEvent) -> None:
        """Ingest a part. Whatever fails is told of it alone (invariant 8)."""
        received: Received | None = None
        try:
            received = self._received(part.content())
            try:
                kept = self._ingested(received, event)
            except UidMismatch:
                if (itself := _by_its_own_uids(received)) == received:
                    raise
                kept = self._ingested(received := itself, event)
            status, told = self._rules.of_kept(kept)
        except Exception as error:  # noqa: BLE001 - a bug fails one object, and is logged with its event
            event.fail(error)
            status = self._rules.status_of(error)
            why = str(error) if isinstance(error, ZscpError) else f"a fault of zscp: {public(error)}"
            uids = (received.sop_class_uid, received.sop_instance_uid) if received is not None else ("", "")
            self.outcome.failed.append(FailedObject(*uids, status, why))
            self._audit.refused(public(error))
        else:
            self.outcome.add(kept, self._asked.base, status, told)
        event.add(status=status)

    def _ingested(self, received: Received, event: RequestEvent) -> Kept:
        """Durable when this returns (invariant 1); its row may follow, and then the log waits for it."""
        sop_class, syntax = received.sop_class_uid, received.transfer_syntax
        event.add(
            sop_class=sop_class,
            sop_instance=received.sop_instance_uid,
            transfer_syntax=syntax,
            bytes_received=len(received.dataset),
        )
        self._rules.check(sop_class, syntax, self._access.unknown_sop_classes)
        pressure().check()
        follows: list[Acknowledged] = []
        kept = self._archive.ingest(received, self._admission, follows.append)
        describe(kept, event)
        count_limit(kept, event)
        for one in follows:
            self._unrecorded.add(one)
            one.then(partial(self._recorded, event))
            event.emit_by(one.then)
        if not follows:
            self._audit.add(kept)
        return kept

    def _recorded(self, event: RequestEvent, kept: Kept) -> None:
        """What became of an object that was acknowledged before."""
        self._audit.add(kept)
        if kept.outcome != "kept":
            describe(kept, event)

    def _received(self, sent: SentFile) -> Received:
        file = sent.file
        received = Received(
            sop_class_uid=file.sop_class_uid,
            sop_instance_uid=file.sop_instance_uid,
            transfer_syntax=file.transfer_syntax,
            dataset=file.dataset,
            calling_aet=self._asked.caller.calling_aet,
            called_aet=self._called,
            received_at=datetime.now(UTC),
            sha256=sent.sha256,
        )
        return received if all((file.sop_class_uid, file.sop_instance_uid)) else _by_its_own_uids(received)


def _by_its_own_uids(received: Received) -> Received:
    """With the UIDs of the dataset: a file's meta information may be wrong or incomplete, as of any file."""
    attributes = survey(received).attributes
    return replace(
        received,
        sop_class_uid=uid_of(attributes.get("SOPClassUID", "")) or received.sop_class_uid,
        sop_instance_uid=uid_of(attributes.get("SOPInstanceUID", "")) or received.sop_instance_uid,
    )


class _StoreAudit:
    """What the audit trail is told of one request, at its end; any thread may call."""

    def __init__(self, asked: Asked) -> None:
        self._trail, self._caller = asked.desk.trail, asked.caller
        self._node = this_process(
            asked.desk.settings().node.aet, role=events.DESTINATION, name="zscp DICOMweb"
        )
        self._counts, self._lock, self._over = StoredCounts(), threading.Lock(), False

    def add(self, kept: Kept) -> None:
        """An object was stored, or held already; one that is recorded late is told of by itself."""
        if not self._trail.on:
            return
        with self._lock:
            self._counts.add(kept)
        if self._over:
            self.end()

    def refused(self, why: str) -> None:
        """An object was refused."""
        with self._lock:
            self._counts.refused(why)

    def end(self) -> None:
        """The request is over."""
        self._over = True
        with self._lock:
            counts, self._counts = self._counts, StoredCounts()
        counts.record(self._trail, (self._caller.participant(events.SOURCE), self._node))
