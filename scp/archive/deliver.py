"""Sending: a stored object becomes a dataset stream in a transfer syntax that the peer accepted."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from scp.archive.records import facts_of_stored, provenance_of
from scp.archive.refusal import Refusal, by_failure, needs
from scp.encoding.cage.caged import Trust
from scp.encoding.coercion import with_uids
from scp.encoding.derived import Source
from scp.encoding.lossy import Stored, Way, copied, ways
from scp.encoding.transcode import transcoding
from scp.encoding.uids import uids_of
from scp.errors import CodecError, CodecProcessFailed, NoLosslessWay
from scp.loss import LossyRule
from scp.model import Instance, SyntaxPreference
from scp.objects.part10 import Part10
from scp.spool import Buffer
from scp.syntaxes import lookup

_TAGS = {
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
}
# Elements that are not empty, in each encoding, and within how many bytes they stand in nearly every dataset.
_SOP_INSTANCE, _NEAR = re.compile(rb"\x08\0\x18\0|\0\x08\0\x18"), 512
_STUDY = re.compile(rb"\x20\0\x0d\0(?:UI[^\0]\0|[^\0]\0\0\0)|\0\x20\0\x0dUI\0[^\0]", re.DOTALL)
_SERIES = re.compile(rb"\x20\0\x0e\0(?:UI[^\0]\0|[^\0]\0\0\0)|\0\x20\0\x0eUI\0[^\0]", re.DOTALL)
_HEADER = 1 << 16


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A stored object that is to be sent: a dataset stream in a transfer syntax that the peer accepted.

    ``chunks`` are its bytes, piece by piece, and can be iterated once; a large object is decoded during the
    iteration, which raises CodecError if that fails. ``copy_uid`` is the SOP Instance UID of a lossy copy;
    empty where the object itself is sent. ``given`` are the UIDs, by keyword, that the dataset lacks:
    :func:`identified` adds them.
    """

    instance: Instance
    transfer_syntax: str
    chunks: Iterator[Buffer]
    copy_uid: str = ""
    given: Mapping[str, str] = field(default_factory=dict)


def goes_as_stored(instance: Instance, accepted: Iterable[str], preference: SyntaxPreference) -> bool:
    """Whether an object's dataset goes out as it lies in its file, which nobody has to look into."""
    prefers = preference.preferred or preference.before_stored or preference.lossy is not None
    as_it_is = instance.dataset_at > 0 and not instance.refused
    return as_it_is and not prefers and instance.transfer_syntax in accepted


def identified(outgoing: Outgoing) -> Outgoing:
    """An object with the UIDs under which it was found, where it lacks them, so that a peer can use it."""
    if not outgoing.given:
        return outgoing
    uids = {_TAGS[keyword]: uid for keyword, uid in outgoing.given.items() if keyword in _TAGS}
    if outgoing.copy_uid:  # a derived image, which has its own SOP Instance UID
        uids.pop(_TAGS["SOPInstanceUID"], None)
    chunks = with_uids(outgoing.chunks, lookup(outgoing.transfer_syntax), uids)
    return replace(outgoing, chunks=chunks)


@dataclass(frozen=True, slots=True)
class Trial:
    """What is ``refused`` for an object; ``failed`` is called when a codec's process fails with it."""

    refused: Refusal | None
    failed: Callable[[Refusal], None]


def outgoing(
    instance: Instance,
    file: Part10,
    accepted: Iterable[str],
    preference: SyntaxPreference,
    trial: Trial | None = None,
) -> Outgoing:
    """An object in the best of the accepted transfer syntaxes (invariant 4).

    A lossy copy is made only where the preference holds a rule for it. Acts that are refused are not tried.
    Once a codec's process fails, no other way that needs the same act is tried. Raises NoLosslessWay.
    """
    refused = trial.refused if trial is not None else None
    received, given = provenance_of(file).transfer_syntax, _given(instance, file)
    possible = ways(file.transfer_syntax, received, accepted, preference)
    reasons: dict[str, list[str]] = {}  # reason → transfer syntaxes that it rules out
    for way in possible:
        asked = lookup(way.transfer_syntax).keyword
        acts = needs(file.transfer_syntax, way.transfer_syntax)
        if refused is not None and any(map(refused.covers, acts)):
            reasons.setdefault(refused.message, []).append(asked)
            continue
        try:
            if way.lossy and preference.lossy is not None:
                return replace(_copy(instance, file, way, preference.lossy, possible), given=given)
            return replace(_exact(instance, file, way, preference.even), given=given)
        except CodecProcessFailed as error:
            reasons.setdefault(str(error), []).append(asked)
            refused = by_failure(acts[-1] if acts else "read", error)
            if trial is not None:
                trial.failed(refused)
        except CodecError as error:
            reasons.setdefault(str(error), []).append(asked)
    why = "; ".join(f"{reason} ({', '.join(each)})" for reason, each in reasons.items())
    kept = lookup(file.transfer_syntax).keyword
    raise NoLosslessWay(f"{why or 'nothing accepted that it could be sent in'}; kept as {kept}")


def _given(instance: Instance, file: Part10) -> Mapping[str, str]:
    """The UIDs that a stored dataset lacks.

    Landed files were written before these were known, and older versions wrote none: the dataset of such a
    file is read again if it may lack some.
    """
    if not instance.readable:  # their positions in the dataset are unknown
        return {}
    if known := provenance_of(file).given:
        return known
    if not _may_lack_one(instance, file.dataset):
        return {}
    uids = (file.sop_class_uid, file.sop_instance_uid)
    return uids_of(*uids, facts_of_stored(file).attributes, {}).given


def _may_lack_one(instance: Instance, dataset: Buffer) -> bool:
    """Whether a dataset may lack a UID; only its beginning is read, which takes microseconds."""
    found_by = ((instance.study_instance_uid, _STUDY), (instance.series_instance_uid, _SERIES))
    if any(uid.startswith("2.25.") and not said.search(dataset, 0, _HEADER) for uid, said in found_by):
        return True
    return instance.pending and not _SOP_INSTANCE.search(dataset, 0, _NEAR)


def _exact(instance: Instance, file: Part10, way: Way, even: bool) -> Outgoing:
    """The object itself. Raises CodecError."""
    known = provenance_of(file)
    even = even and not known.even  # no need to pad if all lengths are known to be even
    syntaxes = (file.transfer_syntax, way.transfer_syntax)
    made_here = known.transfer_syntax != file.transfer_syntax
    chunks = transcoding(file.dataset, *syntaxes, known.restoration, even, Trust.PROVEN, made_here)
    return Outgoing(instance, way.transfer_syntax, chunks)


def _copy(instance: Instance, file: Part10, way: Way, rule: LossyRule, possible: list[Way]) -> Outgoing:
    """A lossy copy of it, smaller than the object itself would be. Raises CodecError."""
    known = provenance_of(file)
    source = Source(instance.sop_class_uid, instance.sop_instance_uid, known.sha256)
    stored = Stored(file.dataset, file.transfer_syntax, known.restoration, source)
    lossless = [each.transfer_syntax for each in possible if not each.lossy]
    copy = copied(stored, way.transfer_syntax, rule, lossless)
    return Outgoing(instance, way.transfer_syntax, copy.chunks, copy.sop_instance_uid)
