"""Which colours the components of a JPEG codestream are, by its marker segments (docs/decisions/0092).

One table, read from the top; the first row that holds decides:

==================================================  ==========================================
the codestream has                                  its three components are
==================================================  ==========================================
SOF3 (lossless)                                     as they stand, whatever else is said
APP0 ``JFIF``                                       YCbCr (ITU-T T.871 6.1)
APP14 ``Adobe``, transform 0                        RGB (ITU-T T.872 6.5.3)
APP14 ``Adobe``, another transform                  YCbCr
component identifiers ``R G B``                     RGB
none of these, Photometric Interpretation is RGB    RGB
none of these, and it is anything else              YCbCr
==================================================  ==========================================

What the codestream says of itself goes before what the header says (PS3.5 8.2.1). That order is libjpeg's,
which asks no header and takes the last two rows for YCbCr.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from scp.encoding.codecs.markers import JPEG_LOSSLESS_FRAME
from scp.errors import CannotDecode

_SOI, _EOI, _SOS, _APP0, _APP14 = 0xD8, 0xD9, 0xDA, 0xE0, 0xEE
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # DHT, JPG and DAC are no frame headers
_ALONE = frozenset((0x01, *range(0xD0, 0xD8)))  # TEM and RSTn have no length (T.81 B.1.1.3)
# As long as libjpeg wants them; what is shorter is another application's segment of the same name.
_JFIF, _JFIF_SIZE = b"JFIF\0", 14
_ADOBE, _ADOBE_SIZE, _ADOBE_TRANSFORM = b"Adobe", 12, 11
_RGB_IDENTIFIERS = b"RGB"


class Colour(StrEnum):
    """What three components are; the values are imagecodecs' names of them."""

    RGB = "RGB"
    YCBCR = "YCBCR"


@dataclass(frozen=True, slots=True)
class ColourMarkers:
    """What the marker segments before the first scan say.

    ``frame`` is the SOF marker, ``identifiers`` are those of the components (T.81 B.2.2), ``adobe`` is the
    transform of Adobe's APP14 segment, None without one. ``app0``: there is an APP0 segment of any kind;
    ``jfif``: one of JFIF's.
    """

    frame: int
    identifiers: bytes
    app0: bool = False
    jfif: bool = False
    adobe: int | None = None

    @property
    def lossless(self) -> bool:
        """Whether the samples are coded without loss, in which no colour is ever converted here."""
        return self.frame == JPEG_LOSSLESS_FRAME


def colour_markers(codestream: bytes) -> ColourMarkers:
    """Read the marker segments up to the first scan. Raises CannotDecode where no frame header is there."""
    frame, identifiers, app0, jfif, adobe = 0, b"", False, False, None
    for marker, content in _segments(codestream):
        if marker in _FRAMES and not frame:
            frame, identifiers = marker, content[6::3]
        elif marker == _APP0:
            app0 = True
            jfif |= len(content) >= _JFIF_SIZE and content.startswith(_JFIF)
        elif marker == _APP14 and len(content) >= _ADOBE_SIZE and content.startswith(_ADOBE):
            adobe = content[_ADOBE_TRANSFORM]
    if not frame:
        raise CannotDecode("the codestream has no frame header")
    return ColourMarkers(frame, identifiers, app0, jfif, adobe)


def coded_colour(markers: ColourMarkers, photometric: str) -> Colour:
    """The table above, for a codestream of three components that is not lossless."""
    if markers.jfif:
        return Colour.YCBCR
    if markers.adobe is not None:
        return Colour.RGB if markers.adobe == 0 else Colour.YCBCR
    if markers.identifiers == _RGB_IDENTIFIERS or photometric == "RGB":
        return Colour.RGB
    return Colour.YCBCR


def libjxl_colour(markers: ColourMarkers) -> Colour:
    """What libjxl takes a JPEG for when it recompresses it (``SetColorTransformFromJpegData``).

    It knows no header, and takes any APP0 segment for JFIF's.
    """
    if markers.app0:
        return Colour.YCBCR
    if markers.adobe is not None:
        return Colour.RGB if markers.adobe == 0 else Colour.YCBCR
    return Colour.RGB if markers.identifiers == _RGB_IDENTIFIERS else Colour.YCBCR


def _segments(codestream: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and content of each segment before the first scan (T.81 B.1.1)."""
    if codestream[:2] != bytes((0xFF, _SOI)):
        return
    at = 2
    while at + 4 <= len(codestream) and codestream[at] == 0xFF:
        marker = codestream[at + 1]
        if marker == 0xFF:  # fill (T.81 B.1.1.2)
            at += 1
        elif marker in _ALONE:
            at += 2
        elif marker in (_SOS, _EOI):
            return
        else:
            length = int.from_bytes(codestream[at + 2 : at + 4], "big")
            yield marker, codestream[at + 4 : at + 2 + length]
            at += 2 + length
