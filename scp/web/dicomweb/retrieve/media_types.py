"""Media types and transfer syntaxes of what is retrieved, and which of them a client gets (PS3.18 8.7.3).

Nothing here knows an object but by the transfer syntaxes in which it is stored, and was received.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
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
# Names that these had in earlier editions, and one that a client took for the last (dicomweb-client 0.11).
_OTHER_NAMES = {"image/x-dicom-rle": "image/dicom-rle", "image/x-jls": "image/jls", "image/jhc": "image/jphc"}
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
    return _offers(ranges, stored, received, single, _of_instance)


def frame_offers(ranges: Iterable[MediaRange], stored: str, received: str, single: bool) -> list[Offer]:
    """How frames may go out, the best first; ``single``: one frame may go without multipart.

    Of equal quality, as stored comes first, then what costs least, and is without loss.
    """
    return _offers(ranges, stored, received, single, _of_frames)


# Media types and transfer syntaxes that a range allows of what is stored in a transfer syntax.
Allowed = Callable[[MediaRange, str], Iterable[tuple[str, str]]]


def _offers(
    ranges: Iterable[MediaRange], stored: str, received: str, single: bool, allowed: Allowed
) -> list[Offer]:
    found: list[Offer] = []
    for _, same in groupby(ranges, key=lambda one: one.quality):
        offers: dict[str, Offer] = {}
        for one in sorted(same, key=lambda one: -one.exactness):
            any_way = one.multipart or one.media_type == ANYTHING
            if not (any_way or single):
                continue
            for media_type, syntax in allowed(one, stored):
                if syntax in BY_UID or syntax == stored:
                    offers.setdefault(syntax, Offer(media_type, syntax, any_way or not single))
        # Without loss, and the cheapest first.
        found += [offers[each] for each in ways_out(stored, received, offers, _NO_PREFERENCE)]
    return found


def _of_instance(one: MediaRange, stored: str) -> Iterator[tuple[str, str]]:
    if not one.covers(DICOM):
        return
    wanted = one.transfer_syntax
    pixels_elsewhere = lookup(stored).content in (Content.VIDEO, Content.REFERENCED)
    if wanted == _ANY_SYNTAX or (not wanted and pixels_elsewhere):
        wanted = EXPLICIT if stored in _NEVER else stored
    if wanted not in _NEVER:
        yield DICOM, wanted or EXPLICIT


def _of_frames(one: MediaRange, stored: str) -> Iterator[tuple[str, str]]:
    wanted = one.transfer_syntax
    if one.media_type == ANYTHING and not wanted:
        yield OCTETS, EXPLICIT
        return
    for media_type, syntaxes in COMPRESSED.items():
        if one.covers(media_type) or _OTHER_NAMES.get(one.media_type) == media_type:
            yield from ((media_type, each) for each in syntaxes if wanted in ("", _ANY_SYNTAX, each))
    if one.covers(OCTETS):
        syntaxes = (stored, EXPLICIT) if wanted == _ANY_SYNTAX else (wanted or EXPLICIT,)
        yield from ((OCTETS, each) for each in syntaxes if each == EXPLICIT or lookup(each).encapsulated)
