"""Who may associate, and what a peer may do: by AE title, address, service and destination."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError
from pynetdicom.pdu_primitives import UserIdentityNegotiation
from structlog.testing import capture_logs
from typer.testing import CliRunner

from scp.cli import serving_output
from scp.cli.main import app
from scp.config import users
from scp.config.networks import origin
from scp.config.peers import MOST_SEEN, SEEN_BY
from scp.dimse.rights import Arrival, Rights, rights_of
from scp.dimse.user_identity import refused_by_identity
from scp.index.attributes import HELD_BY_KEYWORD
from scp.index.matching import MOST_PATTERNS
from scp.model import CALLING_AET
from scp.node.peers import peer_rows

from .configured import settings_of, tables_of
from .conftest import RunningNode, Starter
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
    identifier,
    image,
    until,
)

NOT_AUTHORIZED = 0x0124
STUDY = identifier("STUDY", StudyInstanceUID="1.2.3")
EVERYTHING = (VERIFICATION, MR_IMAGE, STUDY_FIND, STUDY_MOVE, STUDY_GET)


def _peer(aet: str, **rights: Any) -> dict[str, Any]:
    return {"aet": aet, "host": "127.0.0.1", "port": 104, **rights}


def _accepted(node: RunningNode, calling: str) -> set[str]:
    with node.scu(*((uid, [EXPLICIT]) for uid in EVERYTHING), calling=calling) as scu:
        return {str(uid) for uid, _ in scu.accepted}


def test_contexts_of_services_that_a_peer_may_not_use_are_refused(start: Starter) -> None:
    modality = _peer("CT", may=["echo", "store", "commit"])
    station = _peer("STATION", may=["echo", "find", "move"])
    node = start(peer=[modality, station], access={"may": ["echo"]})
    assert _accepted(node, "CT") == {VERIFICATION, MR_IMAGE}
    assert _accepted(node, "STATION") == {VERIFICATION, STUDY_FIND, STUDY_MOVE}
    with capture_logs() as logged:
        assert _accepted(node, "STRANGER") == {VERIFICATION}
        until(lambda: [one for one in logged if one["event"] == "association"], "its end is logged")
    assert logged[-1]["may"] == ["echo"]
    node.reload(peer=[], access={})
    assert _accepted(node, "CT") == set(EVERYTHING)


def test_who_may_get_may_not_store_on_the_same_context(start: Starter) -> None:
    node = start(peer=[_peer("READER", may=["get"])])
    node.keep(image())
    contexts = [(STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
    with node.scu(*contexts, roles=[MR_IMAGE], calling="READER") as scu:
        answer = scu.store(image(instance="1.2.3.9"))
        assert answer.status == NOT_AUTHORIZED
        assert "READER may not store" in answer.comment
        assert len(scu.get(STUDY_GET, STUDY).objects) == 1
    assert node.archive.index.counts().instances == 1


def test_the_title_of_the_node_itself_lets_nobody_in_for_more_than_an_echo(start: Starter) -> None:
    """With allow = "known", health checks call by it; everybody knows it who calls the node."""
    node = start(access={"allow": "known"}, peer=[_peer("CT")])
    assert _accepted(node, "CT") == set(EVERYTHING)
    assert _accepted(node, "ZSCP") == {VERIFICATION}
    node.reload(access={"allow": "any"})
    assert _accepted(node, "ZSCP") == set(EVERYTHING)


def test_a_peer_that_is_removed_is_shut_out_at_the_reload(start: Starter) -> None:
    """Its association would go on for as long as it asks for something now and then."""
    node = start(access={"allow": "known"}, peer=[_peer("CT"), _peer("STATION")])
    verification = (VERIFICATION, [EXPLICIT])
    with node.scu(verification, calling="CT") as gone, node.scu(verification, calling="STATION") as stays:
        assert gone.echo() == stays.echo() == 0
        node.reload(peer=[_peer("STATION")])
        until(lambda: len(node.node.server.associations.all()) == 1, "that of CT has ended")
        assert stays.echo() == 0


def test_a_peer_moves_to_its_destinations_only(start: Starter) -> None:
    with Sink(aet="STATION") as there:
        peers = [_peer("STATION", destinations=["STATION"]) | {"port": there.port}, _peer("OTHER")]
        node = start(peer=peers)
        node.keep(image())
        with node.scu((STUDY_MOVE, [EXPLICIT]), calling="STATION") as scu:
            refused = scu.move(STUDY_MOVE, STUDY, "OTHER")
            assert refused.final.status == NOT_AUTHORIZED
            assert "may not move to OTHER" in refused.final.comment
            assert scu.move(STUDY_MOVE, STUDY, "STATION").final.status == 0
        assert len(there.arrived) == 1


@pytest.mark.parametrize(("addresses", "admitted"), [(["127.0.0.0/8"], True), (["10.1.2.3", "::1"], False)])
def test_a_peer_comes_from_its_addresses(start: Starter, addresses: list[str], admitted: bool) -> None:
    node = start(peer=[_peer("CT", addresses=addresses)])
    scu = Scu(node.address, [(VERIFICATION, [IMPLICIT])], calling="CT")
    _is_admitted(scu, admitted, 3)  # PS3.8 9.3.4: calling AE title not recognized


def _is_admitted(scu: Scu, admitted: bool, reason: int) -> None:
    """Or rejected: permanently, by the service user, for a reason."""
    assert scu.established is admitted
    if admitted:
        assert scu.echo() == 0
        scu.association.release()
    else:
        rejected = scu.association.acceptor.primitive
        assert (rejected.result, rejected.result_source, rejected.diagnostic) == (1, 1, reason)


@pytest.mark.parametrize(
    ("address", "admitted"),
    [("10.0.0.17", True), ("::ffff:10.0.0.17", True), ("10.0.1.17", False), ("fd00::1%eth0", True)],
)
def test_addresses_of_both_kinds(tmp_path: Any, address: str, admitted: bool) -> None:
    peers = [_peer("CT", addresses=["10.0.0.0/24", "fd00::/8"])]
    settings = settings_of(tables_of(tmp_path, {"peer": peers}))
    assert isinstance(rights_of(settings, Arrival("CT", "ZSCP", address)), Rights) is admitted


def test_a_node_has_aliases_which_the_policy_tells_apart(start: Starter) -> None:
    policy = [
        {"name": "raw", "match": {"called_aet": "RAW"}, "stages": [{"form": "received"}]},
        {"name": "others", "stages": [{"form": "rle"}]},
    ]
    node = start(node={"aliases": ["RAW"]}, policy=policy)
    for called, instance in (("RAW", "1.2.3.1"), ("ZSCP", "1.2.3.2")):
        with node.scu((MR_IMAGE, [EXPLICIT]), called=called) as scu:
            assert scu.store(image(instance=instance)).status == 0
    held = {one.sop_instance_uid: one.form for one in node.archive.index.all()}
    assert held == {"1.2.3.1": "received", "1.2.3.2": "rle"}


def test_every_sop_class_belongs_to_a_service() -> None:
    """Who may do nothing has no use for any context."""
    nobody = Rights("NOBODY", frozenset())
    assert not any(nobody.accepts(uid) for uid in EVERYTHING)


def test_a_peer_finds_and_retrieves_only_what_it_sees(start: Starter) -> None:
    node = start(peer=[_peer("READER", sees={"calling_aet": ["CTROOM1"]})])
    node.store(image(instance="1.2.3.8"), calling="CTROOM1")
    node.store(image(instance="1.2.3.9"), calling="OTHER")
    node.store(image(instance="1.2.4.9", study="1.2.4"), calling="OTHER")
    studies = identifier("STUDY", StudyInstanceUID="")
    contexts = [(STUDY_FIND, [EXPLICIT]), (STUDY_GET, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])]
    with node.scu(*contexts, roles=[MR_IMAGE], calling="READER") as scu:
        found = scu.find(STUDY_FIND, studies)
        assert [one.identifier.StudyInstanceUID for one in found[:-1]] == ["1.2.3"]
        assert [one.instance for one in scu.get(STUDY_GET, STUDY).objects] == ["1.2.3.8"]
        other = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.4"))
        assert (other.final.status, other.objects) == (0, [])
    with node.scu(*contexts, roles=[MR_IMAGE], calling="ANYBODY") as scu:
        assert len(scu.find(STUDY_FIND, studies)) == 3
        assert len(scu.get(STUDY_GET, STUDY).objects) == 2


def test_what_a_peer_sees_is_held_by_the_index() -> None:
    assert set(SEEN_BY) - {CALLING_AET} <= set(HELD_BY_KEYWORD)
    assert MOST_SEEN == MOST_PATTERNS


@pytest.mark.parametrize(
    "sees",
    [
        {"Modalty": "CT"},
        {"Modality": "*"},
        {"Modality": []},
        {"Modality": "A\\B"},
        {"PatientID": [str(number) for number in range(101)]},
        "CT",
    ],
)
def test_what_a_peer_sees_must_say_something(sees: Any) -> None:
    with pytest.raises(ValidationError, match="sees"):
        settings_of({"peer": [_peer("READER", sees=sees)]})


def test_peers_are_listed_with_what_they_may_and_what_they_stored(
    start: Starter, capsys: pytest.CaptureFixture[str]
) -> None:
    node = start()
    node.store(image(), calling="CT")
    node.store(image(instance="1.2.3.8"), calling="STRANGER")
    node.node.stop()
    settings = settings_of(
        tables_of(
            node.root, {"peer": [_peer("CT", addresses=["10.0.0.0/8"], may=["store"], destinations=[])]}
        )
    )
    listed = peer_rows(settings, node.archive.index.senders())
    serving_output.peers(listed, json_wanted=True)
    rows = {row["aet"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["CT", "all others", "STRANGER"]
    assert (rows["CT"]["comes_from"], rows["CT"]["may"], rows["CT"]["objects"]) == (
        ["10.0.0.0/8"],
        ["store"],
        1,
    )
    assert rows["STRANGER"]["objects"] == 1
    assert [row["moves_to"] for row in rows.values()] == [[], None, None]
    serving_output.peers(listed, json_wanted=False)
    told = capsys.readouterr().out
    assert "10.0.0.0/8" in told
    assert "nowhere" in told


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("10.0.0.17", "10.0.0.17"),
        ("::ffff:10.0.0.17", "10.0.0.17"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
    ],
)
def test_a_network_of_ipv6_counts_as_one_address(address: str, counted: str) -> None:
    assert origin(address) == counted


# -- user identity -------------------------------------------------------------------------------------------

PASSCODE = users.hashed("open sesame")


def _identified(kind: int, name: str, passcode: str = "") -> UserIdentityNegotiation:
    item = UserIdentityNegotiation()
    item.user_identity_type, item.primary_field = kind, name.encode()
    if passcode:
        item.secondary_field = passcode.encode()
    return item


@pytest.mark.parametrize(
    ("item", "admitted"),
    [
        (_identified(2, "reader", "open sesame"), True),
        (_identified(2, "reader", "open barley"), False),
        (_identified(1, "reader"), False),
        (_identified(2, "nobody", "open sesame"), False),
        (_identified(1, "trusted"), True),
        (_identified(4, "reader"), False),
        (None, False),
    ],
    ids=["passcode", "another passcode", "no passcode", "nobody", "name alone", "SAML", "no user"],
)
def test_users_are_required(
    start_shared: Starter, item: UserIdentityNegotiation | None, admitted: bool
) -> None:
    node = start_shared(
        access={"users": "required"},
        user=[{"name": "reader", "passcode": PASSCODE}, {"name": "trusted"}],
    )
    with capture_logs() as logged:
        scu = Scu(node.address, [(VERIFICATION, [IMPLICIT])], items=[item] if item else [])
        _is_admitted(scu, admitted, 1)
        if not admitted:
            until(lambda: [one for one in logged if one["event"] == "association rejected"], "it is logged")
        assert "sesame" not in repr(logged)
        assert "barley" not in repr(logged)


def test_an_unknown_user_takes_as_long_as_a_wrong_passcode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the time would tell a stranger which names there are."""
    settings = settings_of(
        {"access": {"users": "required"}, "user": [{"name": "reader", "passcode": PASSCODE}]}
    )
    assert refused_by_identity(settings, _identified(2, "nobody", "open sesame"))
    tried: list[str] = []
    shows = users.User.shows
    monkeypatch.setattr(users.User, "shows", lambda one, told: tried.append(one.name) or shows(one, told))
    for name in ("reader", "nobody", "somebody"):
        assert refused_by_identity(settings, _identified(2, name, "barley"))
    assert len(tried) == 3


def test_a_passcode_is_a_hash(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValidationError, match="zscp passcode"):
        users.User(name="reader", passcode="open sesame")
    done = CliRunner().invoke(app, ["passcode"], input="open sesame\nopen sesame\n")
    assert done.exit_code == 0
    assert users.User(name="reader", passcode=done.stdout.strip()).shows(b"open sesame")
