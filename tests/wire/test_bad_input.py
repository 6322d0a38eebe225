"""What no peer should send, and what a machine should not run out of: the node keeps its word and goes on."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import struct
import subprocess
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from pynetdicom.dimse_primitives import C_STORE

from scp import spool
from scp.archive.behind import Behind
from scp.errors import OutOfResources
from scp.objects import local
from scp.resources import room
from scp.resources.room import free_bytes

from .configured import journal
from .conftest import RunningNode, Starter
from .peers import (
    BIG_ENDIAN,
    CT_IMAGE,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG2000,
    JPEG_BASELINE,
    JPEGLS,
    MPEG4,
    MR_IMAGE,
    PRIVATE_CLASS,
    SECONDARY_CAPTURE,
    STUDY_GET,
    VERIFICATION,
    Scu,
    Sent,
    identifier,
    image,
    until,
)


@pytest.fixture(scope="module")
def node(start_shared: Starter) -> RunningNode:
    return start_shared(query={"hierarchy": "lenient"})


@pytest.fixture(autouse=True)
def _goes_on(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every case the node answers, keeps a new object, and has nothing left over."""
    yield
    if "node" in request.fixturenames:
        node = request.getfixturevalue("node")
        node.answers_echo()
        fresh = image()
        node.keep(fresh)
        node.archive.verify(node.held(fresh), deep=True)
        _nothing_left(node)


def _nothing_left(node: RunningNode) -> None:
    rows = {node.root / "objects" / instance.key for instance in node.archive.index.all()}
    assert set(node.files()) == rows
    assert journal(node.root / "objects") == []


# -- below DIMSE ---------------------------------------------------------------------------------------


def _associate_rq(called: bytes = b"ZSCP", abstract: bytes = VERIFICATION.encode()) -> bytes:
    """An A-ASSOCIATE-RQ with one context (PS3.8 9.3.2)."""

    def item(kind: int, value: bytes) -> bytes:
        return struct.pack(">BBH", kind, 0, len(value)) + value

    context = item(0x20, b"\1\0\0\0" + item(0x30, abstract) + item(0x40, IMPLICIT.encode()))
    user = item(0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3.4"))
    body = struct.pack(">HH", 1, 0) + called.ljust(16) + b"RAW".ljust(16) + b"\0" * 32
    body += item(0x10, b"1.2.840.10008.3.1.1.1") + context + user
    return struct.pack(">BBI", 1, 0, len(body)) + body


def _read_all(connection: socket.socket) -> bytes:
    """What comes until the other side hangs up."""
    connection.settimeout(15)
    received = b""
    with_more = True
    while with_more:
        try:
            part = connection.recv(65536)
        except ConnectionResetError:
            break
        received += part
        with_more = bool(part)
    return received


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n",
        b"\0" * 100,
        os.urandom(7) + b"\xff" * 500,
        struct.pack(">BBI", 4, 0, 10) + b"\0\0\0\6\1\3" + b"\0" * 4,
        _associate_rq()[:40] + b"\xff" * 200,
    ],
    ids=["HTTP", "zeros", "noise", "P-DATA first", "broken A-ASSOCIATE"],
)
def test_garbage_instead_of_a_pdu(node: RunningNode, garbage: bytes) -> None:
    with socket.create_connection(node.address, timeout=10) as connection:
        connection.sendall(garbage)
        with suppress(OSError):  # the node may have hung up already
            connection.shutdown(socket.SHUT_WR)
        answer = _read_all(connection)
    assert answer[:1] in (b"", b"\3", b"\7")  # nothing, a rejection, or an A-ABORT


@pytest.mark.parametrize("length", [3, 6, 60])
def test_truncated_pdu(node: RunningNode, length: int) -> None:
    with socket.create_connection(node.address, timeout=10) as connection:
        connection.sendall(_associate_rq()[:length])
    with socket.create_connection(node.address, timeout=10) as connection:
        connection.sendall(_associate_rq())
        assert connection.recv(1) == b"\2"
        connection.sendall(struct.pack(">BBI", 4, 0, 1000) + b"\0" * length)


