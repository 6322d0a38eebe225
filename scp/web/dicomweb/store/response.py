"""What a request stored, and how it is told: a status, and Store Instances Response (PS3.18 I.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from scp.model import Kept
from scp.web.dicomweb.addresses import of_instance, of_study
from scp.web.dicomweb.json_model import JsonDataset, of_texts

# Statuses of C-STORE that say that the sender may come again: out of resources (PS3.4 table B.2-1).
_OUT_OF_RESOURCES = 0xA7
_UNDERSTOOD = 0xC000  # Error: cannot understand
# Reasons that a Warning tells; the module has a status for each object.
_MOST_TOLD = 5


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object that was taken; ``status`` is 0, or a warning's, and ``given`` the UIDs that it lacks."""

    sop_class: str
    sop_instance: str
    url: str
    study_url: str
    status: int = 0
    told: str = ""
    given: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FailedObject:
    """A part that was not stored; the UIDs are empty where nobody knows them."""

    sop_class: str
    sop_instance: str
    status: int
    why: str


@dataclass(slots=True)
class StoreOutcome:
    """What became of the parts, in their order; ``broken`` says why the body was not read to its end."""

    stored: list[StoredObject] = field(default_factory=list)
    failed: list[FailedObject] = field(default_factory=list)
    broken: str = ""
    beyond_bounds: bool = False

    def add(self, kept: Kept, base: str, status: int, told: str) -> None:
        """An object was taken."""
        one = kept.instance
        uids = one.sop_class_uid, one.sop_instance_uid
        urls = of_instance(base, one), of_study(base, one)
        self.stored.append(StoredObject(*uids, *urls, status, told, tuple(kept.given)))

    @property
    def status(self) -> int:
        """The status of HTTP (PS3.18 10.5.3.1, 8.5)."""
        if self.stored:
            complete = not self.failed and not self.broken and not any(one.status for one in self.stored)
            return 200 if complete else 202
        if self.broken:
            return 413 if self.beyond_bounds else 400
        if self.failed and all(one.status >> 8 == _OUT_OF_RESOURCES for one in self.failed):
            return 503
        return 409 if self.failed else 400

    @property
    def reasons(self) -> Sequence[str]:
        """Why it is not all well, a few of the reasons."""
        told = [f"{one.sop_instance or 'a part'}: {one.why}" for one in self.failed]
        told += [f"{one.sop_instance}: {one.told}" for one in self.stored if one.status]
        left_out = len(told) - _MOST_TOLD
        more = [f"and {left_out} more, whose statuses the answer has"] if left_out > 0 else []
        return [*filter(None, [self.broken]), *told[:_MOST_TOLD], *more]

    def module(self, node: str) -> JsonDataset:
        """The module, in the DICOM JSON Model; ``node`` is who changed what was changed."""
        known = [one for one in self.failed if one.sop_instance]
        others = [one.status for one in self.failed if not one.sop_instance]
        others += [_UNDERSTOOD] if self.broken else []
        sequences = {
            "FailedSOPSequence": [_reference(one) | {"FailureReason": str(one.status)} for one in known],
            "ReferencedSOPSequence": [_stored(one, node) for one in self.stored],
            "OtherFailuresSequence": [{"FailureReason": str(status)} for status in others],
        }
        studies = {one.study_url for one in self.stored}
        told: dict[str, Any] = {"RetrieveURL": studies.pop() if len(studies) == 1 else ""}
        return of_texts(told | {keyword: items for keyword, items in sequences.items() if items})


def _reference(one: StoredObject | FailedObject) -> dict[str, Any]:
    return {"ReferencedSOPClassUID": one.sop_class, "ReferencedSOPInstanceUID": one.sop_instance}


def _stored(one: StoredObject, node: str) -> dict[str, Any]:
    item = _reference(one) | {"RetrieveURL": one.url}
    if one.status:
        item["WarningReason"] = str(one.status)
    if one.given:
        item["OriginalAttributesSequence"] = [_originals(one.given, node)]
    return item


def _originals(given: Sequence[str], node: str) -> Mapping[str, Any]:
    """Attributes that had no value, and have one as the object is given out (PS3.3 C.12.1)."""
    return {
        "SourceOfPreviousValues": "",
        "AttributeModificationDateTime": datetime.now(UTC).strftime("%Y%m%d%H%M%S+0000"),
        "ModifyingSystem": node,
        "ReasonForTheAttributeModification": "COERCE",
        "ModifiedAttributesSequence": [dict.fromkeys(given, "")],
    }
