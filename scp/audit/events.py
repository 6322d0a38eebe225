"""What an audit message says, as values: the schema of PS3.15 A.5.1, without its encoding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value: of the DICOM Controlled Terminology (DCM, PS3.16 annex D), or of RFC 3881."""

    code: str
    text: str
    system: str = "DCM"


# Event IDs (PS3.16 CID 400).
APPLICATION_ACTIVITY = Code("110100", "Application Activity")
BEGIN_TRANSFERRING = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED = Code("110104", "DICOM Instances Transferred")
STUDY_DELETED = Code("110105", "DICOM Study Deleted")
EXPORT = Code("110106", "Export")
IMPORT = Code("110107", "Import")
QUERY = Code("110112", "Query")
SECURITY_ALERT = Code("110113", "Security Alert")
USER_AUTHENTICATION = Code("110114", "User Authentication")

# Event types (CID 401, and CID 403 for a Security Alert).
APPLICATION_START = Code("110120", "Application Start")
APPLICATION_STOP = Code("110121", "Application Stop")
LOGIN = Code("110122", "Login")
LOGOUT = Code("110123", "Logout")
NODE_AUTHENTICATION = Code("110126", "Node Authentication")
SECURITY_CONFIGURATION = Code("110129", "Security Configuration")
SOFTWARE_CONFIGURATION = Code("110131", "Software Configuration")
RESTRICTED_FUNCTION = Code("110132", "Use of Restricted Function")
RECORDING_STOPPED = Code("110133", "Audit Recording Stopped")
OBJECT_SECURITY = Code("110135", "Object Security Attributes Changed")

# Roles (CID 402), and the medium of files (CID 405).
APPLICATION = Code("110150", "Application")
LAUNCHER = Code("110151", "Application Launcher")
DESTINATION = Code("110152", "Destination Role ID")
SOURCE = Code("110153", "Source Role ID")
DESTINATION_MEDIA = Code("110154", "Destination Media")
SOURCE_MEDIA = Code("110155", "Source Media")
MEDIUM = Code("110037", "URI")

# What a ParticipantObjectID is (PS3.15 A.5.1.2.4, and DCM).
PATIENT_NUMBER = Code("2", "Patient Number", "RFC-3881")
URI = Code("12", "URI", "RFC-3881")
STUDY_INSTANCE_UID = Code("110180", "Study Instance UID")
SOP_CLASS_UID = Code("110181", "SOP Class UID")
NODE_ID = Code("110182", "Node ID")


class Action(StrEnum):
    """EventActionCode."""

    CREATE, READ, UPDATE, DELETE, EXECUTE = "C", "R", "U", "D", "E"


class AuditOutcome(StrEnum):
    """EventOutcomeIndicator: 4 is a minor failure, 8 a serious one; a major one (12) ends the application."""

    SUCCESS, MINOR, SERIOUS = "0", "4", "8"


class ObjectRole(StrEnum):
    """ParticipantObjectTypeCodeRole: what an object is in an event."""

    PATIENT, REPORT, MASTER_FILE, SECURITY_RESOURCE = "1", "3", "5", "13"


class LifeCycle(StrEnum):
    """ParticipantObjectDataLifeCycle, where an object goes."""

    LOGICAL_DELETION, PERMANENT_ERASURE = "14", "15"


@dataclass(frozen=True, slots=True)
class Participant:
    """Who or what took part; ``alternative`` is its AE titles, ``address`` a host name or an IP address."""

    user_id: str
    requestor: bool = False
    role: Code | None = None
    alternative: str = ""
    name: str = ""
    address: str = ""
    medium: Code | None = None


@dataclass(frozen=True, slots=True)
class Subject:
    """An object that an event is about: a patient, a study, a query, a node.

    ``sop_classes`` maps SOP Class UIDs to numbers of instances. Where there is no ``query``, its name is its
    identifier: the schema asks for one of both, and patients' names are nobody's business here.
    """

    identifier: str
    kind: Code
    role: ObjectRole
    person: bool = False
    query: bytes | None = None
    details: tuple[tuple[str, bytes], ...] = ()
    sop_classes: Mapping[str, int] = field(default_factory=dict)
    life_cycle: LifeCycle | None = None


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """One message, but for its source; ``at`` has a time zone. ``why`` describes the outcome."""

    event: Code
    action: Action
    participants: tuple[Participant, ...]
    subjects: tuple[Subject, ...] = ()
    type: Code | None = None
    outcome: AuditOutcome = AuditOutcome.SUCCESS
    why: str = ""
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


@dataclass(frozen=True, slots=True)
class AuditSource:
    """Who reports: ``name`` is the Audit Source ID, ``site`` the enterprise site, empty for none."""

    name: str
    site: str = ""
