"""STOW-RS: what is sent is kept byte for byte, by the rules of C-STORE; each part has a fate of its own."""

from __future__ import annotations

import errno
import os
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import anyio
import pytest
from desks import users
from dicomweb_desks import CT, ROOT, MadeDicomWeb, dicomweb_settings, image, token
from objects import all_files, as_received, bundled, written
from starlette.requests import ClientDisconnect, Request
from stow import CONTENT_TYPE, DICOM, END, body, file_of, others, part, refused, stored

from scp import spool
from scp.archive import encode
from scp.encoding.streams import gathered
from scp.errors import OutOfResources
from scp.objects import part10
from scp.resources import bounds
from scp.resources.bounds import Bounds
from scp.spool import Buffer
from scp.syntaxes import DEFLATED, EXPLICIT
from scp.web.access.sessions import cookie_name
from scp.web.dicomweb.store import parts, service
from scp.web.dicomweb.store.part_reader import PartReader

pytestmark = pytest.mark.dicomweb


@pytest.fixture
def stow(web: MadeDicomWeb) -> MadeDicomWeb:
    """DICOMweb with a token that may store, too, and one that is held to a peer."""
    tokens = [
        token("viewer"),
        token("writer", may=["find", "get", "store"]),
        token("held", may=["store"], peer="CT1"),
    ]
    peer = {"aet": "CT1", "host": "127.0.0.1", "port": 104}
    web.settings = dicomweb_settings([peer], http={"token": tokens})
    return web


def sent(web: MadeDicomWeb, content: Any, path: str = "/studies", who: str = "writer", **headers: str) -> Any:
    """The answer to a body."""
    return web.client(who).post(path, content=content, headers={"Content-Type": CONTENT_TYPE, **headers})


def held(web: MadeDicomWeb, uid: str) -> bytes:
    """The dataset of what is held, as it was received."""
    (one,) = web.archive.named(uid)
    return bytes(gathered(web.archive.fetch(one, [one.received_transfer_syntax]).chunks))


# ---- what is stored ----


def test_each_object_is_back_byte_for_byte(stow: MadeDicomWeb) -> None:
    files = {f"1.2.30.1.{n}": file_of(image(f"1.2.30.1.{n}")) for n in range(5)}
    answer = sent(stow, body(files.values()))
    assert (answer.status_code, stored(answer.json())) == (200, dict.fromkeys(files, 0))
    assert "warning" not in answer.headers
    for uid, file in files.items():
        got = stow.client().get(
            f"/studies/1.2.30/series/1.2.30.1/instances/{uid}",
            headers={"Accept": f"{DICOM}; transfer-syntax=*"},
        )
        assert bytes(part10.unpack(got.content).dataset) == bytes(part10.unpack(file).dataset)
    (one,) = stow.archive.named("1.2.30.1.0")
    assert (one.calling_aet, one.form) == ("writer", "received")


def _of_pydicom() -> list[Path]:
    return [path for path in bundled() if path.stat().st_size < 400_000]


def test_bundled_objects_are_back_byte_for_byte(stow: MadeDicomWeb) -> None:
    _all_come_back(stow, _of_pydicom())


_REAL = [path for path in all_files() if path not in bundled() and path.stat().st_size < 600_000]


@pytest.mark.parametrize("path", _REAL[::5], ids=lambda path: path.name)
def test_real_objects_are_back_byte_for_byte(stow: MadeDicomWeb, path: Path) -> None:
    _all_come_back(stow, [path])


def _all_come_back(stow: MadeDicomWeb, paths: list[Path]) -> None:
    for path in paths:
        file = path.read_bytes()
        answer = sent(stow, body([file]))
        told = stored(answer.json()) or refused(answer.json())
        read = part10.unpack(file)
        if not told or not read.dataset:  # nothing says which SOP instance it is
            assert (answer.status_code, path.name) == (409, path.name)
            continue
        (uid,) = told
        if not stored(answer.json()):  # a DICOMDIR
            assert (told[uid], read.sop_class_uid) == (0x0122, "1.2.840.10008.1.3.10"), path.name
            continue
        newest = stow.archive.named(uid)[0]
        got = gathered(stow.archive.fetch(newest, [read.transfer_syntax]).chunks)
        assert bytes(got) == bytes(read.dataset), path.name
        assert answer.status_code == (202 if told[uid] else 200), path.name


