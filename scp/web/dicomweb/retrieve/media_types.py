"""Media types and transfer syntaxes of what is retrieved, and which of them a client gets (PS3.18 8.7.3).

Nothing here knows an object but by the transfer syntaxes in which it is stored, and was received.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from scp.encoding.transcode import ways_out
from scp.model import SyntaxPreference
from scp.syntaxes import (
    BIG_ENDIAN,
    BY_UID,
    EXPLICIT,
    HTJ2K,
    HTJ2K_EITHER,
    HTJ2K_RPCL,
    IMPLICIT,
    JPEG2000,
    JPEG2000_EITHER,
    JPEG_BASELINE,
    JPEG_EXTENDED,
    JPEG_LOSSLESS,
    JPEG_LOSSLESS_SV1,
    JPEGLS,
    JPEGLS_NEAR,
    JPEGXL,
    JPEGXL_EITHER,
    JPEGXL_RECOMPRESSION,
    RLE,
    Content,
    lookup,
)
from scp.web.dicomweb.accept import ANYTHING, MediaRange

DICOM, OCTETS = "application/dicom", "application/octet-stream"
_JPEG = "1.2.840.10008.1.2.4."

# Tables 8.7.3-4 and 8.7.3-5: the default transfer syntax of each media type is the first.
COMPRESSED: Mapping[str, tuple[str, ...]] = {
    "image/jpeg": (JPEG_LOSSLESS_SV1, JPEG_BASELINE, JPEG_EXTENDED, JPEG_LOSSLESS),
    "image/dicom-rle": (RLE,),
    "image/jls": (JPEGLS, JPEGLS_NEAR),
    "image/jp2": (JPEG2000, JPEG2000_EITHER),
    "image/jpx": (_JPEG + "92", _JPEG + "93"),
    "image/jphc": (HTJ2K, HTJ2K_RPCL, HTJ2K_EITHER),
    "image/jxl": (JPEGXL, JPEGXL_RECOMPRESSION, JPEGXL_EITHER),
}
_MEDIA_TYPE = {syntax: media_type for media_type, each in COMPRESSED.items() for syntax in each}
VIDEO: Mapping[str, tuple[str, ...]] = {
    "video/mpeg": tuple(f"{_JPEG}{end}" for end in ("100", "100.1", "101", "101.1")),
    "video/mp4": tuple(
        f"{_JPEG}{end}"
        for end in ("102", "102.1", "103", "103.1", "104", "104.1", "105", "105.1", "106", "106.1")
    ),
    "video/h265": tuple(f"{_JPEG}{end}" for end in ("107", "108")),
}
# PS3.18 8.7.3: these are not used with web services.
_NEVER = (IMPLICIT, BIG_ENDIAN)
_ANY_SYNTAX = "*"
_NO_PREFERENCE = SyntaxPreference()


@dataclass(frozen=True, slots=True)
class Offer:
    """One way in which something may go out; ``multipart``: as a part of multipart/related."""

    media_type: str
    transfer_syntax: str
    multipart: bool

    @property
    def content_type(self) -> str:
        """The Content-Type of what goes out, or of its part."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


def instance_offers(ranges: Iterable[MediaRange], stored: str, received: str, single: bool) -> list[Offer]:
    """How a DICOM instance may go out, the best first; ``single``: one instance may go without multipart.

    ``*`` as transfer syntax: as it is stored. None named: as Explicit VR Little Endian; but as it is stored
    where its pixels cannot be had without loss of another kind, which is video (8.7.3).
    """
    found: list[Offer] = []
    for same in _by_quality(ranges):
        offers: dict[str, Offer] = {}
        for one in same:
            if not one.covers(DICOM) or not (one.multipart or single or one.media_type == ANYTHING):
                continue
            multipart = one.multipart or not single or one.media_type == ANYTHING
            for syntax in _of_instance(one.transfer_syntax, stored):
                offers.setdefault(syntax, Offer(DICOM, syntax, multipart))
        found += [offers[syntax] for syntax in _ordered(offers, stored, received)]
    return found


def _of_instance(wanted: str, stored: str) -> Sequence[str]:
    as_it_is = (EXPLICIT,) if stored in _NEVER else (stored,)
    if wanted == _ANY_SYNTAX:
        return as_it_is
    if not wanted:
        pixels = lookup(stored).content in (Content.VIDEO, Content.REFERENCED)
        return as_it_is if pixels else (EXPLICIT,)
    return () if wanted in _NEVER else (wanted,)


def frame_offers(ranges: Iterable[MediaRange], stored: str, received: str, single: bool) -> list[Offer]:
    """How frames may go out, the best first; ``single``: one frame may go without multipart.

    Of equal quality, as stored comes first, then what costs least, and is without loss.
    """
    found: list[Offer] = []
    for same in _by_quality(ranges):
        offers: dict[str, Offer] = {}
        for one in same:
            if not (one.multipart or single or one.media_type == ANYTHING):
                continue
            multipart = one.multipart or not single or one.media_type == ANYTHING
            for media_type, syntax in _of_frames(one, stored):
                offers.setdefault(syntax, Offer(media_type, syntax, multipart))
        found += [offers[syntax] for syntax in _ordered(offers, stored, received)]
    return found


def _of_frames(one: MediaRange, stored: str) -> Iterator[tuple[str, str]]:
    """Media types and transfer syntaxes of frames that a media range allows."""
    wanted = one.transfer_syntax
    if one.media_type == ANYTHING and not wanted:
        yield OCTETS, EXPLICIT
        return
    for media_type, syntaxes in COMPRESSED.items():
        if one.covers(media_type):
            yield from ((media_type, each) for each in syntaxes if wanted in ("", _ANY_SYNTAX, each))
    if one.covers(OCTETS):
        if wanted == _ANY_SYNTAX:
            native = lookup(stored).content is Content.NATIVE
            yield OCTETS, EXPLICIT if native else stored
        yield from (
            (OCTETS, each) for each in (wanted or EXPLICIT,) if each == EXPLICIT or each in _MEDIA_TYPE
        )
        if wanted == _ANY_SYNTAX:
            yield OCTETS, EXPLICIT


def _by_quality(ranges: Iterable[MediaRange]) -> Iterator[Iterable[MediaRange]]:
    for _, same in groupby(ranges, key=lambda one: one.quality):
        yield sorted(same, key=lambda one: -one.exactness)


def _ordered(offers: Mapping[str, Offer], stored: str, received: str) -> list[str]:
    """Transfer syntaxes that may carry it without loss, the cheapest first."""
    known = [each for each in offers if each in BY_UID or each == stored]
    return ways_out(stored, received, known, _NO_PREFERENCE)


def media_type_of(transfer_syntax: str) -> str:
    """The media type of frames in a transfer syntax."""
    return _MEDIA_TYPE.get(transfer_syntax, OCTETS)
