"""The header of a stored object, row by row: the values, and the bounds for hostile ones."""

from __future__ import annotations

import struct
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path

import pytest
from objects import Shape, phantom

from scp.archive.archive import Archive
from scp.encoding.elements import CANONICAL, Encoding
from scp.errors import BeyondBounds, UnreadableDataset
from scp.index.sql import SqlIndex
from scp.objects.local import LocalStore
from scp.syntaxes import BIG_ENDIAN, DEFLATED, EXPLICIT, IMPLICIT
from scp.viewing.header import ElementRow, header_view, rows

UNDEFINED = b"\xff\xff\xff\xff"


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    """An element with a length of 16 bits."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def sequence(content: bytes) -> bytes:
    """A sequence of undefined length with one such item."""
    item = b"\xfe\xff\0\xe0" + UNDEFINED + content + b"\xfe\xff\x0d\xe0\0\0\0\0"
    return b"\x08\0\x15\x11SQ\0\0" + UNDEFINED + item + b"\xfe\xff\xdd\xe0\0\0\0\0"


def values(stream: bytes, characters: int = 32) -> list[str]:
    return [row.value for row in rows(stream, CANONICAL, characters)]


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, BIG_ENDIAN, DEFLATED])
def test_an_object_is_shown_as_it_is_stored(tmp_path: Path, syntax: str) -> None:
    held = Archive(LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), [])
    instance = held.ingest(phantom(Shape(), syntax)).instance
    found = header_view(held, instance)
    held.close()
    told = {row.keyword: row for row in found.rows}
    assert told["PatientName"].value == "Phantom^Ünïcode"
    assert (told["Rows"].value, told["Rows"].vr, told["Rows"].length) == ("16", "US", 2)
    assert told["ReferencedSOPInstanceUID"].depth == 1
    assert told["PixelData"].shortened
    assert found.rows[-1].keyword == "PixelData"
    meta = {row.keyword: row.value for row in found.file_meta}
    assert meta["TransferSyntaxUID"] == found.transfer_syntax
    assert found.provenance.calling_aet == "MODALITY"
    assert (found.more, found.fault) == (False, "")


def test_rows_come_in_pages(tmp_path: Path) -> None:
    held = Archive(LocalStore(tmp_path / "objects"), SqlIndex.open(f"sqlite:///{tmp_path}/index.db"), [])
    instance = held.ingest(phantom(Shape())).instance
    whole = header_view(held, instance).rows
    first, second = header_view(held, instance, 0, 5), header_view(held, instance, 5, 1000)
    held.close()
    assert first.more
    assert not second.more
    assert first.rows + second.rows == whole


def test_control_characters_are_escaped() -> None:
    assert values(element(0x00104000, b"LT", b"a\x07\x9b")) == ["a\\x07\\x9b"]
    assert values(element(0x00080022, b"DA", b"\x1b]0;b\x07")) == ["\\x1b]0;b\\x07"]


def test_a_character_set_holds_for_what_is_behind_it() -> None:
    name = "Müller^Jörg"
    stream = element(0x00080005, b"CS", b"ISO_IR 192") + element(0x00100010, b"PN", name.encode())
    inner = element(0x00080005, b"CS", b"ISO_IR 100") + element(0x00100010, b"PN", name.encode("latin-1"))
    assert values(stream + sequence(inner)) == ["ISO_IR 192", name, "", "", "ISO_IR 100", name]


def test_long_values_are_shortened_before_they_are_read() -> None:
    stream = b"\x08\0\x18\x00UT\0\0" + struct.pack("<L", 50_000_000) + b"x" * 50_000_000
    begun = time.process_time()
    (row,) = rows(stream, CANONICAL, 20)
    assert time.process_time() - begun < 1
    assert (row.value, row.shortened, row.length) == ("x" * 20, True, 50_000_000)


def test_sequences_that_nest_too_deep_end_it() -> None:
    stream = b""
    for _ in range(100):
        stream = sequence(stream)
    found: list[ElementRow] = []
    with pytest.raises(BeyondBounds, match=r"limits\.depth"):
        found.extend(rows(stream, CANONICAL, 20))
    found = list(islice(rows(stream, CANONICAL, 20), 100))
    assert max(row.depth for row in found) > 40


def test_only_what_is_asked_for_is_read() -> None:
    """A page of a million elements takes no longer than one of a hundred."""
    stream = element(0x00090010, b"LO", b"made up ") * 1_000_000
    begun = time.process_time()
    assert len(list(islice(rows(stream, CANONICAL, 20), 100))) == 100
    assert time.process_time() - begun < 1


@pytest.mark.parametrize(
    "stream",
    [
        b"\x08",
        b"\x08\0\x18\0UI\xff\xff1.2",
        b"\xfe\xff\xdd\xe0\0\0\0\0",
        b"\xfe\xff\x0d\xe0\0\0\0\0",
        b"\x08\0\x15\x11SQ\0\0" + UNDEFINED,
        b"\x08\0\x15\x11SQ\0\0" + UNDEFINED + b"\xfe\xff\0\xe0" + UNDEFINED + b"\xfe\xff\xdd\xe0\0\0\0\0",
    ],
)
def test_a_stream_that_cannot_be_followed_says_so(stream: bytes) -> None:
    with pytest.raises(UnreadableDataset):
        list(rows(stream, CANONICAL, 20))


def test_every_cut_of_a_stream_ends_or_says_why() -> None:
    stream = sequence(sequence(element(0x00080018, b"UI", b"1.2.3.4\0")) + element(0x00100020, b"LO", b"id"))
    for encoding in (CANONICAL, Encoding(explicit=False), Encoding(little=False)):
        for end in range(len(stream)):
            with suppress(UnreadableDataset):  # a reason is an answer
                assert len(list(rows(stream[:end], encoding, 20))) < 20
