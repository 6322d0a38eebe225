"""What a message looks like, whatever peers say; compared with the schema of PS3.15 A.5.1."""

from __future__ import annotations

from base64 import b64decode
from datetime import UTC, datetime

import pytest
from audit_schema import TABLES, checked
from pydicom.sr.codedict import codes

from scp.audit import events, messages
from scp.audit.actors import operator, peer, this_process
from scp.audit.events import Action, AuditEvent, AuditSource, Code, LifeCycle
from scp.audit.rendering import to_xml
from scp.audit.repeats import Repeats
from scp.audit.syslog import AuditMessage, framed, syslog

pytestmark = pytest.mark.quick

SOURCE = AuditSource("ZSCP", "St. Elsewhere")
MR = "1.2.840.10008.5.1.4.1.1.4"
SENDER = peer("CT1", "10.0.0.7", events.SOURCE, requestor=True)
RECEIVER = this_process("ZSCP", role=events.DESTINATION)
BOTH = (messages.study("1.2.3", {MR: 3}), messages.patient("P1", "HOSPITAL"))
ALL: dict[str, AuditEvent] = {
    "start": messages.application(
        this_process("ZSCP", role=events.APPLICATION), operator(events.LAUNCHER), starts=True
    ),
    "stop": messages.application(
        this_process("ZSCP", role=events.APPLICATION), operator(events.LAUNCHER), starts=False
    ),
    "begin": messages.transferring((SENDER, RECEIVER), BOTH),
    "transferred": messages.transferred(Action.CREATE, (SENDER, RECEIVER), BOTH),
    "not transferred": messages.transferred(Action.READ, (SENDER, RECEIVER), BOTH, "no room"),
    "accessed": messages.accessed(Action.DELETE, (operator(),), BOTH, "by hand", ok=False),
    "deleted": messages.study_deleted(
        (operator(),), (messages.study("1.2", {}, LifeCycle.LOGICAL_DELETION), messages.patient("")), "old"
    ),
    "query": messages.queried(SENDER, RECEIVER, "1.2.840.10008.5.1.4.1.2.2.1", b"\0\1", "1.2.840.10008.1.2"),
    "alert": messages.alert(
        events.NODE_AUTHENTICATION, (RECEIVER, SENDER), messages.node_subject("10.0.0.7"), "no peer"
    ),
    "login": messages.login(SENDER, RECEIVER),
    "no login": messages.login(SENDER, RECEIVER, "unknown"),
    "export": messages.exported((operator(events.SOURCE),), "file:///out", BOTH),
    "import": messages.imported((operator(events.DESTINATION),), "file:///in", BOTH),
}


@pytest.mark.parametrize("name", ALL)
def test_each_message_is_of_the_schema_and_its_table(name: str) -> None:
    root = checked(to_xml(ALL[name], SOURCE))
    reporter = root.find("AuditSourceIdentification")
    assert reporter is not None
    assert reporter.attrib == {"AuditSourceID": "ZSCP", "AuditEnterpriseSiteID": "St. Elsewhere"}


def test_all_messages_that_are_sent_are_compared() -> None:
    assert {event.event.code for event in ALL.values()} == set(TABLES)


def test_codes_are_those_of_the_standard() -> None:
    """By pydicom's copy of PS3.16."""
    known = {
        code.value: code.meaning
        for cid in (codes.cid400, codes.cid401, codes.cid402, codes.cid403, codes.cid405)
        for code in (getattr(cid, name) for name in cid.dir())
    }
    ours = [one for one in vars(events).values() if isinstance(one, Code) and one.system == "DCM"]
    found = {one.code: one.text for one in ours}
    objects = {"110180": "Study Instance UID", "110181": "SOP Class UID", "110182": "Node ID"}
    assert found == {code: text for code, text in (known | objects).items() if code in found}
    assert len(found) == len(ours)


