"""Objects that cannot be read in the transfer syntax they were announced in: kept and listed, or refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from .conftest import NodeProcess, Starter
from .peers import (
    BIG_ENDIAN,
    DEFLATED,
    EXPLICIT,
    HTJ2K,
    IMPLICIT,
    JPEG2000,
    JPEG_BASELINE,
    JPEG_LOSSLESS,
    JPEGLS,
    JPEGXL,
    MR_IMAGE,
    RLE,
    STUDY_GET,
    STUDY_MOVE,
    Sent,
    Sink,
    as_file,
    identifier,
    image,
)

WARNING, MISMATCH, CANNOT_UNDERSTAND = 0xB007, 0xA900, 0xC002
_BEGINNINGS = {
    JPEG_BASELINE: b"\xff\xd8\xff\xe0",
    JPEG2000: b"\xff\x4f\xff\x51",
    JPEGXL: b"\xff\x0a\x10\x20",
    RLE: b"\1\0\0\0" + bytes(60),
}


def encapsulated(announced: str, beginning: bytes, instance: str, table: bool = True) -> Sent:
    """An image whose one fragment begins so, behind an empty Basic Offset Table, and maybe an empty one."""
    whole = image(instance=instance)
    header = whole.data[: whole.data.index(b"\xe0\x7f\x10\0OW")]
    fragment = beginning + bytes(100 + len(beginning) % 2)
    item = b"\xfe\xff\0\xe0"
    data = header + b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff" + item + bytes(4)
    data += b"" if table else item + bytes(4)
    data += item + len(fragment).to_bytes(4, "little") + fragment + b"\xfe\xff\xdd\xe0" + bytes(4)
    return Sent(MR_IMAGE, instance, announced, data)


def _unreadable() -> dict[str, tuple[Sent, int]]:
    """Each kind with the status of its refusal."""

    def written_as(number: int, announced: str, syntax: str = EXPLICIT) -> Sent:
        instance = f"1.9.{number}"
        return Sent(MR_IMAGE, instance, announced, image(instance=instance, syntax=syntax).data)

    def cut(number: int, syntax: str, size: int) -> Sent:
        whole = written_as(number, syntax, syntax)
        return replace(whole, data=whole.data[:-size])

    def begun(number: int, announced: str, family: str) -> Sent:
        return encapsulated(announced, _BEGINNINGS[family], f"1.9.{number}")

    tail = written_as(3, EXPLICIT)
    cannot_understand = {
        "noise": Sent(MR_IMAGE, "1.9.1", EXPLICIT, bytes(range(255, 5, -1)) * 20),
        "ends early": cut(2, EXPLICIT, 302),
        "ends in a tag": replace(tail, data=tail.data + b"\xfc\xff"),
        "implicit as explicit": written_as(4, EXPLICIT, IMPLICIT),
        "explicit as implicit": written_as(5, IMPLICIT),
        "big as little": written_as(6, EXPLICIT, BIG_ENDIAN),
        "little as big": written_as(7, BIG_ENDIAN),
        "not deflated": written_as(8, DEFLATED),
        "deflated, cut off": cut(9, DEFLATED, 200),
    }
    mismatched = {
        "fragments in explicit": begun(10, EXPLICIT, JPEG_BASELINE),
        "native in JPEG-LS": written_as(11, JPEGLS),
        "JPEG 2000 as JPEG": begun(12, JPEG_BASELINE, JPEG2000),
        "JPEG as HTJ2K": begun(13, HTJ2K, JPEG_BASELINE),
        "JPEG as RLE": begun(14, RLE, JPEG_BASELINE),
        "JPEG XL as JPEG-LS": begun(15, JPEGLS, JPEGXL),
    }
    return {
        **{kind: (sent, CANNOT_UNDERSTAND) for kind, sent in cannot_understand.items()},
        **{kind: (sent, MISMATCH) for kind, sent in mismatched.items()},
    }


KINDS = list(_unreadable())


@pytest.fixture(scope="module", params=[0, 10**9], ids=["encoded first", "landing"])
def node(start_shared: Starter, request: pytest.FixtureRequest) -> Any:
    return start_shared(storage={"backlog": request.param}, query={"hierarchy": "lenient"})


@pytest.mark.parametrize("kind", KINDS)
def test_kept_with_a_warning_that_says_why(node: Any, kind: str) -> None:
    sent, _ = _unreadable()[kind]
    for answer in node.store(sent, sent):  # once more: it is held already, and as bad as before
        assert answer.status == WARNING
        assert 0 < len(answer.comment) <= 64
    held = node.held(sent)
    assert not held.readable
    node.archive.verify(held, deep=True)
    with node.scu((STUDY_GET, [EXPLICIT]), (MR_IMAGE, [sent.syntax]), roles=[MR_IMAGE]) as scu:
        done = scu.get(STUDY_GET, identifier("IMAGE", SOPInstanceUID=sent.instance))
    assert (done.final.status, [one.data for one in done.objects]) == (0, [sent.data])


@pytest.mark.parametrize("syntax", [JPEG_BASELINE, JPEG_LOSSLESS, JPEGLS, JPEG2000, HTJ2K, JPEGXL, RLE])
def test_what_begins_as_announced_or_as_nothing_known_is_left_to_its_codec(node: Any, syntax: str) -> None:
    family = {JPEG_LOSSLESS: JPEG_BASELINE, JPEGLS: JPEG_BASELINE, HTJ2K: JPEG2000}.get(syntax, syntax)
    for number, beginning in enumerate((_BEGINNINGS[family], b"\x12\x34\x56\x78")):
        sent = encapsulated(syntax, beginning, f"1.9.20.{number}.{syntax}", table=bool(number))
        assert [one.status for one in node.store(sent)] == [0]


def test_an_unknown_transfer_syntax_is_no_fault_of_the_object(node: Any) -> None:
    """Nobody here knows how it is encoded."""
    sent = Sent(MR_IMAGE, "1.9.30", "1.2.3.4.5", image(instance="1.9.30", syntax=IMPLICIT).data)
    assert [one.status for one in node.store(sent)] == [0]


@pytest.mark.parametrize("backlog", [0, 10**9], ids=["encoded first", "landing"])
def test_refused_where_that_is_wanted(start: Starter, backlog: int) -> None:
    node = start(storage={"unreadable": "reject", "backlog": backlog})
    for sent, status in _unreadable().values():
        (answer, sound) = node.store(sent, image(instance="1.9.40"))
        assert (answer.status, bool(answer.comment), sound.status) == (status, True, 0)
    assert [one.sop_instance_uid for one in node.archive.index.all()] == ["1.9.40"]


def test_what_is_sent_on_with_a_warning_has_arrived(start: Starter) -> None:
    """The next archive's warning is counted as one."""
    node = start(policy=[{"name": "all", "stages": [{"form": "received"}]}])
    sent, _ = _unreadable()["noise"]
    node.store(sent)
    with Sink(status=lambda _: WARNING) as sink:
        node.peer("SINK", sink.port)
        with node.scu((STUDY_MOVE, [EXPLICIT])) as scu:
            study = node.held(sent).study_instance_uid
            done = scu.move(STUDY_MOVE, identifier("STUDY", StudyInstanceUID=study), "SINK")
    assert (done.final.status, done.final.counts) == (0xB000, (None, 0, 0, 1))


