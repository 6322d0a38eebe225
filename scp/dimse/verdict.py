"""The result of a storage commitment request, and its encoding (PS3.4 J.3.3, PS3.3 C.14)."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from pydicom.dataset import Dataset

from scp.archive.archive import Archive
from scp.archive.safekeeping import has_uid_of_original
from scp.dimse.negotiation.contexts import STORAGE_COMMITMENT, is_storage
from scp.dimse.wire.messages import N_EVENT_REPORT_RQ, Value
from scp.errors import OutOfResources
from scp.model import Commitment, Reference
from scp.telemetry import RequestEvent

PUSH_INSTANCE = "1.2.840.10008.1.20.1.1"  # the well-known SOP instance (PS3.4 J.3.5)
# Failure Reasons (PS3.3 C.14.1.1).
PROCESSING_FAILURE = 0x0110
NO_SUCH_INSTANCE = 0x0112
CLASS_CONFLICT = 0x0119
CLASS_NOT_SUPPORTED = 0x0122
DUPLICATE_TRANSACTION = 0x0131
RESOURCE_LIMITATION = 0x0213
MEANINGS: tuple[tuple[int, str], ...] = (
    (
        PROCESSING_FAILURE,
        "The stored file is not what was written, is missing, or cannot be read; or it is a lossy copy under "
        "the UID of its original.",
    ),
    (NO_SUCH_INSTANCE, "The instance is not held."),
    (CLASS_CONFLICT, "The instance is held under another SOP class."),
    (CLASS_NOT_SUPPORTED, "The instance is not held, and of no class that is stored."),
    (DUPLICATE_TRANSACTION, "An earlier request of this AE with other references has this transaction UID."),
    (RESOURCE_LIMITATION, "The index or the store did not answer."),
)
# Event Types (PS3.4 table J.3-2).
_ALL_COMMITTED, _WITH_FAILURES = 1, 2
# Until then an object that was acknowledged is in the index (docs/decisions/0194). An older request is judged
# at once: what is missing then stays so.
_SOON_SECONDS, _RECENT = 0.1, timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Verdict:
    """All references of a request, each committed, or failed with a Failure Reason."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[tuple[Reference, int], ...]

    @property
    def command(self) -> dict[str, Value]:
        """The command set of the N-EVENT-REPORT request, but for its Message ID."""
        return {
            "CommandField": N_EVENT_REPORT_RQ,
            "AffectedSOPClassUID": STORAGE_COMMITMENT,
            "AffectedSOPInstanceUID": PUSH_INSTANCE,
            "EventTypeID": _WITH_FAILURES if self.failed else _ALL_COMMITTED,
        }

    def information(self, aet: str) -> Dataset:
        """The Event Information; ``aet`` is the AE title to retrieve from."""
        told = Dataset()
        told.TransactionUID = self.transaction_uid
        if self.committed:
            told.RetrieveAETitle = aet
            told.ReferencedSOPSequence = [_item(reference) for reference in self.committed]
        if self.failed:
            told.FailedSOPSequence = [_item(reference, reason) for reference, reason in self.failed]
        return told


def _item(reference: Reference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = reference.sop_class_uid
    item.ReferencedSOPInstanceUID = reference.sop_instance_uid
    if reason is not None:
        item.FailureReason = reason
    return item


def describe(event: RequestEvent, verdict: Verdict) -> None:
    """Add the figures of a report to its log line."""
    event.add(
        transaction=verdict.transaction_uid, committed=len(verdict.committed), failed=len(verdict.failed)
    )


def judge(
    archive: Archive, commitment: Commitment, unknown_too: bool, stopped: Callable[[], bool]
) -> Verdict | None:
    """Read and check all that a request names, now; None when it was stopped.

    An instance is committed if it is held under this SOP class and its stored form is what was written:
    whatever the index holds was made durable first (invariant 1), and a form that replaces it later is proven
    first (invariant 2). A reference names neither study nor patient: where several have an object with its
    UIDs, all of these must pass. ``unknown_too`` says whether objects of unknown SOP classes are stored.
    What is not held is looked for once more: another process may have acknowledged it a moment ago.
    That an instance is promised is noted before it is looked at: from then on nothing makes it lossy.
    """
    committed, failed = [], []
    promised = _promised(archive, commitment)
    has_waited = datetime.now(UTC) - commitment.received_at > _RECENT
    for reference in commitment.references:
        if stopped():
            return None
        reason = DUPLICATE_TRANSACTION if commitment.duplicate else _fault(archive, reference, unknown_too)
        if reason in (NO_SUCH_INSTANCE, CLASS_NOT_SUPPORTED) and not has_waited:
            has_waited = True
            time.sleep(_SOON_SECONDS)
            reason = _fault(archive, reference, unknown_too)
        if not reason and reference.sop_instance_uid not in promised:
            reason = _promise(archive, reference) or _fault(archive, reference, unknown_too)
        if reason:
            failed.append((reference, reason))
        else:
            committed.append(reference)
    return Verdict(commitment.transaction_uid, tuple(committed), tuple(failed))


def _promised(archive: Archive, commitment: Commitment) -> set[str]:
    """The UIDs of a request that are held, noted as promised; none where the index does not answer.

    Others are not noted: a peer may name what it likes.
    """
    uids = {one.sop_instance_uid for one in commitment.references} if not commitment.duplicate else set()
    try:
        held = {uid for uid in uids if archive.named(uid)}
        archive.commitments.promises.add(held)
    except OutOfResources:
        return set()
    return held


def _promise(archive: Archive, reference: Reference) -> int:
    """Note one more as promised, which was not held a moment ago; the Failure Reason where that fails."""
    try:
        archive.commitments.promises.add([reference.sop_instance_uid])
    except OutOfResources as error:
        _tell(reference, error)
        return RESOURCE_LIMITATION
    return 0


def _fault(archive: Archive, reference: Reference, unknown_too: bool) -> int:
    """The Failure Reason of an instance that cannot be committed; 0 for one that can."""
    try:
        named = archive.named(reference.sop_instance_uid)
        if not named:
            known = is_storage(reference.sop_class_uid, unknown_too)
            return NO_SUCH_INSTANCE if known else CLASS_NOT_SUPPORTED
        meant = [held for held in named if held.sop_class_uid == reference.sop_class_uid]
        if not meant:
            return CLASS_CONFLICT
        if any(map(has_uid_of_original, meant)):
            _tell(reference, "a lossy copy has its UID, by a stage of the policy")
            return PROCESSING_FAILURE
        for held in meant:
            archive.verify(archive.elsewhere.brought(held))
    except OutOfResources as error:
        _tell(reference, error)
        return RESOURCE_LIMITATION
    except Exception as error:  # noqa: BLE001 - damaged, gone, or a disk that fails: no promise on any of them
        _tell(reference, error)
        return PROCESSING_FAILURE
    return 0


def _tell(reference: Reference, error: Exception | str) -> None:
    log = structlog.get_logger("zscp")
    told = str(error) or type(error).__name__
    log.error("not committed", sop_instance=reference.sop_instance_uid, reason=told)
