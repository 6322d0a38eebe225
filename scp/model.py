"""Frozen dataclasses that travel between the rooms; none knows a socket or SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from scp.identity import Identity
from scp.loss import Loss, LossyRule
from scp.spool import Buffer, sha256

AttemptOutcome = Literal["kept", "refused", "wrong", "larger", "beaten", "skipped", "no room", "failed"]
KeptOutcome = Literal["kept", "duplicate", "replaced", "discarded"]
StageOutcome = Literal["", "no gain", "cannot"]
SendState = Literal["waiting", "given up", "sent"]


@dataclass(frozen=True, slots=True)
class Received:
    """One object as it came in: the dataset stream and what the command set said of it.

    ``dataset`` is the stream of PS3.5, without preamble and File Meta Information, encoded in
    ``transfer_syntax``. ``received_at`` is UTC. ``sha256`` of the dataset, hexadecimal, is computed
    where it is not given. Where the received codestream is gone, what is stored stands in its place, and
    ``origin`` is what is known of the received one. ``given`` are UIDs that zscp gave to it before, by
    keyword. ``loss`` is of a lossy copy that a stage made.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    dataset: Buffer = field(repr=False)
    calling_aet: str
    called_aet: str
    received_at: datetime
    sha256: str = ""
    origin: Provenance | None = field(default=None, repr=False)
    given: Mapping[str, str] = field(default_factory=dict)
    loss: Loss | None = None

    def __post_init__(self) -> None:
        if not self.sha256:
            object.__setattr__(self, "sha256", sha256(self.dataset))


@dataclass(frozen=True, slots=True)
class Facts:
    """What policy and index may ask of an object.

    ``attributes`` maps the keywords of PS3.6 to text: the top level of the dataset without its
    bulk values, several values joined by a backslash, person names with all their component groups, of
    sequences JSON of their items (:mod:`scp.encoding.sequences`). ``readable`` is false when the dataset
    could not be followed to its end, or, where it is ``mismatched``, has pixel data of another kind than its
    transfer syntax; ``fault`` says why.
    """

    attributes: Mapping[str, str]
    transfer_syntax: str
    size: int
    calling_aet: str = ""
    called_aet: str = ""
    readable: bool = True
    fault: str = ""
    mismatched: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """One form that was asked for, and how it went.

    ``outcome`` is ``kept``, ``refused`` (cannot take it), ``wrong`` (did not reproduce it),
    ``larger`` (no gain), ``beaten`` (another form was smaller), ``skipped`` (not tried), ``no room`` (to make
    it in) or ``failed`` (a codec's process died, or passed a limit of memory or time). ``size`` is the stored
    size in bytes where one was reached; ``seconds`` includes the proof.
    """

    form: str
    outcome: AttemptOutcome
    reason: str = ""
    size: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class JpegLayout:
    """How JPEG codestreams lay in their fragments before they were recompressed.

    ``transfer_syntax`` is the received one, ``table`` the content of the Basic Offset Table (None: as the
    standard asks, filled), ``sizes`` those of each frame's fragments (empty: one fragment a frame).
    """

    transfer_syntax: str
    table: bytes | None = None
    sizes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Restoration:
    """What a stored dataset lacks to become the received one again, byte for byte.

    The header of the stored dataset, brought to the received encoding's canonical form, agrees with
    the received one in its first ``prefix`` and last ``suffix`` bytes; ``middle`` stands between.
    ``vr`` is the VR of the received pixel data, ``planar`` its Planar Configuration and ``tail``
    what followed the last frame. docs/format.md specifies it.
    """

    prefix: int
    suffix: int
    middle: bytes
    vr: str
    planar: int
    tail: bytes
    jpeg: JpegLayout | None = None  # of a dataset whose JPEG codestreams were recompressed


