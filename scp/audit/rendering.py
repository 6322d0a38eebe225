"""An audit event as XML by the schema of PS3.15 A.5.1: one line, UTF-8, well-formed whatever peers say.

It is put together from strings: a query waits for it, and ElementTree takes three times as long.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import ip_address
from xml.sax.saxutils import quoteattr

from scp.audit.events import AuditEvent, AuditSource, Code, Participant, Subject

# What XML 1.0 does not allow in a document at all, even escaped (production 2, "Char"), ends of lines, of
# Unicode too, and DEL and C1 controls, which a terminal would obey.
_FORBIDDEN = re.compile("[^\t\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_PLAIN = re.compile(r"[\w .:;=@/+-]*", re.ASCII)  # nothing in it need be looked at further
_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>'
_APPLICATION_SERVER = '<AuditSourceTypeCode csd-code="4"/>'  # A.5.1.2.1


def to_xml(event: AuditEvent, source: AuditSource) -> bytes:
    """The message; no line ends in it, so that a line of a file is a message."""
    reporter = {"AuditEnterpriseSiteID": source.site, "AuditSourceID": source.name}
    content = (
        _identified(event)
        + "".join(map(_participant, event.participants))
        + _element("AuditSourceIdentification", _given(reporter), _APPLICATION_SERVER)
        + "".join(map(_subject, event.subjects))
    )
    return f"{_DECLARATION}<AuditMessage>{content}</AuditMessage>".encode()


def _identified(event: AuditEvent) -> str:
    attributes = {
        "EventActionCode": event.action.value,
        "EventDateTime": event.at.isoformat(timespec="milliseconds"),
        "EventOutcomeIndicator": event.outcome.value,
    }
    kind = _code("EventTypeCode", event.type) if event.type is not None else ""
    why = f"<EventOutcomeDescription>{_text(event.why)}</EventOutcomeDescription>" if event.why else ""
    return _element("EventIdentification", attributes, _code("EventID", event.event) + kind + why)


def _participant(one: Participant) -> str:
    optional = {
        "AlternativeUserID": one.alternative,
        "UserName": one.name,
        "NetworkAccessPointID": one.address,
    }
    if one.address:
        optional["NetworkAccessPointTypeCode"] = "2" if _is_ip(one.address) else "1"
    required = {"UserID": one.user_id, "UserIsRequestor": "true" if one.requestor else "false"}
    role = _code("RoleIDCode", one.role) if one.role is not None else ""
    medium = _code("MediaType", one.medium) if one.medium is not None else ""
    held = role + (f"<MediaIdentifier>{medium}</MediaIdentifier>" if medium else "")
    return _element("ActiveParticipant", required | _given(optional), held)


def _subject(one: Subject) -> str:
    attributes = {
        "ParticipantObjectID": one.identifier,
        "ParticipantObjectTypeCode": "1" if one.person else "2",
        "ParticipantObjectTypeCodeRole": one.role.value,
    }
    if one.life_cycle is not None:
        attributes["ParticipantObjectDataLifeCycle"] = one.life_cycle.value
    parts = [_code("ParticipantObjectIDTypeCode", one.kind)]
    if one.query is None:
        parts.append(f"<ParticipantObjectName>{_text(one.identifier)}</ParticipantObjectName>")
    else:
        parts.append(f"<ParticipantObjectQuery>{_base64(one.query)}</ParticipantObjectQuery>")
    parts += (
        _element("ParticipantObjectDetail", {"type": kind, "value": _base64(value)})
        for kind, value in one.details
    )
    if one.sop_classes:
        listed = (
            _element("SOPClass", _given({"UID": uid}) | {"NumberOfInstances": str(count)})
            for uid, count in one.sop_classes.items()
        )
        parts.append(_element("ParticipantObjectDescription", {}, "".join(listed)))
    return _element("ParticipantObjectIdentification", attributes, "".join(parts))


@lru_cache(256)  # there are some thirty
def _code(tag: str, code: Code) -> str:
    return (
        f'<{tag} csd-code="{code.code}" codeSystemName="{code.system}" originalText={quoteattr(code.text)}/>'
    )


def _element(tag: str, attributes: Mapping[str, str], content: str = "") -> str:
    """An element; its content is XML already."""
    given = "".join([f" {name}={_quoted(value)}" for name, value in attributes.items()])
    return f"<{tag}{given}>{content}</{tag}>" if content else f"<{tag}{given}/>"


def _quoted(text: str) -> str:
    return f'"{text}"' if _PLAIN.fullmatch(text) else quoteattr(_clean(text))


def _given(attributes: Mapping[str, str]) -> dict[str, str]:
    """Attributes that are left out where they are empty."""
    return {name: value for name, value in attributes.items() if value}


def _text(text: str) -> str:
    """The content of an element."""
    return _clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _base64(value: bytes) -> str:
    return b64encode(value).decode("ascii")


def _clean(text: str) -> str:
    """A text without what XML does not allow, and without line ends; each becomes U+FFFD."""
    return _FORBIDDEN.sub("\ufffd", text)


@lru_cache(1024)
def _is_ip(address: str) -> bool:
    try:
        ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return True