def test_a_pdu_that_never_ends(start: Starter) -> None:
    """Its sender stays connected and silent: it must not hold a place for ever."""
    node = start(limits={"idle_seconds": 1, "acse_seconds": 1})
    with socket.create_connection(node.address) as silent, socket.create_connection(node.address) as half:
        half.sendall(_associate_rq())
        assert half.recv(1) == b"\2"
        half.sendall(struct.pack(">BBI", 4, 0, 1000) + b"\0" * 10)
        assert isinstance(_read_all(silent), bytes)
        assert isinstance(_read_all(half), bytes)
    until(lambda: not node.node.server.associations.all(), "both are given up")
    node.answers_echo()


def test_message_over_a_context_that_was_refused(node: RunningNode) -> None:
    with socket.create_connection(node.address, timeout=10) as connection:
        connection.sendall(_associate_rq(abstract=b"1.2.840.10008.5.1.1.9"))
        head = connection.recv(6)
        assert head[:1] == b"\2"
        connection.recv(struct.unpack(">I", head[2:])[0])
        command = _element(0x0002, VERIFICATION.encode() + b"\0") + _element(0x0100, b"\x30\0")
        command += _element(0x0110, b"\1\0") + _element(0x0800, b"\1\1")
        command = _element(0x0000, struct.pack("<I", len(command))) + command
        pdv = struct.pack(">IBB", len(command) + 2, 1, 3) + command
        connection.sendall(struct.pack(">BBI", 4, 0, len(pdv)) + pdv)
        assert _read_all(connection)[:1] == b"\7"


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


@pytest.mark.parametrize("how", ["abort", "gone"])
def test_broken_off_in_an_object(node: RunningNode, how: str) -> None:
    """Half an object is none: no file, no row, nothing in the journal."""
    sent = image(rows=600)
    with node.scu((MR_IMAGE, [EXPLICIT])) as scu:
        association = scu.association
        parts = 0

        def some(primitive: Any, original: Callable[[Any], None] = association.dul.send_pdu) -> None:
            nonlocal parts
            parts += 1
            if parts <= 3:
                original(primitive)

        association.dul.send_pdu = some  # type: ignore[method-assign]
        scu.begin_store(sent)
        assert parts > 4
        until(lambda: not association.dul.to_provider_queue.qsize(), "half of it is sent")
        del association.dul.send_pdu
        if how == "abort":
            association.abort()
        else:
            association.dul.socket.close()
            association.abort()
    until(lambda: not node.node.server.associations.all(), "its association is gone")
    assert node.archive.index.newest(sent.instance) is None
    _nothing_left(node)


# -- who may, and what -----------------------------------------------------------------------------------


def test_contexts_that_are_not_supported(node: RunningNode) -> None:
    contexts = [
        ("1.2.840.10008.5.1.1.9", [IMPLICIT]),  # basic greyscale print
        ("1.2.840.10008.5.1.4.31", [IMPLICIT]),  # modality worklist
        (MR_IMAGE, ["1.2.840.10008.1.1"]),  # no transfer syntax
        (MR_IMAGE, [EXPLICIT]),
    ]
    with node.scu(*contexts) as scu:
        assert list(scu.accepted) == [(MR_IMAGE, EXPLICIT)]
        refused = {(c.abstract_syntax, c.result) for c in scu.association.rejected_contexts}
    assert refused == {("1.2.840.10008.5.1.1.9", 3), ("1.2.840.10008.5.1.4.31", 3), (MR_IMAGE, 4)}


def test_unknown_transfer_syntaxes_are_taken_where_unknown_objects_are(start: Starter) -> None:
    node = start()
    with node.scu((MR_IMAGE, ["1.2.3.4.5"]), (CT_IMAGE, ["1.2.3.4.5", EXPLICIT])) as scu:
        assert sorted(scu.accepted) == [(CT_IMAGE, EXPLICIT), (MR_IMAGE, "1.2.3.4.5")]
    node.reload(access={"unknown_sop_classes": False})
    with node.scu((MR_IMAGE, ["1.2.3.4.5"]), (MR_IMAGE, [EXPLICIT])) as scu:
        assert list(scu.accepted) == [(MR_IMAGE, EXPLICIT)]