@pytest.mark.parametrize(
    "text", ["\0", "\x1b[31m", "\x9b31m\x7f", "\ufffe", "\ud800", "a\"<&>'b", "two\nlines\r", "\x85\u2028"]
)
def test_whatever_a_peer_says_is_well_formed_and_one_line(text: str) -> None:
    who = (peer(text, text, events.SOURCE, user=text), RECEIVER)
    subjects = (messages.study(text, {text: 1}), messages.patient(text, text.replace("\ud800", "")))
    xml = to_xml(messages.transferred(Action.CREATE, who, subjects, text), AuditSource(text or "x", text))
    assert b"\n" not in xml
    assert b"\r" not in xml
    assert len(xml.decode().splitlines()) == 1
    assert xml.decode().isprintable()
    root = checked(xml)
    sender = root.find("ActiveParticipant")
    assert sender is not None
    if text == "a\"<&>'b":
        assert sender.get("UserID") == text


def test_what_a_peer_chose_makes_no_message_too_long_for_a_datagram() -> None:
    """Else a peer would leave no trace where the collector is told by UDP (RFC 5426 3.2)."""
    classes = {f"1.2.{'3' * 50}.{number}": 2 for number in range(2000)} | {"&" * 70_000: 1}
    subjects = (messages.study("&" * 70_000, classes), messages.patient("&" * 70_000, "é" * 70_000))
    for event in (
        messages.transferred(Action.CREATE, (SENDER, RECEIVER), subjects, "&" * 70_000),
        messages.alert(events.RESTRICTED_FUNCTION, (SENDER,), messages.node_subject("n"), "é" * 70_000),
    ):
        xml = to_xml(event, SOURCE)
        root = checked(xml)
        assert len(xml) < 60_000
    root = checked(to_xml(messages.transferred(Action.CREATE, (SENDER, RECEIVER), subjects), SOURCE))
    listed = root.findall(".//SOPClass")
    assert sum(int(one.get("NumberOfInstances", "")) for one in listed) == 4001
    assert [one.get("UID") is None for one in listed] == [False] * 100 + [True]


def test_an_identifier_is_kept_whole_up_to_16_kib() -> None:
    for size, kept in ((16_384, 16_384), (16_385, 16_384)):
        query = bytes(range(256)) * 65
        event = messages.queried(SENDER, RECEIVER, MR, query[:size], "1.2.840.10008.1.2.1")
        root = checked(to_xml(event, SOURCE))
        assert b64decode(root.findtext(".//ParticipantObjectQuery", "")) == query[:kept]
        details = {
            one.get("type"): b64decode(one.get("value", "")) for one in root.iter("ParticipantObjectDetail")
        }
        assert details["TransferSyntax"] == b"1.2.840.10008.1.2.1"
        assert details.get("TruncatedFrom") == (None if size == kept else b"16385")


def test_the_header_is_that_of_rfc_5424() -> None:
    at = datetime(2026, 11, 29, 12, 0, 0, 5000, tzinfo=UTC)
    header, _, xml = syslog(AuditMessage(b"<a/>", at)).partition(b"\xef\xbb\xbf")
    priority, when, _, name, process, message_id, nothing = header.split()
    assert (priority, when) == (b"<85>1", b"2026-11-29T12:00:00.005Z")
    assert (name, message_id, nothing, xml) == (b"zscp", b"DICOM+RFC3881", b"-", b"<a/>")
    assert process.isdigit()
    assert syslog(AuditMessage(b"<a/>", at, failed=True)).startswith(b"<84>1 ")
    assert framed(b"abc") == b"3 abc"


def test_alerts_that_repeat_are_counted() -> None:
    now = [0.0]
    repeats = Repeats(lambda: now[0])
    assert [repeats.since("a", "x"), repeats.since("a", "x"), repeats.since("b", "x")] == [0, None, 0]
    assert repeats.since("a", "y") == 0
    assert [repeats.since("a", number) for number in range(30)].count(None) == 12
    now[0] = 60.0
    assert repeats.since("a", "x") == 13
    for number in range(2000):
        repeats.since(str(number), "x")
    assert len(repeats._minutes) <= 1024
