"""Media types and transfer syntaxes of what is retrieved, and which of them a client gets (PS3.18 8.7.3).

Nothing here knows an object but by the transfer syntaxes in which it is stored, and was received.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby

from scp.encoding.lossy import ways
from scp.model import SyntaxPreference
from scp.syntaxes import (
    BIG_ENDIAN,
    BY_UID,
    EXPLICIT,
    IMPLICIT,
    Content,
    lookup,
)
from scp.web.dicomweb.accept import ANYTHING, MediaRange
from scp.web.dicomweb.bulk_types import COMPRESSED, OCTETS

DICOM = "application/dicom"
# Codestreams that may begin with a smaller image.
WAVELETS = (*COMPRESSED["image/jp2"], *COMPRESSED["image/jphc"])
# Names that these had in earlier editions, and one that a client took for the last (dicomweb-client 0.11).
_OTHER_NAMES = {"image/x-dicom-rle": "image/dicom-rle", "image/x-jls": "image/jls", "image/jhc": "image/jphc"}
# PS3.18 8.7.3: these are not used with web services.
_NEVER = (IMPLICIT, BIG_ENDIAN)
_ANY_SYNTAX = "*"
_NO_PREFERENCE = SyntaxPreference()


@dataclass(frozen=True, slots=True)
class Offer:
    """One way in which something may go out; ``multipart``: as a part of multipart/related.

    ``quality`` is what the client gives it. ``lossy``: it is coded with loss, as the client's entry asks.
    """

    media_type: str
    transfer_syntax: str
    multipart: bool
    quality: float = 1.0
    lossy: bool = False

    @property
    def content_type(self) -> str:
        """The Content-Type of what goes out, or of its part."""
        return f"{self.media_type}; transfer-syntax={self.transfer_syntax}"


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What a client accepts, and what its entry says: ``prefers`` are what that names, for any (``*``)."""

    ranges: tuple[MediaRange, ...]
    preference: SyntaxPreference = _NO_PREFERENCE
    prefers: tuple[str, ...] = ()


def instance_offers(asked: Acceptance, stored: str, received: str, single: bool) -> tuple[Offer, ...]:
    """How a DICOM instance may go out, the best first; ``single``: one instance may go without multipart.

    ``*`` as transfer syntax: as it is stored. None named: as Explicit VR Little Endian; but as it is stored
    where its pixels cannot be had without loss of another kind, which is video (8.7.3).
    """
    return _offers(asked, stored, received, single, _of_instance)


def frame_offers(asked: Acceptance, stored: str, received: str, single: bool) -> tuple[Offer, ...]:
    """How frames may go out, the best first; ``single``: one frame may go without multipart.

    Of equal quality, as stored comes first, then what costs least, and is without loss; but for what the
    client's entry has before.
    """
    return _offers(asked, stored, received, single, _of_frames)


# Media types and transfer syntaxes that a range allows, where ``*`` stands for some: the first is as stored.
Allowed = Callable[[MediaRange, Sequence[str]], Iterable[tuple[str, str]]]


@lru_cache(64)  # a client asks for all frames and instances alike
def _offers(
    asked: Acceptance, stored: str, received: str, single: bool, allowed: Allowed
) -> tuple[Offer, ...]:
    found: list[Offer] = []
    any_of = (stored, *asked.prefers)
    for quality, same in groupby(asked.ranges, key=lambda one: one.quality):
        offers: dict[str, Offer] = {}
        for one in sorted(same, key=lambda one: -one.exactness):
            any_way = one.multipart or one.media_type == ANYTHING
            if not (any_way or single):
                continue
            for media_type, syntax in allowed(one, any_of):
                if syntax in BY_UID or syntax == stored:
                    offers.setdefault(syntax, Offer(media_type, syntax, any_way or not single, quality))
        found += [
            replace(offers[way.transfer_syntax], lossy=way.lossy)
            for way in ways(stored, received, offers, asked.preference)
        ]
    return tuple(found)


def _of_instance(one: MediaRange, any_of: Sequence[str]) -> Iterator[tuple[str, str]]:
    if not one.covers(DICOM):
        return
    wanted, (stored, *others) = one.transfer_syntax, any_of
    if wanted == _ANY_SYNTAX:
        yield from ((DICOM, each) for each in others if each not in _NEVER)
    pixels_elsewhere = lookup(stored).content in (Content.VIDEO, Content.REFERENCED)
    if wanted == _ANY_SYNTAX or (not wanted and pixels_elsewhere):
        wanted = EXPLICIT if stored in _NEVER else stored
    if wanted not in _NEVER:
        yield DICOM, wanted or EXPLICIT


def _of_frames(one: MediaRange, any_of: Sequence[str]) -> Iterator[tuple[str, str]]:
    wanted = one.transfer_syntax
    if one.media_type == ANYTHING and not wanted:
        yield OCTETS, EXPLICIT
        return
    for media_type, syntaxes in COMPRESSED.items():
        if one.covers(media_type) or _OTHER_NAMES.get(one.media_type) == media_type:
            yield from ((media_type, each) for each in syntaxes if wanted in ("", _ANY_SYNTAX, each))
    if one.covers(OCTETS):
        syntaxes = (*any_of, EXPLICIT) if wanted == _ANY_SYNTAX else (wanted or EXPLICIT,)
        yield from ((OCTETS, each) for each in syntaxes if each == EXPLICIT or lookup(each).encapsulated)
