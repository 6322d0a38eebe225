"""The objects of this suite as they go over the wire: one header, and what is odd about each."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from pydicom.dataset import Dataset
from wire.peers import EXPLICIT, SECONDARY_CAPTURE, written

from .codestreams import Code

UNDEFINED = 0xFFFFFFFF
PIXEL_DATA, PER_FRAME = 0x7FE00010, 0x52009230
Parts = Sequence[bytes]


@dataclass(frozen=True)
class Bad:
    """An object to send. ``parts`` are its dataset stream, in pieces where it is large.

    ``gives`` is what Pixel Data must be where the object comes back uncompressed; None says that nobody
    knows. Where it takes too long to decode for a test, it is not asked for ``otherwise`` than as received.
    """

    name: str
    syntax: str
    parts: Parts = field(repr=False)
    gives: bytes | None = field(default=None, repr=False)
    otherwise: bool = True
    sop_class: str = SECONDARY_CAPTURE
    of: Dataset | None = field(default=None, repr=False)  # where its UIDs are its own

    @property
    def study(self) -> str:
        return str(self.of.StudyInstanceUID) if self.of else uid_of(self.name)

    @property
    def instance(self) -> str:
        return str(self.of.SOPInstanceUID) if self.of else f"{self.study}.1.1"

    @property
    def digest(self) -> str:
        found = sha256()
        for part in self.parts:
            found.update(part)
        return found.hexdigest()

    @property
    def size(self) -> int:
        return sum(map(len, self.parts))


def uid_of(name: str) -> str:
    """The Study Instance UID of the object of that name."""
    return f"1.2.826.0.1.99.{int.from_bytes(sha256(name.encode()).digest()[:8], 'big')}"


def header(
    name: str, rows: int = 16, columns: int = 16, bits: int = 8, samples: int = 1, **more: Any
) -> Dataset:
    """All but the pixels; ``more`` are attributes set on top, None takes one away."""
    dataset = Dataset()
    study = uid_of(name)
    dataset.SOPClassUID, dataset.SOPInstanceUID = SECONDARY_CAPTURE, f"{study}.1.1"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    dataset.PatientID, dataset.PatientName = f"H{study[-8:]}", "Hostile^Test"
    dataset.Modality, dataset.InstanceNumber = "OT", 1
    dataset.SamplesPerPixel = samples
    dataset.PhotometricInterpretation = "RGB" if samples == 3 else "MONOCHROME2"
    if samples > 1:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored = -(-bits // 8) * 8, bits
    dataset.HighBit, dataset.PixelRepresentation = bits - 1, 0
    for keyword, value in more.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    return dataset


def element(tag: int, vr: str, length: int) -> bytes:
    """The head of an element in explicit VR little endian."""
    group, number = tag >> 16, tag & 0xFFFF
    if vr in ("OB", "OW", "SQ", "UN", "UT", "OL", "OV"):
        return struct.pack("<HH2sxxL", group, number, vr.encode(), length)
    return struct.pack("<HH2sH", group, number, vr.encode(), length)


def item(length: int) -> bytes:
    return struct.pack("<HHL", 0xFFFE, 0xE000, length)


END_OF_ITEM, END_OF_SEQUENCE = struct.pack("<HHL", 0xFFFE, 0xE00D, 0), struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)


def fragments_of(*fragments: bytes, offsets: bytes = b"") -> Iterator[bytes]:
    """An encapsulated Pixel Data element (PS3.5 A.4)."""
    yield element(PIXEL_DATA, "OB", UNDEFINED) + item(len(offsets)) + offsets
    for each in fragments:
        yield item(len(each) + len(each) % 2) + each + b"\0" * (len(each) % 2)
    yield END_OF_SEQUENCE


def native(name: str, syntax: str, pixels: bytes, **attributes: Any) -> Bad:
    """An uncompressed object, whose pixels need not be what its header says."""
    dataset = header(name, **attributes)
    dataset.add_new(PIXEL_DATA, "OW" if dataset.BitsAllocated > 8 else "OB", pixels)
    return Bad(name, syntax, [written(dataset, syntax)])


def encapsulated(
    name: str, syntax: str, code: Code, *, offsets: bytes = b"", fragments: int = 1, **more: Any
) -> Bad:
    """One codestream, so many times, behind a header that agrees with it but for what ``more`` changes."""
    attributes = {"rows": code.rows, "columns": code.columns, "bits": code.bits, "samples": code.samples}
    head = written(header(name, **{**attributes, **more}), EXPLICIT)
    return Bad(name, syntax, [head, *fragments_of(*[code.data] * fragments, offsets=offsets)])


def around(name: str, *middle: bytes, **more: Any) -> Bad:
    """A small sound picture with something odd, of a group such as 7001, before its pixels."""
    pixels = bytes(range(256))
    parts = [written(header(name, **more), EXPLICIT), *middle, element(PIXEL_DATA, "OB", 256), pixels]
    return Bad(name, EXPLICIT, parts, gives=pixels)
