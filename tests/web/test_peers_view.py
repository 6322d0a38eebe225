"""The view Peers: rights in words, contact, what waits for each, C-ECHO at a click."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from admin_desks import SCRIPT, WHEN, MadePeers
from desks import MadePage, http_settings, users
from starlette.testclient import TestClient

from scp.index.queue import SendSum
from scp.web.page.views.peers import rights_in_words
from scp.web.reports import Echoed, PeerContact

pytestmark = pytest.mark.quick

CONTACT = PeerContact("10.0.0.9", WHEN, 4, 5, 6_000_000, 70, 2, WHEN, f"{SCRIPT} is not among addresses")
WAITING = SendSum("WS", "to the station", "waiting", 3, 300, WHEN, 2, WHEN, "no answer")


@pytest.fixture
def page(tmp_path: Path) -> MadePage:
    return MadePage(http_settings(user=users(anna="admin", victor="viewer")), tmp_path)


@pytest.fixture
def admin(page: MadePage) -> TestClient:
    return page.entered("anna")


def test_a_peer_with_what_was_seen_of_it_and_what_waits_for_it(page: MadePage, admin: TestClient) -> None:
    peers = page.admin.peers
    peers.row = replace(peers.row, contact=CONTACT, queue=(WAITING,))
    shown = page.figures.of("worker 1").board.show("1-1", "WS", "ZSCP", "10.0.0.9")
    shown.begins("c-store")
    shown.answered(1000)
    found = admin.get("/api/peers").json()
    (row,) = found["peers"]
    assert (row["contact"]["refused"], row["queue"][0]["next_attempt"]) == (2, "2026-11-29T12:00:00Z")
    assert (found["traffic"][0]["calling_aet"], found["traffic"][0]["associations"]) == ("WS", 1)
    assert found["traffic"][0]["bytes_received_per_second"] > 0
    text = admin.get("/peers").text
    for told in ("is not among addresses", "6.0 MB", "to the station", "no answer", "may C-ECHO and query"):
        assert told in text
    assert SCRIPT not in text


def test_very_many_peers_are_not_all_listed(page: MadePage, admin: TestClient) -> None:
    other = replace(page.admin.peers.row, aet="ELSE", configured=False, may=())
    page.admin.peers.others = (other,) * 600
    found = admin.get("/api/peers").json()
    assert (len(found["peers"]), found["left_out"]) == (500, 101)
    assert "101 more AE titles" in admin.get("/peers").text


def test_a_click_asks_a_peer_and_is_recorded(page: MadePage, admin: TestClient) -> None:
    csrf = admin.headers.pop("X-CSRF-Token")
    assert admin.post("/peers/echo", data={"aet": "WS"}).status_code == 403
    text = admin.post("/peers/echo", data={"aet": "WS", "csrf": csrf}).text
    assert "WS at 10.0.0.7:104 answers C-ECHO, after 12 ms" in text
    page.admin.peers.fault = "WS at 10.0.0.7:104 does not answer"
    assert "does not answer" in admin.post("/peers/echo", data={"aet": "WS", "csrf": csrf}).text
    admin.headers["X-CSRF-Token"] = csrf
    assert admin.post("/api/peers/echo", json={"aet": "WS"}).json()["answered"] is False
    assert page.admin.peers.echoed == ["WS"] * 3
    event = page.trail.events[-1]
    assert (event.type.text if event.type else "", event.participants[0].user_id) == (
        "Use of Restricted Function",
        "anna",
    )
    assert b"does not answer" in dict(event.subjects[0].details)["Alert Description"]


def test_who_is_no_peer_is_not_asked(admin: TestClient) -> None:
    answer = admin.post("/api/peers/echo", json={"aet": "ELSE"})
    assert answer.status_code == 404
    assert "ELSE is no [[peer]]" in answer.json()["detail"]
    assert "ELSE is no [[peer]]" in admin.post("/peers/echo", data={"aet": "ELSE"}).text


def test_silent_peers_do_not_take_all_threads(
    page: MadePage, admin: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses: list[int] = []
    asked = page.admin.peers.echo

    def echo(aet: str) -> Echoed:
        statuses.append(admin.post("/api/peers/echo", json={"aet": aet}).status_code)
        return asked(aet)

    monkeypatch.setattr(page.admin.peers, "echo", echo)
    assert admin.post("/api/peers/echo", json={"aet": "WS"}).status_code == 200
    assert statuses == [503, 200]


def test_a_viewer_sees_peers_and_no_button(page: MadePage) -> None:
    text = page.entered("victor").get("/peers").text
    assert "10.0.0.7:104" in text
    assert "/peers/echo" not in text


def test_rights_are_words() -> None:
    row = MadePeers().row
    assert rights_in_words(row) == "may C-ECHO and query; comes by DICOM"
    every = ("echo", "store", "find", "move", "get", "commit")
    limited = replace(
        row, may=every, comes_from=("10.1.0.0/16", "10.2.0.1/32"), sees={"Modality": ("CT", "MR")}
    )
    assert rights_in_words(limited) == (
        "may use every service; comes by DICOM from 10.1.0.0/16 or 10.2.0.1/32; sends by C-MOVE to WS only; "
        "sees only Modality CT or MR"
    )
    assert "to nobody only" in rights_in_words(replace(limited, moves_to=()))
    assert "cannot come" in rights_in_words(replace(row, by=()))
    assert rights_in_words(replace(row, may=())) == "may do nothing"
    assert "is refused" in rights_in_words(replace(row, may=(), configured=False))