@pytest.mark.parametrize(
    ("proposed", "expected"),
    [
        ([IMPLICIT, EXPLICIT], EXPLICIT),
        ([JPEG_BASELINE, IMPLICIT], IMPLICIT),
        ([JPEG_BASELINE, JPEGLS], JPEGLS),
        ([JPEG2000, JPEGLS, HTJ2K], HTJ2K),
        ([BIG_ENDIAN, IMPLICIT], IMPLICIT),
        ([JPEGLS, BIG_ENDIAN, DEFLATED], BIG_ENDIAN),
        ([MPEG4, JPEG_BASELINE], JPEG_BASELINE),
    ],
)
def test_preference_within_a_context(node: RunningNode, proposed: list[str], expected: str) -> None:
    with node.scu((MR_IMAGE, proposed)) as scu:
        assert list(scu.accepted) == [(MR_IMAGE, expected)]


def test_video_classes_prefer_video(node: RunningNode) -> None:
    with node.scu(("1.2.840.10008.5.1.4.1.1.77.1.1.1", [EXPLICIT, MPEG4])) as scu:
        assert [syntax for _, syntax in scu.accepted] == [MPEG4]


def test_called_ae_title(start: Starter) -> None:
    node = start()
    wrong = Scu(node.address, [(VERIFICATION, [IMPLICIT])], called="OTHER")
    assert not wrong.established
    assert wrong.association.is_rejected
    assert wrong.association.acceptor.primitive.diagnostic == 7
    node.reload(access={"check_called_aet": False})
    with node.scu((VERIFICATION, [IMPLICIT]), called="OTHER") as scu:
        assert scu.echo() == 0


def test_calling_ae_title(start: Starter) -> None:
    node = start(access={"allow": "known"})
    stranger = Scu(node.address, [(VERIFICATION, [IMPLICIT])], calling="STRANGER")
    assert not stranger.established
    assert stranger.association.acceptor.primitive.diagnostic == 3
    node.peer("FRIEND", 104)
    with node.scu((VERIFICATION, [IMPLICIT]), calling="FRIEND") as scu:
        assert scu.echo() == 0


def test_association_limit(start: Starter) -> None:
    node = start(limits={"associations": 2})
    contexts = (VERIFICATION, [IMPLICIT])
    with node.scu(contexts) as one, node.scu(contexts) as two:
        assert one.echo() == two.echo() == 0
        third = Scu(node.address, [contexts])
        assert third.association.is_rejected
        assert third.association.acceptor.primitive.result == 2  # transient: try again later
    until(lambda: not node.node.server.associations.all(), "both have gone")
    node.answers_echo()


# -- objects that are not what they should be ------------------------------------------------------------


@pytest.mark.parametrize("keyword", ["sop_class", "instance"])
def test_uids_that_disagree(node: RunningNode, keyword: str) -> None:
    sent = image()
    with node.scu((MR_IMAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])) as scu:
        answer = scu.store(sent, **{keyword: "1.2.3.4.5"})
        assert answer.status == 0xA900
        assert "1.2.3.4.5" in answer.comment or answer.comment.endswith("...")
        assert scu.echo() == 0
        assert scu.store(sent).status == 0
    assert node.archive.index.newest("1.2.3.4.5") is None


def _unreadable() -> dict[str, Sent]:
    whole = image(rows=16)
    noise = bytes(range(255, 5, -1)) * 20
    return {
        "noise": Sent(MR_IMAGE, "1.9.1", EXPLICIT, noise),
        "cut off": Sent(MR_IMAGE, "1.9.2", EXPLICIT, image(instance="1.9.2").data[:-302]),
        "cut in a tag": Sent(
            MR_IMAGE, "1.9.3", EXPLICIT, image(instance="1.9.3", PixelData=None).data + b"\xe0\x7f"
        ),
        "wrong syntax": Sent(MR_IMAGE, "1.9.4", JPEGLS, image(instance="1.9.4", syntax=IMPLICIT).data),
        "big endian": Sent(MR_IMAGE, "1.9.5", EXPLICIT, image(instance="1.9.5", syntax=BIG_ENDIAN).data),
        "not deflated": Sent(MR_IMAGE, "1.9.6", DEFLATED, whole.data),
        "no fragments": Sent(MR_IMAGE, "1.9.7", JPEGLS, image(instance="1.9.7").data),
    }


