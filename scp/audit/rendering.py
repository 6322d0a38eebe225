"""An audit event as XML by the schema of PS3.15 A.5.1: one line, UTF-8, well-formed whatever peers say."""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import ip_address
from xml.etree.ElementTree import Element, SubElement, tostring

from scp.audit.events import AuditEvent, AuditSource, Code, Participant, Subject

# What XML 1.0 does not allow in a document at all, even escaped (production 2, "Char").
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION = b'<?xml version="1.0" encoding="UTF-8"?>'
_APPLICATION_SERVER = "4"  # AuditSourceTypeCode (A.5.1.2.1)


def to_xml(event: AuditEvent, source: AuditSource) -> bytes:
    """The message; no line ends in it, so that a line of a file is a message."""
    root = Element("AuditMessage")
    _identify(root, event)
    for participant in event.participants:
        _participant(root, participant)
    reporter = SubElement(root, "AuditSourceIdentification", AuditSourceID=_clean(source.name))
    if source.site:
        reporter.set("AuditEnterpriseSiteID", _clean(source.site))
    SubElement(reporter, "AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER})
    for subject in event.subjects:
        _subject(root, subject)
    body: bytes = tostring(root, encoding="utf-8")
    return _DECLARATION + body


def _identify(root: Element, event: AuditEvent) -> None:
    attributes = {
        "EventActionCode": event.action,
        "EventDateTime": event.at.isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": event.outcome,
    }
    identified = SubElement(root, "EventIdentification", attributes)
    _code(identified, "EventID", event.event)
    if event.type is not None:
        _code(identified, "EventTypeCode", event.type)
    if event.why:
        SubElement(identified, "EventOutcomeDescription").text = _clean(event.why)


def _participant(root: Element, one: Participant) -> None:
    attributes = {"UserID": one.user_id, "UserIsRequestor": "true" if one.requestor else "false"}
    if one.alternative:
        attributes["AlternativeUserID"] = one.alternative
    if one.name:
        attributes["UserName"] = one.name
    if one.address:
        attributes["NetworkAccessPointID"] = one.address
        attributes["NetworkAccessPointTypeCode"] = "2" if _is_ip(one.address) else "1"
    element = SubElement(root, "ActiveParticipant", {name: _clean(text) for name, text in attributes.items()})
    if one.role is not None:
        _code(element, "RoleIDCode", one.role)
    if one.medium is not None:
        _code(SubElement(element, "MediaIdentifier"), "MediaType", one.medium)


def _subject(root: Element, one: Subject) -> None:
    attributes = {
        "ParticipantObjectID": _clean(one.identifier),
        "ParticipantObjectTypeCode": "1" if one.person else "2",
        "ParticipantObjectTypeCodeRole": one.role,
    }
    if one.life_cycle is not None:
        attributes["ParticipantObjectDataLifeCycle"] = one.life_cycle
    element = SubElement(root, "ParticipantObjectIdentification", attributes)
    _code(element, "ParticipantObjectIDTypeCode", one.kind)
    if one.query is None:
        SubElement(element, "ParticipantObjectName").text = _clean(one.identifier)
    else:
        SubElement(element, "ParticipantObjectQuery").text = _base64(one.query)
    for kind, value in one.details:
        SubElement(element, "ParticipantObjectDetail", type=kind, value=_base64(value))
    if one.sop_classes:
        description = SubElement(element, "ParticipantObjectDescription")
        for uid, count in one.sop_classes.items():
            SubElement(description, "SOPClass", UID=_clean(uid), NumberOfInstances=str(count))


def _code(parent: Element, tag: str, code: Code) -> None:
    attributes = {"csd-code": code.code, "codeSystemName": code.system, "originalText": code.text}
    SubElement(parent, tag, attributes)


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _clean(text: str) -> str:
    """A text without line ends and without what XML does not allow; each becomes U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text).replace("\n", "\ufffd").replace("\r", "\ufffd")


def _is_ip(address: str) -> bool:
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True