def test_one_file_without_multipart(stow: MadeDicomWeb) -> None:
    file = file_of(image("1.2.31.1.1"))
    answer = stow.client("writer").post("/studies", content=file, headers={"Content-Type": DICOM})
    assert (answer.status_code, stored(answer.json())) == (200, {"1.2.31.1.1": 0})
    assert held(stow, "1.2.31.1.1") == bytes(part10.unpack(file).dataset)
    url = answer.json()["00081199"]["Value"][0]["00081190"]["Value"][0]
    assert url.endswith(f"{ROOT}/studies/1.2.31/series/1.2.31.1/instances/1.2.31.1.1")


def test_pieces_of_a_body_may_have_any_size(stow: MadeDicomWeb) -> None:
    whole = body(file_of(image(f"1.2.32.1.{n}")) for n in range(2))

    def trickle() -> Iterator[bytes]:
        for at in range(0, len(whole), 37):
            yield whole[at : at + 37]

    assert stored(sent(stow, trickle()).json()) == {"1.2.32.1.0": 0, "1.2.32.1.1": 0}


def test_xml(stow: MadeDicomWeb) -> None:
    answer = sent(stow, body([file_of(image("1.2.33.1.1"))]), Accept="application/dicom+xml")
    assert answer.headers["content-type"].startswith("application/dicom+xml")
    tags = {one.get("tag") for one in ElementTree.fromstring(answer.content).iter()}
    assert {"00081190", "00081199", "00081155"} <= tags
    none = sent(stow, body([file_of(image("1.2.33.1.2"))]), Accept="text/html")
    assert (none.status_code, stow.archive.named("1.2.33.1.2")) == (406, [])


# ---- who stores ----


def test_a_token_is_a_calling_aet(stow: MadeDicomWeb) -> None:
    assert sent(stow, body([file_of(image("1.2.34.1.1"))]), who="held").status_code == 200
    assert stow.archive.named("1.2.34.1.1")[0].calling_aet == "CT1"
    denied = sent(stow, body([file_of(image("1.2.34.1.2"))]), who="viewer")
    assert (denied.status_code, stow.archive.named("1.2.34.1.2")) == (403, [])
    tokens = [token("held", may=["store"], peer="CT1"), token("writer", may=["store"])]
    tokens[1]["name"] = "Ärzte \\ of a long name"
    peer = {"aet": "CT1", "host": "127.0.0.1", "port": 104, "may": ["find"]}
    stow.settings = dicomweb_settings([peer], http={"token": tokens})
    assert sent(stow, body([file_of(image("1.2.34.1.2"))]), who="held").status_code == 403
    assert sent(stow, body([file_of(image("1.2.34.1.2"))])).status_code == 200
    assert stow.archive.named("1.2.34.1.2")[0].calling_aet == "_rzte _ of a lon"


def test_a_session_needs_its_csrf_token(stow: MadeDicomWeb) -> None:
    stow.settings = dicomweb_settings(http={"user": users(anna="admin", victor="viewer")})
    for name, csrf, status in (("anna", True, 200), ("anna", False, 403), ("victor", True, 403)):
        user = stow.settings.http.user_named(name)
        assert user is not None
        key, visitor = stow.sessions.begin(user)
        client = stow.client("", cookies={cookie_name(stow.settings.http): key})
        headers = {"Content-Type": CONTENT_TYPE} | ({"X-CSRF-Token": visitor.csrf} if csrf else {})
        answer = client.post("/studies", content=body([file_of(image("1.2.35.1.1"))]), headers=headers)
        assert (name, csrf, answer.status_code) == (name, csrf, status)
    assert stow.archive.named("1.2.35.1.1")[0].calling_aet == "anna"


def test_the_audit_trail_has_what_was_stored_and_what_was_not(stow: MadeDicomWeb) -> None:
    files = [file_of(image(f"1.2.36.1.{n}")) for n in range(3)]
    sent(stow, body([*files, b"no DICOM file"]))
    sent(stow, body(files[:1]))
    told = [(one.action.value, one.why, one.participants[0].user_id) for one in stow.trail.events]
    assert [each[0] for each in told] == ["C", "C", "R"]
    assert [bool(each[1]) for each in told] == [False, True, False]
    assert {each[2] for each in told} == {"writer"}


# ---- each part has a fate of its own ----


def test_an_object_of_another_study_is_refused_alone(stow: MadeDicomWeb) -> None:
    files = [file_of(image(uid)) for uid in ("1.2.40.1.1", "1.2.41.1.1", "1.2.40.1.2")]
    answer = sent(stow, body(files), "/studies/1.2.40")
    assert answer.status_code == 202
    assert stored(answer.json()) == {"1.2.40.1.1": 0, "1.2.40.1.2": 0}
    assert refused(answer.json()) == {"1.2.41.1.1": 0xA900}
    assert "the request is for 1.2.40" in answer.headers["warning"]
    assert stow.archive.named("1.2.41.1.1") == []
    assert sent(stow, body(files[1:2]), "/studies/1.2.40").status_code == 409


