"""Layouts: what is guessed of a header by those before is what the scan finds without a guess."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from unittest.mock import patch

import pytest
from examples import examples
from hypothesis import given
from hypothesis import strategies as st
from objects import as_received, corpus, element, item, received, sequence

from scp.encoding import layouts
from scp.encoding import scan as scanning
from scp.encoding.conversion import convert
from scp.encoding.dataset import encoding_of
from scp.encoding.elements import CANONICAL, IMPLICIT_LITTLE, Encoding
from scp.encoding.facts import chosen, survey
from scp.encoding.layouts import Layouts
from scp.encoding.scan import Scan, scan
from scp.errors import UnreadableDataset
from scp.index.attributes import KEYWORDS
from scp.resources.bounds import DEFAULTS, use
from scp.syntaxes import EXPLICIT, IMPLICIT, lookup

BIG = Encoding(little=False)
ENCODINGS = (CANONICAL, IMPLICIT_LITTLE, BIG)
# Tags, VRs and values of a header; None: each object has its own.
HEADER: tuple[tuple[int, str, bytes | None], ...] = (
    (0x00080005, "CS", b"ISO_IR 100"),
    (0x00080008, "CS", b"ORIGINAL\\PRIMARY"),
    (0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.4\0"),
    (0x00080018, "UI", None),
    (0x00080020, "DA", b"20260102"),
    (0x00080060, "CS", b"MR"),
    (0x00081030, "LO", b"K\xf6pf"),
    (0x00081140, "SQ", b""),
    (0x00090010, "LO", b"PRIVATE "),
    (0x00091010, "OB", b"\0\1" * 40),
    (0x00091011, "UN", None),
    (0x00100010, "PN", b"M\xfcller^A"),
    (0x00100020, "LO", b"1234"),
    (0x0020000D, "UI", b"1.2.3.4\0"),
    (0x0020000E, "UI", b"1.2.3.5\0"),
    (0x00200011, "IS", b"3 "),
    (0x00200013, "IS", None),
    (0x00201041, "DS", None),
    (0x00280002, "US", b"\1\0"),
    (0x00280010, "US", b"\4\0"),
    (0x00280011, "US", b"\4\0"),
    (0x00280100, "US", b"\x10\0"),
    (0x00280101, "US", b"\x0c\0"),
    (0x00280103, "US", b"\0\0"),
    (0x00281050, "DS", b"40"),
)
PIXELS = element(0x7FE00010, "OW", bytes(32))
REFERENCED = [item(element(0x00080060, "CS", b"MR"), True)]
# What may stand anywhere in a header.
PIECES = (
    element(0x00080060, "CS", b"CT"),
    element(0x00280103, "US", b"\1\0"),
    element(0x00080005, "CS", b"ISO_IR 192"),
    element(0x00091001, "ZZ", b"1234"),
    element(0x00091003, "lo", b"1234"),
    sequence(0x00081140, REFERENCED, True),
    sequence(0x00081140, REFERENCED, False),
    element(0x7FE00000, "UL", bytes(4)),
    PIXELS,
    element(0x00080061, "CS", b"CT", length=200),
    b"\xff\xfe\0\xe0CS\1\0",
)


def header(own: bytes, inserted: tuple[tuple[int, int], ...] = ()) -> bytes:
    """A header; ``own`` is the value of each element that differs. PIECES come before some elements."""
    parts = [[element(tag, vr, own if value is None else value)] for tag, vr, value in HEADER]
    for at, piece in inserted:
        parts[at].insert(0, PIECES[piece])
    return b"".join(b"".join(each) for each in parts)


@contextmanager
def nothing_known() -> Iterator[None]:
    """Within it, no header was seen before."""
    with patch.dict(scanning._LAYOUTS, {each: Layouts(each) for each in ENCODINGS}):
        yield


def alone(data: bytes, encoding: Encoding, nested: bool = True) -> Scan:
    with nothing_known():
        return scan(data, encoding, nested)


def assert_same(data: bytes, encoding: Encoding) -> Scan:
    """What is found among headers before is what is found without any. Returns it."""
    for nested in (False, True):
        found, expected = scan(data, encoding, nested), alone(data, encoding, nested)
        assert found == expected
        assert list(found.elements) == list(expected.elements)
    return found


def assert_same_texts(data: bytes, syntax: str) -> None:
    object_ = as_received(data, syntax)
    facts = survey(object_)
    found = chosen(facts.attributes, KEYWORDS), dict(facts.attributes)
    with nothing_known():
        expected = survey(object_)
        assert found == (chosen(expected.attributes, KEYWORDS), dict(expected.attributes))
        assert (facts.readable, facts.fault) == (expected.readable, expected.fault)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_the_third_header_of_a_series_is_guessed(encoding: Encoding) -> None:
    with nothing_known():
        for own in (b"1 ", b"22", b"333 ", b""):
            data = bytes(convert(header(own) + PIXELS, CANONICAL, encoding))
            guessed = scan(data, encoding).layout is not None
            assert scan(data, encoding) == alone(data, encoding)
            # In big endian a sequence ends what is plain.
            assert guessed == (own not in {b"1 ", b"22"} and encoding != BIG)


OWN = st.sampled_from((b"1 ", b"22", b"333 ", b"", b"1.5 ", b"x" * 300, b"y" * 5000))
INSERTED = st.lists(
    st.tuples(st.integers(0, len(HEADER) - 1), st.integers(0, len(PIECES) - 1)), max_size=2
).map(tuple)
POSITIONS = st.integers(0, len(header(b"22")) + len(PIXELS))


@st.composite
def streams(draw: st.DrawFn, encoding: Encoding) -> bytes:
    """A header of the series, or one with elements inserted, and bytes changed, removed or cut off."""
    data = header(draw(OWN), draw(INSERTED)) + draw(st.sampled_from((PIXELS, b"")))
    with suppress(UnreadableDataset):
        data = bytes(convert(data, CANONICAL, encoding))
    for at, change in draw(st.lists(st.tuples(POSITIONS, st.integers(1, 255)), max_size=2)):
        if at < len(data):
            data = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
    at, size = draw(st.tuples(POSITIONS, st.sampled_from((0, 0, 0, 1, 8, 12, 30, 10_000))))
    return data[:at] + data[at + size :]


@examples(200, derandomize=True)
@given(st.data(), st.sampled_from((EXPLICIT, IMPLICIT)))
def test_a_guess_is_what_a_scan_finds(drawn: st.DataObject, syntax: str) -> None:
    """Of any headers after those of a series, and of the series after any."""
    encoding = encoding_of(lookup(syntax))
    those = drawn.draw(st.lists(streams(encoding), min_size=1, max_size=5))
    with nothing_known():
        family = [
            bytes(convert(header(own) + PIXELS, CANONICAL, encoding)) for own in (b"1 ", b"22", b"333 ")
        ]
        for data in family[:2]:
            scan(data, encoding)
        for data in (*those, family[2], *those):
            assert_same(data, encoding)
        assert_same_texts(those[-1], syntax)
        assert_same_texts(family[0], syntax)


def test_a_guess_ends_where_the_stream_does() -> None:
    with nothing_known():
        for own in (b"1 ", b"22"):
            scan(header(own) + PIXELS, CANONICAL)
        data = header(b"333 ") + PIXELS
        for cut in range(len(data)):
            assert_same(data[:cut], CANONICAL)


@pytest.mark.parametrize("piece", PIECES)
def test_texts_are_read_anew_where_more_stands_behind_a_guess(piece: bytes) -> None:
    with nothing_known():
        for own in (b"1 ", b"22", b"333 "):
            assert_same_texts(header(own) + PIXELS, EXPLICIT)
        assert_same_texts(header(b"333 ") + piece + PIXELS, EXPLICIT)


def test_a_guess_sees_what_nests_too_deep() -> None:
    """The sequences of a layout are held against the limit, as those of other headers."""
    inner = b""
    for _ in range(8):
        inner = sequence(0x00081110, [item(inner, True)], True)
    with nothing_known():
        for own in (b"1 ", b"22"):
            data = inner + header(own) + PIXELS
            assert not scan(data, CANONICAL).beyond
        use(replace(DEFAULTS, depth=4))
        found = assert_same(data, CANONICAL)
        assert found.layout is not None
        assert found.beyond
        assert "limits.depth" in found.fault


def test_a_guess_sees_sequences_that_cannot_be_converted() -> None:
    """A layout may come from those who do not look into them."""
    sound, broken = (
        element(0x00081140, "SQ", value, encoding=IMPLICIT_LITTLE) for value in (b"", b"garbage!")
    )
    with nothing_known():
        for own in (b"1 ", b"22", b"333 "):
            data = bytes(convert(header(own) + PIXELS, CANONICAL, IMPLICIT_LITTLE)).replace(sound, broken)
            assert scan(data, IMPLICIT_LITTLE, nested=False).pixel is not None
        assert scan(data, IMPLICIT_LITTLE, nested=False).layout is not None
        found = assert_same(data, IMPLICIT_LITTLE)
        assert found.fault
        assert found.layout is None


def test_what_is_read_by_the_bytes_behind_it_is_not_guessed() -> None:
    """An unknown VR has a length of 16 bits or of 32, as what stands where it would end may be an element."""
    first = element(0x00080001, "AE", b"").replace(b"AE", b"ZZ")
    with nothing_known():
        for own in (b"1 ", b"22", b"333 "):
            data = first + header(own) + element(0x7FE00010, "OW", bytes(400_000))
            assert assert_same(data, CANONICAL).pixel is not None
        end = len(first) + 4 + int.from_bytes(data[8:12], "little")
        found = assert_same(data[: end + 4] + b"CS" + data[end + 6 :], CANONICAL)
        assert found.elements[0x00080001] == (b"ZZ", 12, end)


def test_a_character_set_that_differs_is_none_to_read_others_by() -> None:
    """Texts are the same only where what says how to read them is."""
    with nothing_known():
        for name in (b"ISO_IR 100", b"ISO_IR 192", b"ISO_IR 100", b"ISO_IR 144", b"ISO_IR 100"):
            data = header(b"22").replace(b"ISO_IR 100", name) + PIXELS
            assert_same_texts(data, EXPLICIT)


def test_what_is_remembered_is_bounded() -> None:
    with nothing_known():
        for series in range(40):
            for own in (b"1 ", b"22", b"333 ", b"4" * 20, b"5" * 40, b"6" * 60, b"7" * 80):
                data = header(own).replace(b"1.2.3.5\0", f"1.2.{series:04d}".encode()) + PIXELS
                assert_same(data, CANONICAL)
        known = scanning._LAYOUTS[CANONICAL]._known
        assert len(known) == layouts._LAYOUTS
        assert 1 <= max(len(run._placed) for each in known for run in each.runs) <= layouts._PLACES


@pytest.mark.corpus
@pytest.mark.parametrize("folder", ["ct-ge", "ct-philips", "mr-small"])
def test_most_headers_of_a_real_series_are_guessed(folder: str) -> None:
    guessed = 0
    with nothing_known():
        objects = [received(path) for path in corpus(folder)[:28]]
        for one in objects:
            encoding = encoding_of(lookup(one.transfer_syntax))
            guessed += scan(one.dataset, encoding).layout is not None
            assert_same(bytes(one.dataset), encoding)
            assert_same_texts(bytes(one.dataset), one.transfer_syntax)
    assert guessed >= len(objects) * 0.8
