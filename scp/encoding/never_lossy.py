"""What is never kept with loss, whatever a rule says: by SOP class and by attribute (docs/decisions/0213).

An image may lose something only if its SOP class is known to hold a picture for people to look at. All others
stay as they are: measures (parametric maps, doses, counts of PET and NM), labels (segmentations), and classes
that nobody here knows. Objects without pixel data, such as SR and presentation states, have nothing to lose.
"""

from __future__ import annotations

from collections.abc import Mapping

from scp.encoding.dataset import SplitDataset
from scp.encoding.elements import CANONICAL, walk
from scp.syntaxes import Content, lookup

_STORAGE = "1.2.840.10008.5.1.4.1.1."
# PS3.4 table B.5-1. X-ray, CT, MR, ultrasound, secondary capture, angiography, tomosynthesis, endoscopy,
# microscopy, photographs, ophthalmology, dermatology, intravascular OCT.
_PICTURES = frozenset(
    _STORAGE + number
    for number in (
        *("1", "1.1", "1.1.1", "1.2", "1.2.1", "1.3", "1.3.1", "2", "2.1", "2.2", "3.1", "4", "4.1", "4.3"),
        *("4.4", "6.1", "6.2", "7", "7.2", "7.3", "7.4", "12.1", "12.1.1", "12.2", "12.2.1"),
        *("13.1.1", "13.1.2", "13.1.3", "13.1.4", "13.1.5", "14.1", "14.2", "77.1.1", "77.1.2", "77.1.3"),
        *("77.1.4", "77.1.5.1", "77.1.5.2", "77.1.5.4", "77.1.5.5", "77.1.5.6", "77.1.6", "77.1.7"),
    )
)
# Attributes that say of an image that its samples are no picture, or that something was measured in them.
_TELLING: Mapping[int, str] = {
    0x00281101: "it has a palette (Red Palette Color Lookup Table Descriptor)",
    0x00409096: "its samples are measures (Real World Value Mapping Sequence)",
    0x0040A730: "it holds results (Content Sequence)",
    0x00603000: "it has a histogram of its samples (Histogram Sequence)",
    0x4FFE0001: "it is digitally signed (MAC Parameters Sequence)",
}
_NESTED_MAPPING = b"\x40\x00\x96\x90SQ"  # Real World Value Mapping Sequence, also of a functional group
_SIGNATURES, _LOSSY, _IMAGE_TYPE, _OVERLAY_TYPE = 0xFFFAFFFA, 0x00282110, 0x00080008, 0x0040


def why_never(sop_class: str, plain: SplitDataset) -> str:
    """Why an object is never kept with loss; empty if it may be.

    ``plain`` is its dataset as explicit VR little endian. Raises UnreadableDataset.
    """
    if sop_class not in _PICTURES:
        return f"SOP class {sop_class} holds no picture that may lose something"
    if plain.pixel is None:
        return "it has no pixel data of whole numbers"
    header = bytes(plain.header)
    for element in walk(header, CANONICAL):
        value = header[element.value : element.end]
        if reason := _TELLING.get(element.tag) or _told(element.tag, value):
            return reason
    if _NESTED_MAPPING in header:
        return _TELLING[0x00409096]
    if any(element.tag == _SIGNATURES for element in walk(bytes(plain.trailer), CANONICAL)):
        return "it is digitally signed (Digital Signatures Sequence)"
    return ""


def why_lossy(*transfer_syntaxes: str) -> str:
    """Why an object that is stored, and came, in these may have lost something already; else empty."""
    for each in transfer_syntaxes:
        if (row := lookup(each)).content in (Content.EITHER, Content.VIDEO):
            return f"it may have lost something already ({row.keyword})"
    return ""


def _told(tag: int, value: bytes) -> str:
    group, number = tag >> 16, tag & 0xFFFF
    if tag == _LOSSY and value.strip(b" \0") == b"01":
        return "it has lost something already (Lossy Image Compression 01)"
    if tag == _IMAGE_TYPE and any(part.strip().startswith(b"CAD") for part in value.split(b"\\")):
        return "it shows results of CAD (Image Type)"
    if 0x6000 <= group <= 0x60FF and number == _OVERLAY_TYPE and value.strip(b" \0") == b"R":
        return "a region was measured in it (Overlay Type R)"
    if 0x5000 <= group <= 0x50FF:
        return "it holds a curve (group 50xx, retired)"
    return ""