def test_listed(process: Callable[..., NodeProcess], tmp_path: Any) -> None:
    node = process()
    for number, kind in enumerate(("noise", "fragments in explicit")):
        as_file(_unreadable()[kind][0], tmp_path / f"{number}.dcm")
    as_file(image(), tmp_path / "sound.dcm")
    node.here("import", *tmp_path.glob("*.dcm"))
    rows = json.loads(node.here("ls", "--unreadable", "--json"))
    assert {row["sop_instance_uid"]: row["fault"] for row in rows} == {
        "1.9.1": "(FEFF,FCFD) at byte 0 has no VR",
        "1.9.10": "encapsulated pixels in ExplicitVRLittleEndian",
    }
    assert {row["transfer_syntax"] for row in rows} == {EXPLICIT}
    table = node.here("ls", "--unreadable")
    assert "encapsulated pixels in ExplicitVRLittleEndian" in table
    assert len(json.loads(node.here("ls", "--unreadable", "--limit", "1", "--json"))) == 1


def test_an_object_beyond_a_limit_is_counted_by_its_key(
    start: Starter, reached: Callable[[str], float]
) -> None:
    node = start(limits={"elements": 10})
    with capture_logs() as logged:
        assert node.store(image())[0].status == WARNING
    assert reached("limits.elements") == 1
    assert [one["limit"] for one in logged if one["event"] == "c-store"] == ["limits.elements"]


def test_an_object_beyond_a_limit_that_is_sent_again_is_counted_once_more(
    start: Starter, reached: Callable[[str], float]
) -> None:
    node = start(limits={"elements": 10}, storage={"backlog": "1GB"})
    sent = image()
    for _ in range(2):
        assert node.store(sent)[0].status == WARNING
    assert reached("limits.elements") == 2
