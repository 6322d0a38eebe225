"""What the page and the API show of stored objects, under the names that the commands print with --json.

Sizes are in bytes, spans in seconds. ``attributes`` are texts by keyword, as C-FIND answers them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import StringConstraints

from scp.background.jobs import JobProgress
from scp.loss import Loss
from scp.model import Attempt, Instance

# No control character, and no backslash: it stands between several values.
_Text = Annotated[str, StringConstraints(max_length=256, pattern=r"^[^\x00-\x1f\x7f\\]*$")]
_Uid = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f\\]+$")]
Level = Literal["PATIENT", "STUDY", "SERIES", "IMAGE"]


@dataclass(frozen=True, slots=True)
class Which:
    """Which objects are meant: a study, series or instance by its UID, or a patient by the Patient ID.

    ``patient_id`` and ``issuer`` tell apart patients who have a UID in common: None is any, an empty text
    those without one. Without them, and without ``all_patients``, nothing is done where it is not clear.
    """

    uid: _Uid
    level: Level = "IMAGE"
    patient_id: _Text | None = None
    issuer: _Text | None = None
    all_patients: bool = False


@dataclass(frozen=True, slots=True)
class FormShare:
    """How many instances are kept in one form; ``store`` is empty for the first."""

    form: str
    transfer_syntax: str
    store: str
    instances: int
    received_size: int
    stored_size: int


@dataclass(frozen=True, slots=True)
class FoundEntity:
    """A patient, study, series or image that was found, and how its ``instances`` are kept.

    ``received`` and ``kept`` are sizes; ``pending`` instances are yet to be encoded, ``damaged`` ones were
    damaged or missing when they were last read. ``held``: whether a legal hold is on all of it, on a
    part, or on nothing; ``unknown`` where the holds could not be read.
    """

    attributes: dict[str, str]
    instances: int
    received: int
    kept: int
    pending: int
    damaged: int
    forms: list[FormShare]
    held: Literal["no", "part", "all", "unknown"]


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Matches of a ``level``, those that came last first; of the archive.

    With ``following`` as ``before`` comes the next page; None: this is the last. ``count`` is how many there
    are in all; None where these are many. ``summed`` is false where there was no time to add up how they are
    kept: the figures are 0 then.
    """

    level: Level
    hits: list[FoundEntity]
    following: int | None
    count: int | None
    summed: bool = True


@dataclass(frozen=True, slots=True)
class ObjectFacts:
    """What a UID or Patient ID means: several ``entities`` where patients have it in common.

    ``instance`` is the row of the one image that is meant; None at other levels, and where there are several.
    """

    level: Level
    entities: list[FoundEntity]
    instance: Instance | None


@dataclass(frozen=True, slots=True)
class KeptProvenance:
    """What zscp remembers in an object's file of how it came, and how it was kept."""

    transfer_syntax: str
    sha256: str
    size: int
    received_at: datetime
    calling_aet: str
    called_aet: str
    rule: str
    form: str
    codec: str
    readable: bool
    fault: str
    loss: Loss | None = None


@dataclass(frozen=True, slots=True)
class RuleNotTaken:
    """A rule above the one that matches: the ``key`` that failed, what it wants, what the object has."""

    rule: str
    key: str
    wanted: list[str]
    has: list[str]


@dataclass(frozen=True, slots=True)
class NotTried:
    """The act that is no longer tried on an object, why, and the version of the library that failed."""

    act: str
    reason: str
    library: str


@dataclass(frozen=True, slots=True)
class ExplainedObject:
    """Why an object is stored as it is: see ``zscp explain``; what it costs to serve it is not measured."""

    sop_instance_uid: str
    provenance: KeptProvenance
    rule: dict[str, Any] | None
    matched: dict[str, str]
    passed_over: list[RuleNotTaken]
    transfer_syntax: str
    size: int
    attempts: list[Attempt]
    ways_out: list[str]
    undecodable: str
    refused: NotTried | None
    stored: Instance | None
    later: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class HeaderRow:
    """An element, or the beginning of an item, ``depth`` sequences deep; see ``zscp header``.

    ``length`` is that of the value in bytes, None where it is undefined; ``shortened``: there is more of it.
    """

    tag: str
    vr: str
    keyword: str
    length: int | None
    value: str
    depth: int
    shortened: bool


