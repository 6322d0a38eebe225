"""What a node, its peers and its admin do, as the audit trail tells it (PS3.15 A.5)."""

from __future__ import annotations

import shutil
import socket
import subprocess
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import pytest
from audit_schema import checked, code_of
from pynetdicom.pdu_primitives import UserIdentityNegotiation

from scp.config import users

from .conftest import NodeProcess, RunningNode, Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    MR_IMAGE,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    VERIFICATION,
    Scu,
    Sink,
    as_file,
    identifier,
    image,
    until,
    written,
)

QUERY, TRANSFERRED, BEGIN, ALERT, LOGIN = "110112", "110104", "110102", "110113", "110114"
ACCESSED, DELETED, ACTIVITY = "110103", "110105", "110100"


@pytest.fixture
def trail(tmp_path: Path) -> Path:
    return tmp_path / "audit.xml"


def told(path: Path, code: str, count: int = 1) -> list[Element]:
    """The messages of a kind, once there are so many; all are compared with the schema."""

    def found() -> list[Element]:
        lines = path.read_bytes().splitlines() if path.exists() else []
        return [one for one in map(checked, lines) if code_of(one, "EventIdentification/EventID") == code]

    until(lambda: len(found()) >= count, f"{count} messages of {code}")
    return found()


def event(message: Element, name: str) -> str:
    return message.find("EventIdentification").get(f"Event{name}", "")  # type: ignore[union-attr]


def subjects(message: Element) -> list[str]:
    return [one.get("ParticipantObjectID", "") for one in message.iterfind("ParticipantObjectIdentification")]


def people(message: Element) -> list[tuple[str, str, str]]:
    """UserID, address and role of each participant; a process's own id as empty."""
    return [
        (
            "" if one.get("UserID", "").isdigit() else one.get("UserID", ""),
            one.get("NetworkAccessPointID", "") if one.get("NetworkAccessPointTypeCode") == "2" else "",
            "" if one.find("RoleIDCode") is None else code_of(one, "RoleIDCode"),
        )
        for one in message.iterfind("ActiveParticipant")
    ]


def description(message: Element) -> str:
    found = [one for one in message.iter("ParticipantObjectDetail") if one.get("type") == "Alert Description"]
    return b64decode(found[0].get("value", "")).decode()


def counts(message: Element) -> list[tuple[str, str]]:
    return [(one.get("UID", ""), one.get("NumberOfInstances", "")) for one in message.iter("SOPClass")]


def node_of(start: Starter, trail: Path, **tables: Any) -> RunningNode:
    return start(audit={"to": f"file://{trail}", "site": "HOSPITAL"}, **tables)


def test_an_association_tells_of_each_study_once(start: Starter, trail: Path) -> None:
    node = node_of(start, trail)
    sent = [image(study="1.2.3"), image(study="1.2.3"), image(study="1.2.4")]
    node.keep(*sent)
    found = told(trail, TRANSFERRED, 2)
    assert [(event(one, "ActionCode"), event(one, "OutcomeIndicator")) for one in found] == [("C", "0")] * 2
    assert [subjects(one) for one in found] == [["1.2.3", "WIRE1"], ["1.2.4", "WIRE1"]]
    assert [counts(one) for one in found] == [[(MR_IMAGE, "2")], [(MR_IMAGE, "1")]]
    assert people(found[0]) == [("TESTER", "127.0.0.1", "110153"), ("", "", "110152")]
    node.keep(sent[0])
    assert event(told(trail, TRANSFERRED, 3)[2], "ActionCode") == "R"


def test_a_refused_object_is_told_apart(start: Starter, trail: Path) -> None:
    node = node_of(start, trail, storage={"incomplete": "reject"})
    (answer,) = node.store(image(StudyInstanceUID=None))
    assert answer.status != 0
    (failed,) = told(trail, TRANSFERRED)
    assert event(failed, "OutcomeIndicator") == "4"
    assert "1 objects were not stored" in failed.findtext(".//EventOutcomeDescription", "")


def test_a_query_holds_its_identifier(start: Starter, trail: Path) -> None:
    node = node_of(start, trail)
    asked = identifier("STUDY", PatientID="WIRE*", StudyInstanceUID="")
    with node.scu((STUDY_FIND, [EXPLICIT])) as scu:
        scu.find(STUDY_FIND, asked)
    (query,) = told(trail, QUERY)
    assert subjects(query) == [STUDY_FIND]
    assert b64decode(query.findtext(".//ParticipantObjectQuery", "")) == written(asked, EXPLICIT)
    details = {one.get("type"): one.get("value", "") for one in query.iter("ParticipantObjectDetail")}
    assert b64decode(details["TransferSyntax"]) == EXPLICIT.encode()
    assert people(query) == [("TESTER", "127.0.0.1", "110153"), ("", "", "110152")]


