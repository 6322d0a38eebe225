"""The messages of PS3.15 A.5.3 that zscp sends, each with the participants and objects of its table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from scp.audit import events
from scp.audit.events import (
    Action,
    AuditEvent,
    AuditOutcome,
    Code,
    LifeCycle,
    ObjectRole,
    Participant,
    Subject,
)

# A.6 asks a collector for 32,768 octets; base64 makes four thirds of an identifier. Few have a kilobyte.
_MOST_OF_A_QUERY = _MOST_OF_AN_ALERT = 16_384
# What a peer chose is told up to here (PS3.5 table 6.2-1 has 64 characters for each), and so many SOP classes
# of a study: with more, no UDP datagram would take the message, and the peer would leave no trace.
_LONGEST_UID, _LONGEST_ID, _LONGEST_WHY, _MOST_SOP_CLASSES = 64, 256, 1024, 100


def application(running: Participant, launcher: Participant, *, starts: bool) -> AuditEvent:
    """Application Activity (A.5.3.1): the node starts or stops."""
    kind = events.APPLICATION_START if starts else events.APPLICATION_STOP
    return AuditEvent(events.APPLICATION_ACTIVITY, Action.EXECUTE, (running, launcher), type=kind)


def study(uid: str, sop_classes: Mapping[str, int], life_cycle: LifeCycle | None = None) -> Subject:
    """A study, with the numbers of its instances that an event is about."""
    return Subject(
        _short(uid, _LONGEST_UID),
        events.STUDY_INSTANCE_UID,
        ObjectRole.REPORT,
        sop_classes=_counted(sop_classes),
        life_cycle=life_cycle,
    )


def patient(patient_id: str, issuer: str = "") -> Subject:
    """A patient, without a name; the id is empty where an object has none."""
    told = _short(issuer, _LONGEST_ID).encode("utf-8", "replace")
    details = (("IssuerOfPatientID", told),) if issuer else ()
    shown = _short(patient_id, _LONGEST_ID)
    return Subject(shown, events.PATIENT_NUMBER, ObjectRole.PATIENT, person=True, details=details)


def _counted(sop_classes: Mapping[str, int]) -> Mapping[str, int]:
    """Numbers of instances by SOP class; beyond the most that are told, those of all others without a UID."""
    counts = {
        _short(uid, _LONGEST_UID): count for uid, count in list(sop_classes.items())[:_MOST_SOP_CLASSES]
    }
    others = sum(sop_classes.values()) - sum(counts.values())
    return {**counts, "": others} if others else counts


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def transferring(participants: tuple[Participant, ...], subjects: tuple[Subject, ...]) -> AuditEvent:
    """Begin Transferring DICOM Instances (A.5.3.3): what is meant to be sent, of one patient."""
    return AuditEvent(events.BEGIN_TRANSFERRING, Action.EXECUTE, participants, subjects)


def transferred(
    action: Action, participants: tuple[Participant, ...], subjects: tuple[Subject, ...], why: str = ""
) -> AuditEvent:
    """DICOM Instances Transferred (A.5.3.7): what was received or sent, of one patient.

    ``action`` is create, update, or read where the receiver had them, or it is not known whether. ``why``
    says that it failed: successes and failures are messages of their own (A.5.2).
    """
    outcome, told = AuditOutcome.MINOR if why else AuditOutcome.SUCCESS, _short(why, _LONGEST_WHY)
    return AuditEvent(events.INSTANCES_TRANSFERRED, action, participants, subjects, outcome=outcome, why=told)


def accessed(
    action: Action, participants: tuple[Participant, ...], subjects: tuple[Subject, ...], why: str, ok: bool
) -> AuditEvent:
    """DICOM Instances Accessed (A.5.3.6): parts of studies looked at, deleted, restored, removed for good."""
    outcome = AuditOutcome.SUCCESS if ok else AuditOutcome.MINOR
    return AuditEvent(events.INSTANCES_ACCESSED, action, participants, subjects, outcome=outcome, why=why)


def study_deleted(
    participants: tuple[Participant, ...], subjects: tuple[Subject, ...], why: str
) -> AuditEvent:
    """DICOM Study Deleted (A.5.3.8): a whole study of one patient."""
    return AuditEvent(events.STUDY_DELETED, Action.DELETE, participants, subjects, why=why)


def queried(
    issuer: Participant, answerer: Participant, sop_class: str, query: bytes, syntax: str
) -> AuditEvent:
    """Query (A.5.3.10): that it was asked, with its identifier as it came, in its transfer syntax.

    Of a search by DICOMweb ``query`` is its address, and ``syntax`` empty.
    """
    details = [("TransferSyntax", syntax.encode())] if syntax else []
    if len(query) > _MOST_OF_A_QUERY:
        details.append(("TruncatedFrom", str(len(query)).encode()))
    asked = Subject(
        sop_class,
        events.SOP_CLASS_UID,
        ObjectRole.REPORT,
        query=query[:_MOST_OF_A_QUERY],
        details=tuple(details),
    )
    return AuditEvent(events.QUERY, Action.EXECUTE, (issuer, answerer), (asked,))


def alert(
    kind: Code,
    participants: tuple[Participant, ...],
    subject: Subject,
    description: str,
    outcome: AuditOutcome = AuditOutcome.MINOR,
) -> AuditEvent:
    """Security Alert (A.5.3.11). Success makes it informative; a failure was warded off."""
    detail = ("Alert Description", description.encode("utf-8", "replace")[:_MOST_OF_AN_ALERT])
    told = replace(subject, details=(*subject.details, detail))
    return AuditEvent(
        events.SECURITY_ALERT, Action.EXECUTE, participants, (told,), type=kind, outcome=outcome
    )


def node_subject(node: str) -> Subject:
    """A node that an alert is about: an IP address, or name@host."""
    return Subject(node, events.NODE_ID, ObjectRole.SECURITY_RESOURCE)


def uri_subject(uri: str) -> Subject:
    """A resource that an alert is about."""
    return Subject(uri, events.URI, ObjectRole.SECURITY_RESOURCE)


def login(user: Participant, node: Participant, why: str = "") -> AuditEvent:
    """User Authentication (A.5.3.12): a peer's user, or one of the page, was let in, or ``why`` not."""
    outcome = AuditOutcome.MINOR if why else AuditOutcome.SUCCESS
    return AuditEvent(
        events.USER_AUTHENTICATION, Action.EXECUTE, (user, node), type=events.LOGIN, outcome=outcome, why=why
    )


