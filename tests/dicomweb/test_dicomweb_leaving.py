"""Clients that go in the middle of an answer, and what is remembered of what failed meanwhile."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest
from dicomweb_desks import ROOT, MadeDicomWeb, bearer, image
from places import Place

from scp.archive.headers import NativeHeader
from scp.errors import ObjectUnavailable
from scp.model import Instance
from scp.web.dicomweb.asked import Asked
from scp.web.dicomweb.retrieve.shortfall import Shortfall, failed_lately

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


@pytest.fixture
def here() -> Place:
    return Place.fresh()


def asked_for(web: MadeDicomWeb, path: str, left: threading.Event) -> list[Any]:
    """What is sent to a client that goes once ``left`` is set."""
    sent: list[Any] = []
    begun = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if begun:
            return begun.pop()
        while not left.is_set():
            await anyio.sleep(0.01)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = {"host": "127.0.0.1:11180", **bearer("viewer")}
    scope = {
        "type": "http", "method": "GET", "path": ROOT + path, "raw_path": f"{ROOT}{path}".encode(),
        "query_string": b"", "headers": [(k.lower().encode(), v.encode()) for k, v in headers.items()],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 11180), "scheme": "http",
    }  # fmt: skip
    anyio.run(web.app, scope, receive, send)
    return sent


def test_who_goes_leaves_no_instance_behind_as_one_that_failed(
    web: MadeDicomWeb, here: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.store(*(image(here.uid(number), InstanceNumber=str(number)) for number in range(1, 7)))
    gone: list[threading.Event] = []
    check, header, left, read = Asked.check, web.archive.header, threading.Event(), list[str]()

    def checked(asked: Asked) -> None:
        gone.append(asked.gone)
        check(asked)

    def slow(instance: Instance) -> NativeHeader:
        read.append(instance.sop_instance_uid)
        if len(read) == 3:
            left.set()
            assert gone[0].wait(60)
        return header(instance)

    monkeypatch.setattr(Asked, "check", checked)
    monkeypatch.setattr(web.archive, "header", slow)
    sent = asked_for(web, f"{here.study}/metadata", left)
    assert sent[0]["status"] == 200
    assert read == [here.uid(number) for number in (1, 2, 3)]
    held = [web.archive.named(here.uid(number))[0] for number in range(1, 7)]
    assert not any(failed_lately.has(one) for one in held)


def test_what_failed_once_is_forgotten_when_it_can_be_sent(web: MadeDicomWeb, here: Place) -> None:
    web.store(image(here.uid(1)), image(here.uid(2)))
    held = web.archive.named(here.uid(2))[0]
    failed_lately.add(held)
    assert web.client().get(here.study).status_code == 200
    assert not failed_lately.has(held)


def test_where_a_store_is_away_not_all_instances_are_waited_for(web: MadeDicomWeb, here: Place) -> None:
    web.store(*(image(here.uid(number)) for number in range(1, 6)))
    held = [web.archive.named(here.uid(number))[0] for number in range(1, 6)]
    tried: list[Instance] = []

    def away(one: Instance) -> None:
        tried.append(one)
        raise ObjectUnavailable(f"{one.key}: the bucket does not answer")

    short = Shortfall(lambda: None, clock=lambda: 15.0 * len(tried))
    with pytest.raises(ObjectUnavailable, match=held[0].key):
        short.first([held], away)
    assert tried == held[:2]