def test_a_move_names_destination_and_requestor(start: Starter, trail: Path) -> None:
    node = node_of(start, trail)
    one, other = image(study="1.2.3"), image(study="1.2.3")
    node.keep(one, other)
    told(trail, TRANSFERRED)
    with Sink(status=lambda arrived: 0xA700 if arrived.instance == other.instance else 0) as sink:
        node.peer("SINK", sink.port)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            scu.move(STUDY_MOVE, identifier("STUDY", StudyInstanceUID="1.2.3"), "SINK")
    _, sent, failed = told(trail, TRANSFERRED, 3)
    (meant,) = told(trail, BEGIN)
    assert [event(one, "OutcomeIndicator") for one in (meant, sent, failed)] == ["0", "0", "4"]
    assert [counts(one) for one in (meant, sent, failed)] == [
        [(MR_IMAGE, "2")],
        [(MR_IMAGE, "1")],
        [(MR_IMAGE, "1")],
    ]
    assert people(sent) == [("", "", "110153"), ("SINK", "127.0.0.1", "110152"), ("TESTER", "127.0.0.1", "")]
    requestors = [one.get("UserIsRequestor") for one in sent.iterfind("ActiveParticipant")]
    assert requestors == ["false", "false", "true"]


def test_a_get_goes_to_who_asks(start: Starter, trail: Path) -> None:
    node = node_of(start, trail)
    node.keep(image(study="1.2.3"))
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT]), roles=[MR_IMAGE]) as scu:
        scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    sent = told(trail, TRANSFERRED, 2)[1]
    assert event(sent, "ActionCode") == "R"
    assert people(sent) == [("", "", "110153"), ("TESTER", "127.0.0.1", "110152")]


def test_what_is_forwarded_is_told(start: Starter, trail: Path) -> None:
    with Sink() as sink:
        peer = {"aet": "SINK", "host": "127.0.0.1", "port": sink.port}
        node = node_of(start, trail, peer=[peer], forward=[{"name": "all", "to": ["SINK"]}])
        node.keep(image(study="1.2.3"))
        found = told(trail, TRANSFERRED, 2)
    assert sorted(people(one)[1][0] for one in found) == ["", "SINK"]


def test_who_is_rejected_and_who_may_not(start: Starter, trail: Path) -> None:
    tester = {"aet": "TESTER", "host": "127.0.0.1", "port": 104, "destinations": []}
    node = node_of(start, trail, peer=[tester])
    for _ in range(3):
        assert not node.scu((VERIFICATION, [IMPLICIT]), called="OTHER").established
    with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
        assert (
            scu.move(STUDY_MOVE, identifier("STUDY", StudyInstanceUID="1.2.3"), "TESTER").final.status
            == 0x0124
        )
    _, rejected, denied = told(trail, ALERT, 3)  # the first is of the configuration at the start
    assert code_of(denied, "EventIdentification/EventTypeCode") == "110132"
    assert "may not move to TESTER" in description(denied)
    assert code_of(rejected, "EventIdentification/EventTypeCode") == "110126"
    assert description(rejected) == "OTHER is neither node.aet nor one of node.aliases"
    assert subjects(rejected) == ["127.0.0.1"]
    assert people(rejected)[1] == ("TESTER", "127.0.0.1", "")