@dataclass(frozen=True, slots=True)
class HeaderRows:
    """Rows of an object's header from the number ``first`` on; ``more`` follow, or a ``fault`` ends them.

    If the last ``unread`` bytes were not read, nothing was compared with the file's digest, and what is
    behind Pixel Data is not shown.
    """

    sop_instance_uid: str
    transfer_syntax: str
    file_meta: list[HeaderRow]
    rows: list[HeaderRow]
    first: int
    more: bool
    fault: str
    unread: int = 0


class DownloadPieces(Iterator[bytes], Protocol):
    """The pieces of a file; who takes them closes them in the end, whether or not all were taken."""

    def close(self) -> None:
        """Make no more pieces."""


@dataclass(frozen=True, slots=True)
class Download:
    """A file as it goes out, piece by piece."""

    name: str
    media_type: str
    pieces: DownloadPieces


@dataclass(frozen=True, slots=True)
class ChosenObjects:
    """What an action would be about: so many objects, of so many ``studies``."""

    objects: int
    studies: int
    received: int
    kept: int


@dataclass(frozen=True, slots=True)
class SendRequest:
    """How many objects were ``queued`` for the peer; others are ``being_sent`` to it at this moment."""

    destination: str
    queued: int
    being_sent: int


@dataclass(frozen=True, slots=True)
class HoldEntry:
    """A legal hold on a patient, study, series or instance, by its unique key."""

    level: str
    uid: str
    reason: str
    since: datetime
    id: str
    patient_id: str | None
    issuer: str | None


@dataclass(frozen=True, slots=True)
class TrashEntry:
    """A deleted object: ``key`` is that of its file before, ``at`` when it was deleted, ``size`` as kept.

    ``lossy_copy`` is the SOP Instance UID of what a stage keeps in its place.
    """

    key: str
    sop_instance_uid: str
    study_instance_uid: str
    size: int
    reason: str
    at: datetime
    uids: dict[str, str]
    received_sha256: str
    id: str
    state: str
    lossy_copy: str = ""


@dataclass(frozen=True, slots=True)
class TrashEntries:
    """Entries of the trash from the number ``first`` on, the latest first, of ``count`` in all."""

    entries: list[TrashEntry]
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class FaultyFile:
    """An object whose file is not what was written; or the reason why its codestream is not decoded."""

    sop_instance_uid: str
    key: str
    fault: str


@dataclass(frozen=True, slots=True)
class VerifyResult:
    """What a check of stored files found; ``undecodable`` ones are sound, and kept as received.

    Of ``faults`` and ``undecodable`` the first 100 are listed. ``away`` files could not be looked at.
    """

    sound: int = 0
    damaged: int = 0
    away: int = 0
    faults: list[FaultyFile] = field(default_factory=list)
    undecodable: list[FaultyFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class RecompressResult:
    """What a recompression came to: see ``zscp recompress``."""

    encoded: int
    moved: int
    no_gain: int
    cannot: int
    left: int
    before: int
    after: int
    seconds: float
    lossy: int = 0
    packed: int = 0
    settled: int = 0


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """UIDs of objects that were ``deleted``, are under a hold (``held``), or ``left``: in use, unreadable."""

    deleted: list[str]
    held: list[str]
    left: list[str]
    keys: list[str]


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What came back from the trash."""

    restored: list[TrashEntry]


JobResult = VerifyResult | RecompressResult | DeleteResult | RestoreResult


@dataclass(frozen=True, slots=True)
class JobReport:
    """A job of this node: how far it is, and in words; at its end what came of it, as its kind has it."""

    job: JobProgress
    told: str = ""
    result: JobResult | None = None


@dataclass(frozen=True, slots=True)
class JobReports:
    """The jobs that wait, that are under way, and the last that have ended; the latest first."""

    jobs: list[JobReport]
