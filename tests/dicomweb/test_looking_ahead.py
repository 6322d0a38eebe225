"""Frames that are got ready before they are asked for: what goes out is what a request would find now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dicomweb_desks import MadeDicomWeb, dicomweb_settings, image, token
from multiparts import parts_of

from scp.archive import ahead
from scp.errors import OutOfResources
from scp.model import Instance
from scp.web.dicomweb.retrieve import frames as frames_service
from scp.web.dicomweb.threads import Threads

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

AS_STORED = {"accept": 'multipart/related; type="application/octet-stream"; transfer-syntax=*'}
SERIES, COUNT = "9.8.7", 30


def samples(number: int) -> bytes:
    return np.full((16, 16), number, "<u2").tobytes()


@pytest.fixture
def going(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MadeDicomWeb]:
    """A series of 30 images as they were received; what is got ready is ready before the next request."""
    web = MadeDicomWeb(tmp_path)
    web.keep_as("received")
    numbers = range(1, COUNT + 1)
    web.store(
        *(
            image(f"{SERIES}.{n}", InstanceNumber=str(n), PixelData=samples(n), PatientID="P1")
            for n in numbers
        )
    )
    monkeypatch.setattr(Threads, "begin", lambda _self, work: work())
    yield web
    web.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each request whether it was answered without a thread."""
    found: list[bool] = []
    before = frames_service._at_once

    def noted(*arguments: Any) -> Any:
        ready = before(*arguments)
        found.append(ready is not None)
        return ready

    monkeypatch.setattr(frames_service, "_at_once", noted)
    return found


def path(number: int) -> str:
    return f"/studies/9.8/series/{SERIES}/instances/{SERIES}.{number}/frames/1"


def get(web: MadeDicomWeb, number: int, name: str = "viewer") -> Any:
    return web.client(name).get(path(number), headers=AS_STORED)


def frame(answer: Any) -> bytes:
    assert answer.status_code == 200, answer.text
    (part,) = parts_of(answer.headers["content-type"], answer.content)
    return bytes(part.content)


def row(web: MadeDicomWeb, number: int) -> Instance:
    return web.archive.named(f"{SERIES}.{number}")[0]


def stored(web: MadeDicomWeb, number: int) -> Path:
    return web.folder / "objects" / row(web, number).key


def test_one_who_goes_through_a_series_gets_all_frames_from_the_third_on_at_once(
    going: MadeDicomWeb, at_once: list[bool]
) -> None:
    for number in range(1, COUNT + 1):
        answer = get(going, number)
        assert frame(answer) == samples(number)
        condition = {"if-none-match": answer.headers["etag"]}
        assert going.client().get(path(number), headers=AS_STORED | condition).status_code == 304
    # Each is asked for twice. The order is looked up behind the second one.
    assert [at for at, done in enumerate(at_once) if done] == list(range(4, 2 * COUNT, 2))


def test_requests_that_jump_about_get_nothing_ready(going: MadeDicomWeb, at_once: list[bool]) -> None:
    for number in (1, 25, 3, 20, 9, 29, 2, 15):
        assert frame(get(going, number)) == samples(number)
    assert not any(at_once)
    assert not going.archive.ahead._ready


def test_what_was_deleted_meanwhile_is_gone(going: MadeDicomWeb, at_once: list[bool]) -> None:
    for number in (1, 2, 3):
        get(going, number)
    assert at_once[-1]
    going.archive.forget(f"{SERIES}.4", row(going, 4).key)
    assert get(going, 4).status_code == 404
    assert frame(get(going, 5)) == samples(5)


def test_what_was_replaced_meanwhile_is_the_new_one(going: MadeDicomWeb) -> None:
    for number in (1, 2, 3):
        get(going, number)
    going.archive.forget(f"{SERIES}.4", row(going, 4).key)
    going.store(image(f"{SERIES}.4", InstanceNumber="4", PixelData=samples(400), PatientID="P1"))
    assert frame(get(going, 4)) == samples(400)


