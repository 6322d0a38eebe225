"""To which peers a new object is forwarded, and which earlier studies are prefetched: pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from scp.config.rules import ForwardRule, PrefetchRule
from scp.model import Facts, QueuedSend
from scp.policy.rules import matches


def forwards(rules: Iterable[ForwardRule], facts: Facts, now: datetime) -> tuple[QueuedSend, ...]:
    """What all matching rules ask for, once a destination; never back to the AE that it came from."""
    found: dict[str, QueuedSend] = {}
    for rule in rules:
        if not matches(rule, facts):
            continue
        due = now + timedelta(seconds=rule.after or 0)
        for aet in rule.to:
            if aet != facts.calling_aet.strip(" "):
                uid = facts.attributes.get("SOPInstanceUID", "")
                found.setdefault(aet, QueuedSend(uid, aet, rule.name, now, due))
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class Occasion:
    """Why earlier studies of a patient may be wanted soon: one of its studies came, or was asked for.

    ``study``, which may be empty, is the one that is not sent; ``day`` is its date, or today.
    """

    rule: PrefetchRule
    patient_id: str
    issuer: str
    study: str
    body_part: str
    day: date


def occasion(rule: PrefetchRule, facts: Facts) -> Occasion | None:
    """What a rule makes of an object or an identifier; None where it does not match, or names no patient."""
    has = facts.attributes
    patient = has.get("PatientID", "").strip(" ")
    if not patient or set("*?\\") & set(patient) or not matches(rule, facts):
        return None
    day = _day(has.get("StudyDate", "")) or datetime.now(UTC).date()
    names = ("IssuerOfPatientID", "StudyInstanceUID", "BodyPartExamined")
    issuer, study, part = (has.get(name, "").strip(" ") for name in names)
    return Occasion(rule, patient, issuer, study, part, day)


def priors(of: Occasion, series: Iterable[Mapping[str, str]]) -> list[str]:
    """The Study Instance UIDs to send, newest first, of all series of the patient.

    Nothing where the ID is that of several patients, told apart by their issuer only.
    """
    held = [one for one in series if one.get("PatientID", "") == of.patient_id]
    if of.issuer:
        held = [one for one in held if one.get("IssuerOfPatientID", "") == of.issuer]
    elif len({one.get("IssuerOfPatientID", "") for one in held}) > 1:
        return []
    wanted = {one["StudyInstanceUID"]: _when(one) for one in held if _is_wanted(of, one)}
    return sorted(wanted, key=lambda uid: (wanted[uid], uid), reverse=True)[: of.rule.count]


def _is_wanted(of: Occasion, series: Mapping[str, str]) -> bool:
    rule, day = of.rule, _day(series.get("StudyDate", ""))
    part = series.get("BodyPartExamined", "").upper()
    return (
        series.get("StudyInstanceUID", "") not in {"", of.study}
        and (not rule.modality or series.get("Modality", "") in rule.modality)
        and (not rule.body_part or part in {one.upper() for one in rule.body_part})
        and (not rule.same_body_part or part == of.body_part.upper())
        and (day is None or day <= of.day)
        and (rule.within is None or (day is not None and of.day - day <= timedelta(seconds=rule.within)))
    )


def _when(series: Mapping[str, str]) -> tuple[str, str]:
    return series.get("StudyDate", ""), series.get("StudyTime", "")


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text.strip(" "), "%Y%m%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