@pytest.mark.parametrize("kind", list(_unreadable()))
def test_unreadable_objects_are_kept_as_they_came(node: RunningNode, kind: str) -> None:
    sent = _unreadable()[kind]
    with structlog.testing.capture_logs() as logged:
        assert [answer.status for answer in node.store(sent)] == [0xB007]
    (event,) = [event for event in logged if event["event"] == "c-store"]
    held = node.held(sent)
    assert (held.readable, event["readable"], bool(event["fault"])) == (False, False, True)
    node.archive.verify(held, deep=True)
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [sent.syntax]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("IMAGE", SOPInstanceUID=sent.instance))
    assert done.final.status == 0
    assert [one.data for one in done.objects] == [sent.data]


def test_unreadable_object_in_another_syntax_fails_alone(node: RunningNode) -> None:
    good, bad = image(instance="1.9.9"), _unreadable()["noise"]
    assert [answer.status for answer in node.store(good, bad)] == [0, 0xB007]
    query = identifier("IMAGE", SOPInstanceUID=[good.instance, bad.instance])
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [IMPLICIT]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, query)
    assert (done.final.status, [one.instance for one in done.objects]) == (0xB000, [good.instance])


def test_no_dataset(node: RunningNode) -> None:
    with node.scu((MR_IMAGE, [EXPLICIT]), (VERIFICATION, [IMPLICIT])) as scu:
        request = scu._prepared(C_STORE(), MR_IMAGE)
        request.AffectedSOPInstanceUID = "1.9.10"
        scu.send(request, scu.context(MR_IMAGE))
        answer = scu._answer(scu.message()[1], EXPLICIT)
        assert answer.status >> 8 == 0xC0
        assert answer.comment
        assert scu.echo() == 0


def test_private_sop_class(start: Starter) -> None:
    node = start()
    sent = image(sop_class=PRIVATE_CLASS)
    node.keep(sent)
    with node.scu((STUDY_GET, [EXPLICIT]), (PRIVATE_CLASS, [EXPLICIT]), roles=[PRIVATE_CLASS]) as scu:
        done = scu.get(STUDY_GET, identifier("STUDY", StudyInstanceUID="1.2.3"))
    assert [one.data for one in done.objects] == [sent.data]
    node.reload(access={"unknown_sop_classes": False})
    with node.scu((PRIVATE_CLASS, [EXPLICIT]), (MR_IMAGE, [EXPLICIT])) as scu:
        assert list(scu.accepted) == [(MR_IMAGE, EXPLICIT)]


# -- no room -----------------------------------------------------------------------------------------------