_GOOD = "1.2.42.1.9"
_NESTED = f"Content-Type: multipart/related; type={DICOM}; boundary=inner\r\n"


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        (part(b""), "no DICOM file"),
        (part(b"no DICOM file"), "no DICOM file"),
        (part(b"\0" * 128 + b"DICM"), "no DICOM file"),
        (part(b"\x28\xb5\x2f\xfd" + b"\0" * 200), "compressed with zstd"),
        (part(b"\0" * 128 + b"DICM\x02\0\0\0UL\x04\0\xff\xff\xff\x7f" + b"\0" * 99), ""),
        (part(b"x", "Content-Type: image/jpeg\r\n"), "not application/dicom"),
        (part(b"x", f"Content-Type: {DICOM}\r\nContent-Transfer-Encoding: base64\r\n"), "base64"),
        (part(b"\r\n--inner\r\n\r\nx\r\n--inner--\r\n", _NESTED), "not application/dicom"),
        (part(b"x", "X-Flood: 1\r\n" * 5000), "longer than is read"),
        (part(file_of(image("1.2.42.1.1"))[:200]), ""),
    ],
)
def test_a_bad_part_harms_only_itself(stow: MadeDicomWeb, odd: bytes, why: str) -> None:
    answer = sent(stow, odd + part(file_of(image(_GOOD))) + END)
    assert (answer.status_code, stored(answer.json())) == (202, {_GOOD: 0})
    assert len(others(answer.json())) + len(refused(answer.json())) == 1
    assert why.replace("no DICOM file", "") in answer.headers["warning"]
    alone = sent(stow, odd + END)
    assert alone.status_code == 409


def test_sop_classes_and_transfer_syntaxes_that_are_not_stored(stow: MadeDicomWeb) -> None:
    directory = image("1.2.43.1.1", SOPClassUID="1.2.840.10008.1.3.10")
    unknown = image("1.2.43.1.2", SOPClassUID="1.2.826.0.1.3680043.1.1")
    odd = file_of(image("1.2.43.1.3"), syntax="1.2.840.10008.5.1.4.1.1.2")
    answer = sent(stow, body([file_of(directory), file_of(unknown), odd]))
    assert refused(answer.json()) == {"1.2.43.1.1": 0x0122, "1.2.43.1.3": 0xC122}
    assert list(stored(answer.json())) == ["1.2.43.1.2"]
    stow.settings = stow.settings.model_copy(
        update={"access": stow.settings.access.model_copy(update={"unknown_sop_classes": False})}
    )
    assert refused(sent(stow, body([file_of(unknown)])).json()) == {"1.2.43.1.2": 0x0122}


def test_the_dataset_says_which_sop_instance_it_is(stow: MadeDicomWeb) -> None:
    wrong, none = file_of(image("1.2.44.1.1"), "9.9"), file_of(image("1.2.44.1.2"), "")
    bare = written(image("1.2.44.1.3"), explicit=True, little=True)
    answer = sent(stow, body([wrong, none, bare]))
    assert stored(answer.json()) == dict.fromkeys(("1.2.44.1.1", "1.2.44.1.2", "1.2.44.1.3"), 0)
    assert held(stow, "1.2.44.1.3") == bare