@dataclass(frozen=True, slots=True)
class Provenance:
    """What zscp remembers of an object, kept in its File Meta Information (docs/format.md)."""

    transfer_syntax: str  # as received
    sha256: str  # of the received dataset stream, hexadecimal
    size: int  # of the received dataset stream, bytes
    received_at: datetime
    calling_aet: str
    called_aet: str
    rule: str
    form: str
    codec: str = ""  # library, version and parameters
    readable: bool = True
    fault: str = ""
    restoration: Restoration | None = None
    native_sha256: str = ""  # of the object as explicit VR little endian, when the received stream is gone
    stage: str = ""  # the fingerprint of the policy's stage that made it
    attempts: tuple[Attempt, ...] = ()
    even: bool = False  # the received dataset was seen to have even lengths only; so has all made of it
    given: Mapping[str, str] = field(default_factory=dict)  # UIDs that the dataset lacks (scp.encoding.uids)
    xxh3: str = ""  # XXH3-128 of the dataset in the file, hexadecimal; in older and in landed files none
    loss: Loss | None = None  # of a lossy copy that a stage made


@dataclass(frozen=True, slots=True)
class Instance:
    """One stored SOP instance as the index knows it.

    ``pending`` is true while a stage of its rule that applies at once, behind the response, is not done; or
    while it lies in the landing log in the form of its rule, and has no file of its own. ``stage`` is the
    fingerprint of the stage that was carried out last, and ``outcome`` why the file stayed as it was: ``no
    gain``, ``cannot``, or empty where it did not. Under the policy of fingerprint ``planned`` a stage is next
    ``due``, in seconds since 1970 (:mod:`scp.policy.stages`). ``accessed`` is when it was last retrieved,
    about, in such seconds, or 0; nothing but the index knows that. ``checked`` is when its file was last
    written or read, and ``fault`` what was wrong with it then. ``refused`` says what is not done with it any
    more, and why (:mod:`scp.archive.refusal`); mostly nothing.

    ``stored_sha256`` is that of the file, hexadecimal; empty while it is not known. A file whose dataset is
    sent as it lies there has a ``stored_xxh3``, too, the XXH3-128 of all its bytes, and its dataset begins at
    ``dataset_at``. Both are empty and 0 where it is in a frame, or something must be filled in first.
    ``dictionary`` is the ID of the zstd dictionary that the file needs (0: none; DICTIONARY_UNKNOWN in rows
    of earlier versions), ``dictionary_tried`` that with which it was last packed, used or not.

    ``lossy_of`` is the SOP Instance UID of the original, where a stage kept a lossy copy in its place: the
    same one, or another. ``no_loss`` says why a stage that asked for one made none; mostly nothing.

    ``patient_id`` and ``issuer_of_patient_id`` are what its dataset says. The index takes them from the
    attributes that come with an instance, so they do not count where two instances are compared.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    key: str  # in the object store
    form: str
    transfer_syntax: str  # at rest
    stored_size: int
    stored_sha256: str
    received_transfer_syntax: str
    received_size: int
    received_sha256: str
    received_at: datetime
    calling_aet: str
    rule: str
    readable: bool = True
    pending: bool = False
    stage: str = ""
    outcome: StageOutcome = ""
    planned: str = ""
    due: int = 0
    accessed: int = 0
    checked: int = 0
    fault: str = ""
    refused: str = ""
    stored_xxh3: str = ""
    dataset_at: int = 0
    lossy_of: str = ""
    no_loss: str = ""
    dictionary: int = 0
    dictionary_tried: int = 0
    patient_id: str = field(default="", compare=False, repr=False)
    issuer_of_patient_id: str = field(default="", compare=False, repr=False)

    @property
    def identity(self) -> Identity:
        """Which object it is, whatever is stored of it."""
        return Identity(
            self.sop_instance_uid, self.study_instance_uid, self.patient_id, self.issuer_of_patient_id
        )


@dataclass(frozen=True, slots=True)
class Reference:
    """One SOP instance that a request for storage commitment names."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Commitment:
    """A request for storage commitment whose result is yet to be reported (PS3.4 J.3).

    ``due`` is when it is tried next or, while a ``holder`` works on it, when that one's claim ends. Of
    ``attempts`` that failed, ``fault`` says why the last one did. ``duplicate`` is true where its
    transaction UID is in use by another request of the same AE. ``number`` is the index's.
    """

    transaction_uid: str
    calling_aet: str
    references: tuple[Reference, ...] = field(repr=False)
    received_at: datetime
    due: datetime
    holder: str = ""
    duplicate: bool = False
    attempts: int = 0
    fault: str = ""
    number: int = 0


