"""What real devices send that is large, dense or nearly empty: none of it may meet a limit.

Whole-slide images with a tile for each frame, enhanced CT with a functional group for each of its frames,
structure sets with long contours, documents of hundreds of megabytes, pictures that are black.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from wire.peers import EXPLICIT, HTJ2K, IMPLICIT, JPEG2000, JPEG_BASELINE, JPEGLS, JPEGXL, RLE, written

from . import codestreams as codes
from .codestreams import Code
from .objects import PIXEL_DATA, Bad, element, encapsulated, fragments_of, header, item

_MB = 1 << 20
# Each as large as it has to be to show its kind: what it holds is surveyed at some 5 µs an element.
_SLIDE, _ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.77.1.6", "1.2.840.10008.5.1.4.1.1.2.1"
_STRUCTURES, _PDF = "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.5.1.4.1.1.104.1"
_PER_FRAME = 0x52009230


def _numbered(template: Dataset, count: int, mark: int = 7_654_321) -> Iterator[bytes]:
    """An item for each frame: the template, with the number of the frame where it has ``mark``."""
    whole = written(template, EXPLICIT)
    at = whole.index(struct.pack("<L", mark))
    for number in range(1, count + 1):
        yield item(len(whole)) + whole[:at] + struct.pack("<L", number) + whole[at + 4 :]


def _sequence(*items: Dataset) -> Sequence:
    return Sequence(items)


def _of(**attributes: object) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made


def _per_frame(template: Dataset, count: int) -> list[bytes]:
    items = list(_numbered(template, count))
    return [element(_PER_FRAME, "SQ", sum(map(len, items))), b"".join(items)]


def slide(name: str, frames: int, otherwise: bool = True) -> Bad:
    """A whole-slide image: a small JPEG for each frame, with an Extended Offset Table."""
    tile = codes.grey_jpeg(8, 8).data
    tile += b"\0" * (len(tile) % 2)
    offsets = b"".join(struct.pack("<Q", (len(tile) + 8) * n) for n in range(frames))
    place = _of(RowPositionInTotalImagePixelMatrix=7_654_321)
    frame = _of(DimensionIndexValues=[1, 2])
    template = _of(FrameContentSequence=_sequence(frame), PlanePositionSlideSequence=_sequence(place))
    head = header(name, 8, 8, SOPClassUID=_SLIDE, NumberOfFrames=frames, Modality="SM")
    tables = element(0x7FE00001, "OV", len(offsets)) + offsets
    lengths = struct.pack("<Q", len(codes.grey_jpeg(8, 8).data)) * frames
    tables += element(0x7FE00002, "OV", len(lengths)) + lengths
    fragments = list(fragments_of(tile))
    parts = [written(head, EXPLICIT), *_per_frame(template, frames), tables]
    parts += [fragments[0], fragments[1] * frames, fragments[2]]
    gives = b"\x80" * 64 * frames
    return Bad(name, JPEG_BASELINE, parts, gives, otherwise, _SLIDE)


def enhanced_ct(name: str, frames: int, side: int = 16) -> Bad:
    """An enhanced CT: a handful of functional groups for each frame."""
    content = _of(
        FrameAcquisitionNumber=1, FrameReferenceDateTime="20260102030405", TemporalPositionIndex=7_654_321,
        FrameAcquisitionDuration=1.5, StackID="1", InStackPositionNumber=1, DimensionIndexValues=[1, 1, 1],
    )  # fmt: skip
    template = _of(
        CTImageFrameTypeSequence=_sequence(_of(FrameType=["ORIGINAL", "PRIMARY", "AXIAL", "NONE"])),
        FrameContentSequence=_sequence(content),
        PlanePositionSequence=_sequence(_of(ImagePositionPatient=[1.5, 2.5, 3.5])),
        PlaneOrientationSequence=_sequence(_of(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])),
        PixelMeasuresSequence=_sequence(_of(SliceThickness="1.0", PixelSpacing=[0.5, 0.5])),
        CTExposureSequence=_sequence(_of(ExposureTimeInms=100.0, XRayTubeCurrentInmA=200.0)),
        CTXRayDetailsSequence=_sequence(_of(KVP="120", FocalSpots=1.0, FilterType="NONE")),
    )
    head = header(name, side, side, 16, SOPClassUID=_ENHANCED_CT, NumberOfFrames=frames, Modality="CT")
    pixels = bytes(range(256)) * (side * side * frames // 128)
    parts = [written(head, EXPLICIT), *_per_frame(template, frames), element(PIXEL_DATA, "OW", len(pixels))]
    return Bad(name, EXPLICIT, [*parts, pixels], sop_class=_ENHANCED_CT, gives=pixels)


def structures(name: str, regions: int, contours: int, points: int) -> Bad:
    """An RT Structure Set with long contours: in implicit VR, as no value of 64 KB goes into the other."""
    data = "\\".join(f"{n * 0.25:.2f}" for n in range(3 * points)).encode()
    data += b" " * (len(data) % 2)
    contour = written(_of(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=points), IMPLICIT)
    contour += struct.pack("<HHL", 0x3006, 0x0050, len(data)) + data
    value = (item(len(contour)) + contour) * contours
    region = struct.pack("<HHL", 0x3006, 0x0040, len(value)) + value
    one = region + written(_of(ReferencedROINumber=1), IMPLICIT)
    head = header(name, SOPClassUID=_STRUCTURES, Modality="RTSTRUCT")
    for each in list(head.group_dataset(0x0028)):
        del head[each.tag]
    value = (item(len(one)) + one) * regions
    sequence = struct.pack("<HHL", 0x3006, 0x0039, len(value))
    return Bad(name, IMPLICIT, [written(head, IMPLICIT), sequence, value], sop_class=_STRUCTURES)


def document(name: str, megabytes: int) -> Bad:
    """An Encapsulated PDF of so many megabytes, which hardly compress."""
    head = _of(
        SOPClassUID=_PDF, SOPInstanceUID=f"{header(name).StudyInstanceUID}.1.1", Modality="DOC",
        StudyInstanceUID=header(name).StudyInstanceUID, SeriesInstanceUID=header(name).SeriesInstanceUID,
        PatientID="H1", PatientName="Hostile^Test", MIMETypeOfEncapsulatedDocument="application/pdf",
    )  # fmt: skip
    page = np.random.default_rng(1).bytes(_MB)
    before = _of(**{each.keyword: each.value for each in head if each.tag < 0x00420011})
    behind = _of(**{each.keyword: each.value for each in head if each.tag > 0x00420011})
    parts = [written(before, EXPLICIT), element(0x00420011, "OB", megabytes * _MB), *[page] * megabytes]
    return Bad(name, EXPLICIT, [*parts, written(behind, EXPLICIT)], sop_class=_PDF)


_DEFLATED_FRAMES = "1.2.840.10008.1.2.8.1"
_SYNTAX_OF = {"jpegls": JPEGLS, "jpeg2000": JPEG2000, "htj2k": HTJ2K, "rle": RLE}


def black(name: str, codec: str, side: int) -> Bad:
    """A black picture at the ratio that the codec reaches, and as 12 bits in 16 where it can."""
    code = codes.black(codec, side, 16)
    whole = encapsulated(name, _SYNTAX_OF[codec], code)
    return Bad(name, whole.syntax, whole.parts, gives=bytes(2 * side * side))


def black_by(name: str, syntax: str, code: Code, value: int = 0) -> Bad:
    whole = encapsulated(name, syntax, code)
    return Bad(name, syntax, whole.parts, gives=bytes([value]) * (code.rows * code.columns))


LARGE: dict[str, Callable[[str], Bad]] = {
    "a slide of 100,000 frames": lambda name: slide(name, 100_000, otherwise=False),
    "a slide of 100 frames": lambda name: slide(name, 100),
    "an enhanced CT of 4,000 frames": lambda name: enhanced_ct(name, 4_000),
    "contours of 40,000 points": lambda name: structures(name, 10, 4, 40_000),
    "a document of 40 MB": lambda name: document(name, 40),
    **{f"black by {codec}": lambda name, c=codec: black(name, c, 3_000) for codec in _SYNTAX_OF},
    "black by jpegxl": lambda name: black_by(name, JPEGXL, codes.black_jpegxl(4_000)),
    "black by deflate": lambda name: black_by(name, _DEFLATED_FRAMES, codes.deflated_bomb(4_096)),
    "grey by jpeg": lambda name: black_by(name, JPEG_BASELINE, codes.grey_jpeg(4_000, 4_000), 128),
}