def test_reserve_is_reached(start: Starter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refused before anything is written; taken again once there is room."""
    node = start(storage={"reserve": shutil.disk_usage(tmp_path).total})
    wrote: list[Path] = []
    monkeypatch.setattr(local, "_write", lambda path, *_: wrote.append(path))
    (answer,) = node.store(image())
    assert answer.status == 0xA700
    assert "reserve" in answer.comment
    assert wrote == []
    monkeypatch.undo()
    _nothing_left(node)
    node.archive.store.inner.inner.room.reserve = 0
    node.keep(image())


@pytest.mark.parametrize("where", ["_write", "sync_folder", "_place"])
def test_disk_is_full(node: RunningNode, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """At each step of a store: nothing of it stays, and what was there stays."""
    target = local.LocalStore if where == "_place" else local
    original = getattr(target, where)

    def full(*arguments: Any) -> None:
        if where == "_write":
            arguments[0].write_bytes(bytes(arguments[1][0])[:100])
        else:
            original(*arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    before = image(instance="1.8.1")
    node.keep(before)
    monkeypatch.setattr(target, where, full)
    (answer, again) = node.store(image(instance="1.8.2"), image(instance="1.8.1", seed=5))
    assert (answer.status, again.status) == (0xA700, 0xA700)
    assert answer.comment
    monkeypatch.undo()
    _nothing_left(node)
    node.archive.verify(node.held(before), deep=True)
    assert node.archive.index.newest("1.8.2") is None


def test_index_does_not_answer(node: RunningNode, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise OutOfResources("the index does not answer: database or disk is full")

    for verb in ("add", "record"):
        monkeypatch.setattr(node.archive.index, verb, fails)
    monkeypatch.setattr(Behind, "takes", lambda *_: False)  # it has noticed that before
    (answer,) = node.store(image(instance="1.8.3"))
    assert answer.status == 0xA700
    monkeypatch.undo()
    _nothing_left(node)


def test_a_disk_that_is_really_full(node: RunningNode, start: Starter, tmp_path: Path) -> None:
    """Every acknowledged object is sound, and the node goes on when there is room again."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=10).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        small = start(storage={"url": f"file://{disk}/objects"}, index={"url": f"sqlite:///{disk}/index.db"})
        ballast = disk / "ballast"
        ballast.write_bytes(b"\0" * 1_000_000)
        sent = [image(seed=n, rows=200) for n in range(60)]
        statuses = [answer.status for answer in small.store(*sent)]
        assert set(statuses) == {0, 0xA700}
        for one, status in zip(sent, statuses, strict=True):
            if status == 0:
                small.archive.verify(small.held(one), deep=True)
            else:
                assert small.archive.index.newest(one.instance) is None
        ballast.unlink()
        refused = [one for one, status in zip(sent, statuses, strict=True) if status]
        small.keep(refused[0])
        assert len(list(disk.rglob("*.dcm*"))) == statuses.count(0) + 1
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=10)
        spool.keep_in(node.root)  # not where no disk is any more: other tests go on in this process


def test_large_object_in_many_pdus(node: RunningNode) -> None:
    sent = image(sop_class=SECONDARY_CAPTURE, rows=1500)
    node.keep(sent)
    assert node.held(sent).received_size == len(sent.data)


def test_the_reserve_of_a_small_disk(node: RunningNode, start: Starter, tmp_path: Path) -> None:
    """Kept by what is received, and by what a few kilobytes inflate to; other stores go on meanwhile."""
    disk = tmp_path / "small"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False, timeout=10).returncode:
        pytest.skip("no right to mount a small disk")
    try:
        url, reserve = f"file://{disk}/objects", 40_000_000
        small = start(storage={"url": url, "reserve": reserve}, index={"url": f"sqlite:///{disk}/index.db"})
        small.keep(image())  # the segments of the landing log are there
        tail = struct.pack("<HH2sxxL", 0x7FE1, 0x10, b"OB", 120 << 20) + bytes(120 << 20)
        large, other = (
            image(sop_class=SECONDARY_CAPTURE, instance=instance).data + tail
            for instance in ("1.9.1", "1.9.2")
        )
        bomb = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        deflated = bomb.compress(other) + bomb.flush()
        least, done = [free_bytes(disk)], threading.Event()

        def watch() -> None:
            while not done.wait(0.001):
                least[0] = min(least[0], free_bytes(disk))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            sent = [
                Sent(SECONDARY_CAPTURE, "1.9.1", EXPLICIT, large),
                Sent(SECONDARY_CAPTURE, "1.9.2", DEFLATED, deflated + b"\0" * (len(deflated) % 2)),
            ]
            for one in sent:
                (refused,) = small.store(one)
                assert refused.status == 0xA700
                assert "reserve" in refused.comment
                small.keep(image(seed=3, instance=f"1.9.3.{len(one.data)}"))
        finally:
            done.set()
            watching.join(10)
        assert reserve - 3 * room.STEP <= least[0] < reserve + 5 * room.STEP, "to the edge, not beyond"
        assert free_bytes(disk) > reserve
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True, timeout=10)
        spool.keep_in(node.root)  # as above
