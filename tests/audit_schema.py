"""The schema of PS3.15 A.5.1.1, and the tables of A.5.3 as far as zscp sends their messages.

Written as tables of this project's own from the standard's text: each element's attributes (True: required),
their values, and its children in order with how often they may stand there.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element, fromstring

from pydicom.sr.codedict import codes

CODED = {"csd-code": True, "codeSystemName": True, "displayName": False, "originalText": True}
ATTRIBUTES: dict[str, dict[str, bool]] = {
    "AuditMessage": {},
    "EventIdentification": {
        "EventActionCode": False,
        "EventDateTime": True,
        "EventOutcomeIndicator": True,
    },
    "ActiveParticipant": {
        "UserID": True,
        "AlternativeUserID": False,
        "UserName": False,
        "UserIsRequestor": True,
        "NetworkAccessPointID": False,
        "NetworkAccessPointTypeCode": False,
    },
    "AuditSourceIdentification": {"AuditEnterpriseSiteID": False, "AuditSourceID": True},
    "ParticipantObjectIdentification": {
        "ParticipantObjectID": True,
        "ParticipantObjectTypeCode": False,
        "ParticipantObjectTypeCodeRole": False,
        "ParticipantObjectDataLifeCycle": False,
        "ParticipantObjectSensitivity": False,
    },
    "ParticipantObjectDetail": {"type": True, "value": True},
    "SOPClass": {"UID": False, "NumberOfInstances": True},
    "AuditSourceTypeCode": {"csd-code": True},
    "EventOutcomeDescription": {},
    "MediaIdentifier": {},
    "ParticipantObjectName": {},
    "ParticipantObjectQuery": {},
    "ParticipantObjectDescription": {},
    **dict.fromkeys(("EventID", "EventTypeCode", "RoleIDCode", "MediaType"), CODED),
    "ParticipantObjectIDTypeCode": CODED,
}
VALUES = {
    "EventActionCode": "[CRUDE]",
    "EventOutcomeIndicator": "0|4|8|12",
    "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d",
    "UserIsRequestor": "true|false",
    "NetworkAccessPointTypeCode": "[1-5]",
    "ParticipantObjectTypeCode": "[1-4]",
    "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
    "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
    "NumberOfInstances": r"\d+",
    "value": "[A-Za-z0-9+/]*={0,2}",
}
# Children as a pattern over their names, each followed by a blank.
CHILDREN = {
    "AuditMessage": "EventIdentification (ActiveParticipant )+AuditSourceIdentification "
    "(ParticipantObjectIdentification )*",
    "EventIdentification": "EventID (EventTypeCode )*(EventOutcomeDescription )?",
    "ActiveParticipant": "(RoleIDCode )*(MediaIdentifier )?",
    "MediaIdentifier": "MediaType ",
    "AuditSourceIdentification": "(AuditSourceTypeCode )*",
    "ParticipantObjectIdentification": "ParticipantObjectIDTypeCode "
    "(ParticipantObjectName |ParticipantObjectQuery )(ParticipantObjectDetail )*"
    "(ParticipantObjectDescription )*",
    "ParticipantObjectDescription": "(SOPClass )*",
}


@dataclass(frozen=True)
class Asked:
    """What a table of A.5.3 asks for: actions, types, roles of participants that must be there, and objects.

    Objects are type, role and kind of identifier, each at least once.
    """

    section: str
    actions: str
    types: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    objects: tuple[tuple[str, str, str], ...] = ()


STUDY, PATIENT = ("2", "3", "110180"), ("1", "1", "2")
TABLES = {
    "110100": Asked("A.5.3.1", "E", ("110120", "110121"), ("110150",)),
    "110102": Asked("A.5.3.3", "E", (), ("110153", "110152"), (STUDY, PATIENT)),
    "110106": Asked("A.5.3.4", "R", (), ("110153", "110154"), (PATIENT,)),
    "110107": Asked("A.5.3.5", "C", (), ("110152", "110155"), (PATIENT,)),
    "110103": Asked("A.5.3.6", "CRUD", (), (), (STUDY, PATIENT)),
    "110104": Asked("A.5.3.7", "CRU", (), ("110153", "110152"), (STUDY, PATIENT)),
    "110105": Asked("A.5.3.8", "D", (), (), (STUDY, PATIENT)),
    "110112": Asked("A.5.3.10", "E", (), ("110153", "110152"), (("2", "3", "110181"),)),
    "110113": Asked("A.5.3.11", "E", tuple(getattr(codes.cid403, name).value for name in codes.cid403.dir())),
    "110114": Asked("A.5.3.12", "E", ("110122", "110123")),
}
_TEXTS = {
    code.value: code.meaning
    for cid in (codes.cid400, codes.cid401, codes.cid402, codes.cid403, codes.cid405)
    for name in cid.dir()
    for code in [getattr(cid, name)]
}


def checked(xml: bytes) -> Element:
    """A message, after it was compared with schema and table."""
    root = fromstring(xml)
    assert root.tag == "AuditMessage"
    for element in root.iter():
        _check_element(element)
    _check_table(root)
    return root


def _check_element(element: Element) -> None:
    known = ATTRIBUTES[element.tag]
    assert set(element.attrib) <= set(known), element.tag
    assert {name for name, required in known.items() if required} <= set(element.attrib), element.tag
    for name, value in element.attrib.items():
        if name in VALUES:
            assert re.fullmatch(VALUES[name], value), (name, value)
    children = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(CHILDREN.get(element.tag, ""), children), (element.tag, children)
    if element.get("codeSystemName") == "DCM" and element.tag != "ParticipantObjectIDTypeCode":
        assert element.get("originalText") == _TEXTS[element.get("csd-code", "")]


def _check_table(root: Element) -> None:
    asked = TABLES[code_of(root, "EventIdentification/EventID")]
    event = root.find("EventIdentification")
    assert event is not None
    assert event.get("EventActionCode", "") in asked.actions, asked
    if asked.types:
        assert code_of(event, "EventTypeCode") in asked.types, asked
    roles = [code_of(one, "RoleIDCode") for one in root.iterfind("ActiveParticipant/RoleIDCode/..")]
    assert set(asked.roles) <= set(roles), asked
    found = [
        (
            one.get("ParticipantObjectTypeCode"),
            one.get("ParticipantObjectTypeCodeRole"),
            code_of(one, "ParticipantObjectIDTypeCode"),
        )
        for one in root.iterfind("ParticipantObjectIdentification")
    ]
    assert set(asked.objects) <= set(found), asked
    if asked.section in ("A.5.3.1", "A.5.3.12"):
        assert found == [], asked
    requestors = [one.get("UserIsRequestor") for one in root.iterfind("ActiveParticipant")]
    if asked.section in ("A.5.3.4", "A.5.3.5"):
        assert "true" in requestors, asked
    if asked.section == "A.5.3.11":
        kinds = [one.get("type") for one in root.iter("ParticipantObjectDetail")]
        assert "Alert Description" in kinds, asked


def code_of(element: Element, path: str) -> str:
    """The code that stands at a path."""
    found = element.find(path)
    assert found is not None, path
    return found.get("csd-code", "")
