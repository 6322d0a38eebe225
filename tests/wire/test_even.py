"""Odd lengths do not go out: DCMTK's getscu breaks off a study at the first (PS3.5 7.1.1, PS3.8 E.1)."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .conftest import RunningNode, Starter
from .peers import (
    EXPLICIT,
    IMPLICIT,
    STUDY_FIND,
    STUDY_GET,
    STUDY_MOVE,
    Scu,
    Sent,
    Sink,
    dcmtk,
    files_in,
    identifier,
    image,
    of_file,
)

pytestmark = pytest.mark.peer

CASE = Path(__file__).parents[1] / "data" / "cases" / "odd-pixel-data.dcm"


@pytest.fixture(params=["received", "htj2k"])
def node(request: pytest.FixtureRequest, start: Starter) -> RunningNode:
    """One in which objects lie as they came, or in another form."""
    return start(policy=[{"name": "all", "stages": [{"form": request.param}]}])


def objects() -> list[Sent]:
    """The case, and sound ones of its study and patient around it."""
    odd = of_file(CASE)
    own = {key: odd.dataset.get(key) for key in ("StudyInstanceUID", "PatientID", "PatientName")}
    first, last = (image(instance=f"1.2.9.{n}", **own) for n in (1, 2))
    return [first, odd, last]


def test_getscu_takes_the_whole_study(node: RunningNode, tmp_path: Path) -> None:
    sent = objects()
    node.keep(*sent)
    key = f"StudyInstanceUID={sent[0].dataset.StudyInstanceUID}"
    keys = ("-k", "QueryRetrieveLevel=STUDY", "-k", key)
    dcmtk("getscu", "-S", "+xe", "+B", "-aec", "ZSCP", "-od", tmp_path, *keys, *node.address)
    got = files_in(tmp_path)
    assert got.keys() == {one.instance for one in sent}
    assert [_pixels(got[one.instance]) for one in sent] == [
        _pixels(one) + b"\0" * (len(_pixels(one)) % 2) for one in sent
    ]


def _pixels(sent: Sent) -> bytes:
    return bytes(sent.dataset.PixelData)


@contextmanager
def recorded(address: tuple[str, int]) -> Iterator[tuple[tuple[str, int], bytearray]]:
    """A way to a node that keeps all that the node sends, as it is on the wire."""
    kept = bytearray()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def carry() -> None:
            near, _ = server.accept()
            with near, socket.create_connection(address) as far:
                threading.Thread(target=_pump, args=(near, far), daemon=True).start()
                _pump(far, near, kept)

        thread = threading.Thread(target=carry, daemon=True)
        thread.start()
        yield server.getsockname(), kept
        thread.join(30)


def _pump(source: socket.socket, target: socket.socket, kept: bytearray | None = None) -> None:
    try:
        while data := source.recv(65536):
            if kept is not None:
                kept += data
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def values(sent: bytes) -> Iterator[tuple[int, bytes]]:
    """Control header and content of each presentation data value."""
    at = 0
    while at < len(sent):
        kind, length = struct.unpack_from(">BxL", sent, at)
        within, at = at + 6, at + 6 + length
        while kind == 4 and within < at:
            (size,) = struct.unpack_from(">L", sent, within)
            yield sent[within + 5], sent[within + 6 : within + 4 + size]
            within += 4 + size


@pytest.mark.parametrize("longest", [16_384, 1_025])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
def test_all_that_a_get_sends_is_even(node: RunningNode, syntax: str, longest: int) -> None:
    sent = objects()
    node.keep(*sent)
    classes = sorted({one.sop_class for one in sent})
    contexts = [(STUDY_GET, [syntax]), (STUDY_FIND, [syntax]), *((uid, [syntax]) for uid in classes)]
    wanted = identifier("STUDY", StudyInstanceUID=sent[0].dataset.StudyInstanceUID)
    with (
        recorded(node.address) as (address, kept),
        Scu(address, contexts, roles=classes, max_pdu=longest) as scu,
    ):
        assert scu.get(STUDY_GET, wanted).final.status == 0
        assert len(scu.find(STUDY_FIND, identifier("STUDY", StudyInstanceUID="", PatientName=""))) == 2
    found = list(values(bytes(kept)))
    assert found
    assert {len(content) % 2 for _, content in found} == {0}
    whole = b"".join(content for control, content in found if not control & 1)
    assert _pixels(sent[1]) + b"\0" in whole


def test_what_is_moved_and_what_is_kept(node: RunningNode) -> None:
    sent = objects()
    node.keep(*sent)
    with Sink(lambda _, syntax: syntax == EXPLICIT) as sink:
        node.peer(sink.aet, sink.port)
        with node.scu((STUDY_MOVE, [IMPLICIT])) as scu:
            wanted = identifier("STUDY", StudyInstanceUID=sent[0].dataset.StudyInstanceUID)
            assert scu.move(STUDY_MOVE, wanted, sink.aet).final.status == 0
    assert _pixels(sink.objects[sent[1].instance]) == _pixels(sent[1]) + b"\0"
    instance = node.held(sent[1])
    assert b"".join(node.archive.fetch(instance, [EXPLICIT]).chunks) == sent[1].data