def test_what_the_dataset_says_is_what_must_be_stored_and_is_refused(
    stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    private = image("1.2.58.1.1", SOPClassUID="1.2.826.0.1.3680043.1.1")
    file = bytes(part10.pack(replace(part10.unpack(file_of(private)), sop_class_uid=CT, provenance=None)))
    stow.settings = stow.settings.model_copy(
        update={"access": stow.settings.access.model_copy(update={"unknown_sop_classes": False})}
    )
    assert refused(sent(stow, body([file])).json()) == {"1.2.58.1.1": 0x0122}
    assert sent(stow, body([file_of(image("1.2.58.1.2"))])).status_code == 200
    monkeypatch.setattr(stow.archive.receiver.duplicates, "_chosen", "reject")
    other = file_of(image("1.2.58.1.2", PatientName="Miller^B"), "9.9")
    assert list(refused(sent(stow, body([other])).json())) == ["1.2.58.1.2"]


def test_an_object_that_lacks_a_uid_is_kept_and_told_of(stow: MadeDicomWeb) -> None:
    one = image("1.2.45.1.1")
    del one.StudyInstanceUID
    answer = sent(stow, body([file_of(one)]))
    assert (answer.status_code, stored(answer.json())) == (202, {"1.2.45.1.1": 0xB000})
    (item,) = answer.json()["00081199"]["Value"]
    (original,) = item["04000561"]["Value"]
    assert original["04000565"]["Value"] == ["COERCE"]
    assert original["04000550"]["Value"] == [{"0020000D": {"vr": "UI"}}]
    url = item["00081190"]["Value"][0].partition(ROOT)[2]
    assert stow.client().get(url, headers={"Accept": DICOM}).status_code == 200


def test_what_a_file_says_of_its_receipt_is_not_believed(stow: MadeDicomWeb) -> None:
    stream = written(image("1.2.46.1.1"), explicit=True, little=True)
    of_another = replace(as_received(stream, EXPLICIT, CT, "1.2.46.1.1"), calling_aet="CT9")
    file = bytes(part10.pack(encode.as_received(of_another)))
    told = part10.unpack(file).provenance
    assert told is not None
    assert told.calling_aet == "CT9"
    assert sent(stow, body([file])).status_code == 200
    (one,) = stow.archive.named("1.2.46.1.1")
    assert (one.calling_aet, one.received_at > of_another.received_at) == ("writer", True)


# ---- the archive's own rules ----


def test_duplicates(stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (file_of(image("1.2.47.1.1", PatientName=name)) for name in ("Miller^A", "Miller^B"))
    assert sent(stow, body([first, first])).status_code == 200
    monkeypatch.setattr(stow.archive.receiver.duplicates, "_chosen", "reject")
    answer = sent(stow, body([second, first]))
    assert (answer.status_code, refused(answer.json())) == (202, {"1.2.47.1.1": 0x0111})
    assert held(stow, "1.2.47.1.1") == bytes(part10.unpack(first).dataset)
    monkeypatch.setattr(stow.archive.receiver.duplicates, "_chosen", "replace")
    assert sent(stow, body([first, second])).status_code == 200
    assert held(stow, "1.2.47.1.1") == bytes(part10.unpack(second).dataset)  # the last one, as they came


def test_a_deflated_bomb_is_kept_as_it_came(stow: MadeDicomWeb) -> None:
    stream = written(image("1.2.48.1.1", PixelData=bytes(2 << 20)), explicit=True, little=True)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(stream) + packer.flush()
    packed += bytes(len(packed) % 2)
    file = bytes(part10.pack(part10.Part10(CT, "1.2.48.1.1", DEFLATED, packed)))
    before = bounds.bounds()
    bounds.use(Bounds(inflated_bytes=1 << 20))
    try:
        answer = sent(stow, body([file, file_of(image("1.2.48.1.2"))]))
    finally:
        bounds.use(before)
    assert (answer.status_code, stored(answer.json())) == (202, {"1.2.48.1.1": 0xB007, "1.2.48.1.2": 0})
    assert held(stow, "1.2.48.1.1") == packed


def test_without_room_the_client_is_told_to_come_again(
    stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    large, small = file_of(image("1.2.49.1.1", PixelData=bytes(6 << 20))), file_of(image("1.2.49.1.2"))
    with monkeypatch.context() as full:

        def no_file(*_: Any, **__: Any) -> Any:
            raise OSError(errno.ENOSPC, "No space left on device")

        full.setattr("tempfile.TemporaryFile", no_file)
        answer = sent(stow, body([large]))
        assert (answer.status_code, others(answer.json())) == (503, [0xA700])
        assert answer.headers["retry-after"]
        both = sent(stow, body([large, small]))
        assert (both.status_code, stored(both.json())) == (202, {"1.2.49.1.2": 0})
    assert sent(stow, body([large])).status_code == 200


def test_a_disk_that_fills_within_a_part_costs_that_part_alone(
    stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, large, last = (
        file_of(image(f"1.2.56.1.{n}", PixelData=bytes(size << 20))) for n, size in ((1, 0), (2, 9), (3, 0))
    )
    written_all = spool.write_all

    def filling(descriptor: int, data: Buffer) -> None:
        if os.fstat(descriptor).st_size > 6 << 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        written_all(descriptor, data)

    monkeypatch.setattr(spool, "write_all", filling)
    answer = sent(stow, body([first, large, last]))
    assert (answer.status_code, stored(answer.json())) == (202, {"1.2.56.1.1": 0, "1.2.56.1.3": 0})
    assert others(answer.json()) == [0xA700]


def test_what_breaks_a_request_off_leaves_what_was_stored_in_the_audit_trail(
    stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(PartReader, "close", bug)
    assert sent(stow, body([file_of(image("1.2.57.1.1"))])).status_code == 500
    assert len(stow.archive.named("1.2.57.1.1")) == 1
    assert [one.action.value for one in stow.trail.events] == ["C"]


def test_a_store_that_fails_is_answered_for_each_object(
    stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise OutOfResources("storage.reserve")

    with monkeypatch.context() as patched:
        patched.setattr(stow.archive.store, "put", full)
        patched.setattr(stow.archive.store, "landing", full)
        answer = sent(stow, body([file_of(image("1.2.50.1.1"))]))
        assert (answer.status_code, refused(answer.json())) == (503, {"1.2.50.1.1": 0xA700})
    with monkeypatch.context() as patched:
        patched.setattr(stow.archive, "ingest", lambda *_: 1 / 0)
        answer = sent(stow, body([file_of(image("1.2.50.1.1"))]))
        assert (answer.status_code, refused(answer.json())) == (409, {"1.2.50.1.1": 0xC000})
    assert stow.archive.named("1.2.50.1.1") == []


# ---- bodies that are none ----


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("", 415),
        ("application/json", 415),
        ("application/dicom+json", 415),
        ('multipart/related; type="application/dicom+xml"; boundary=b', 415),
        (f'multipart/related; type="{DICOM}"', 400),
        (f'multipart/related; type="{DICOM}"; boundary="{"b" * 71}"', 400),
        ("multipart/form-data; boundary=b", 415),
        (CONTENT_TYPE, 400),
    ],
)
def test_bodies_that_are_not_read(stow: MadeDicomWeb, content_type: str, status: int) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    assert stow.client("writer").post("/studies", content=b"x", headers=headers).status_code == status
    assert stow.client("writer").post("/studies", content=b"", headers=headers).status_code == status


def test_an_empty_body_is_none(stow: MadeDicomWeb) -> None:
    for content, status in ((b"", 400), (b"no DICOM file", 409)):
        answer = stow.client("writer").post("/studies", content=content, headers={"Content-Type": DICOM})
        assert answer.status_code == status


def test_a_coded_body_is_refused(stow: MadeDicomWeb) -> None:
    coded = {"Content-Encoding": "gzip"}
    assert sent(stow, body([file_of(image("1.2.51.1.1"))]), **coded).status_code == 415


def test_a_body_without_its_end_stores_what_came_whole(stow: MadeDicomWeb) -> None:
    first, second = (part(file_of(image(f"1.2.52.1.{n}"))) for n in (1, 2))
    answer = sent(stow, first + second)
    assert (answer.status_code, stored(answer.json())) == (202, {"1.2.52.1.1": 0})
    assert others(answer.json()) == [0xC000]
    assert "ends within a part" in answer.headers["warning"]
    assert stow.archive.named("1.2.52.1.2") == []
    assert sent(stow, second).status_code == 400


def test_a_part_beyond_every_bound_ends_the_request(
    stow: MadeDicomWeb, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = bounds.bounds()
    bounds.use(Bounds(pixel_bytes=1 << 20, header_bytes=1 << 20))
    try:
        large = part(bytes(3 << 20))
        assert sent(stow, large + END).status_code == 413
        answer = sent(stow, part(file_of(image("1.2.53.1.1"))) + large + END)
        assert (answer.status_code, stored(answer.json())) == (202, {"1.2.53.1.1": 0})
    finally:
        bounds.use(before)
    monkeypatch.setattr(parts, "MOST_PARTS", 2)
    answer = sent(stow, body(file_of(image(f"1.2.53.1.{n}")) for n in range(3)))
    assert (answer.status_code, len(stored(answer.json()))) == (202, 2)
    assert "2 parts at most" in answer.headers["warning"]


def test_what_came_before_a_client_went_is_read() -> None:
    messages = iter(
        [{"type": "http.request", "body": b"abc", "more_body": True}, {"type": "http.disconnect"}]
    )

    async def receive() -> Any:
        return next(messages)

    async def turns() -> list[bytes]:
        read = []
        with suppress(ClientDisconnect):
            async for one in service._turns(Request({"type": "http"}, receive)):
                read.append(bytes(one))  # noqa: PERF401 - a comprehension would lose them all
        return read

    assert anyio.run(turns) == [b"abc"]