FORWARD, PREFETCH = 0, 1  # priorities: what has just arrived goes before what may be wanted


@dataclass(frozen=True, slots=True)
class QueuedSend:
    """One object that is to be sent to a peer, on its own or with others of that ``destination``.

    ``rule`` is the name of the rule that asks for it, ``priority`` FORWARD or PREFETCH. ``due`` is when it is
    tried next or, while a ``holder`` works on it, when that one's claim ends. ``state`` is ``waiting``,
    ``given up``, or ``sent``: then it is only remembered until ``due``. ``number`` is the index's.

    Study and patient are those of the object. One without any, recorded before they were, is of the newest
    object of its SOP Instance UID.
    """

    sop_instance_uid: str
    destination: str
    rule: str
    queued_at: datetime
    due: datetime
    priority: int = FORWARD
    state: SendState = "waiting"
    holder: str = ""
    attempts: int = 0
    fault: str = ""
    number: int = 0
    study_instance_uid: str = ""
    patient_id: str = field(default="", repr=False)
    issuer_of_patient_id: str = field(default="", repr=False)

    @property
    def identity(self) -> Identity:
        """Which object it is of."""
        return Identity(
            self.sop_instance_uid, self.study_instance_uid, self.patient_id, self.issuer_of_patient_id
        )


@dataclass(frozen=True, slots=True)
class QueryKey:
    """One attribute of a query's identifier; an empty ``value`` is universal matching.

    That of a sequence is JSON: an array of items, each an object of keyword → value, or such an array.
    """

    keyword: str
    vr: str
    value: str


@dataclass(frozen=True, slots=True)
class Query:
    """An identifier of PS3.4 C.4, checked.

    ``root`` is ``PATIENT`` or ``STUDY``; ``level`` is one of :data:`LEVELS`. ``relational`` and
    ``combined_datetime`` are true when they were negotiated. ``seen`` are keys that an object must match for
    the peer to see it, whatever it asks for; beside attributes there is :data:`CALLING_AET`.
    """

    root: str
    level: str
    keys: tuple[QueryKey, ...]
    relational: bool = False
    combined_datetime: bool = False
    seen: tuple[QueryKey, ...] = ()


CALLING_AET = "calling_aet"  # the key, of a query or policy, of the AE title that an object came from
LEVELS = ("PATIENT", "STUDY", "SERIES", "IMAGE")
UNIQUE_KEYS: Mapping[str, str] = {
    "PATIENT": "PatientID",
    "STUDY": "StudyInstanceUID",
    "SERIES": "SeriesInstanceUID",
    "IMAGE": "SOPInstanceUID",
}


@dataclass(frozen=True, slots=True)
class SyntaxPreference:
    """The transfer syntaxes that a peer would rather have, best first.

    They go behind the stored one, which costs nothing, or ``before_stored``. Without a ``lossy`` rule
    nothing is made lossy. With ``even``, as for all that goes over a network, odd lengths are padded.
    """

    preferred: tuple[str, ...] = ()
    before_stored: bool = False
    lossy: LossyRule | None = None
    even: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """What became of a received object.

    ``outcome`` is ``kept``, ``duplicate`` (held already with this content), ``replaced`` or
    ``discarded`` (held with other content, and the older one stays). ``fault`` says why the received object
    cannot be read, and ``given`` are the UIDs that it lacks, by keyword; both are empty for a sound one.
    ``modality`` is what its dataset says.
    """

    outcome: KeptOutcome
    instance: Instance
    attempts: tuple[Attempt, ...] = field(default=())
    fault: str = ""
    given: Mapping[str, str] = field(default_factory=dict)
    modality: str = ""
