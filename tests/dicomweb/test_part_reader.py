"""Multipart bodies as they arrive, in pieces of any size: good ones, odd ones, and those of an enemy."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Mapping
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scp.spool import Buffer
from scp.web.dicomweb.multipart import Multipart
from scp.web.dicomweb.store.part_reader import (
    LONGEST_BESIDE,
    LONGEST_HEADERS,
    MalformedBody,
    PartReader,
    parsed,
)

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


class Parts:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.headers: list[Mapping[str, str] | None] = []
        self.contents: list[bytes] = []
        self.whole = 0

    def begin(self, headers: Mapping[str, str] | None) -> None:
        assert len(self.contents) == self.whole
        self.headers.append(headers)
        self.contents.append(b"")

    def write(self, data: Buffer) -> None:
        assert data
        self.contents[-1] += data

    def end(self) -> None:
        self.whole += 1
        assert len(self.contents) == self.whole


def read(body: bytes, cuts: Iterable[int] = (), boundary: str = "b", close: bool = True) -> Parts:
    """The parts of a body that arrives in pieces."""
    found = Parts()
    reader = PartReader(boundary, found)
    for begin, end in pairwise((0, *sorted(cut % (len(body) + 1) for cut in cuts), len(body))):
        reader.feed(body[begin:end])
    if close:
        reader.close()
    return found


# What looks like a delimiter, or the beginning of one, is the most likely to be taken for one.
_DATA = st.lists(
    st.sampled_from([b"\r\n--b", b"\r\n", b"--", b"b", b"\r", b"-", b"a", b"\0" * 50]), max_size=9
).map(b"".join)
_CUTS = st.lists(st.integers(0, 400), max_size=12)


def is_part(data: bytes) -> bool:
    """Whether data can stand in a part, as no line of it is a delimiter."""
    lines = (b"\r\n" + data).split(b"\r\n--b")[1:]
    return not any(
        line.startswith(b"--") or line.lstrip(b" \t")[:2] in (b"\r\n", b"\r", b"") for line in lines
    )


@given(st.lists(_DATA.filter(is_part), min_size=1, max_size=4), _CUTS)
@example([b"\r\n--bb", b"--", b"\r\n--b-"], [1, 5, 6])
def test_every_content_comes_back_byte_for_byte(contents: list[bytes], cuts: list[int]) -> None:
    body = b"".join(b"--b\r\nContent-Type: a/b\r\n\r\n" + each + b"\r\n" for each in contents) + b"--b--"
    found = read(body, cuts)
    assert found.contents == contents
    assert found.headers == [{"content-type": "a/b"}] * len(contents)
    assert found.whole == len(contents)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=4), _CUTS)
def test_what_the_archive_writes_can_be_read_by_it(contents: list[bytes], cuts: list[int]) -> None:
    made = Multipart("application/dicom")
    body = b"".join(made.head({"Content-Type": "application/dicom"}) + each for each in contents) + made.end()
    assert read(body, cuts, made.boundary).contents == contents


@given(st.binary(max_size=300) | _DATA, _CUTS, _CUTS)
def test_pieces_make_no_difference(body: bytes, cuts: list[int], others: list[int]) -> None:
    def told(at: list[int]) -> object:
        try:
            found = read(body, at)
        except MalformedBody as error:
            return str(error)
        return found.headers, found.contents, found.whole

    assert told(cuts) == told(others)


@pytest.mark.parametrize(
    ("body", "contents"),
    [
        (b"--b\r\n\r\nx\r\n--b--", [b"x"]),
        (b"\r\n--b\r\n\r\nx\r\n--b--\r\n", [b"x"]),
        (b"a preamble\r\n--b\r\n\r\nx\r\n--b--\r\nan epilogue", [b"x"]),
        (b"--b \t \r\n\r\nx\r\n--b \r\n\r\ny\r\n--b--", [b"x", b"y"]),
        (b"--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\r\nA: 1\r\n\r\n--b--", [b""]),
        (b"--b\r\nA: 1\r\n--b\r\nB: 2\r\n\r\nx\r\n--b--", [b"", b"x"]),
        (b"--b\r\n--b--", [b""]),
        (b"--b\r\n\r\n--b\r\n\r\nx\r\n--b--", [b"", b"x"]),
        (b"--b\r\n\r\n\r\n--bx\r\n--b--", [b"\r\n--bx"]),
        (b"--b\r\n\r\n--b is no line\r\n--b--", [b"--b is no line"]),
        (b"--b\r\n\r\nx\n--b\n\r\n--b--", [b"x\n--b\n"]),
    ],
)
def test_lines_that_are_delimiters(body: bytes, contents: list[bytes]) -> None:
    for step in (1, 2, 1000):
        found = read(body, range(0, len(body), step))
        assert (found.contents, found.whole) == (contents, len(contents))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "no part"),
        (b"--c\r\n\r\nx\r\n--c--", "no part"),
        (b"--b\n\nx\n--b--\n", "no part"),
        (b"--b\r\nContent-Type: a/b", "within a part"),
        (b"--b\r\n\r\nx", "within a part"),
        (b"--b\r\n\r\nx\r\n--b", "within a part"),
        (b"--b\r\n\r\nx\r\n--b\r\n", "within a part"),
    ],
)
def test_a_body_without_its_end(body: bytes, told: str) -> None:
    with pytest.raises(MalformedBody, match=told):
        read(body)


def test_the_part_before_a_missing_end_is_not_told_of_as_whole() -> None:
    found = read(b"--b\r\n\r\nx\r\n--b\r\n\r\nhalf", close=False)
    assert (found.whole, found.contents[0]) == (1, b"x")


@pytest.mark.parametrize("boundary", ["", " ", "b ", "b\r\n", "b\0", "ü", "b" * 71])
def test_what_is_no_boundary(boundary: str) -> None:
    with pytest.raises(MalformedBody):
        PartReader(boundary, Parts())


def test_a_flood_of_headers_costs_its_part_alone() -> None:
    flood = b"".join(b"X-%d: 1\r\n" % n for n in range(10_000))
    found = read(b"--b\r\n" + flood + b"\r\nx\r\n--b\r\nA: 1\r\n\r\ny\r\n--b--", range(0, 200_000, 4096))
    assert found.headers == [None, {"a": "1"}]
    assert (found.contents[1], found.whole) == (b"y", 2)


def test_what_belongs_to_no_part_is_bounded() -> None:
    beside = b"x" * (LONGEST_BESIDE + 1)
    for body in (beside, b"--b\r\n\r\nx\r\n--b--" + beside):
        with pytest.raises(MalformedBody, match="belong to no part"):
            read(body)


def test_memory_does_not_grow_with_a_part() -> None:
    class Nowhere(Parts):
        def write(self, data: Buffer) -> None:
            self.size = getattr(self, "size", 0) + len(data)

    found = Nowhere()
    reader = PartReader("b", found)
    reader.feed(b"--b\r\n\r\n")
    piece = b"\r\n--" * 16_384
    tracemalloc.start()
    for _ in range(256):
        reader.feed(piece)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    reader.feed(b"\r\n--b--")
    assert found.size == 256 * len(piece)
    assert most < 8 * len(piece) + 2 * LONGEST_HEADERS


def test_a_sink_may_keep_what_it_was_given() -> None:
    """As the traceback of an error does, which stands for the part until that is told of."""

    class Keeping(Parts):
        def write(self, data: Buffer) -> None:
            super().write(data)
            self.kept = memoryview(data)

    found = Keeping()
    reader = PartReader("b", found)
    reader.feed(b"--b\r\n\r\n" + bytes(1000))
    reader.feed(b"\r\n--b\r\n\r\nx\r\n--b--")
    assert (found.contents, found.whole) == ([bytes(1000), b"x"], 2)


def test_headers() -> None:
    text = b"Content-Type: a/b;\r\n\tc=d\r\nnone\r\ncontent-type: e/f\r\nX:y \r\n: z"
    assert parsed(text) == {"content-type": "a/b;\tc=d", "x": "y"}
