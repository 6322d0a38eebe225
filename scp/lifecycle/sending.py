"""Objects are sent to a peer because somebody asks for it: by the send queue, as what rules forward."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from scp.archive.archive import Archive
from scp.config.settings import Settings
from scp.errors import DestinationUnknown
from scp.model import Instance, QueuedSend

BY_HAND = "by hand"  # in the place of a rule's name


@dataclass(frozen=True, slots=True)
class AskedToSend:
    """How many objects were ``queued`` for the peer; others are ``being_sent`` to it at this moment."""

    destination: str
    queued: int
    being_sent: int


def send(archive: Archive, settings: Settings, instances: Iterable[Instance], aet: str) -> AskedToSend:
    """Queue objects for a configured peer; the node sends them at once, and tries again while it is away.

    One that waits for the peer already, that was given up, or sent before, is due now. What is sent by a rule
    and by hand is sent once. Raises DestinationUnknown, OutOfResources.
    """
    if settings.peer_named(aet) is None:
        raise DestinationUnknown(f"no [[peer]] has the AE title {aet}; add one with its address")
    now = datetime.now(UTC)
    sends = [
        QueuedSend(
            one.sop_instance_uid,
            aet,
            BY_HAND,
            now,
            now,
            study_instance_uid=one.study_instance_uid,
            patient_id=one.patient_id,
            issuer_of_patient_id=one.issuer_of_patient_id,
        )
        for one in instances
    ]
    queued = archive.send_queue.ask(sends)
    archive.wake_forwarder()
    return AskedToSend(aet, queued, len(sends) - queued)
