"""Bodies of several parts, as Python's own parser reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multiparts import parts_of

from scp.web.dicomweb.multipart import Multipart, joined

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_every_part_comes_back_byte_for_byte(contents: list[bytes]) -> None:
    body = Multipart("application/octet-stream")
    sent = b"".join(
        body.head({"Content-Type": "application/octet-stream", "Content-Location": f"/{at}"}) + each
        for at, each in enumerate(contents)
    )
    found = parts_of(body.content_type, sent + body.end())
    assert [one.content for one in found] == contents
    assert [one.headers["content-location"] for one in found] == [f"/{at}" for at in range(len(contents))]


def test_boundaries_are_never_the_same() -> None:
    assert len({Multipart("a/b").boundary for _ in range(100)}) == 100


def test_a_header_cannot_end_the_headers() -> None:
    with pytest.raises(ValueError, match="line break"):
        Multipart("a/b").head({"Content-Location": "/a\r\n\r\nforged"})


@given(st.lists(st.binary(max_size=30), max_size=30), st.integers(1, 40))
def test_pieces_are_joined_without_a_change(pieces: list[bytes], most: int) -> None:
    found = list(joined(iter(pieces), most))
    assert b"".join(found) == b"".join(pieces)
    assert all(found)