def logout(user: Participant, node: Participant) -> AuditEvent:
    """User Authentication (A.5.3.12): a user of the page has left."""
    who = (user, node)
    return AuditEvent(events.USER_AUTHENTICATION, Action.EXECUTE, who, type=events.LOGOUT)


def exported(
    participants: Iterable[Participant], place: str, subjects: Iterable[Subject], why: str = ""
) -> AuditEvent:
    """Export (A.5.3.4) to the folder ``place``, a URI."""
    return _moved(events.EXPORT, Action.READ, events.DESTINATION_MEDIA, participants, place, subjects, why)


def imported(
    participants: Iterable[Participant], place: str, subjects: Iterable[Subject], why: str = ""
) -> AuditEvent:
    """Import (A.5.3.5) from the file or folder ``place``, a URI."""
    return _moved(events.IMPORT, Action.CREATE, events.SOURCE_MEDIA, participants, place, subjects, why)


def _moved(  # noqa: PLR0913, PLR0917 - what the two tables have
    event: Code,
    action: Action,
    role: Code,
    participants: Iterable[Participant],
    place: str,
    subjects: Iterable[Subject],
    why: str,
) -> AuditEvent:
    medium = Participant(place, role=role, medium=events.MEDIUM)
    outcome = AuditOutcome.MINOR if why else AuditOutcome.SUCCESS
    return AuditEvent(event, action, (*participants, medium), tuple(subjects), outcome=outcome, why=why)
