"""What a client accepts (RFC 9110 12.5.1, PS3.18 8.3.3.1), and what it then gets (PS3.18 8.7.3)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scp.syntaxes import (
    EXPLICIT,
    HTJ2K,
    HTJ2K_RPCL,
    IMPLICIT,
    JPEG_BASELINE,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGXL,
    JPEGXL_RECOMPRESSION,
)
from scp.web.dicomweb.accept import MediaRange, accepted
from scp.web.dicomweb.retrieve.media_types import Acceptance, frame_offers, instance_offers

pytestmark = [pytest.mark.dicomweb, pytest.mark.quick]

_MPEG4 = "1.2.840.10008.1.2.4.102"


def told(header: str, query: str = "") -> list[tuple[str, bool, str, float]]:
    found = accepted(header, query)
    return [(one.media_type, one.multipart, one.transfer_syntax, one.quality) for one in found]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", [("*/*", False, "", 1.0)]),
        ("*/*", [("*/*", False, "", 1.0)]),
        ("image/jls;q=0.5, IMAGE/JP2", [("image/jp2", False, "", 1.0), ("image/jls", False, "", 0.5)]),
        ("image/jls;q=0, image/jp2", [("image/jp2", False, "", 1.0)]),
        (
            'multipart/related; type="application/dicom"; transfer-syntax=*',
            [("application/dicom", True, "*", 1.0)],
        ),
        # Viewers leave the quotes out, which RFC 2045 asks for.
        (
            "multipart/related; type=application/octet-stream; transfer-syntax=1.2.840.10008.1.2.1",
            [("application/octet-stream", True, EXPLICIT, 1.0)],
        ),
        ("multipart/related", [("*/*", True, "", 1.0)]),
        ('image/jls;a="x,y;z\\"";q=0.3, a/b', [("a/b", False, "", 1.0), ("image/jls", False, "", 0.3)]),
        ("image/jls;q=nonsense, a/b", [("a/b", False, "", 1.0)]),
        ("image/jls;q=nan, a/b", [("a/b", False, "", 1.0)]),
        ("no media type, a/b", [("a/b", False, "", 1.0)]),
        (", ,;,a/b;,", [("a/b", False, "", 1.0)]),
        ("nothing", []),
    ],
)
def test_headers_are_read(header: str, expected: list[tuple[str, bool, str, float]]) -> None:
    assert told(header) == expected


def test_the_query_parameter_stands_in_the_place_of_the_header() -> None:
    assert told("image/jls", "image/jp2") == [("image/jp2", False, "", 1.0)]
    assert told("image/jls", " ") == [("image/jls", False, "", 1.0)]
    # A plus that was not percent-encoded is a space.
    assert told("", "application/dicom json") == [("application/dicom+json", False, "", 1.0)]


@given(st.text(alphabet='a/*;=",\\ \t.q01', max_size=200))
def test_any_header_is_read(header: str) -> None:
    for one in accepted(header):
        assert 0 < one.quality <= 1
        assert isinstance(one, MediaRange)


@pytest.mark.parametrize("piece", ['a/b;x="', "a/b;", ";", '"', "a/b;q=0.1,", '"\\'])
def test_a_long_header_takes_no_time(piece: str) -> None:
    begun = time.process_time()
    accepted(piece * 20_000)
    assert time.process_time() - begun < 2


def frames(
    header: str, stored: str, received: str = EXPLICIT, single: bool = True
) -> list[tuple[str, str, bool]]:
    found = frame_offers(Acceptance(accepted(header)), stored, received, single)
    return [(one.media_type, one.transfer_syntax, one.multipart) for one in found]


def test_frames_go_as_they_are_stored_where_that_is_accepted() -> None:
    assert frames("image/jphc", HTJ2K)[0] == ("image/jphc", HTJ2K, False)
    assert frames('multipart/related; type="image/jphc"', HTJ2K_RPCL)[0] == ("image/jphc", HTJ2K_RPCL, True)
    any_syntax = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    assert frames(any_syntax, HTJ2K) == [
        ("application/octet-stream", HTJ2K, True),
        ("application/octet-stream", EXPLICIT, True),
    ]
    assert frames("image/*", JPEGXL)[0] == ("image/jxl", JPEGXL, False)
    assert frames("*/*; transfer-syntax=*", JPEGLS)[0] == ("image/jls", JPEGLS, True)


def test_frames_are_uncompressed_where_nothing_else_is_asked_for() -> None:
    expected = [("application/octet-stream", EXPLICIT, True)]
    assert frames("", HTJ2K) == frames("*/*", EXPLICIT) == expected
    assert frames("application/octet-stream", HTJ2K) == [("application/octet-stream", EXPLICIT, False)]


def test_the_quality_that_a_client_gives_goes_before_what_is_stored() -> None:
    found = frames("image/jphc;q=0.5, application/octet-stream", HTJ2K)
    assert [one[1] for one in found[:2]] == [EXPLICIT, HTJ2K]


def test_frames_are_never_made_lossy() -> None:
    assert [one[1] for one in frames("image/jpeg", HTJ2K)] == [JPEG_LOSSLESS_SV1]
    assert frames(f"image/jpeg; transfer-syntax={JPEG_BASELINE}", HTJ2K) == []
    assert frames("image/jpeg", JPEG_BASELINE)[0][1] == JPEG_BASELINE
    # The JPEG that was recompressed is itself again.
    assert frames("image/jpeg", JPEGXL_RECOMPRESSION, JPEG_BASELINE)[0][1] == JPEG_BASELINE


@pytest.mark.parametrize("header", ["text/html", f"image/jls; transfer-syntax={HTJ2K}", "image/jls;q=0"])
def test_what_is_not_accepted_is_not_offered(header: str) -> None:
    assert frames(header, HTJ2K) == []


def test_several_frames_take_parts() -> None:
    assert frames("image/jphc", HTJ2K, single=False) == []
    assert frames("image/jphc, multipart/related; type=image/jphc", HTJ2K, single=False)[0][2]


def instances(
    header: str, stored: str, received: str = EXPLICIT, single: bool = False
) -> list[tuple[str, bool]]:
    found = instance_offers(Acceptance(accepted(header)), stored, received, single)
    return [(one.transfer_syntax, one.multipart) for one in found]


def test_instances_are_explicit_vr_little_endian_unless_another_syntax_is_asked_for() -> None:
    dicom = 'multipart/related; type="application/dicom"'
    assert instances("", HTJ2K) == instances(dicom, HTJ2K) == [(EXPLICIT, True)]
    assert instances(f"{dicom}; transfer-syntax=*", HTJ2K) == [(HTJ2K, True)]
    assert instances(f"{dicom}; transfer-syntax={JPEGLS}", HTJ2K) == [(JPEGLS, True)]
    # PS3.18 8.7.3: implicit VR is not used with web services.
    assert instances(f"{dicom}; transfer-syntax=*", IMPLICIT) == [(EXPLICIT, True)]
    assert instances(f"{dicom}; transfer-syntax={IMPLICIT}", IMPLICIT) == []
    assert instances("", _MPEG4) == [(_MPEG4, True)]


def test_one_instance_may_go_without_parts() -> None:
    assert instances("application/dicom", HTJ2K, single=True) == [(EXPLICIT, False)]
    assert instances("application/dicom", HTJ2K) == []