def test_another_commit_costs_a_look_at_the_row_but_not_the_file(
    going: MadeDicomWeb, at_once: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        get(going, number)
    going.store(image("5.5.5.5"))
    opened: list[str] = []
    before = going.archive.frames.open

    def counted(instance: Instance, *more: Any) -> Any:
        opened.append(instance.sop_instance_uid)
        return before(instance, *more)

    monkeypatch.setattr(going.archive.frames, "open", counted)
    going.archive.ahead._working = 2  # nothing more is got ready
    assert frame(get(going, 4)) == samples(4)
    assert not at_once[-1]
    assert not opened


def test_a_file_that_was_damaged_before_it_is_read_is_never_sent(going: MadeDicomWeb) -> None:
    damaged = stored(going, 5)
    content = bytearray(damaged.read_bytes())
    content[-3] ^= 1
    damaged.chmod(0o600)
    damaged.write_bytes(content)
    for number in (1, 2, 3, 4):
        assert frame(get(going, number)) == samples(number)
    assert get(going, 5).status_code == 500
    assert frame(get(going, 6)) == samples(6)


def test_a_file_that_is_damaged_afterwards_goes_out_as_it_was_checked(going: MadeDicomWeb) -> None:
    for number in (1, 2, 3):
        get(going, number)
    place = stored(going, 4)
    place.chmod(0o600)
    place.write_bytes(bytes(place.stat().st_size))
    assert frame(get(going, 4)) == samples(4)


def test_who_may_not_get_it_gets_nothing_that_is_ready(going: MadeDicomWeb) -> None:
    for number in (1, 2, 3):
        get(going, number)
    assert going.archive.ahead.at_once("9.8", SERIES, f"{SERIES}.4") is not None
    tokens = [token("viewer", may=["find"]), token("writer", may=["get"])]
    going.settings = dicomweb_settings(http={"token": tokens})
    assert get(going, 4).status_code == 403
    assert going.client("").get(path(4), headers=AS_STORED).status_code in (401, 403)
    assert frame(get(going, 4, "writer")) == samples(4)


def test_who_sees_a_part_of_the_archive_is_answered_by_a_query(
    going: MadeDicomWeb, at_once: list[bool]
) -> None:
    peer = {"aet": "SEES", "host": "127.0.0.1", "port": 104, "sees": {"Modality": ["MR"]}}
    tokens = [token("viewer"), token("held", peer="SEES")]
    going.settings = dicomweb_settings([peer], http={"token": tokens})
    for number in (1, 2, 3):
        get(going, number)
    assert get(going, 4, "held").status_code == 404
    assert not at_once[-1]


def test_a_wrong_study_or_series_names_nothing_that_is_ready(going: MadeDicomWeb) -> None:
    for number in (1, 2, 3):
        get(going, number)
    for wrong in (path(4).replace("/9.8/", "/9.9/"), path(4).replace(f"/{SERIES}/", "/9.8.8/")):
        assert going.client().get(wrong, headers=AS_STORED).status_code == 404


def test_who_does_not_take_it_as_stored_gets_it_otherwise(going: MadeDicomWeb, at_once: list[bool]) -> None:
    for number in (1, 2, 3):
        get(going, number)
    syntax = "1.2.840.10008.1.2.4.201"
    asked = {"accept": f'multipart/related; type="image/jphc"; transfer-syntax={syntax}'}
    assert going.client().get(path(4), headers=asked).status_code == 200
    assert not at_once[-1]
    assert going.client().get(path(5).replace("frames/1", "frames/2"), headers=AS_STORED).status_code == 404


def test_retrieval_is_noted_where_the_policy_uses_it(
    going: MadeDicomWeb, at_once: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(going.archive.policy, "access_exactness", 3600.0)
    for number in range(1, 7):
        assert frame(get(going, number)) == samples(number)
        assert row(going, number).accessed
    assert not any(at_once)


def test_what_is_ready_is_bounded_and_forgotten(going: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "_MOST_BYTES", 5 * len(samples(1)))
    for number in range(1, 10):
        assert frame(get(going, number)) == samples(number)
        assert len(going.archive.ahead._ready) <= 5
    one = going.archive.ahead
    until = max(ready.until for ready in one._ready.values())
    monkeypatch.setattr(one, "_clock", lambda: until + 1)
    one._clear()
    assert not one._ready
    assert one._size == 0


def test_a_locked_or_closed_index_gives_no_mark(going: MadeDicomWeb) -> None:
    pages = going.archive.pages
    assert pages.mark() == pages.mark() is not None
    before = pages.mark()
    assert pages.is_now(before)
    going.store(image("6.6.6.6"))
    assert pages.mark() != before
    assert not pages.is_now(before)
    marks = pages._marks  # type: ignore[attr-defined]  # of SqlPages, not of the Protocol
    with marks._lock:
        assert pages.mark() is None
        assert not pages.is_now(None)


def test_what_was_deleted_is_gone_though_the_connection_that_tells_was_lost(going: MadeDicomWeb) -> None:
    """SQLite counts commits for each connection: a new one begins where the one before had begun."""
    for number in (1, 2, 3):
        get(going, number)
    marks = going.archive.pages._marks  # type: ignore[attr-defined]  # as above
    going.archive.forget(f"{SERIES}.4", row(going, 4).key)
    marks._held[0].dbapi_connection.close()  # what is asked of it fails
    assert [get(going, 4).status_code for _ in range(3)] == [404, 404, 404]
    assert marks._held is None  # to open another may take long, and the thread that serves does not wait
    before = going.archive.pages.mark()
    assert before is not None
    marks.close()
    assert not going.archive.pages.is_now(before)
    assert going.archive.pages.mark() != before


def test_a_failure_of_looking_ahead_fails_no_request(
    going: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_arguments: Any) -> Any:
        raise OutOfResources("the index does not answer")

    monkeypatch.setattr(going.archive.pages, "order", fails)
    for number in range(1, 8):
        assert frame(get(going, number)) == samples(number)
    assert going.archive.ahead._working == 0


def test_many_who_go_through_at_a_time_get_what_they_ask_for(going: MadeDicomWeb) -> None:
    faults: list[str] = []

    def go(work: Callable[[int], bytes]) -> None:
        faults.extend(f"{n}" for n in range(1, COUNT + 1) if work(n) != samples(n))

    threads = [threading.Thread(target=go, args=(lambda n: frame(get(going, n)),)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert not faults