def test_a_handshake_that_fails(start: Starter, trail: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "node.pem"
    command = f"openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=n -keyout {key} -out {certificate}"
    subprocess.run(command.split(), check=True, capture_output=True, timeout=60)
    node = node_of(start, trail, tls={"certificate": str(certificate), "key": str(key)})
    with socket.create_connection(node.address) as plain:
        plain.sendall(b"this is no TLS at all\r\n" * 9)
        failed = told(trail, ALERT, 2)[1]
    assert code_of(failed, "EventIdentification/EventTypeCode") == "110126"
    assert "TLS handshake" in description(failed)


def test_who_was_let_in_as_which_user(start: Starter, trail: Path) -> None:
    node = node_of(
        start,
        trail,
        access={"users": "required"},
        user=[{"name": "reader", "passcode": users.hashed("open sesame")}],
    )
    for passcode in ("open sesame", "wrong"):
        asked = UserIdentityNegotiation()
        asked.user_identity_type, asked.primary_field = 2, b"reader"
        asked.secondary_field = passcode.encode()
        scu = Scu(node.address, [(VERIFICATION, [IMPLICIT])], items=[asked])
        if scu.established:
            with scu:
                assert scu.echo() == 0
    let_in, refused = told(trail, LOGIN, 2)
    assert [event(one, "OutcomeIndicator") for one in (let_in, refused)] == ["0", "4"]
    names = [
        [one.get("UserName") for one in message.iter("ActiveParticipant")] for message in (let_in, refused)
    ]
    assert names == [["reader", "zscp"], [None, "zscp"]]
    assert b"sesame" not in trail.read_bytes()


def test_start_stop_and_changed_keys_without_values(process: Callable[..., NodeProcess], trail: Path) -> None:
    secret = users.hashed("open sesame")
    node = process(audit={"to": f"file://{trail}"}, node={"workers": 1}, lifecycle={"workers": 0})
    node.start()
    (began,) = told(trail, ACTIVITY)
    assert code_of(began, "EventIdentification/EventTypeCode") == "110120"
    assert node.process is not None
    assert began.find("ActiveParticipant").get("UserID") == str(node.process.pid)  # type: ignore[union-attr]
    assert "audit.to" in description(told(trail, ALERT)[0])
    node.write_config(user=[{"name": "reader", "passcode": secret}], limits={"associations": 7})
    node.process.send_signal(1)
    changed = told(trail, ALERT, 2)[1]
    assert description(changed) == "changed keys: limits.associations, user[reader]"
    assert code_of(changed, "EventIdentification/EventTypeCode") == "110129"
    assert node.kill(15) == 0
    ended = told(trail, ACTIVITY, 2)[1]
    assert code_of(ended, "EventIdentification/EventTypeCode") == "110121"
    assert secret.encode() not in trail.read_bytes()


def test_what_an_admin_deletes_holds_and_restores(
    process: Callable[..., NodeProcess], trail: Path, tmp_path: Path
) -> None:
    node = process(audit={"to": f"file://{trail}"})
    files = [as_file(image(study="1.2.3", instance=f"1.2.3.9.{n}"), tmp_path / f"{n}.dcm") for n in (1, 2)]
    node.here("import", *files)
    (imported,) = told(trail, "110107")
    assert subjects(imported) == ["1.2.3", "WIRE1"]
    assert people(imported)[2][0] == tmp_path.as_uri()
    node.here("hold", "add", "1.2.3", "--reason", "court")
    node.here("delete", "1.2.3", "--reason", "test", "--yes", status=1)
    node.here("hold", "remove", "1.2.3")
    node.here("delete", "1.2.3.9.1", "--reason", "test", "--yes")
    node.here("delete", "1.2.3", "--reason", "test", "--yes")
    node.here("trash", "restore", "1.2.3")
    node.here("export", tmp_path / "out")
    node.here("delete", "1.2.3", "--reason", "test", "--yes", "--now")
    holds = told(trail, ALERT, 2)
    assert [description(one) for one in holds] == [
        "legal hold added on study: court",
        "legal hold removed from study: court",
    ]
    kept, part, back, purged = told(trail, ACCESSED, 4)
    assert [
        (event(one, "ActionCode"), event(one, "OutcomeIndicator")) for one in (kept, part, back, purged)
    ] == [
        ("D", "4"),
        ("D", "0"),
        ("C", "0"),
        ("D", "0"),
    ]
    cycles = [
        one.get("ParticipantObjectDataLifeCycle") for one in purged.iter("ParticipantObjectIdentification")
    ]
    assert cycles == ["15", None]
    deleted = told(trail, DELETED, 2)
    assert [subjects(one) for one in deleted] == [["1.2.3", "WIRE1"]] * 2
    person, command = people(deleted[0])
    assert "@" in person[0]
    assert command[0] == ""
    assert len(told(trail, "110106")) == 1


def test_a_rule_deletes_by_itself(start: Starter, trail: Path) -> None:
    node = node_of(start, trail, storage={"trash": "0s"})
    node.keep(image(study="1.2.3"), image(study="1.2.3"))
    node.reload(retention=[{"name": "at once", "after": "0s"}])
    (gone,) = told(trail, DELETED)
    assert gone.findtext(".//EventOutcomeDescription") == "at once"
    assert counts(gone) == [(MR_IMAGE, "2")]
    (purged,) = told(trail, ACCESSED)
    assert purged.findtext(".//EventOutcomeDescription") == "purged from the trash"


def test_nothing_is_written_without_a_place(start: Starter, tmp_path: Path) -> None:
    node = start()
    node.keep(image())
    node.answers_echo()
    assert list(tmp_path.iterdir()) == []
