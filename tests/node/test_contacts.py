"""Who was in contact with a node: counted by all processes, and bounded whatever peers call themselves."""

from __future__ import annotations

import os

import pytest

from scp.metrics import counting
from scp.metrics.contacts import ENTRIES, Contact, Contacts, merged
from scp.metrics.counting import NodeFigures

pytestmark = pytest.mark.quick


@pytest.fixture
def contacts() -> Contacts:
    return Contacts()


def of(contacts: Contacts, aet: str) -> Contact:
    (found,) = [one for one in contacts.all() if one.aet == aet]
    return found


def test_what_a_peer_did_is_added_up(contacts: Contacts) -> None:
    contacts.request("CT1", 1000, 0)
    contacts.request("CT1 ", 500, 70)
    contacts.association("CT1", "10.0.0.1", "")
    found = of(contacts, "CT1")
    assert (found.requests, found.received, found.sent, found.associations) == (2, 1500, 70, 1)
    assert (found.address, found.refused, found.reason) == ("10.0.0.1", 0, "")
    assert found.last > 0


def test_why_an_association_was_refused_stays_when_the_next_is_not(contacts: Contacts) -> None:
    contacts.association("CT1", "10.0.0.1", "it is no [[peer]]")
    contacts.association("CT1", "10.0.0.2", "")
    found = of(contacts, "CT1")
    assert (found.refused, found.reason, found.address) == (1, "it is no [[peer]]", "10.0.0.2")
    assert 0 < found.refused_at <= found.last


def test_long_texts_are_cut_at_a_character(contacts: Contacts) -> None:
    contacts.association("CT1", "10.0.0.1", "é" * 500)
    assert of(contacts, "CT1").reason == "é" * 128


def test_peers_that_invent_titles_make_room_for_each_other_alone(contacts: Contacts) -> None:
    contacts.know(["KNOWN"])
    contacts.request("KNOWN", 1, 0)
    for number in range(3 * ENTRIES):
        contacts.association(f"X{number}", "10.0.0.9", f"no. {number}")
    found = contacts.all()
    assert len(found) == ENTRIES
    assert of(contacts, "KNOWN").received == 1
    assert of(contacts, f"X{3 * ENTRIES - 1}").refused == 1
    assert sum(one.refused for one in found) == 3 * ENTRIES
    others = of(contacts, "")
    assert (others.refused, others.address) == (3 * ENTRIES - (ENTRIES - 2), "10.0.0.9")


def test_who_names_nobody_is_one_of_the_others(contacts: Contacts) -> None:
    contacts.association("", "10.0.0.1", "the TLS handshake failed")
    (found,) = contacts.all()
    assert (found.aet, found.reason) == ("", "the TLS handshake failed")


def test_processes_count_for_themselves_and_all_see_the_sum() -> None:
    node = NodeFigures()
    for name in ("worker 1", "worker 2"):
        node.reserve(name)
        child = os.fork()
        if not child:
            node.begin(name)
            counting.request(
                "c-store", "success", 0.1, {"calling_aet": "CT1", "bytes_kept": 5, "bytes_received": 9}
            )
            counting.association("CT1", "10.0.0.1", f"of {name}")
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    (found,) = node.contacts()
    assert (found.requests, found.received, found.refused, found.reason) == (2, 18, 2, "of worker 2")


def test_a_successor_goes_on_with_what_was_counted() -> None:
    node = NodeFigures()
    node.reserve("worker 1")
    for _ in range(2):
        child = os.fork()
        if not child:
            node.begin("worker 1")
            counting.association("CT1", "10.0.0.1")
            os._exit(0)
        os.waitpid(child, 0)
    (found,) = node.contacts()
    assert found.associations == 2


def test_what_a_move_sends_counts_for_its_destination() -> None:
    node = NodeFigures()
    node.reserve("worker 1")
    child = os.fork()
    if not child:
        node.begin("worker 1")
        known = {"calling_aet": "WS", "destination": "PACS", "bytes_sent": 70}
        counting.request("c-move", "success", 0.1, known)
        os._exit(0)
    os.waitpid(child, 0)
    sent = {one.aet: one.sent for one in node.contacts()}
    assert sent == {"WS": 0, "PACS": 70}


def test_nothing_of_nothing() -> None:
    assert merged([Contacts()]) == []
