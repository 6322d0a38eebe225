"""Addresses of what is shown of stored objects, and the levels that they are at."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from scp.model import LEVELS, UNIQUE_KEYS
from scp.web.page.objects.reports import Level, Which


def address(path: str, /, **fields: object) -> str:
    """A path with these fields; one that is None is left out."""
    return f"{path}?{urlencode({key: value for key, value in fields.items() if value is not None})}"


def query_of(which: Which) -> dict[str, str | None]:
    """The fields that name what is meant."""
    return {
        "uid": which.uid,
        "level": which.level,
        "patient_id": which.patient_id,
        "issuer": which.issuer,
    }


def of_match(level: Level, attributes: Mapping[str, str]) -> str:
    """The address of a match, or of what it is in; empty for one without a UID, which only images name."""
    uid = attributes.get(UNIQUE_KEYS[level], "")
    issuer = attributes.get("IssuerOfPatientID", "")
    if not uid:
        return ""
    patient = None if level == "PATIENT" else attributes.get("PatientID", "")
    return address("/objects/one", uid=uid, level=level, patient_id=patient, issuer=issuer)


def of_which(which: Which) -> str:
    """The address of what is meant."""
    return address("/objects/one", **query_of(which))


def below(level: Level) -> Level | None:
    """The level of what is in a patient, study or series; None for an image."""
    at = LEVELS.index(level) + 1
    found: tuple[Level, ...] = ("PATIENT", "STUDY", "SERIES", "IMAGE")
    return found[at] if at < len(found) else None
